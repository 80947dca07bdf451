"""The path from noise to a sample, as distance to the target: one token map per estimate of x_0 along it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainram_lib.view.cards import token_grid
from brainram_lib.view.colours import line

SHOWN = 6


def distance_figure(
    errors: Float[np.ndarray, "estimates n tokens"],
    condition: Float[np.ndarray, "n tokens"],
    modality: str,
    title: str,
) -> Figure:
    """Top: the squared error of every token at six estimates along the path; bottom: its mean at all of them.

    Args:
        errors: mean squares over a token's width, for each estimate of x_0 along the path (the sample last) and n
            stimuli.
        condition: the same for the condition alone, which is all there is before the first step.
        modality: 'image' tokens are laid out on their grid, without token 0; others in lines.

    Raises:
        ValueError: fewer than two estimates.
    """
    if len(errors) < 2:
        raise ValueError(f"a way needs two estimates of x_0 or more. {len(errors)} were provided.")
    chosen = np.linspace(0, len(errors) - 1, min(SHOWN, len(errors))).round().astype(int)
    maps = errors.mean(1)
    most = float(maps[chosen].max())
    figure = Figure(figsize=(10, 4.6), layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=(2, 2.4))
    panels = above.subplots(1, len(chosen), squeeze=False)[0]
    for axes, index in zip(panels, chosen, strict=True):
        name = "the sample" if index == len(errors) - 1 else f"estimate {index + 1}"
        drawn = _token_map(axes, maps[index], modality, most, f"{name}\n{maps[index].mean():.2f}")
    above.colorbar(drawn, ax=panels, label="squared error", shrink=0.9)
    _curve(below.subplots(), errors, condition)
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _token_map(axes: Axes, values: Float[np.ndarray, " tokens"], modality: str, most: float, title: str):
    apart, columns = token_grid(modality, len(values))
    shown = values[apart:]
    grid = np.full((-(-len(shown) // columns), columns), np.nan)
    grid.flat[: len(shown)] = shown
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    return axes.imshow(grid, vmin=0, vmax=most, cmap="viridis")


def _curve(axes: Axes, errors: np.ndarray, condition: np.ndarray) -> None:
    steps = np.arange(1, len(errors) + 1)
    (black, solid), (grey, dashed), (_, dotted) = (line(k) for k in range(3))
    for row, one in enumerate(errors.mean(2).T):
        axes.plot(steps, one, color="0.8", linewidth=1, label="each stimulus" if row == 0 else None)
    axes.plot(steps, errors.mean((1, 2)), solid, color=black, linewidth=2, marker="o", ms=4, label="mean of all")
    axes.axhline(float(condition.mean()), color=grey, linestyle=dashed, label="the condition alone")
    axes.set_xlabel("estimate of x_0, from noise to the sample", fontsize=9)
    axes.set_ylabel("mean squared error", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", ncols=3)


def distance_said(errors: Float[np.ndarray, "estimates n tokens"], condition: Float[np.ndarray, "n tokens"]) -> str:
    """Whether the path leads to the target or away from it, and which estimate was closest."""
    means = errors.mean((1, 2))
    closest = int(means.argmin())
    nearer = (errors[-1].mean(1) < errors[0].mean(1)).mean()
    return (
        f"The first estimate misses the target by {means[0]:.2f} (the condition alone by {condition.mean():.2f}), the "
        f"sample by {means[-1]:.2f}; of the {len(means)} estimates on the way number {closest + 1} is closest, "
        f"{means[closest]:.2f}; {nearer:.0%} of the samples end nearer to the target than they began."
    )


def spread_said(images: UInt8[np.ndarray, "samples estimates height width 3"]) -> str:
    """How much images of different samples differ, at the first estimate and at the final samples."""
    shown = np.asarray(images, np.float64)
    apart = [np.abs(shown[:, k] - shown[:, k].mean(0)).mean() for k in (0, -1)]
    return (
        f"The {len(images)} images differ from their mean by {apart[0]:.1f} of 255 levels per pixel at the first "
        f"estimate, by {apart[1]:.1f} at the samples."
    )
