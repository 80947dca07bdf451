"""One page of the browser of neighbours as a figure, and in a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from brainram_lib.retrieval.index import Neighbours
from brainram_lib.view import cards
from brainram_lib.view.browser import OWN, BrowserData, Page, as_text

WIDTH = 10.0


def neighbours_figure(data: BrowserData, stimulus: int, modality: str, sample: int = 0, k: int = 4) -> Figure:
    """One stimulus and its k neighbours as a figure; under each its token weights, under the stimulus those of p.

    Raises:
        ValueError: a choice that the data do not have.
    """
    page = data.page(stimulus, modality, sample, k)
    rows = 1 if page.weights is None else 2
    wide, heights = min(2.0, WIDTH / (k + 1)), [1.0, _height(page)][:rows]
    figure = Figure(figsize=(wide * (k + 1), 1.2 + 0.4 * rows + 0.9 * wide * sum(heights)), layout="constrained")
    axes = figure.subplots(rows, k + 1, squeeze=False, height_ratios=heights)
    first = next(iter(data.captions[stimulus]), "")
    _draw_picture(axes[0, 0], data.stimuli[stimulus], f"stimulus {stimulus}", as_text(first))
    for rank in range(k):
        title = f"neighbour {rank + 1}\nsimilarity {page.similarity[rank]:.3f}"
        _draw_picture(axes[0, rank + 1], page.pictures[rank], title, page.captions[rank])
    if rows == 2:
        drawn = _draw_maps(list(axes[1]), page)
        figure.colorbar(drawn, ax=axes, label="weight of the token", shrink=0.6, extend="max")
    of = "the estimate" if data.shape(modality)[0] == 1 else f"sample {sample}"
    figure.suptitle(f"{modality.capitalize()} neighbours of {of}", fontsize=12, fontweight="bold")
    return figure


def neighbours_said(data: BrowserData, stimulus: int, modality: str, sample: int = 0) -> str:
    """Which source the RAM weighted most for one sample, how similar the neighbours are, and in what share of tokens.

    Raises:
        ValueError: a choice that the data do not have.
    """
    page = data.page(stimulus, modality, sample, data.shape(modality)[1])
    names = [f"the {OWN}", *(f"neighbour {rank + 1}" for rank in range(len(page.ids)))]
    said = f"Stimulus {stimulus}, {modality}: similarities {', '.join(f'{one:.2f}' for one in page.similarity)}"
    if page.weights is None:
        return f"{said}; no RAM has weighed these neighbours."
    most, least = int(page.shares.argmax()), int(page.shares.argmin())
    led = (page.weights.argmax(0) == most).mean()
    return (
        f"{said}. The largest weight is on {names[most]}, {page.shares[most]:.0%} averaged over the tokens; it "
        f"leads in {led:.0%} of them. The smallest is on {names[least]}, {page.shares[least]:.0%}. An even split "
        f"would be {1 / len(page.weights):.0%}."
    )


def samples_said(found: Neighbours, modality: str) -> str:
    """Whether a stimulus's samples find the same items, on average over the stimuli."""
    _, samples, k = found.ids.shape
    if samples < 2:
        return f"{modality}: each stimulus has one estimate that queries, so there are no samples to compare."
    different = np.mean([len(np.unique(ids)) for ids in found.ids])
    return (
        f"{modality}: the {samples} samples of a stimulus find {different:.1f} different items on average ({k} if "
        f"all agreed, {samples * k} if they shared none)."
    )


def _height(page: Page) -> float:
    """Height of a weight map relative to its width: image tokens fill a square, text tokens a few lines."""
    if page.weights is None:
        return 0.0
    apart, columns = cards.token_grid(page.modality, page.weights.shape[1])
    return max(0.3, -(-(page.weights.shape[1] - apart) // columns) / columns)


def _draw_picture(axis: Axes, image: np.ndarray | str, title: str, caption: str) -> None:
    axis.set_axis_off()
    axis.set_title(title, fontsize=9)
    if isinstance(image, str):
        axis.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axis.transAxes)
    else:
        axis.imshow(image)
    # parse_math: a caption with dollar signs is text, not a formula
    axis.text(
        0.5,
        -0.04,
        _wrapped(caption),
        ha="center",
        va="top",
        fontsize=7.5,
        style="italic",
        transform=axis.transAxes,
        parse_math=False,
    )


def _draw_maps(axes: Sequence[Axes], page: Page) -> AxesImage:
    for place, axis in enumerate(axes):
        apart, columns = cards.token_grid(page.modality, page.weights.shape[1])
        values = page.weights[place, apart:]
        grid = np.full((-(-len(values) // columns), columns), np.nan)
        grid.flat[: len(values)] = values
        drawn = axis.imshow(grid, vmin=0, vmax=page.top, cmap=cards.RAMP)
        axis.set(xticks=[], yticks=[])
        name = OWN if place == 0 else f"neighbour {place}"
        first = f"\ntoken 0: {page.weights[place, 0]:.2f}" if apart else ""
        axis.set_title(f"{name}: {100 * page.shares[place]:.0f} %{first}", fontsize=9)
    return drawn


def _wrapped(caption: str, width: int = 30, lines: int = 3) -> str:
    return "\n".join(textwrap.wrap(caption, width, max_lines=lines, placeholder=" …"))
