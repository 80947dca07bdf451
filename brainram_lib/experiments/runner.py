"""Running an experiment: what is missing is made, in this process, in several, or on a Slurm cluster; then collected.

Rows share every stage that is the same upstream, and stages are locked, so that jobs that need the same thing make it
once. Stopped, the same command goes on.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas

from brainram_lib.core.store import default_runs
from brainram_lib.evaluation import records
from brainram_lib.evaluation.records import Values
from brainram_lib.experiments.experiment import Experiment, ExperimentError, Row
from brainram_lib.experiments.jobs import Job, Places, named, scores_of, stages_of_job, system_of_row
from brainram_lib.experiments.per_image import PerImage, lines_of
from brainram_lib.experiments.processes import in_processes
from brainram_lib.experiments.results import Results, RowRecord
from brainram_lib.experiments.times import joined, spent
from brainram_lib.profiles import profile_of
from brainram_lib.systems import System
from brainram_lib.systems.scores import pool_notes, retrieval_notes, values_of
from brainram_lib.workbench import Workbench

Scores = dict[str, np.ndarray]


def check(experiment: Experiment, places: Places) -> None:
    """All that can be wrong, before anything is made.

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
    experiment: Experiment,
    path: Path,
    places: Places,
    jobs: int = 1,
    slurm: str | None = None,
    out: Path | None = None,
    command: str = "",
) -> Path:
    """Make what is missing and write the records.

    Args:
        experiment: which rows, subjects and seeds.
        path: its file, for jobs in other processes.
        places: of results and data.
        jobs: processes on this machine at once.
        slurm: a partition, to submit the jobs there instead.
        out: folder of the records; `experiments/` in the folder of results if not given.
        command: as typed, for the record.

    Returns:
        The file of records.

    Raises:
        ExperimentError: the experiment cannot be run as it says, or a job failed.
    """
    check(experiment, places)
    started = time.time()
    if slurm is not None or jobs > 1:
        in_processes(experiment, path, places, jobs, slurm)
    results = collect(experiment, places, command)
    root = places.runs or default_runs()
    file = (out or root / "experiments" / profile_of(experiment.profile).name) / f"{experiment.name}.json"
    results = results.joined(Results.read(file)) if file.exists() else results
    results.write(file)
    print(f"{len(results.records)} records in '{file}' after {time.time() - started:.0f} s.")
    return file


def collect(experiment: Experiment, places: Places, command: str = "") -> Results:
    """The records of every row, making what is missing in this process."""
    found: list[RowRecord] = []
    differences: list[RowRecord] = []
    keys: dict[str, str] = {}
    said: dict[str, None] = {}
    took: dict[str, float] = {}
    images: list[pandas.DataFrame] = []
    simulated, reported = False, True
    for subject in experiment.subjects:
        for seed in experiment.seeds:
            values: Values = {}
            for row in experiment.rows:
                workbench = Job(row, subject, seed).workbench(experiment, places)
                simulated, reported = workbench.run.source.simulated, workbench.run.source.reported
                system = system_of_row(experiment, row)
                per_image, _ = values_of(workbench.run, workbench.store, [system], experiment.estimates_alone)
                values[row.name] = _counting(experiment, per_image[system.name])
                images.append(lines_of(row.name, subject, seed, workbench.nsd_ids("test"), values[row.name]))
                stages = scores_of(experiment, workbench, system)
                said |= dict.fromkeys(_said(workbench, system, subject, len(experiment.subjects) > 1))
                keys[f"{row.name}/{subject}/{seed}"] = "-".join(stage.key for stage in stages)
                took = joined(took, spent(workbench.store, stages))
            found += [one for row in experiment.rows for one in _records(experiment, row, values, subject, seed)]
            differences += _differences(experiment, values, subject, seed)
    of = {"profile": experiment.profile, "simulated": simulated, "command": command, "said": tuple(said)}
    of["images"] = PerImage.of(images)
    of |= {"reported": reported, "took": took}
    return Results.of(experiment, found, differences, keys, **of)


def _counting(experiment: Experiment, scores: Scores) -> Scores:
    """The scores that the experiment records."""
    return {name: one for name, one in scores.items() if not experiment.metrics or name in experiment.metrics}


def _said(workbench: Workbench, system: System, subject: int, several: bool) -> list[str]:
    notes = [note for of in (pool_notes, retrieval_notes) for note in of(workbench.run, workbench.store, [system])]
    return [f"Subject {subject}: {note}" if several else note for note in notes]


def _records(experiment: Experiment, row: Row, values: Values, subject: int, seed: int) -> list[RowRecord]:
    made = records.records_of(row.system, values[row.name], subject=subject, seed=seed)
    return [RowRecord.of(experiment.name, row.name, one) for one in made]


def _differences(experiment: Experiment, values: Values, subject: int, seed: int) -> list[RowRecord]:
    """Every row against the reference, image by image."""
    if experiment.reference not in values:
        return []
    found = []
    for row in experiment.rows:
        if row.name != experiment.reference:
            shared = {metric: one for metric, one in values[row.name].items() if metric in values[experiment.reference]}
            pair = {row.name: shared, experiment.reference: values[experiment.reference]}
            made = records.leads(row.name, experiment.reference, pair, subject=subject, seed=seed)
            found += [RowRecord.of(experiment.name, row.name, one) for one in made]
    return found


def run_job(experiment: Experiment, row: str, subject: int, seed: int, places: Places) -> None:
    """One job: the scores of one row for one subject and seed, and all that they need."""
    job = Job(experiment.row(row), subject, seed)
    workbench = job.workbench(experiment, places)
    system = system_of_row(experiment, job.row)
    values_of(workbench.run, workbench.store, [system], experiment.estimates_alone)


def spoken(words: Sequence[str]) -> str:
    """A command as one types it."""
    return shlex.join(["python", "-m", "brainram_lib", *words])
