"""Figures of which voxels drive a decoder: on the inflated cortex, modalities side by side, and by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainram_lib.attribution.gradients import Attribution
from brainram_lib.evaluation.intervals import bootstrap_interval
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.view.colours import modality_colour
from brainram_lib.view.cortex import DIVERGING, WIDTH, Pair, draw_inflated, on_cortex, regions_on_cortex

# Name of a bar -> the regions that it combines.
BARS: dict[str, tuple[str, ...]] = {
    "V1": ("V1",),
    "V2": ("V2",),
    "V3": ("V3",),
    "hV4": ("hV4",),
    "middle": ("midventral", "midlateral", "midparietal"),
    "ventral": ("ventral",),
    "lateral": ("lateral",),
    "parietal": ("parietal",),
    "faces": ("floc-faces",),
    "bodies": ("floc-bodies",),
    "places": ("floc-places",),
    "words": ("floc-words",),
}
PATCHES = ("faces", "bodies", "places", "words")
OUTLINED = ("early", "ventral", "lateral", "parietal")
VIEWS = ("medial", "ventral", "lateral")
# Heights in inches: of one entry's maps, and of the bars.
MAP, BARS_BELOW = 4.4, 3.6
NO_CORTEX = "No map: these data have no cortical surface."
NO_REGIONS = "No bars: the subject has none of the regions that are compared."


def by_region(
    data: PreparedSubject, values: Float[np.ndarray, "n voxels"], bars: Mapping[str, Sequence[str]] = BARS
) -> dict[str, Float[np.ndarray, " n"]]:
    """Each image's mean over the voxels of a group of regions; groups that the subject does not have are left out.

    Raises:
        ValueError: the number of voxels differs from the subject's.
    """
    if values.shape[1] != len(data.voxel_index):
        raise ValueError(
            f"'values' must have {len(data.voxel_index)} voxels, as the prepared subject has. {values.shape[1]} were "
            "provided."
        )
    known = {bar: [data.roi(name) for name in names if name in data.roi_names] for bar, names in bars.items()}
    masks = {bar: np.logical_or.reduce(parts) for bar, parts in known.items() if parts}
    return {bar: values[:, mask].mean(1) for bar, mask in masks.items() if mask.any()}


def attribution_figure(
    layout: NsdLayout | None, data: PreparedSubject, found: Mapping[str, Attribution], title: str
) -> Figure:
    """What every voxel adds to the score, one map for each entry of `found` (its name is shown) and bars by region.

    Without `layout`, which maps voxels to the cortex, there are only bars; without regions, a sentence says so.

    All values are multiples of the average voxel of the same map. Bars are means over images with 95 % bootstrap
    intervals; a dash is the mean |A|, how strongly voxels are used, whether or not they point to the truth.

    Raises:
        ValueError: there is nothing to draw, or attributions are of another subject.
        NsdError: as `view.cortex.on_cortex`.
    """
    if not found:
        raise ValueError("'found' must hold one attribution or more. None was provided.")
    if layout is None:
        figure = Figure(figsize=(WIDTH, BARS_BELOW + 0.4), facecolor="white")
        _bars(figure.add_axes((0.08, 0.12, 0.9, 0.65)), data, found)
        figure.suptitle(f"{title}\n{NO_CORTEX}", fontsize=13, y=0.98)
        return figure
    figure = Figure(figsize=(WIDTH, MAP * len(found) + BARS_BELOW), facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=(MAP * len(found), BARS_BELOW))
    maps = {name: on_cortex(layout, data, one.contribution / _average(one)) for name, one in found.items()}
    most = max(_reach(pair) for pair in maps.values())
    outlines = regions_on_cortex(layout, data, OUTLINED)
    for part, (name, pair) in zip(above.subfigures(len(found), 1, squeeze=False)[:, 0], maps.items(), strict=True):
        part.suptitle(name, fontsize=12, y=0.93)
        draw_inflated(part, pair, "1 = average voxel", DIVERGING, (-most, most), outlines, VIEWS)
    _bars(below.add_axes((0.08, 0.12, 0.9, 0.72)), data, found)
    figure.suptitle(title, fontsize=14, y=0.995)
    return figure


def attribution_said(data: PreparedSubject, found: Mapping[str, Attribution]) -> str:
    """A sentence for each entry: the regions whose voxels contribute most and least, and those without an effect."""
    lines = []
    for name, one in found.items():
        groups = by_region(data, one.values / _average(one))
        spread = {group: bootstrap_interval(values) for group, values in groups.items()}
        if not spread:
            lines.append(f"{name}: the subject has none of the regions.")
            continue
        most, least = (pick(spread, key=lambda group: spread[group][0]) for pick in (max, min))
        silent = [group for group, (_, low, high) in spread.items() if low <= 0 <= high]
        lines.append(
            f"{name}: a voxel of {most} contributes {_interval(spread[most])} times what the average voxel does, the "
            f"most of these regions, one of {least} {_interval(spread[least])} times, the least; "
            + (f"the intervals of {', '.join(silent)} include 0." if silent else "no region's interval includes 0.")
        )
    return "\n".join(lines)


def _interval(values: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*values)


def _reach(values: Pair) -> float:
    """The 95th percentile of the magnitude: a few voxels beyond it would make the rest look pale."""
    return float(np.nanpercentile(np.abs(np.concatenate(values)), 95))


def _average(found: Attribution) -> float:
    """The mean contribution of a voxel, by which all values are divided."""
    return float(found.gained.mean() / found.values.shape[1])


def _bars(axes: Axes, data: PreparedSubject, found: Mapping[str, Attribution]) -> None:
    if not by_region(data, next(iter(found.values())).values):
        axes.text(0.5, 0.5, NO_REGIONS, ha="center", va="center", fontsize=12, transform=axes.transAxes)
        axes.axis("off")
        return
    wide, shown = 0.8 / len(found), {}
    for k, (name, one) in enumerate(found.items()):
        groups = by_region(data, one.values / _average(one))
        heard = [values.mean() for values in by_region(data, np.abs(one.values) / one.strength.mean()).values()]
        at = np.arange(len(groups)) + (k - (len(found) - 1) / 2) * wide
        spread = [bootstrap_interval(values) for values in groups.values()]
        mean, low, high = (np.array(column) for column in zip(*spread, strict=True))
        ends, colour = np.stack([mean - low, high - mean]), modality_colour(name, k)
        shown[name] = axes.bar(at, mean, wide * 0.92, color=colour, yerr=ends, error_kw={"linewidth": 1.2})
        dash = axes.scatter(at, heard, s=260, marker="_", color="black", linewidths=2, zorder=3)
        axes.set_xticks(np.arange(len(groups)), list(groups), fontsize=10)
        patches = [position for position, group in enumerate(groups) if group in PATCHES]
    shown["mean size, true or not"] = dash
    axes.legend(list(shown.values()), list(shown), frameon=False, fontsize=9, ncols=len(shown), loc="upper left")
    if patches:
        axes.axvline(patches[0] - 0.5, color="0.6", linewidth=1)
        axes.text(patches[0] - 0.4, 0.97, "patches within these", transform=axes.get_xaxis_transform(), va="top")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.axhline(1, color="0.5", linewidth=1, linestyle=":", zorder=0)
    axes.axhline(0, color="0.2", linewidth=1)
    axes.set_ylabel("contribution of a voxel\n(1 = average voxel)", fontsize=10)
    axes.set_title("By region: mean over the images, 95 % interval", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01, y=0.22)
