"""Running experiments: what is missing is made, in this process, in several, or on a Slurm cluster; then collected.

Rows share every stage that is the same upstream, and stages are locked, so that jobs that need the same thing make it
once. After an interruption, the same command resumes.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from brainram_lib.core.locks import held
from brainram_lib.core.store import default_runs
from brainram_lib.experiments.collected import collect
from brainram_lib.experiments.earlier import earlier_records, with_earlier
from brainram_lib.experiments.experiment import Experiment, ExperimentError, Row, load
from brainram_lib.experiments.jobs import Asked, Job, Places, named, stages_of_job, system_of_row
from brainram_lib.experiments.places import in_words
from brainram_lib.experiments.processes import ALONE, Processes, in_processes
from brainram_lib.profiles import profile_of
from brainram_lib.systems.scores import values_of

# How many failed jobs a message names.
_FEW = 5


def check(experiment: Experiment, places: Places) -> None:
    """Check all that can be wrong, before anything is made.

    Raises:
        ExperimentError: an unknown system, setting or subject; a row whose changes have no effect; a row twice.
    """
    known: dict[tuple[str, ...], str] = {}
    for row in experiment.rows:
        keys = _keys(experiment, row, places)
        if keys in known:
            raise ExperimentError(f"{named(experiment, row)} gives the same numbers as row '{known[keys]}'.")
        own = {name: value for name, value in row.changes.items() if experiment.changes.get(name, row) != value}
        own |= {f"without {name}": True for name in row.without}
        if own and keys == _keys(experiment, replace(row, changes=experiment.changes, without=()), places):
            said = ", ".join(f"{name} = {value!r}" for name, value in own.items())
            raise ExperimentError(
                f"{named(experiment, row)}: its changes ({said}) have no effect on the system '{row.system}'. Remove "
                "them, or the row."
            )
        known[keys] = row.name
    for subject in experiment.subjects:
        for seed in experiment.seeds:
            Job(experiment.rows[0], subject, seed).workbench(experiment, places)


def _keys(experiment: Experiment, row: Row, places: Places) -> tuple[str, ...]:
    """The keys of a row's scores, for the first subject and seed."""
    job = Job(row, experiment.subjects[0], experiment.seeds[0])
    return tuple(stage.key for stage in stages_of_job(experiment, job, places))


def run(
    asked: Sequence[Asked], places: Places, how: Processes = ALONE, out: Path | None = None, command: str = ""
) -> list[Path]:
    """Make what is missing and write the records; a row that fails does not stop the others.

    Args:
        asked: which rows, subjects and seeds of which experiments.
        places: of results and data.
        how: in which processes.
        out: folder of the records; `experiments/` in the folder of results if not given.
        command: as typed, for the record.

    Returns:
        The file of records of each.

    Raises:
        ExperimentError: an experiment cannot be run as it says or is asked for twice, a file holds records of another
            profile, or jobs failed (raised once the records of the others are written).
    """
    started, files = time.time(), [_file(one.experiment, places, out) for one in asked]
    if twice := [one.experiment.name for one, file in zip(asked, files, strict=True) if files.count(file) > 1]:
        raise ExperimentError(f"'{twice[0]}' is asked for {twice.count(twice[0])} times. Name each experiment once.")
    for one, file in zip(asked, files, strict=True):
        check(one.experiment, places)
        earlier_records(one.experiment, file)
    failed = in_processes(asked, places, how) if how.several else {}
    problems = []
    for one, file in zip(asked, files, strict=True):
        problems.append(_written(one, file, places, command, started, failed.get(one.experiment.name, {})))
    if any(problems):
        raise ExperimentError("\n".join(problem for problem in problems if problem))
    return files


def _file(experiment: Experiment, places: Places, out: Path | None) -> Path:
    folder = out or (places.runs or default_runs()) / "experiments" / profile_of(experiment.profile).name
    return folder / f"{experiment.name}.json"


def _written(asked: Asked, file: Path, places: Places, command: str, started: float, failed: dict[str, str]) -> str:
    """Make what is missing and write the records of one experiment; returns what failed, in words."""
    results = collect(asked.experiment, places, command, failed)
    if results.keys:
        with held(file.with_name(f".{file.name}.lock"), f"records in '{file}'"):
            results = with_earlier(results, asked.experiment, load(asked.path), file, places)
            results.write(file)
        print(f"{len(results.records)} records in '{file}' after {time.time() - started:.0f} s.")
    root = places.runs or default_runs()
    return _failures(asked.experiment, failed, root, file if results.keys else None) if failed else ""


def _failures(experiment: Experiment, failed: Mapping[str, str], root: Path, file: Path | None) -> str:
    shown = [f"{in_words([place])}: {why}" for place, why in failed.items()]
    more = f"\n  and {len(shown) - _FEW} more" if len(shown) > _FEW else ""
    others = f" The records of the others are in '{file}'." if file else ""
    return (
        f"{len(failed)} {'job' if len(failed) == 1 else 'jobs'} of '{experiment.name}' failed.{others} What is done is "
        "kept: the same command goes on. Messages of jobs that ran in processes of their own are in "
        f"'{root / 'jobs'}'.\n  " + "\n  ".join(shown[:_FEW]) + more
    )


def run_job(experiment: Experiment, row: str, subject: int, seed: int, places: Places) -> None:
    """One job: the scores of one row for one subject and seed, and all that they need."""
    job = Job(experiment.row(row), subject, seed)
    workbench = job.workbench(experiment, places)
    system = system_of_row(experiment, job.row)
    values_of(workbench.run, workbench.store, [system], experiment.estimates_alone)


def spoken(words: Sequence[str]) -> str:
    """A command as one types it."""
    return shlex.join(["python", "-m", "brainram_lib", *words])
