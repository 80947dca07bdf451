"""What is wrong with a folder, one sentence per problem, before anything is made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tqdm.auto import tqdm

from brainram_lib.nsd.averaging import read_rows
from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION
from brainram_lib.study.errors import SHOWN, StudyError, some_of
from brainram_lib.study.prepare import readers, unusable
from brainram_lib.study.study import Study

# with fewer training trials than this there is no standard deviation
LEAST = 2
Line = tuple[bool, str]


def require(study: Study, subject: int, normalisation: str = DEFAULT_NORMALISATION, validation: int = 0) -> None:
    """Check everything that can be checked without reading all betas and pictures.

    Args:
        normalisation: the one that will be used. validation: how many training stimuli nothing will be fitted on.

    Raises:
        StudyError: the first problem, and how many more there are.
    """
    found = list(problems(study, subject, normalisation))
    if found:
        more = f" And {len(found) - 1} more: `python -m brainram_lib data check` lists all." if len(found) > 1 else ""
        raise StudyError(f"{found[0]}{more}")
    train = len(study.trials(subject).train_ids)
    if validation >= train:
        raise StudyError(
            f"subject {subject} has {train} training stimuli, and the profile keeps {validation} of them for "
            "validation: none is left to fit on. Set split__validation in the profile file, for instance to a tenth."
        )


def problems(study: Study, subject: int, normalisation: str = DEFAULT_NORMALISATION) -> Iterator[str]:
    """A sentence for each problem with tables, names, counts, split, captions and regions."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: study.pictures,
        lambda: study.numbers,
        lambda: study.betas(subject),
        lambda: study.table(subject),
        lambda: study.test(subject),
        lambda: study.trials(subject),
        lambda: _captioned(study, subject),
        lambda: study.regions(subject),
        lambda: _sessions(study, subject, normalisation),
    )
    said: set[str] = set()
    for check in checks:
        try:
            check()
        except StudyError as problem:
            # a later check may rely on an earlier one
            if str(problem) not in said:
                said.add(str(problem))
                yield str(problem)


def report(study: Study, normalisation: str = DEFAULT_NORMALISATION) -> Iterator[Line]:
    """Lines (whether all is well, a sentence) for all subjects; every picture is decoded and all betas are read."""
    for subject in study.subjects:
        found = list(problems(study, subject, normalisation))
        yield from ((False, f"subject {subject}: {one}") for one in found)
        if not found:
            yield from _of_subject(study, subject, normalisation)


def _of_subject(study: Study, subject: int, normalisation: str) -> Iterator[Line]:
    trials, betas = study.trials(subject), study.betas(subject)
    repeated = [np.unique(np.unique(trials.nsd_id[trials.is_test == test], return_counts=True)[1]) for test in (0, 1)]
    sessions = len(set(trials.session.tolist()))
    spans = [f"{counts.min()} to {counts.max()}" if len(counts) > 1 else str(counts[0]) for counts in repeated]
    yield (
        True,
        f"subject {subject}: {betas.shape[0]} trials of {betas.shape[1]} voxels in {sessions} sessions; "
        f"{len(trials.train_ids)} training stimuli shown {spans[0]} times, {len(trials.test_ids)} test stimuli shown "
        f"{spans[1]} times, averaged.",
    )
    regions = study.regions(subject)
    if not regions:
        yield True, f"subject {subject}: no regions, so results by region are left out."
    yield from _voxels(study, subject, normalisation)
    yield from _decoded(study, subject)


def _voxels(study: Study, subject: int, normalisation: str) -> Iterator[Line]:
    trials, count = study.trials(subject), study.betas(subject).shape[1]
    _, reasons = read_rows(trials, readers(study, subject, trials), count, normalisation, average=True)
    left = ~np.logical_or.reduce(list(reasons.values()))
    if left.mean() < 0.5:
        yield False, unusable(study, subject, reasons)
    elif not left.all():
        counts = ", ".join(f"{int(bad.sum())} {reason}" for reason, bad in reasons.items() if bad.any())
        yield True, f"subject {subject}: {count - int(left.sum())} of {count} voxels will be left out: {counts}."


def _decoded(study: Study, subject: int) -> Iterator[Line]:
    bad = []
    names = sorted(set(study.table(subject).stimulus))
    for name in tqdm(names, desc=f"pictures, subject {subject}", unit="picture", delay=2, leave=False):
        try:
            study.pictures.one(name)
        except StudyError as problem:
            bad.append(str(problem))
    yield from ((False, one) for one in bad[:SHOWN])
    if len(bad) > SHOWN:
        yield False, f"{len(bad) - SHOWN} more pictures of subject {subject} cannot be used."
    if not bad:
        yield True, f"subject {subject}: {len(names)} pictures can be read, and all have captions."


def _captioned(study: Study, subject: int) -> None:
    missing = sorted(set(study.table(subject).stimulus) - study.captions.keys())
    if missing:
        raise StudyError(
            f"'{study.description.captions}' has no caption of {some_of(missing)}. Every stimulus needs one or more."
        )


def _sessions(study: Study, subject: int, normalisation: str) -> None:
    if normalisation != DEFAULT_NORMALISATION:
        return
    trials = study.trials(subject)
    for session in np.unique(trials.session).tolist():
        training = int((~trials.is_test[trials.session == session]).sum())
        if training < LEAST:
            raise StudyError(
                f"session {session} of subject {subject} has {training} training trials; its betas are z-scored with "
                f"their mean and deviation, which takes {LEAST} or more. {_remedy(study, subject, trials)}, or set "
                'data__normalisation = "none" in the profile file where betas are normalised already.'
            )


def _remedy(study: Study, subject: int, trials: Trials) -> str:
    """How to give every session training trials; without a column 'session', each of several files is a session."""
    if (~trials.is_test).sum() < LEAST:
        return "Let more stimuli train"
    if len(study.files(subject).betas) == 1:
        return "Leave out the column 'session'"
    return (
        "Each file of betas is a session unless 'session' beside 'stimulus' says otherwise: there, give these trials "
        "the number of a session that has training trials"
    )
