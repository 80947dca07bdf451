"""Scores against the number of training images, one line per system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.records import Record
from brainram_lib.view.colours import line

# {title of a system: {number of training images: {metric: its record}}}
Points = Mapping[str, Mapping[int, Mapping[str, Record]]]


def scaling_figure(points: Points, metrics: Sequence[Metric], title: str) -> Figure:
    """One panel per metric; error bars are 95 % intervals over images.

    Raises:
        ValueError: there is nothing to draw, or a point lacks one of the metrics.
    """
    _check(points, metrics)
    figure = Figure(figsize=(3.6 * len(metrics), 3.6), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _draw(axes, points, metric)
    # below, where no point can lie
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _check(points: Points, metrics: Sequence[Metric]) -> None:
    found = [(name, count, one) for name, of in points.items() for count, one in of.items()]
    if not found or not metrics:
        raise ValueError(f"'points' and 'metrics' must hold something to draw. Got {len(found)} and {len(metrics)}.")
    for name, count, scores in found:
        if missing := [metric.name for metric in metrics if metric.name not in scores]:
            raise ValueError(f"the point '{name}' at {count} images must have {missing[0]}. It has {sorted(scores)}.")


def _draw(axes: Axes, points: Points, metric: Metric) -> None:
    scale = 100 if metric.percent else 1
    counts = sorted({count for of in points.values() for count in of})
    for position, (name, of) in enumerate(points.items()):
        colour, style = line(position)
        known = sorted(of)
        scores = [of[count][metric.name] for count in known]
        values = [scale * one.value for one in scores]
        away = [[scale * (one.value - one.low) for one in scores], [scale * (one.high - one.value) for one in scores]]
        shifted = [count * 1.03 ** (position - 1) for count in known]  # bars side by side
        axes.errorbar(shifted, values, away, color=colour, linestyle=style, marker="o", ms=4, capsize=3, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("training images (logarithmic axis)", fontsize=9)
    axes.set_title(metric.heading, fontsize=10)
    axes.tick_params(labelsize=8)
