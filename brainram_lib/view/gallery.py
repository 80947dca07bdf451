"""Galleries of pictures and dot-and-interval plots of scores, for notebooks and for figures/."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record

# Okabe and Ito's palette: apart for every kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# A cell is twice a scene of the embedded world, so that its pixels stay square and equal.
_CELL, _GAP, _BAND = 128, 4, 18
_DPI = 100
NO_LABELS = Labels()


def gallery(
    rows: Mapping[str, np.ndarray],
    columns: int = 24,
    wrap: int = 12,
    captions: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """The same images as different systems show them: one labelled row per system, one column per image.

    Pictures are enlarged without smoothing. More than `wrap` images continue in a further band of rows below.

    Args:
        rows: {label: uint8 (n, H, W, 3)}, the same images in the same order; the first row is usually ground truth.
        columns: how many images to show, the first ones.
        wrap: images side by side.
        captions: one short text per image, written under each band.
        title: written on top.

    Raises:
        ValueError: no rows, rows of different counts, fewer captions than images, or pictures that are not uint8.
    """
    count = _check_rows(rows, columns, captions)
    bands = [range(start, min(start + wrap, count)) for start in range(0, count, wrap)]
    text = 0 if captions is None else 48
    head = 32 if title else 6
    label = 16 + 9 * max(len(line) for name in rows for line in _label(name).split("\n"))
    step = _CELL + _GAP
    band_height = len(rows) * step + text + _BAND
    width, height = label + min(wrap, count) * step + 6, head + len(bands) * band_height
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    if title:
        axes.text(label, 8, title, va="top", ha="left", fontsize=13, fontweight="bold")
    for position, band in enumerate(bands):
        top = head + position * band_height
        _draw_band(axes, rows, band, (label, top))
        if captions is not None:
            _draw_captions(axes, [captions[image] for image in band], (label, top + len(rows) * step))
    return figure


def _draw_band(axes: Axes, rows: Mapping[str, np.ndarray], band: range, corner: tuple[int, int]) -> None:
    left, top = corner
    step = _CELL + _GAP
    for row, (name, images) in enumerate(rows.items()):
        y = top + row * step
        weight = "bold" if row == 0 else "normal"
        axes.text(left - 8, y + _CELL / 2, _label(name), ha="right", va="center", fontsize=10, fontweight=weight)
        for column, image in enumerate(band):
            x = left + column * step
            shown = images[image]
            smoothing = "nearest" if max(shown.shape) <= _CELL else "antialiased"
            axes.imshow(shown, extent=(x, x + _CELL, y + _CELL, y), interpolation=smoothing, aspect="auto", zorder=2)


def _draw_captions(axes: Axes, captions: Sequence[str], corner: tuple[int, int]) -> None:
    left, top = corner
    for column, caption in enumerate(captions):
        lines = textwrap.wrap(caption, 23, max_lines=3, placeholder=" ...")
        x = left + column * (_CELL + _GAP)
        axes.text(x, top, "\n".join(lines), ha="left", va="top", fontsize=7.5, color="#333333", linespacing=1.1)


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

    Chance is the measured 'chance' system where records hold it, else the metric's known value. Several subjects or
    seeds of a system share its line of the plot. Panels continue below after `wrap`.

    Raises:
        ValueError: no record is of these metrics.
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
    size = (2.2 + 2.3 * across, 0.5 + lines * (0.75 + 0.3 * max(len(systems), 3)))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(lines, across, sharey=True, squeeze=False)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        _panel(axes, [record for record in kept if record.metric == metric.name], metric, systems, labels)
    for axes in panels.flat[len(metrics) :]:
        axes.axis("off")
    panels[0, 0].set_yticks(range(len(systems)), [labels.title(name) for name in systems])
    panels[0, 0].set_ylim(len(systems) - 0.4, -0.6)
    figure.legend(*_line_legend(), loc="outside lower right", ncols=3, fontsize=8, frameon=False)
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
        colour = "#777777" if bound else _colour(record.system, systems)
        axes.plot([scale * record.low, scale * record.high], [row, row], color=colour, linewidth=2.2)
        axes.plot(
            scale * record.value, row, "o", color="white" if bound else colour, markeredgecolor=colour, markersize=6
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
    axes.margins(x=0.08)


def _colour(system: str, systems: Sequence[str]) -> str:
    """One colour a row: there are more systems than colours that everybody can tell apart."""
    return PALETTE[systems.index(system) % len(PALETTE)]


def _line_legend() -> tuple[list, list[str]]:
    handles = [
        Line2D([], [], color="#555555", linestyle=":", linewidth=1.2),
        Line2D([], [], color="#555555", linestyle="--", linewidth=1.2),
        Line2D([], [], color=PALETTE[0], marker="o", linewidth=2.2),
    ]
    return handles, ["chance", "ceiling (true tokens)", "mean, 95 % interval over images"]
