"""Which image each trial shows, and how trials make training and test sets.

All keys are 0-based nsdIds (rows of the stimulus file), in ascending order: published code bases order their test sets
differently, so a position never identifies an image. Source: nsd_expdesign.mat (NSD data manual).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Bool, Int

from brainram_lib.nsd.errors import DamagedFileError, DesignError, reading
from brainram_lib.nsd.layout import NsdLayout

SESSIONS_OF_SUBJECT = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
"""How many sessions each subject of the real NSD has."""

_FIELDS = {"masterordering": 2, "subjectim": 2, "sharedix": 2, "stimpattern": 3}
"""Each field's number of axes, as MATLAB saves them."""


@dataclass(frozen=True)
class Trials:
    """The trials of one subject in the chosen sessions, in the order in which they were shown.

    Attributes:
        nsd_id: the image, 0-based.
        session: counted from 1.
        index: the trial's place in the whole experiment, 0-based.
        repetition: 0 for the image's first presentation in the whole experiment, 1 for the second, ...; it does not
            depend on which sessions were chosen.
        is_test: True for the images that all subjects share.
    """

    nsd_id: Int[np.ndarray, " trials"]
    session: Int[np.ndarray, " trials"]
    index: Int[np.ndarray, " trials"]
    repetition: Int[np.ndarray, " trials"]
    is_test: Bool[np.ndarray, " trials"]

    def __len__(self) -> int:
        return len(self.nsd_id)

    @property
    def train_ids(self) -> Int[np.ndarray, " images"]:
        """The subject's own images with at least one of these trials, ascending."""
        return np.unique(self.nsd_id[~self.is_test])

    @property
    def test_ids(self) -> Int[np.ndarray, " images"]:
        """The shared images with at least one of these trials, ascending."""
        return np.unique(self.nsd_id[self.is_test])

    def ids(self, split: str) -> Int[np.ndarray, " images"]:
        """`train_ids` or `test_ids`.

        Raises:
            DesignError: `split` is neither 'train' nor 'test'.
        """
        if split not in ("train", "test"):
            raise DesignError(f"split must be one of ['train', 'test']. {split!r} was provided.")
        return self.test_ids if split == "test" else self.train_ids

    def of_session(self, session: int) -> Trials:
        """Only the trials of one session."""
        return self._where(self.session == session)

    def _where(self, chosen: Bool[np.ndarray, " trials"]) -> Trials:
        return Trials(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Design:
    """nsd_expdesign.mat with 0-based values.

    Attributes:
        ordering: (trials,) which of the subject's images each trial shows; the same for every subject.
        images: (subjects, images) the nsdId of each of a subject's images; subject s is row s - 1.
        n_shared: how many images, the first columns of `images`, all subjects share.
        session_trials: (sessions,) how many trials each session has.
    """

    ordering: Int[np.ndarray, " trials"]
    images: Int[np.ndarray, "subjects images"]
    n_shared: int
    session_trials: Int[np.ndarray, " sessions"]

    @classmethod
    def read(cls, layout: NsdLayout) -> Design:
        """Read and cross-check the design file.

        Raises:
            MissingFileError: there is no design file.
            DamagedFileError: it cannot be read, a field is missing, or does not hold whole numbers.
            LockedFileError, UnreadableFileError: the file is not to blame.
            DesignError: its fields contradict each other.
        """
        path = layout.expdesign
        absent = f"the design file '{path}' is not there. Fetch it, or correct nsd_root."
        with reading(path, absent, "is no readable MATLAB file", "NSD's is of version 5: fetch it again."):
            fields = scipy.io.loadmat(path, variable_names=list(_FIELDS))
        missing = [name for name in _FIELDS if name not in fields]
        if missing:
            raise DamagedFileError(f"'{path}' has no {missing}; NSD's holds {list(_FIELDS)}. Fetch it again.")
        numbers = {name: whole_numbers(path, name, fields[name], axes) for name, axes in _FIELDS.items()}
        shared = numbers["sharedix"].ravel() - 1
        design = cls(
            numbers["masterordering"].ravel() - 1,
            numbers["subjectim"] - 1,
            len(shared),
            numbers["stimpattern"].sum(axis=(1, 2)),
        )
        _cross_check(design, shared)
        return design

    @property
    def n_sessions(self) -> int:
        """How many sessions the design has (40; subjects who did fewer did the first ones)."""
        return len(self.session_trials)

    def sessions(self, sessions: int | Sequence[int]) -> list[int]:
        """The chosen sessions, ascending: the first `sessions` of them, or those named (1-based).

        Raises:
            DesignError: a session is named twice, or the design does not have it.
        """
        chosen = list(range(1, sessions + 1)) if isinstance(sessions, int) else [int(s) for s in sessions]
        beyond = [session for session in chosen if not 1 <= session <= self.n_sessions]
        if beyond or not chosen or len(set(chosen)) != len(chosen):
            raise DesignError(
                f"sessions must be different numbers, 1 to {self.n_sessions}, at least one. {sessions!r} was provided."
            )
        return sorted(chosen)

    def trials(self, subject: int, sessions: int | Sequence[int]) -> Trials:
        """The trials of a subject in the first `sessions` sessions, or in the sessions named (1-based).

        nsdId of trial t = subjectim[s, masterordering[t] - 1] - 1; a test trial if masterordering[t] <= n_shared.

        Raises:
            DesignError: the design has no such subject or session.
        """
        if not 1 <= subject <= len(self.images):
            raise DesignError(f"subject must be 1 to {len(self.images)} (rows of subjectim). {subject!r} was provided.")
        session = np.repeat(np.arange(1, self.n_sessions + 1), self.session_trials)
        everything = Trials(
            self.images[subject - 1][self.ordering],
            session,
            np.arange(len(self.ordering)),
            occurrence(self.ordering),
            self.ordering < self.n_shared,
        )
        return everything._where(np.isin(session, self.sessions(sessions)))


def whole_numbers(path: Path, name: str, values: object, axes: int) -> Int[np.ndarray, " ..."]:
    """A field of a design file, which must hold whole numbers and have `axes` axes.

    Raises:
        DamagedFileError: it does not.
    """
    array = np.asarray(values)
    whole = array.dtype.kind in "iufb" and array.size > 0 and np.array_equal(array, np.nan_to_num(array).round())
    if not whole or array.ndim != axes:
        raise DamagedFileError(
            f"'{path}' must hold whole numbers of {axes} axes in '{name}'; it holds {array.dtype} of shape "
            f"{array.shape}. Fetch it again."
        )
    return array.astype(np.int64)


def occurrence(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many times each value occurred earlier in the array."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, len(values)])
    result = np.empty(len(values), np.int64)
    result[order] = np.arange(len(values)) - np.repeat(starts, counts)
    return result


def _cross_check(design: Design, shared: Int[np.ndarray, " shared"]) -> None:
    trials, images = design.session_trials.sum(), design.images.shape[1]
    if trials != len(design.ordering):
        raise DesignError(f"stimpattern has {trials} trials, masterordering {len(design.ordering)}. Fetch it again.")
    if design.ordering.min() < 0 or design.ordering.max() >= images:
        raise DesignError(f"masterordering must be 1-based and at most {images}, the number of columns of subjectim.")
    for row, ids in enumerate(design.images):
        if ids.min() < 0 or len(np.unique(ids)) != images:
            raise DesignError(f"row {row + 1} of subjectim must hold different ids, counted from 1.")
        if not np.array_equal(np.sort(ids[: design.n_shared]), np.sort(shared)):
            raise DesignError(f"row {row + 1} of subjectim must begin with the {design.n_shared} ids of sharedix.")
