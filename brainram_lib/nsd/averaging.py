"""From single trials to rows: each session is read, normalised, and added to the rows of the images that it shows.

Nothing is repaired: a voxel that cannot be normalised is left out, counted, and listed with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int
from tqdm.auto import tqdm

from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.normalise import session_z
from brainram_lib.nsd.prepared import Rows

NOT_FINITE = "not finite in some trial"
ZERO = "zero in every trial"
CONSTANT = "constant over the training trials of some session"
CONSTANT_THROUGHOUT = "constant over all training trials"
Reasons = dict[str, Bool[np.ndarray, " voxels"]]
SessionReaders = Mapping[int, Callable[[], Float32[np.ndarray, "trials voxels"]]]


class _Health:
    """Which voxels cannot be used, found session by session.

    A voxel must vary over its training trials if there are two or more: within each session with `by_session`,
    otherwise over all sessions.
    """

    def __init__(self, voxels: int, by_session: bool) -> None:
        self.by_session = by_session
        self.not_finite = np.zeros(voxels, bool)
        self.zero = np.ones(voxels, bool)
        self.constant = np.zeros(voxels, bool)
        self.varies = np.zeros(voxels, bool)
        self.first: Float32[np.ndarray, "1 voxels"] | None = None
        self.seen = 0

    def look(self, values: Float32[np.ndarray, "trials voxels"], is_test: Bool[np.ndarray, " trials"]) -> None:
        training = values[~is_test]
        self.not_finite |= ~np.isfinite(values).all(axis=0)
        self.zero &= (values == 0).all(axis=0)
        if self.by_session and len(training) > 1:
            self.constant |= (training == training[:1]).all(axis=0)
        elif not self.by_session and len(training):
            self.first = training[:1].copy() if self.first is None else self.first
            self.varies |= (training != self.first).any(axis=0)
            self.seen += len(training)

    def reasons(self) -> Reasons:
        zero = self.zero & ~self.not_finite
        why = CONSTANT if self.by_session else CONSTANT_THROUGHOUT
        constant = self.constant if self.by_session else ~self.varies & (self.seen > 1)
        return {NOT_FINITE: self.not_finite, ZERO: zero, why: constant & ~self.not_finite & ~zero}


def read_rows(
    trials: Trials, sessions: SessionReaders, voxels: int, normalisation: str, average: bool
) -> tuple[dict[str, Rows], Reasons]:
    """Read each session once, add its trials to the rows they belong to, and note unusable voxels.

    Args:
        trials: those of these sessions, in the order in which each session's reader gives them.
        sessions: session number -> function that reads its betas.
        voxels: how many the betas have.
        normalisation: one of `normalise.NORMALISATIONS`.
        average: one row per image, or one per trial.

    Returns:
        the sums of both splits (`prepared.write_prepared` divides them), and reason -> voxels that cannot be used.
    """
    rows = _row_of_trial(trials, average)
    splits = {split: Rows.empty(_row_ids(trials, split, average), voxels) for split in ("train", "test")}
    health = _Health(voxels, by_session=normalisation == "session-z")
    for session, read in tqdm(sessions.items(), desc="sessions"):
        here = trials.session == session
        values, is_test = read(), trials.is_test[here]
        health.look(values, is_test)
        if normalisation == "session-z":
            values = session_z(values, is_test)
        splits["train"].add(rows[here][~is_test], values[~is_test])
        splits["test"].add(rows[here][is_test], values[is_test])
    return splits, health.reasons()


def usable(reasons: Reasons, roi: str) -> Bool[np.ndarray, " voxels"]:
    """Voxels with no reason against them; if most have one, the mask cannot belong to these betas.

    Raises:
        NsdError: fewer than half of the voxels have usable betas.
    """
    keep = ~np.logical_or.reduce(list(reasons.values()))
    if keep.mean() < 0.5:
        counts = {reason: int(bad.sum()) for reason, bad in reasons.items()}
        raise NsdError(
            f"only {keep.sum()} of {len(keep)} voxels of '{roi}' have usable betas ({counts}): the mask is probably "
            "another subject's. Take mask and betas of one subject."
        )
    return keep


def exclusions(index: Int[np.ndarray, " voxels"], reasons: Reasons) -> dict[str, Any]:
    """What prepared.json says about excluded voxels: their flat indices, and how many for each reason."""
    listed = {reason: index[bad].tolist() for reason, bad in reasons.items() if bad.any()}
    return {"excluded": listed, "n_excluded": {reason: len(places) for reason, places in listed.items()}}


def _row_ids(trials: Trials, split: str, average: bool) -> Int[np.ndarray, " rows"]:
    return trials.ids(split) if average else np.sort(trials.nsd_id[trials.is_test == (split == "test")])


def _row_of_trial(trials: Trials, average: bool) -> Int[np.ndarray, " trials"]:
    """Each trial's row in its own split: by nsdId, and by time within an image if repetitions are kept."""
    rows = np.empty(len(trials), np.int64)
    for split in ("train", "test"):
        chosen = np.flatnonzero(trials.is_test == (split == "test"))
        if average:
            rows[chosen] = np.searchsorted(trials.ids(split), trials.nsd_id[chosen])
        else:
            rows[chosen[np.lexsort((trials.index[chosen], trials.nsd_id[chosen]))]] = np.arange(len(chosen))
    return rows
