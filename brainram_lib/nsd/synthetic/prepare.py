"""Betas of NSD-synthetic's session for the voxels of a prepared subject, z-scored and averaged over presentations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from brainram_lib.nsd.betas import read_files, require_volume
from brainram_lib.nsd.design import occurrence
from brainram_lib.nsd.errors import MixedRootsError, NsdError, is_there
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.repetitions import each_session, mask_of
from brainram_lib.nsd.synthetic.experiment import SyntheticExperiment
from brainram_lib.nsd.synthetic.layout import SyntheticLayout

SESSION, CORE = "session", "core"
STATISTICS = (SESSION, CORE)
Statistics = tuple[Float[np.ndarray, " voxels"], Float[np.ndarray, " voxels"]]


@dataclass(frozen=True)
class SyntheticBetas:
    """What was measured.

    Attributes:
        images: 0-based numbers of the images that were shown, ascending. kinds: the class of each.
        betas: means over presentations. presentations: how many of each.
        halves: means over the first, third, ... presentation and over the second, fourth, ...; NaN where there is none.
        silent: voxels that cannot be z-scored in this session (constant, or not finite); their betas are 0, the mean.
    """

    images: Int[np.ndarray, " n"]
    kinds: tuple[str, ...]
    betas: Float32[np.ndarray, "n voxels"]
    halves: Float32[np.ndarray, "n 2 voxels"]
    presentations: Int[np.ndarray, " n"]
    silent: Bool[np.ndarray, " voxels"]


def prepare_synthetic(layout: NsdLayout, data: PreparedSubject, statistics: str = SESSION) -> SyntheticBetas:
    """z = (beta - mean) / sd for each voxel, then the mean over the presentations of an image.

    Args:
        layout: of the data set. data: the subject, prepared from the core sessions: its voxels and version are read.
        statistics: 'session': mean and sd over all trials of this session, as its authors do. It has no training
            trials, so the stimuli themselves decide what a z of 0 is. 'core': means over the core sessions of the mean
            and sd of their training trials; a shift between sessions then stays in the betas.

    Raises:
        MissingFileError, DamagedFileError, LockedFileError, UnreadableFileError: of betas, design or table.
        LayoutError: the subject was prepared from a version that NSD-synthetic has not.
        ShapeError: the betas are of another volume than the prepared subject.
        MixedRootsError: design and betas disagree about the number of trials.
        NsdError: other statistics, or most voxels cannot be z-scored.
    """
    if statistics not in STATISTICS:
        raise NsdError(f"statistics must be one of {list(STATISTICS)}. {statistics!r} was provided.")
    synthetic, record = SyntheticLayout(layout), data.record
    experiment = SyntheticExperiment.read(synthetic)
    candidates = [synthetic.betas(record["subject"], record["version"], record["space"], e) for e in ("hdf5", "nii.gz")]
    files = next((paths for paths in candidates if all(map(is_there, paths))), candidates[0])
    require_volume(files, data.volume_shape)
    values = read_files(files, mask_of(data))
    if len(values) != len(experiment.ordering):
        raise MixedRootsError(
            f"'{files[0]}' has {len(values)} trials, NSD-synthetic's design {len(experiment.ordering)}. Take both from "
            "one data set."
        )
    mean, sd = _own_statistics(values) if statistics == SESSION else core_statistics(layout, data)
    silent = ~(np.isfinite(values).all(0) & (values != values[:1]).any(0) & np.isfinite(mean) & (sd > 0))
    if silent.mean() > 0.5:
        raise NsdError(
            f"only {int((~silent).sum())} of {len(silent)} voxels have usable betas in '{files[0]}': it is probably "
            "another subject's. Take betas and region of one subject."
        )
    z = np.zeros(values.shape)
    z[:, ~silent] = (values[:, ~silent] - mean[~silent]) / sd[~silent]
    images, place = np.unique(experiment.ordering, return_inverse=True)
    kinds = tuple(experiment.kinds[image] for image in images)
    total, counts = np.zeros((len(images), 2, z.shape[1])), np.zeros((len(images), 2))
    half = place, occurrence(experiment.ordering) % 2
    np.add.at(total, half, z)
    np.add.at(counts, half, 1)
    whole = total.sum(1) / counts.sum(1)[:, None]
    halves = np.where(counts[..., None] > 0, total / np.maximum(counts, 1)[..., None], np.nan)
    found = (one.astype(np.float32) for one in (whole, halves))
    return SyntheticBetas(images, kinds, *found, counts.sum(1).astype(np.int64), silent)


def core_statistics(layout: NsdLayout, data: PreparedSubject) -> Statistics:
    """Means over the sessions that the subject was prepared from of the mean and sd of their training trials.

    Raises:
        NsdError: a file is missing or damaged.
    """
    found = []
    for trials, values in each_session(layout, data, "statistics of the core sessions"):
        training = values[~trials.is_test].astype(np.float64)
        found.append((training.mean(0), training.std(0, ddof=1)))
    means, sds = zip(*found, strict=True)
    return np.mean(means, 0), np.mean(sds, 0)


def _own_statistics(values: Float32[np.ndarray, "trials voxels"]) -> Statistics:
    return values.mean(0, dtype=np.float64), values.std(0, ddof=1, dtype=np.float64)
