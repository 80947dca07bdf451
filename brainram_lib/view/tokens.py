"""Plots over tokens: how well each is predicted, and which sources the RAM weighted for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from brainram_lib.view.colours import modality_colour

COLUMNS = 2


def r2_plot(r2: Mapping[str, Float[np.ndarray, " tokens"]], title: str) -> Figure:
    """The r2 of every token, one panel per modality; 1 is perfect, 0 is the mean of the training targets."""
    size = (5 * len(r2), 2.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(r2), sharey=True, squeeze=False)
    lowest = min(0.0, *(float(np.min(values)) for values in r2.values()))
    for position, (panel, (modality, values)) in enumerate(zip(axes[0], r2.items(), strict=True)):
        panel.bar(np.arange(len(values)), values, color=modality_colour(modality, position))
        xlabel = "token (0 is the global one)" if modality == "image" else "token"
        panel.set(title=f"{modality} tokens", xlabel=xlabel, ylim=(lowest, 1))
        panel.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("$r^2$ on validation images")
    figure.suptitle(title)
    return figure


def r2_said(r2: Mapping[str, Float[np.ndarray, " tokens"]]) -> str:
    """A sentence for each modality: the mean, and the tokens that are predicted best and worst."""
    return "\n".join(
        f"{modality} tokens: r2 is {np.mean(values):.2f} on average, {values[0]:.2f} for token 0, from "
        f"{np.min(values):.2f} (token {np.argmin(values)}) to {np.max(values):.2f} (token {np.argmax(values)}); "
        f"{np.mean(np.asarray(values) <= 0):.0%} of the tokens are predicted no better than by their mean."
        for modality, values in r2.items()
    )


def weight_plot(weights: Mapping[str, Float[np.ndarray, "n samples sources tokens"]], title: str) -> Figure:
    """Mean weight of p and of each neighbour (rows) for every token (columns), one panel per entry, one colour scale.

    Uniform weights would be 1 / (K + 1) everywhere; the colour scale is centred there and starts at 0. Entries are
    named in the panels' titles, such as 'image', with two panels per row.
    """
    means = {name: np.asarray(values, np.float64).mean((0, 1)) for name, values in weights.items()}
    middle = 1 / len(next(iter(means.values())))
    most = max(*(mean.max() for mean in means.values()), middle + 1e-6)
    across = min(COLUMNS, len(means))
    lines = -(-len(means) // across)
    figure = Figure(figsize=(5 * across, 0.5 + 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, across, squeeze=False)
    for panel, (name, mean) in zip(axes.flat, means.items(), strict=False):
        drawn = panel.imshow(mean, cmap="PuOr_r", norm=TwoSlopeNorm(middle, vmin=0, vmax=most), aspect="auto")
        names = ["p", *[f"neighbour {k + 1}" for k in range(len(mean) - 1)]]
        panel.set(title=f"{name} tokens", xlabel="token", yticks=range(len(mean)), yticklabels=names)
    for panel in axes.flat[len(means) :]:
        panel.axis("off")
    bar = figure.colorbar(drawn, ax=axes, label=f"mean weight (even split {middle:.2g})")
    bar.set_ticks([0, middle / 2, middle, (middle + most) / 2, most])
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
    bar.ax.minorticks_off()
    figure.suptitle(title)
    return figure


def weights_said(weights: Mapping[str, Float[np.ndarray, "n samples sources tokens"]]) -> str:
    """A sentence for each entry: the mean weights of p and of the neighbours, and how they vary over images."""
    lines = []
    for name, values in weights.items():
        each = np.asarray(values, np.float64).mean(1)
        sources = each.mean((0, 2))
        neighbours = sources[1:]
        ends = [f"{neighbours[one]:.2f} (neighbour {one + 1})" for one in (neighbours.argmin(), neighbours.argmax())]
        theirs = f"the neighbours from {ends[0]} to {ends[1]}"
        if np.ptp(neighbours) < 1e-6:
            theirs = f"each neighbour {neighbours[0]:.2f}"
        lines.append(
            f"{name}: p has {sources[0]:.2f} of the weight on average, {theirs}, an even split being "
            f"{1 / len(sources):.2f}; a weight's standard deviation over images is {each.std(0).mean():.3f}."
        )
    return "\n".join(lines)
