"""Looking at single trials and sessions of a prepared subject: repetitions of an image, mean betas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from tqdm.auto import tqdm

from brainram_lib.nsd.betas import read_files, session_files
from brainram_lib.nsd.design import Design, Trials
from brainram_lib.nsd.errors import MixedRootsError, NsdError, ShapeError
from brainram_lib.nsd.layout import DEFAULT_SPACE, NsdLayout
from brainram_lib.nsd.noise import REPETITIONS
from brainram_lib.nsd.normalise import session_z
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.volumes import read_image


def trials_of(layout: NsdLayout, data: PreparedSubject) -> Trials:
    """The trials of the sessions that a subject was prepared from."""
    return Design.read(layout).trials(data.record["subject"], data.record["sessions"])


def read_repetitions(
    layout: NsdLayout, data: PreparedSubject, split: str = "test"
) -> tuple[Int[np.ndarray, " images"], Float32[np.ndarray, "images repetitions voxels"]]:
    """The three trials of every image of a split that has three, for the prepared voxels.

    Betas are z-scored per session and voxel (statistics from training trials). One session is in memory at a time.

    Returns:
        the 0-based nsdIds, ascending, and the betas, repetitions in the order in which they were shown.

    Raises:
        NsdError: no image of the split has three trials in these sessions, or a file is missing or damaged.
    """
    sessions = each_session(layout, data, "repetitions")
    return single_trials(trials_of(layout, data), sessions, len(data.voxel_index), split)


def single_trials(
    trials: Trials, sessions: Iterable[tuple[Trials, np.ndarray]], voxels: int, split: str
) -> tuple[Int[np.ndarray, " images"], Float32[np.ndarray, "images repetitions voxels"]]:
    """The three trials of every image of a split that has three, z-scored per session; see `read_repetitions`.

    Args:
        trials: of all sessions. sessions: the trials of each and their betas. voxels: how many the betas have.

    Raises:
        NsdError: no image of the split has three trials in these sessions.
    """
    ids, counts = np.unique(trials.nsd_id[trials.is_test == (split == "test")], return_counts=True)
    ids = ids[counts == REPETITIONS]
    if not len(ids):
        listed = np.unique(trials.session).tolist()
        raise NsdError(f"no {split} image has {REPETITIONS} trials in sessions {listed}: read more.")
    betas = np.empty((len(ids), REPETITIONS, voxels), np.float32)
    seen = np.zeros(len(ids), int)
    for here, values in sessions:
        z = session_z(values, here.is_test)
        for trial in np.flatnonzero(np.isin(here.nsd_id, ids)):
            row = np.searchsorted(ids, here.nsd_id[trial])
            betas[row, seen[row]] = z[trial]
            seen[row] += 1
    return ids, betas


def each_session(
    layout: NsdLayout, data: PreparedSubject, label: str
) -> Iterator[tuple[Trials, Float32[np.ndarray, "trials voxels"]]]:
    """The trials of each session that a subject was prepared from, and their betas for the prepared voxels.

    Raises:
        MixedRootsError: betas and design disagree about the number of trials.
        NsdError: a file is missing or damaged.
    """
    trials, mask, record = trials_of(layout, data), mask_of(data), data.record
    for session in tqdm(record["sessions"], desc=label):
        here = trials.of_session(session)
        files = session_files(layout, record["subject"], session, record["version"], record["space"])
        values = read_files(files, mask)
        if len(values) != len(here):
            raise MixedRootsError(
                f"'{files[0]}' has {len(values)} trials, the design {len(here)} in session {session}. Take both from "
                "one data set."
            )
        yield here, values


def mask_of(data: PreparedSubject) -> Bool[np.ndarray, " *volume"]:
    """The prepared voxels as a mask of their volume."""
    mask = np.zeros(int(np.prod(data.volume_shape)), bool)
    mask[data.voxel_index] = True
    return mask.reshape(data.volume_shape)


def mean_beta(layout: NsdLayout, data: PreparedSubject) -> Float[np.ndarray, " voxels"]:
    """The mean over sessions of NSD's meanbeta volumes, in percent signal change, for the prepared voxels.

    Raises:
        NsdError: the betas are on a surface, for which NSD has no mean volumes.
        MissingFileError: a session's meanbeta volume is not there.
        ShapeError: it is another subject's.
        DamagedFileError, LockedFileError, UnreadableFileError: it cannot be read.
    """
    record = data.record
    if record["space"] != DEFAULT_SPACE:
        raise NsdError(f"mean betas are volumes in {DEFAULT_SPACE}. The subject was prepared in '{record['space']}'.")
    total = np.zeros(len(data.voxel_index))
    for session in record["sessions"]:
        path = layout.mean_beta(record["subject"], session, record["version"])
        values = read_image(path, f"the mean betas '{path}' are not there. Fetch them.")[0]
        if values.shape != data.volume_shape:
            raise ShapeError(
                f"'{path}' has shape {values.shape}, the prepared subject {data.volume_shape}: they are of different "
                "subjects. Take both of one."
            )
        total += values.reshape(-1)[data.voxel_index]
    return total / len(record["sessions"])
