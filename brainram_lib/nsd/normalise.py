"""Normalisations of betas, by name. Statistics come from training trials only, whatever the option.

- `session-z` (the default; MindEye's convention): each voxel's trials of one session minus their mean, divided by their
  standard deviation, both over the session's training trials; then repetitions are averaged.
- `brain-diffuser`: repetitions are averaged; then each voxel is z-scored with the training rows' mean and standard
  deviation.
- `brainram-released`: repetitions are averaged; then each row (sample) is z-scored across its own voxels, as BrainRAM's
  released code does. It uses no statistics of other rows.
- `none`: percent signal change, averaged over repetitions.

Standard deviations divide by n - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from brainram_lib.nsd.errors import NsdError

NORMALISATIONS = ("session-z", "brain-diffuser", "brainram-released", "none")
DEFAULT_NORMALISATION = "session-z"
_BLOCK = 512


def require_normalisation(name: str) -> None:
    """Raise NsdError unless `name` is one of NORMALISATIONS."""
    if name not in NORMALISATIONS:
        raise NsdError(f"normalisation must be one of {list(NORMALISATIONS)}. {name!r} was provided.")


def session_z(
    betas: Float32[np.ndarray, "trials voxels"], is_test: Bool[np.ndarray, " trials"]
) -> Float32[np.ndarray, "trials voxels"]:
    """(betas - mean) / sd per voxel, over the training trials of this session; NaN where sd is 0.

    Raises:
        NsdError: the session has fewer than two training trials.
    """
    training = betas[~is_test]
    if len(training) < 2:
        raise NsdError(f"a session needs 2 training trials at least for 'session-z'; it has {len(training)}.")
    return _z(betas, training.mean(axis=0, dtype=np.float64), training.std(axis=0, ddof=1, dtype=np.float64))


@dataclass(frozen=True)
class RowNormalisation:
    """What happens to the rows after repetitions were averaged: nothing, a training z-score, or a z-score per row."""

    mean: Float[np.ndarray, " voxels"] | None = None
    sd: Float[np.ndarray, " voxels"] | None = None
    per_row: bool = False

    @classmethod
    def of(cls, name: str, training: Float32[np.ndarray, "rows voxels"]) -> RowNormalisation:
        """The normalisation `name`, with the statistics of the averaged training rows where it has any.

        Raises:
            NsdError: there is no such normalisation, or 'brain-diffuser' has fewer than two training rows.
        """
        require_normalisation(name)
        if name == "brain-diffuser":
            if len(training) < 2:
                raise NsdError(f"'{name}' needs 2 training rows at least; there is {len(training)}. Add images.")
            return cls(*_mean_and_sd(training))
        return cls(per_row=name == "brainram-released")

    def __call__(self, rows: Float32[np.ndarray, "rows voxels"]) -> Float32[np.ndarray, "rows voxels"]:
        """The normalised rows."""
        if self.per_row:
            return _z(rows.T, rows.mean(axis=1, dtype=np.float64), rows.std(axis=1, ddof=1, dtype=np.float64)).T
        return rows if self.mean is None or self.sd is None else _z(rows, self.mean, self.sd)


def blocks(rows: int) -> Iterator[slice]:
    """Slices of a few hundred rows, so that float64 copies stay small."""
    for start in range(0, rows, _BLOCK):
        yield slice(start, min(start + _BLOCK, rows))


def _z(values: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> Float32[np.ndarray, "rows columns"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sd > 0, (values - mean) / sd, np.nan).astype(np.float32)


def _mean_and_sd(rows: Float32[np.ndarray, "rows voxels"]) -> tuple[np.ndarray, np.ndarray]:
    mean = sum(rows[block].sum(axis=0, dtype=np.float64) for block in blocks(len(rows))) / len(rows)
    squares = sum(((rows[block] - mean) ** 2).sum(axis=0) for block in blocks(len(rows)))
    return mean, np.sqrt(squares / (len(rows) - 1))
