"""What the figures of a subject show, in sentences computed from the data that they draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.prepared import PreparedSubject

# Side in pixels to which pictures are subsampled before they are correlated, and how many are used.
_SIDE, _PICTURES = 32, 300


def design_said(trials: Trials) -> str:
    """How far apart the presentations of a test image are, and how many of them are in one session."""
    order = np.lexsort((trials.index, trials.nsd_id))
    order = order[trials.is_test[order]]
    same = np.diff(trials.nsd_id[order]) == 0
    if not same.any():
        return f"None of the {len(trials.test_ids)} test images is repeated in these sessions."
    apart = np.diff(trials.index[order])[same]
    together = (np.diff(trials.session[order])[same] == 0).mean()
    return (
        f"The {len(trials.test_ids)} test images were shown {trials.is_test.sum()} times; from one to the next are "
        f"{np.median(apart):.0f} trials (median; range {apart.min()} to {apart.max()}), and {together:.0%} of the "
        "repeats fall within one session."
    )


def pictures_said(pictures: UInt8[np.ndarray, "n height width 3"], shown: int) -> str:
    """How similar two different pictures are, pixel by pixel: the score of a decoder that shows any one of them."""
    step = max(1, -(-max(pictures.shape[1:3]) // _SIDE))
    flat = np.asarray(pictures[:_PICTURES, ::step, ::step], np.float64).reshape(min(len(pictures), _PICTURES), -1)
    first = f"Shown: the first {min(shown, len(pictures))} of {len(pictures)}, unselected."
    if len(flat) < 2:
        return first
    between = np.corrcoef(flat)[np.triu_indices(len(flat), 1)]
    return (
        f"{first} Pixel correlation of two different images: {np.nanmean(between):.2f} on average, "
        f"{np.nanmax(between):.2f} for the most alike. A decoder that shows any one of them scores the average "
        "without a brain."
    )


def regions_said(data: PreparedSubject, names: Sequence[str]) -> str:
    """The largest and the smallest region, and how many voxels are in none of them, or in several."""
    masks = {name: data.roi(name) for name in names if name in data.roi_names and data.roi(name).any()}
    voxels = len(data.voxel_index)
    if not masks:
        return f"None of these regions holds any of the {voxels} voxels."
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    most, least = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    times = np.sum(list(masks.values()), axis=0)
    absent = [name for name in names if name not in masks]
    return (
        f"Of {voxels} voxels, {most} holds the most ({sizes[most]}) and {least} the fewest ({sizes[least]}); "
        f"{(times == 0).mean():.0%} lie in none of these regions and {(times > 1).mean():.0%} in more than one"
        + (f"; with no voxel: {', '.join(absent)}." if absent else ".")
    )


def areas_said(
    values: Mapping[str, Shaped[np.ndarray, " _n"]], name: str, unit: str = "", chance: float | None = None
) -> str:
    """The median of each area, and which is highest; with `chance`, the share of voxels that do not exceed it.

    Args:
        values: as `view.subject.by_area` returns them.
        name: of what was measured. unit: written after a number.
    """
    finite = {area: array[np.isfinite(array)] for area, array in values.items()}
    medians = {area: float(np.median(array)) for area, array in finite.items() if len(array)}
    if not medians:
        return f"{name}: no voxel has a finite value."
    listed = ", ".join(f"{median:.2f}{unit} in {area} areas" for area, median in medians.items())
    everything = np.concatenate(list(finite.values()))
    lost = 1 - len(everything) / sum(len(array) for array in values.values())
    said = f"{name}, median: {listed}; from {everything.min():.2f} to {everything.max():.2f}{unit} over all voxels"
    if len(medians) > 1:
        said += f", highest in {max(medians, key=medians.__getitem__)} areas"
    if chance is not None:
        said += f"; {(everything <= chance).mean():.0%} of the voxels do not exceed {chance:g}"
    return said + (f"; {lost:.0%} have no value." if lost else ".")


def trials_said(trials: Float[np.ndarray, "images repetitions voxels"], image: int) -> str:
    """One trial of an image beside the mean of its trials: their correlation and contrast, and which tells more."""
    ours, count = np.asarray(trials[image], np.float64), trials.shape[1]
    mean = ours.mean(0)
    paler = mean.std() / ours[0].std()
    first = np.corrcoef(ours[0], ours[1:].mean(0))[0, 1]
    return (
        f"Correlation over voxels: {np.corrcoef(ours[0], mean)[0, 1]:.2f} between the mean of {count} trials and the "
        f"first trial, which is part of it; {first:.2f} between the first and the mean of the others. The mean looks "
        f"{'paler' if paler < 1 else 'stronger'}: its spread is {paler:.2f} times that of one trial, where noise alone "
        f"would leave {count**-0.5:.2f} and signal alone 1."
    )


def side_said(values: tuple[np.ndarray, np.ndarray], name: str, side: str = "left") -> str:
    """How much of one hemisphere has a value, and how large the values are."""
    one = np.asarray(values[("left", "right").index(side)], np.float64)
    finite = one[np.isfinite(one)]
    if not len(finite):
        return f"{name}: no vertex of the {side} hemisphere has a value."
    return (
        f"{name} is known on {len(finite)} of the {side} hemisphere's {len(one)} vertices: median "
        f"{np.median(finite):.2f}, maximum {finite.max():.2f}."
    )
