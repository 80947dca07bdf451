"""Losses of a training: curves over its epochs, train and validation; bars if there is only one epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from brainram_lib.view.colours import line

NARROW = 5
# By chance, one of n images is found on average; more than three are found in a fiftieth of all cases.
BY_CHANCE = 3
History = Sequence[Mapping[str, float]]
# What the entries of a training's history are called in a legend.
NAMES = {
    "mse": "training",
    "val_mse": "validation",
    "val_mse_p": "validation, p alone",
    "val_sample_mse": "validation, one sample",
    "info_nce": "InfoNCE (eq. 3)",
    "mixco": "MixCo (eq. 5)",
}


def loss_curves(
    histories: Mapping[str, History],
    keys: Sequence[str] = ("train", "validation"),
    step: str = "epoch",
    log: bool = True,
    title: str | None = None,
    ylabel: str = "loss",
) -> Figure:
    """One panel per training: a line per key; the lowest validation value is marked by a dot and given in the legend.

    Trainings of one epoch have no curve but a bar per key.

    Args:
        histories: {title of the panel: one dictionary per epoch, with `step` and some of `keys`}.
        keys: what to draw, in order; an epoch that lacks a key leaves a gap. Where a key contains 'val' its
            lowest value is marked.
        step: the key of the horizontal axis; epochs are counted where it is missing.
        log: logarithmic vertical axis, where values are above zero and span more than a factor of `NARROW`.
        ylabel: label of the vertical axis.

    Raises:
        ValueError: a history is empty or holds none of the keys.
    """
    for name, history in histories.items():
        if not any(key in row for row in history for key in keys):
            raise ValueError(f"history '{name}' must hold one of {', '.join(keys)}. {len(history)} rows were provided.")
    single = all(len(history) == 1 for history in histories.values())
    height = 1.3 + 0.35 * len(keys) if single else 3.8
    figure = Figure(figsize=(4.6 * max(len(histories), 1), height), layout="constrained", facecolor="white")
    panels = figure.subplots(1, max(len(histories), 1), squeeze=False)[0]
    for axes, (name, history) in zip(panels, histories.items(), strict=False):
        if len(history) == 1:
            _bars(axes, history[0], keys)
            axes.set_xlabel(f"{ylabel} (one epoch)", fontsize=9)
        else:
            _draw(axes, history, keys, step, log)
            axes.set_ylabel(f"{ylabel}{' (logarithmic axis)' if axes.get_yscale() == 'log' else ''}", fontsize=9)
        axes.set_title(name, fontsize=10)
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def lowest_said(histories: Mapping[str, History], key: str = "val_mse") -> str:
    """A sentence for each training: when its validation error was lowest, and what came after."""
    lines = []
    for name, history in histories.items():
        values = [row[key] for row in history]
        best = min(range(len(values)), key=values.__getitem__)
        after = len(values) - 1 - best
        end = f"after {after} more it is {values[-1]:.3f}" if after else "the last epoch was the best"
        lines.append(
            f"{name}: the validation error is lowest after epoch {best}, {values[best]:.3f}; {end}."
            if len(values) > 1
            else f"{name}: after its one epoch the validation error is {values[0]:.3f}."
        )
    return "\n".join(lines)


def found_said(histories: Mapping[str, History], count: int) -> str:
    """A sentence for each prior: how many of `count` validation images its mean and one sample identify at the end.

    If a sample identifies no more than chance would, it adds what to check before anything is built on that prior.
    """
    lines = []
    for name, history in histories.items():
        mean, sample = history[-1]["val_top1"], history[-1]["val_sample_top1"]
        line = f"{name}: of {count} validation images the mean estimate finds {mean:.1%} first, one sample {sample:.1%}"
        if sample * count <= BY_CHANCE:
            line += (
                ". That is no more than chance: Stage II and the generator would have nothing to work with. "
                "Look at 'stage1.temperature' and 'stage1.token_size'"
            )
        lines.append(f"{line}.")
    return "\n".join(lines)


def fall_said(histories: Mapping[str, History], keys: Sequence[str]) -> str:
    """A sentence for each training: where each loss began and ended; one number if there was one epoch."""
    lines = []
    for name, history in histories.items():
        parts = []
        for key in keys:
            values = [row[key] for row in history if key in row]
            if len(values) > 1:
                moved = "fell" if values[-1] < values[0] else "rose" if values[-1] > values[0] else "stayed"
                parts.append(f"{NAMES.get(key, key)} {moved} from {values[0]:.3f} to {values[-1]:.3f}")
            elif values:
                parts.append(f"{NAMES.get(key, key)} was {values[0]:.3f}")
        how = f"over {len(history)} epochs" if len(history) > 1 else "in the one epoch"
        lines.append(f"{name}: {', '.join(parts)} {how}.")
    return "\n".join(lines)


def _bars(axes: Axes, row: Mapping[str, float], keys: Sequence[str]) -> None:
    shown = [(NAMES.get(key, key), row[key], line(position)[0]) for position, key in enumerate(keys) if key in row]
    names, values, colours = zip(*shown, strict=True)
    bars = axes.barh(names, values, color=colours, height=0.6)
    axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=8)
    axes.invert_yaxis()
    # space for the number beside the longest
    axes.margins(x=0.15)
    axes.grid(color="#e4e4e4", linewidth=0.8, axis="x")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _draw(axes: Axes, history: History, keys: Sequence[str], step: str, log: bool) -> None:
    every: list[float] = []
    for position, key in enumerate(keys):
        points = [(row.get(step, number), row[key]) for number, row in enumerate(history) if key in row]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        every += y
        colour, style = line(position)
        label = NAMES.get(key, key)
        if "val" in key:
            best = min(range(len(y)), key=y.__getitem__)
            axes.plot(x[best], y[best], "o", color=colour, markersize=6)
            # numbers beside the lines would overlap
            label += f" (lowest {y[best]:.3f}, {step} {x[best]})"
        marker = "o" if len(points) == 1 else None
        axes.plot(x, y, style, color=colour, linewidth=1.8, label=label, marker=marker)
    # over a smaller range a logarithmic axis would have no tick labels
    if log and every and min(every) > 0 and max(every) > NARROW * min(every):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"{step}, counted from 0", fontsize=9)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
