"""Which stimuli are test stimuli: given by trial tables or a list of names, or drawn. By stimulus, never by trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import reduce
from pathlib import Path

import numpy as np

from brainram_lib.study.description import FILE, Description
from brainram_lib.study.errors import StudyError, some_of
from brainram_lib.study.names import name_of
from brainram_lib.study.tables import TrialTable

# fewest test stimuli: each score needs another stimulus to compare with
LEAST = 2


def stimuli_that_test(
    description: Description, subject: int, tables: Mapping[int, TrialTable], known: Collection[str]
) -> frozenset[str]:
    """The test stimuli that a subject saw.

    Args:
        description: its [split] says what the tables do not.
        subject: the subject's number.
        tables: those of all subjects; stimuli are drawn from those that all of them saw.
        known: the names of all pictures.

    Raises:
        StudyError: a stimulus is in both splits, no split is given, there are too few stimuli to draw from or fewer
            than LEAST test stimuli, or nothing is left to train on.
    """
    table = tables[subject]
    shown = set(table.stimulus)
    if table.split is not None:
        if description.test is not None:
            raise StudyError(f"'{table.file}' has a column 'split' and {FILE} a [split]. Keep one of them.")
        chosen = _by_table(table)
    elif description.test is None:
        raise StudyError(
            f"no split is given. Add a column 'split' (train or test) to '{table.file}', or to {FILE}: [split] with "
            'test = NUMBER, which draws so many stimuli, or test = "FILE", which names them.'
        )
    elif isinstance(description.test, Path):
        chosen = _by_file(description.test, known) & shown
    else:
        chosen = _drawn(description.test, description.seed, tables)
    if not shown - chosen:
        raise StudyError(f"subject {subject} has no training stimulus among the {len(shown)} of '{table.file}'.")
    if len(chosen) < LEAST:
        raise StudyError(
            f"of the {len(shown)} stimuli of '{table.file}', {len(chosen)} are test stimuli of subject {subject}. "
            f"Scores compare them with each other: let {LEAST} or more test."
        )
    return frozenset(chosen)


def _by_table(table: TrialTable) -> set[str]:
    test, train = (set(table.stimulus[table.split == split]) for split in ("test", "train"))
    if both := sorted(test & train):
        rows = {split: int(np.flatnonzero((table.stimulus == both[0]) & (table.split == split))[0]) for split in
                ("test", "train")}  # fmt: skip
        raise StudyError(
            f"{some_of(both)} are test stimuli and training stimuli in '{table.file}' ('{both[0]}' in rows "
            f"{rows['test']} and {rows['train']}): a split is by stimulus, never by trial."
        )
    return test


def _by_file(path: Path, known: Collection[str]) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as problem:
        raise StudyError(f"the list of test stimuli '{path}' cannot be read ({str(problem)[:200]}).") from problem
    names = {name_of(line) for line in lines if line.strip()}
    if unknown := sorted(names - set(known)):
        raise StudyError(f"'{path}' names test stimuli without a picture: {some_of(unknown)}.")
    return names


def _drawn(count: int, seed: int, tables: Mapping[int, TrialTable]) -> set[str]:
    shared = sorted(reduce(set.intersection, (set(table.stimulus) for table in tables.values())))
    if count >= len(shared):
        raise StudyError(
            f"[split] of {FILE} asks for {count} test stimuli, and all subjects saw {len(shared)} together: some must "
            "train. Ask for fewer, or say in a column 'split' which they are."
        )
    return {shared[place] for place in np.random.default_rng(seed).permutation(len(shared))[:count]}
