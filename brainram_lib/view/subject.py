"""Figures and tables of one prepared subject: the design, the regions, how reliable the voxels are.

`view.subject_said` puts what they show into sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.noise import noise_ceiling
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.rois import GROUPS, REGION_FILES
from brainram_lib.view.colours import AREAS, OTHERS

SHOWN = 60
# Colours of the first, second and third presentation, from dark to light.
PRESENTATIONS = ("#440154", "#21918C", "#BBCB2E")
# The areas of `by_area`: NSD's streams, along the visual hierarchy.
STREAMS_OF = {
    "early": ("early",),
    "middle": ("midventral", "midlateral", "midparietal"),
    "high": ("ventral", "lateral", "parietal"),
}


def _tidy(axes: Axes, xlabel: str, ylabel: str, title: str) -> None:
    axes.set_xlabel(xlabel, fontsize=10)
    axes.set_ylabel(ylabel, fontsize=10)
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def design_plot(trials: Trials) -> Figure:
    """When the first test images were shown, and how many presentations the images have."""
    figure = Figure(figsize=(10, 3.8), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    shown_ids = trials.test_ids[:SHOWN]
    for row, nsd_id in enumerate(shown_ids):
        shown = trials.index[trials.nsd_id == nsd_id]
        left.plot(shown, np.full(len(shown), row), "-", color="0.85", linewidth=1, zorder=1)
    for repetition, (colour, name) in enumerate(zip(PRESENTATIONS, ("first", "second", "third"), strict=True)):
        which = (trials.repetition.clip(max=2) == repetition) & np.isin(trials.nsd_id, shown_ids)
        rows = np.searchsorted(shown_ids, trials.nsd_id[which])
        left.scatter(trials.index[which], rows, color=colour, s=9, label=f"{name} presentation", zorder=2)
    for session in np.unique(trials.session):
        left.axvline(trials.index[trials.session == session].min(), color="0.93", linewidth=0.8, zorder=0)
    left.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.36))
    rows = f"test image (the first {len(shown_ids)} of {len(trials.test_ids)})"
    _tidy(left, "trial (a line where a session begins)", rows, "When images come back")
    _counts(right, trials)
    return figure


def _counts(axes: Axes, trials: Trials) -> None:
    """How many images were shown once, twice, ..., training images below test images."""
    bottom = np.zeros(0)
    for split, colour in (("train", "0.75"), ("test", "0.25")):
        ids = trials.nsd_id[trials.is_test == (split == "test")]
        counts = np.bincount(np.unique(ids, return_counts=True)[1], minlength=max(4, len(bottom)))
        bottom = np.pad(bottom, (0, len(counts) - len(bottom)))
        axes.bar(np.arange(len(counts)), counts, bottom=bottom, color=colour, label=f"{split} ({len(np.unique(ids))})")
        bottom = bottom + counts
    axes.set_xticks(np.arange(1, len(bottom)))
    axes.set_xlim(0.4, len(bottom) - 0.4)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    _tidy(axes, "presentations", "images", "How often")


def roi_table(data: PreparedSubject, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Number of voxels in each region, in both hemispheres and each one, with the median ncsnr (NaN if it has none).

    `names`: which regions, in order; those that the source lacks are left out. By default all regions, a long table.
    """
    rows = []
    every = [name for name in data.roi_names if not name.startswith(("lh", "rh"))]
    kept = every if names is None else [name for name in names if name in every]
    for name in (name for name in kept if data.roi(name).any()):
        mask = data.roi(name)
        file = next((file for file, labels in REGION_FILES.items() if name in (file, *labels)), "")
        file = file or next((f for f, labels in REGION_FILES.items() if GROUPS.get(name, ("",))[0] in labels), "")
        sides = {side: int((mask & data.roi(side)).sum()) for side in ("lh", "rh") if side in data.roi_names}
        median = float(np.nanmedian(data.ncsnr[mask])) if np.isfinite(data.ncsnr[mask]).any() else np.nan
        rows.append(
            {"file": file, "region": name, "voxels": int(mask.sum()), **sides, "median ncsnr": round(median, 2)}
        )
    order = {file: position for position, file in enumerate(REGION_FILES)}
    table = pd.DataFrame(rows, columns=None if rows else ["file", "region", "voxels", "median ncsnr"])
    return table.sort_values("file", key=lambda files: files.map(order), kind="stable").set_index(["file", "region"])


def histogram(
    values: Mapping[str, Float[np.ndarray, " _n"]], xlabel: str, title: str, chance: float | None = None
) -> Figure:
    """Overlaid histograms of voxels, one outline per name, medians marked; `chance` is a dotted line.

    Non-finite values are left out; a name that has no other values appears in the legend without an outline.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    together = np.concatenate(list(finite.values())) if finite else np.empty(0)
    edges = np.histogram_bin_edges(together.astype(np.float64), 40)
    for position, (name, array) in enumerate(finite.items()):
        colour = AREAS.get(name, OTHERS[position % len(OTHERS)])
        if not len(array):
            axes.plot([], color=colour, label=f"{name} (no finite value)")
            continue
        weights = np.full(len(array), 100 / len(array))
        axes.hist(array, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.15)
        axes.hist(array, edges, weights=weights, histtype="step", color=colour, linewidth=1.8, label=name)
        axes.axvline(np.median(array), color=colour, linewidth=1.2, linestyle="--")
    if chance is not None:
        axes.axvline(chance, color="0.3", linewidth=1, linestyle=":")
    if not len(together):
        axes.text(0.5, 0.5, "no finite value", ha="center", va="center", transform=axes.transAxes)
    if finite:
        axes.legend(frameon=False, fontsize=9)
    _tidy(axes, xlabel, "voxels (%)", title)
    return figure


def by_area(data: PreparedSubject, values: Shaped[np.ndarray, " voxels"]) -> dict[str, np.ndarray]:
    """Values of the voxels of early, middle and high areas (`STREAMS_OF`, of NSD's streams), for `histogram`."""
    masks = {
        name: np.logical_or.reduce([data.roi(part) for part in parts if part in data.roi_names] or [np.zeros(1, bool)])
        for name, parts in STREAMS_OF.items()
    }
    return {name: np.asarray(values)[mask] for name, mask in masks.items() if mask.any()} or {"all": np.asarray(values)}


def ceiling(data: PreparedSubject, split: str = "test") -> Float[np.ndarray, " voxels"]:
    """Noise ceiling of each voxel in percent of variance, for the number of repetitions averaged in a split's rows.

    NaN where there is no ncsnr.

    Raises:
        NsdError: an ncsnr is negative, or the split has no rows.
    """
    return 100 * noise_ceiling(data.ncsnr, data.n_averaged(split))
