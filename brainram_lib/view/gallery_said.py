"""What galleries and score plots show, in sentences computed from the data that they draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record

# Side in pixels to which pictures are subsampled before they are correlated.
_SIDE = 64
Pictures = UInt8[np.ndarray, "_n _height _width 3"]


def likeness(one: Pictures, other: Pictures) -> Float[np.ndarray, " n"]:
    """The correlation of two pictures over pixels and colours, for each pair; 0 if one of them is a single colour."""
    flat = [_thinned(pictures) for pictures in (one, other)]
    if flat[0].shape != flat[1].shape:
        raise ValueError(f"pictures of {one.shape} and {other.shape} cannot be compared pixel by pixel.")
    centred = [values - values.mean(1, keepdims=True) for values in flat]
    norms = np.prod([np.linalg.norm(values, axis=1) for values in centred], axis=0)
    products = (centred[0] * centred[1]).sum(1)
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)


def _thinned(pictures: Pictures) -> Float[np.ndarray, "n values"]:
    step = max(1, -(-max(pictures.shape[1:3]) // _SIDE))
    return np.asarray(pictures[:, ::step, ::step], np.float64).reshape(len(pictures), -1)


def gallery_said(rows: Mapping[str, Pictures], total: int) -> str:
    """How similar each other row is to the first, over the images shown; `total`: how many images there are in all."""
    names = list(rows)
    truth, count = rows[names[0]], len(rows[names[0]])
    strange = np.roll(truth, 1, axis=0)
    each = {name: likeness(truth, rows[name]).mean() for name in names[1:]}
    listed = ", ".join(f"{name} {value:.2f}" for name, value in each.items())
    said = f"The first {count} of {total} images, unselected. Pixel correlation with the {names[0]}: {listed}"
    if count < 2:
        return f"{said}."
    return f"{said}; another {names[0]} {likeness(truth, strange).mean():.2f}."


def guided_said(made: Pictures, guiding: Pictures | None, truth: Pictures) -> str:
    """Whether guided images are closer to what guided them than to the stimulus; `guiding` None: no guide."""
    if guiding is None:
        return "No neighbour guided these images beside the estimate."
    to_guide, to_truth = likeness(made, guiding), likeness(made, truth)
    return (
        f"Pixel correlation of the images: {to_guide.mean():.2f} with their guiding neighbour, {to_truth.mean():.2f} "
        f"with the stimulus; {(to_guide > to_truth).mean():.0%} of them are more like the guiding neighbour."
    )


def neighbours_said(
    stimuli: Pictures, found: Sequence[Pictures], similarity: Float[np.ndarray, "n k"], total: int
) -> str:
    """How similar each neighbour's image is to its stimulus, compared with another stimulus's neighbour.

    `found`: for each rank, the stimuli's neighbours; `similarity`: their similarities in the search.
    """
    own = [likeness(stimuli, pictures).mean() for pictures in found]
    others = np.mean([likeness(stimuli, np.roll(pictures, 1, axis=0)).mean() for pictures in found])
    listed = ", ".join(f"{value:.2f}" for value in own)
    fall = np.asarray(similarity, np.float64).mean(0)
    return (
        f"The first {len(stimuli)} of {total} stimuli. Pixel correlation with the stimulus: {listed} for "
        f"neighbours 1 to {len(found)}, {others:.2f} for another stimulus's neighbours. Over all stimuli the mean "
        f"similarity falls from {fall[0]:.2f} (neighbour 1) to {fall[-1]:.2f} (neighbour {len(fall)})."
    )


def scores_said(records: Sequence[Record], metrics: Sequence[Metric], system: str, labels: Labels) -> str:
    """On how many metrics a system is best, and which is ahead elsewhere; overlapping intervals are counted separately.

    Upper and lower bounds do not compete. Overlapping intervals do not mean that two systems are equal: the paired lead
    decides.
    """
    best, even, behind = [], [], {}
    for metric in metrics:
        rows = [r for r in records if r.metric == metric.name and r.system not in labels.bounds]
        ours = next((row for row in rows if row.system == system), None)
        others = [row for row in rows if row.system != system]
        if ours is None or not others:
            continue
        sign = 1 if metric.direction == "up" else -1
        rival = max(others, key=lambda row: sign * row.value)
        if ours.low <= rival.high and rival.low <= ours.high:
            even.append(metric.title)
        elif sign * ours.value > sign * rival.value:
            best.append(metric.title)
        else:
            behind.setdefault(labels.title(rival.system), []).append(metric.title)
    ahead = "; ".join(f"{title} is ahead on {', '.join(names)}" for title, names in behind.items())
    return (
        f"{labels.title(system)} is ahead of every other system on {', '.join(best) or 'no metric'}; its interval "
        f"overlaps with the best other system's on {', '.join(even) or 'none'}"
        + (f"; {ahead}." if ahead else "; no system is ahead of it.")
    )
