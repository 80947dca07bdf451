"""The records of an experiment's rows from their saved scores; what is missing is made in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas

from brainram_lib.core.files import StoreError
from brainram_lib.core.locks import LockLost, NotWritableError
from brainram_lib.evaluation import records
from brainram_lib.evaluation.records import Values
from brainram_lib.experiments.experiment import Experiment, Row
from brainram_lib.experiments.jobs import Job, Places, key_of, scores_of, system_of_row
from brainram_lib.experiments.per_image import PerImage, lines_of
from brainram_lib.experiments.results import Results, RowRecord, said_of
from brainram_lib.experiments.times import joined, spent
from brainram_lib.systems import System
from brainram_lib.systems.scores import pool_notes, retrieval_notes, values_of
from brainram_lib.workbench import Workbench

Scores = dict[str, np.ndarray]


def collect(experiment: Experiment, places: Places, command: str = "", failed: dict[str, str] | None = None) -> Results:
    """The records of every row, making what is missing in this process.

    Args:
        failed: {row/subject/seed: why} of jobs that failed: they have no records, and those that fail now are added.
            Without it, the first failure ends the call.
    """
    gathered = _Gathered()
    for subject in experiment.subjects:
        for seed in experiment.seeds:
            values: Values = {}
            for row in experiment.rows:
                job = Job(row, subject, seed)
                if failed is None:
                    values[row.name] = gathered.take(experiment, job, places)
                elif job.place not in failed:
                    with _failing(job, failed):
                        values[row.name] = gathered.take(experiment, job, places)
            rows = [row for row in experiment.rows if row.name in values]
            gathered.found += [one for row in rows for one in _records(experiment, row, values, subject, seed)]
            gathered.differences += _differences(experiment, values, subject, seed)
    return gathered.results(experiment, command, failed or {})


@contextmanager
def _failing(job: Job, failed: dict[str, str]) -> Iterator[None]:
    """Note why a job failed, and go on; a full disk or a lost lock, which would fail the next one too, is raised."""
    try:
        yield
    except (StoreError, LockLost, NotWritableError):
        raise
    except Exception as problem:
        failed[job.place] = next(iter(str(problem).splitlines()), "") or type(problem).__name__


@dataclass
class _Gathered:
    """What is collected, job by job."""

    found: list[RowRecord] = field(default_factory=list)
    differences: list[RowRecord] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    said: dict[str, None] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    images: list[pandas.DataFrame] = field(default_factory=list)
    simulated: bool = False
    reported: bool = True

    def take(self, experiment: Experiment, job: Job, places: Places) -> Scores:
        """One job's scores, made where they are missing."""
        workbench = job.workbench(experiment, places)
        system = system_of_row(experiment, job.row)
        per_image, _ = values_of(workbench.run, workbench.store, [system], experiment.estimates_alone)
        values = _counting(experiment, per_image[system.name])
        stages = scores_of(experiment, workbench, system)
        said = _said(workbench, system, job.subject)
        lines = lines_of(job.row.name, job.subject, job.seed, workbench.nsd_ids("test"), values)
        # nothing is kept of a job that fails before this line
        self.images.append(lines)
        self.said |= dict.fromkeys(said)
        self.keys[job.place] = key_of(stages)
        self.took = joined(self.took, spent(workbench.store, stages))
        self.simulated, self.reported = workbench.run.source.simulated, workbench.run.source.reported
        return values

    def results(self, experiment: Experiment, command: str, failed: dict[str, str]) -> Results:
        """All that was collected."""
        of = {"profile": experiment.profile, "simulated": self.simulated, "command": command, "said": tuple(self.said)}
        of |= {"reported": self.reported, "took": self.took, "failed": failed}
        return Results.of(experiment, self.found, self.differences, self.keys, **of, images=PerImage.of(self.images))


def _counting(experiment: Experiment, scores: Scores) -> Scores:
    """The scores that the experiment records."""
    return {name: one for name, one in scores.items() if not experiment.metrics or name in experiment.metrics}


def _said(workbench: Workbench, system: System, subject: int) -> list[str]:
    notes = [note for of in (pool_notes, retrieval_notes) for note in of(workbench.run, workbench.store, [system])]
    return [said_of(subject, note) for note in notes]


def _records(experiment: Experiment, row: Row, values: Values, subject: int, seed: int) -> list[RowRecord]:
    made = records.records_of(row.system, values[row.name], subject=subject, seed=seed)
    return [RowRecord.of(experiment.name, row.name, one) for one in made]


def _differences(experiment: Experiment, values: Values, subject: int, seed: int) -> list[RowRecord]:
    """Every row against the reference, image by image."""
    if experiment.reference not in values:
        return []
    found = []
    for row in experiment.rows:
        if row.name != experiment.reference and row.name in values:
            shared = {metric: one for metric, one in values[row.name].items() if metric in values[experiment.reference]}
            pair = {row.name: shared, experiment.reference: values[experiment.reference]}
            made = records.leads(row.name, experiment.reference, pair, subject=subject, seed=seed)
            found += [RowRecord.of(experiment.name, row.name, one) for one in made]
    return found
