"""Galleries of pictures and dot-and-interval plots of scores, for notebooks and for figures/."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record
from brainram_lib.view.colours import BOUND, DECODER

# A cell is twice the size of the embedded world's scenes, so that its pixels stay square and equal.
_CELL, _GAP, _BAND = 128, 4, 18
_DPI = 100
# A notebook or page shows no more pixels side by side; it shrinks wider figures, text included.
_PAGE = 1000
NO_LABELS = Labels()


def gallery(
    rows: Mapping[str, np.ndarray],
    columns: int = 24,
    wrap: int = 12,
    captions: Sequence[str] | None = None,
    title: str | None = None,
    small: Collection[str] = (),
) -> Figure:
    """The same images as different systems show them: one labelled row per system, one column per image.

    Pictures are enlarged without smoothing. More than `wrap` images continue in a further band of rows below.

    Args:
        rows: {label: uint8 (n, H, W, 3)}, the same images in the same order; the first row is usually ground truth.
        columns: how many images to show, the first ones.
        wrap: images side by side.
        captions: one short text per image, written under each band.
        title: shown at the top.
        small: labels of rows drawn at half size, such as the neighbour that guided the row above.

    Raises:
        ValueError: there are no rows, `small` names none of them, rows differ in length, there are fewer captions than
            images, or pictures are not uint8.
    """
    count = _check_rows(rows, columns, captions)
    if absent := [name for name in small if name not in rows]:
        raise ValueError(f"'small' must name some of the rows {list(rows)}. '{absent[0]}' was provided.")
    bands = [range(start, min(start + wrap, count)) for start in range(0, count, wrap)]
    step = _CELL + _GAP
    # letters as large as in a figure of page width
    scale = max(1.0, min(wrap, count) * step / _PAGE)
    text = 0 if captions is None else int(48 * scale)
    head = int(32 * scale) if title else 6
    label = int((16 + 8 * max(len(line) for name in rows for line in _label(name).split("\n"))) * scale)
    heights = {name: (_CELL // 2 if name in small else _CELL) + _GAP for name in rows}
    band_height = sum(heights.values()) + text + _BAND
    width, height = label + min(wrap, count) * step + 6, head + len(bands) * band_height
    figure, axes = canvas(width, height, title, label, 12 * scale)
    for position, band in enumerate(bands):
        top = head + position * band_height
        _draw_band(axes, rows, band, (label, top), heights, scale)
        if captions is not None:
            shown = [captions[image] for image in band]
            _draw_captions(axes, shown, (label, top + sum(heights.values())), scale)
    return figure


def canvas(width: int, height: int, title: str | None, left: int, size: float) -> tuple[Figure, Axes]:
    """An empty figure whose axes count its pixels from the upper left corner; its title begins at `left`."""
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    if title:
        figure.set_label(title)
        axes.text(left, 8, title, va="top", ha="left", fontsize=size, fontweight="bold")
    return figure, axes


def with_guides(
    rows: Mapping[str, np.ndarray], guides: Mapping[str, np.ndarray | None]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The rows, with guiding neighbours' images below each row that has some, and the labels of these (`small`)."""
    made, small = {}, []
    for name, images in rows.items():
        made[name] = images
        guide = guides.get(name)
        if guide is not None:
            small.append(f"{name}'s guiding neighbour")
            made[small[-1]] = guide[: len(images)]
    return made, small


def _draw_band(
    axes: Axes,
    rows: Mapping[str, np.ndarray],
    band: range,
    corner: tuple[int, int],
    heights: Mapping[str, int],
    scale: float,
) -> None:
    left, y = corner
    for row, (name, images) in enumerate(rows.items()):
        size = heights[name] - _GAP
        weight = "bold" if row == 0 else "normal"
        font = (9 if size == _CELL else 8) * scale
        axes.text(left - 8, y + size / 2, _label(name), ha="right", va="center", fontsize=font, fontweight=weight)
        for column, image in enumerate(band):
            x = left + column * (_CELL + _GAP) + (_CELL - size) // 2
            shown = images[image]
            smoothing = "nearest" if max(shown.shape) <= size else "antialiased"
            axes.imshow(shown, extent=(x, x + size, y + size, y), interpolation=smoothing, aspect="auto", zorder=2)
        y += heights[name]


def _draw_captions(axes: Axes, captions: Sequence[str], corner: tuple[int, int], scale: float) -> None:
    left, top = corner
    for column, caption in enumerate(captions):
        lines = textwrap.wrap(caption, int(22 / scale), max_lines=3, placeholder=" ...")
        x = left + column * (_CELL + _GAP)
        axes.text(x, top, "\n".join(lines), ha="left", va="top", fontsize=7.5 * scale, color="#333333", linespacing=1.1)


