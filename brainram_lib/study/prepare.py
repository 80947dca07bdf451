"""From a study to a prepared subject, as NSD's are: normalised by training trials, averaged, split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from brainram_lib.nsd.averaging import exclusions, read_rows
from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.normalise import require_normalisation
from brainram_lib.nsd.prepared import PreparedSubject, write_prepared
from brainram_lib.study.errors import StudyError
from brainram_lib.study.study import Study

# what prepared.json says in place of NSD's beta version and space
OWN = "own"


def readers(
    study: Study, subject: int, trials: Trials, voxels: Int[np.ndarray, " some"] | None = None
) -> dict[int, Callable[[], Float32[np.ndarray, "trials voxels"]]]:
    """Session -> function that reads its betas, of all voxels or of some."""
    betas = study.betas(subject)

    def read(session: int) -> Float32[np.ndarray, "trials voxels"]:
        rows = betas.rows(np.flatnonzero(trials.session == session))
        return rows if voxels is None else rows[:, voxels]

    return {session: partial(read, session) for session in np.unique(trials.session).tolist()}


def prepare(study: Study, subject: int, out: Path, normalisation: str, average: bool = True) -> PreparedSubject:
    """Normalise with statistics of training trials, average over repetitions, and save one subject.

    A voxel that cannot be normalised is left out, counted and listed, as for NSD.

    Args:
        normalisation: one of `nsd.normalise.NORMALISATIONS`. average: one row per stimulus, or one per trial.

    Raises:
        StudyError: fewer than half of the voxels are usable.
    """
    require_normalisation(normalisation)
    trials, voxels = study.trials(subject), study.betas(subject).shape[1]
    sessions = readers(study, subject, trials)
    splits, reasons = read_rows(trials, sessions, voxels, normalisation, average)
    keep = ~np.logical_or.reduce(list(reasons.values()))
    if keep.mean() < 0.5:
        raise StudyError(unusable(study, subject, reasons))
    regions = {name: mask[keep] for name, mask in study.regions(subject).items()}
    arrays = {
        "voxel_index": np.flatnonzero(keep),
        "ncsnr": np.full(keep.sum(), np.nan, np.float32),
        "rois": np.array(list(regions.values()), bool).reshape(len(regions), int(keep.sum())),
    }
    record: dict[str, Any] = {
        **{"subject": subject, "sessions": sorted(sessions), "version": OWN, "space": OWN, "roi": OWN},
        **{"average": average, "volume_shape": [voxels], "affine": None, "rois": list(regions)},
        "ncsnr": "absent",
        "files": [path.name for path in study.files(subject).betas],
        **exclusions(np.arange(voxels), reasons),
    }
    return write_prepared(Path(out), splits, keep, normalisation, arrays, record)


def unusable(study: Study, subject: int, reasons: dict[str, np.ndarray]) -> str:
    """Why too few voxels are left, and which trial is to blame if one is."""
    counts = ", ".join(f"{int(bad.sum())} {reason}" for reason, bad in reasons.items() if bad.any())
    trials, betas = study.trials(subject), study.betas(subject)
    worst, most = 0, 0.0
    for session, read in readers(study, subject, trials).items():
        share = (~np.isfinite(read())).mean(1)
        if share.max() > most:
            worst, most = int(np.flatnonzero(trials.session == session)[share.argmax()]), float(share.max())
    blame = (
        f" Trial {worst} (counted from 0) has {most:.0%} NaN or infinite values: take it out of betas and table."
        if most
        else ""
    )
    return f"fewer than half of the {betas.shape[1]} voxels of subject {subject} can be used: {counts}.{blame}"
