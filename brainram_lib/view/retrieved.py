"""The paper's Figure 5: what estimates find in the corpus, beside the stimulus; and a sentence on how close it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainram_lib.evaluation.intervals import paired_difference
from brainram_lib.view.gallery import canvas

# A cell is twice the size of the embedded world's scenes, so that its pixels stay square and equal.
_CELL, _GAP, _APART = 128, 4, 20


def retrieved_figure(
    stimuli: UInt8[np.ndarray, "n height width 3"],
    found: Mapping[str, UInt8[np.ndarray, "_n k side side 3"]],
    title: str | None = None,
) -> Figure:
    """One line per stimulus: the stimulus, then for each system the k images that its estimate found, nearest first.

    Raises:
        ValueError: there is no system, or images are of other stimuli.
    """
    counts = {name: len(images) for name, images in found.items()}
    if not counts or set(counts.values()) != {len(stimuli)}:
        raise ValueError(f"'found' must hold images of the same {len(stimuli)} stimuli for every system. Got {counts}.")
    step, head = _CELL + _GAP, 66 if title else 32
    widths = [_APART + images.shape[1] * step for images in found.values()]
    width, height = 8 + step + sum(widths), head + len(stimuli) * step + 6
    figure, axes = canvas(width, height, title, 8, 14)
    _column(axes, stimuli[:, None], "stimulus", (8, head))
    left = 8 + step
    for (name, images), wide in zip(found.items(), widths, strict=True):
        _column(axes, images, name, (left + _APART, head))
        left += wide
    return figure


def _column(axes: Axes, images: np.ndarray, name: str, corner: tuple[int, int]) -> None:
    left, top = corner
    axes.text(left, top - 6, name, va="bottom", ha="left", fontsize=13)
    for line, several in enumerate(images):
        for place, image in enumerate(several):
            x, y = left + place * (_CELL + _GAP), top + line * (_CELL + _GAP)
            smoothing = "nearest" if max(image.shape) <= _CELL else "antialiased"
            axes.imshow(image, extent=(x, x + _CELL, y + _CELL, y), interpolation=smoothing, aspect="auto", zorder=2)


def retrieved_said(closeness: Mapping[str, Float[np.ndarray, "n k"]], shown: int) -> str:
    """Whose images are closer to the stimuli: the last system of the mapping against the first, on the same stimuli.

    Args:
        closeness: each found image's cosine with its stimulus, by system.
        shown: how many stimuli, the first ones, the figure shows.
    """
    means = {name: np.asarray(cosines, np.float64).mean(1) for name, cosines in closeness.items()}
    (first, one), *_, (last, other) = means.items()
    lead = paired_difference(other, one)
    listed = ", ".join(f"{name} {values.mean():.3f}" for name, values in means.items())
    return (
        f"Mean cosine of the {next(iter(closeness.values())).shape[1]} images with their stimulus (CLIP's image "
        f"embeddings), over all {len(one)} test stimuli: {listed}; {last} minus {first}: {lead.value:+.3f} "
        f"[{lead.low:+.3f}, {lead.high:+.3f}]. Of the {shown} shown, {last}'s are closer for "
        f"{int((other > one)[:shown].sum())}."
    )
