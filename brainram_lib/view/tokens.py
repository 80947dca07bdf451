"""Plots over tokens: how well each is predicted, and whom the RAM listened to for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure


def r2_plot(r2: Mapping[str, Float[np.ndarray, " tokens"]], title: str) -> Figure:
    """The r2 of every token, one panel a modality; 1 is perfect, 0 is the mean of the training targets."""
    size = (5 * len(r2), 2.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(r2), sharey=True, squeeze=False)
    for panel, (modality, values) in zip(axes[0], r2.items(), strict=True):
        panel.bar(np.arange(len(values)), values, color="#0072B2")
        panel.set(title=f"{modality} tokens", xlabel="token (0 is the global one of an image)", ylim=(0, 1))
        panel.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("r2 on validation images")
    figure.suptitle(title)
    return figure


def weight_plot(weights: Mapping[str, Float[np.ndarray, "n samples sources tokens"]], title: str) -> Figure:
    """Mean weight of p and of each neighbour (rows) for every token (columns), one panel a modality, one colour scale.

    Uniform weights would be 1 / (K + 1) everywhere; the colour scale is centred there and starts at 0.
    """
    means = {modality: np.asarray(values, np.float64).mean((0, 1)) for modality, values in weights.items()}
    middle = 1 / len(next(iter(means.values())))
    norm = TwoSlopeNorm(middle, vmin=0, vmax=max(*(mean.max() for mean in means.values()), middle + 1e-6))
    figure = Figure(figsize=(6 * len(weights), 2.8), layout="constrained")
    axes = figure.subplots(1, len(weights), squeeze=False)[0]
    for panel, (modality, mean) in zip(axes, means.items(), strict=True):
        drawn = panel.imshow(mean, cmap="PuOr_r", norm=norm, aspect="auto")
        names = ["p", *[f"neighbour {k + 1}" for k in range(len(mean) - 1)]]
        panel.set(title=f"{modality} tokens", xlabel="token", yticks=range(len(mean)), yticklabels=names)
    figure.colorbar(drawn, ax=axes, label=f"mean weight\n(even split {middle:.2g})")
    figure.suptitle(title)
    return figure
