"""Running an experiment: what is missing is made, in this process, in several, or on a Slurm cluster; then collected.

Rows share every stage that is the same upstream, and stages are locked, so that jobs that need the same thing make it
once. Stopped, the same command goes on.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from brainram_lib.core.store import Stage, Store, default_runs
from brainram_lib.evaluation import records
from brainram_lib.evaluation.records import Values
from brainram_lib.experiments.experiment import RETRIEVED, Experiment, ExperimentError, Row
from brainram_lib.experiments.per_image import PerImage, lines_of
from brainram_lib.experiments.results import Results, RowRecord
from brainram_lib.experiments.times import joined, spent
from brainram_lib.profiles import Profile, changed, profile_of, with_method
from brainram_lib.systems import System, system_of
from brainram_lib.systems.finding import finding
from brainram_lib.systems.scores import pool_notes, retrieval_notes, stages_of, values_of
from brainram_lib.workbench import Workbench

POLL = 1.0
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Places:
    """Where things are, as the command line gives them."""

    runs: Path | None = None
    nsd_root: Path | None = None
    corpus_root: Path | None = None

    def arguments(self) -> list[str]:
        """The same for another process."""
        given = {"--runs": self.runs, "--nsd-root": self.nsd_root, "--corpus-root": self.corpus_root}
        return [word for name, place in given.items() if place is not None for word in (name, str(place.absolute()))]


@dataclass(frozen=True)
class Job:
    """One row for one subject and one seed."""

    row: Row
    subject: int
    seed: int

    def workbench(self, experiment: Experiment, places: Places) -> Workbench:
        """Its run."""
        profile = profile_of_row(experiment, self.row)
        return Workbench(profile, self.subject, self.seed, places.runs, places.nsd_root, places.corpus_root)


def jobs_of(experiment: Experiment) -> list[Job]:
    """All rows of a subject and seed one after the other, so that what they share is made first."""
    pairs = [(subject, seed) for subject in experiment.subjects for seed in experiment.seeds]
    return [Job(row, subject, seed) for subject, seed in pairs for row in experiment.rows]


def profile_of_row(experiment: Experiment, row: Row) -> Profile:
    """The profile under the row's changes.

    Raises:
        ExperimentError: names the row and the setting.
    """
    try:
        profile = profile_of(experiment.profile)
        if row.method is not None or row.without:
            profile = with_method(profile, row.method or profile.method, row.without)
        return changed(profile, **row.changes)
    except ValueError as problem:
        raise ExperimentError(f"{_named(experiment, row)}: {problem}") from problem


def system_of_row(experiment: Experiment, row: Row) -> System:
    """The row's system, as the experiment scores it.

    Raises:
        ExperimentError: there is none of this name, or it finds no images and the experiment scores those.
    """
    try:
        system = system_of(row.system)
        return finding(system) if experiment.images == RETRIEVED else system
    except ValueError as problem:
        raise ExperimentError(f"{_named(experiment, row)}: {problem}") from problem


def check(experiment: Experiment, places: Places) -> None:
    """All that can be wrong, before anything is made.

    Raises:
        ExperimentError: an unknown system, setting or subject; a row whose changes have no effect; a row twice.
    """
    known: dict[tuple[str, ...], str] = {}
    for row in experiment.rows:
        keys = _keys(experiment, row, places)
        if keys in known:
            raise ExperimentError(f"{_named(experiment, row)} gives the same numbers as row '{known[keys]}'.")
        own = {name: value for name, value in row.changes.items() if experiment.changes.get(name, row) != value}
        own |= {f"without {name}": True for name in row.without}
        if own and keys == _keys(experiment, replace(row, changes=experiment.changes, without=()), places):
            said = ", ".join(f"{name} = {value!r}" for name, value in own.items())
            raise ExperimentError(
                f"{_named(experiment, row)}: its changes ({said}) have no effect on the system '{row.system}'. Remove "
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


def stages_of_job(experiment: Experiment, job: Job, places: Places) -> list[Stage]:
    """The scores of one row for one subject and seed; nothing is made."""
    return _stages(experiment, job.workbench(experiment, places), system_of_row(experiment, job.row))


def _stages(experiment: Experiment, workbench: Workbench, system: System) -> list[Stage]:
    return stages_of(workbench.run, system, experiment.estimates_alone)


def _named(experiment: Experiment, row: Row) -> str:
    return f"row '{row.name}' of '{experiment.name}'"


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
        _submitted(experiment, path, places, jobs, slurm)
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
                stages = _stages(experiment, workbench, system)
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


def _submitted(experiment: Experiment, path: Path, places: Places, jobs: int, slurm: str | None) -> None:
    """Every job as a process of its own, through submitit: on this machine, or on a partition of a Slurm cluster."""
    import submitit
    from tqdm.auto import tqdm

    if slurm is not None and shutil.which("sbatch") is None:
        raise ExperimentError(
            f"the partition '{slurm}' was asked for, and this machine has no 'sbatch'. Run the command on a "
            "machine of the cluster, or with --jobs N on this one."
        )
    store = Store(places.runs or default_runs())
    executor = submitit.AutoExecutor(store.root.absolute() / "jobs", cluster="local" if slurm is None else "slurm")
    executor.update_parameters(name=experiment.name, timeout_min=24 * 60)
    if slurm is not None:
        executor.update_parameters(slurm_partition=slurm)
    waiting = [job for job in jobs_of(experiment) if not _done(job, experiment, places)]
    running: list[Any] = []
    failed: list[str] = []
    with tqdm(total=len(waiting), desc=experiment.name, unit="job") as bar:
        while waiting or running:
            while waiting and (slurm is not None or len(running) < jobs):
                job = waiting.pop(0)
                command = submitit.helpers.CommandFunction(_command(job, experiment, path, places))
                running.append((job, executor.submit(command)))
            for pair in [pair for pair in running if pair[1].done()]:
                running.remove(pair)
                bar.update()
                if pair[1].exception() is not None:
                    failed.append(f"{pair[0].row.name}, subject {pair[0].subject}, seed {pair[0].seed}")
            time.sleep(POLL)
    if failed:
        raise ExperimentError(
            f"{len(failed)} jobs of '{experiment.name}' failed ({'; '.join(failed[:3])}); their messages are in "
            f"'{store.root / 'jobs'}'. What is done is kept: the same command goes on."
        )


def _done(job: Job, experiment: Experiment, places: Places) -> bool:
    store = Store(places.runs or default_runs())
    return all(store.find(stage) is not None for stage in stages_of_job(experiment, job, places))


def _command(job: Job, experiment: Experiment, path: Path, places: Places) -> list[str]:
    words = [sys.executable, "-m", "brainram_lib", "experiment", "job", str(path.absolute()), "--row", job.row.name]
    words += ["--subject", str(job.subject), "--seed", str(job.seed), "--profile", experiment.profile]
    return words + places.arguments()


def run_job(experiment: Experiment, row: str, subject: int, seed: int, places: Places) -> None:
    """One job: the scores of one row for one subject and seed, and all that they need."""
    job = Job(experiment.row(row), subject, seed)
    workbench = job.workbench(experiment, places)
    system = system_of_row(experiment, job.row)
    values_of(workbench.run, workbench.store, [system], experiment.estimates_alone)


def spoken(words: Sequence[str]) -> str:
    """A command as one types it."""
    return shlex.join(["python", "-m", "brainram_lib", *words])