def _label(name: str) -> str:
    return "\n".join(textwrap.wrap(name, 16)) or name


def _check_rows(rows: Mapping[str, np.ndarray], columns: int, captions: Sequence[str] | None) -> int:
    counts = {name: len(images) for name, images in rows.items()}
    if not counts or len(set(counts.values())) > 1 or not min(counts.values()):
        raise ValueError(f"'rows' must hold the same images for every label, at least one. Got {counts or 'no rows'}.")
    for name, images in rows.items():
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"row '{name}' must be uint8 pictures (n, height, width, 3). {images.dtype} of shape {images.shape} "
                "was provided."
            )
    count = min(columns, *counts.values())
    if captions is not None and len(captions) < count:
        raise ValueError(
            f"'captions' must hold one text for each of the {count} images. {len(captions)} were provided."
        )
    return count


def score_plot(
    records: Sequence[Record],
    metrics: Sequence[Metric],
    title: str | None = None,
    wrap: int = 4,
    labels: Labels = NO_LABELS,
) -> Figure:
    """Systems compared, one panel per metric: a dot and its interval over images, chance and ceiling as lines.

    Every panel shows the whole range of its metric, from 0 to 1 or 100 %, and below 0 if a value is: no difference
    looks larger than another because an axis was cut. A metric without an upper bound has its own range.
    Chance is the measured 'chance' system where records hold it, else the metric's known value. Several subjects or
    seeds of a system share one line of the plot. Panels continue below after `wrap`.

    Raises:
        ValueError: no record has any of these metrics.
    """
    shown = {metric.name for metric in metrics}
    kept = [record for record in records if record.metric in shown]
    if not kept:
        raise ValueError(f"'records' must hold scores of {', '.join(sorted(shown))}. None was provided.")
    present = dict.fromkeys(record.system for record in kept)
    systems = [name for name in dict.fromkeys([*labels.titles, *present]) if name in present]
    systems = [name for name in systems if name not in ("chance", "ceiling")]
    lines = -(-len(metrics) // wrap)
    across = min(wrap, len(metrics))
    size = (2.2 + 1.95 * across, 0.5 + lines * (0.75 + 0.3 * max(len(systems), 3)))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(lines, across, sharey=True, squeeze=False)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        _panel(axes, [record for record in kept if record.metric == metric.name], metric, systems, labels)
    for axes in panels.flat[len(metrics) :]:
        axes.axis("off")
    panels[0, 0].set_yticks(range(len(systems)), [labels.title(name) for name in systems])
    panels[0, 0].set_ylim(len(systems) - 0.4, -0.6)
    figure.legend(*_line_legend(), loc="outside lower right", ncols=4, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _panel(axes: Axes, records: Sequence[Record], metric: Metric, systems: Sequence[str], labels: Labels) -> None:
    scale = 100 if metric.percent else 1
    for record in records:
        if record.system not in systems:
            continue
        row = systems.index(record.system)
        bound = record.system in labels.bounds
        colour = BOUND if bound else DECODER
        axes.plot([scale * record.low, scale * record.high], [row, row], color=colour, linewidth=2.2)
        axes.plot(
            scale * record.value, row, "o", color="white" if bound else colour, markeredgecolor=colour, markersize=4
        )
    for system, style, known in (("chance", ":", metric.chance), ("ceiling", "--", None)):
        measured = [record.value for record in records if record.system == system]
        value = float(np.mean(measured)) if measured else known
        if value is not None:
            axes.axvline(scale * value, linestyle=style, color="#555555", linewidth=1.2, zorder=0)
    axes.set_title(metric.heading, fontsize=9.5)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if metric.percent or metric.comparison in ("pixel_correlation", "ssim"):
        lowest = min((scale * record.low for record in records), default=0.0)
        axes.set_xlim(min(0.0, lowest) - 0.03 * scale, 1.03 * scale)
    else:
        axes.margins(x=0.08)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))


def _line_legend() -> tuple[list, list[str]]:
    handles = [
        Line2D([], [], color="#555555", linestyle=":", linewidth=1.2),
        Line2D([], [], color="#555555", linestyle="--", linewidth=1.2),
        Line2D([], [], color=DECODER, marker="o", linewidth=2.2),
        Line2D([], [], color=BOUND, marker="o", markerfacecolor="white", linewidth=2.2),
    ]
    return handles, ["chance", "ceiling (true tokens)", "mean, 95 % interval over images", "the same of a bound"]
