"""What an experiment's rows are for each subject and seed: their profile, their system, the stages of their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from brainram_lib.core.store import Stage, Store
from brainram_lib.experiments.experiment import RETRIEVED, Experiment, ExperimentError, Row
from brainram_lib.experiments.places import place_of
from brainram_lib.profiles import Profile, changed, profile_of, with_method
from brainram_lib.systems import System, system_of
from brainram_lib.systems.finding import finding
from brainram_lib.systems.scores import stages_of
from brainram_lib.workbench import Workbench


@dataclass(frozen=True)
class Places:
    """Where things are, as the command line gives them."""

    runs: Path | None = None
    nsd_root: Path | None = None
    corpus_root: Path | None = None

    def arguments(self) -> list[str]:
        """The same as command-line arguments, for another process."""
        given = {"--runs": self.runs, "--nsd-root": self.nsd_root, "--corpus-root": self.corpus_root}
        return [word for name, place in given.items() if place is not None for word in (name, str(place.absolute()))]


@dataclass(frozen=True)
class Asked:
    """The part of an experiment that is asked for, and its file, which jobs in their own processes read."""

    experiment: Experiment
    path: Path


@dataclass(frozen=True)
class Job:
    """One row for one subject and one seed."""

    row: Row
    subject: int
    seed: int

    def workbench(self, experiment: Experiment, places: Places) -> Workbench:
        """The workbench of its run."""
        profile = profile_of_row(experiment, self.row)
        return Workbench(profile, self.subject, self.seed, places.runs, places.nsd_root, places.corpus_root)

    @property
    def place(self) -> str:
        """As records call it: 'row/subject/seed'."""
        return place_of(self.row.name, self.subject, self.seed)


def jobs_of(experiment: Experiment) -> list[Job]:
    """All rows of a subject and seed one after the other, so that what they share is made first."""
    pairs = [(subject, seed) for subject in experiment.subjects for seed in experiment.seeds]
    return [Job(row, subject, seed) for subject, seed in pairs for row in experiment.rows]


def profile_of_row(experiment: Experiment, row: Row) -> Profile:
    """The profile with the row's changes.

    Raises:
        ExperimentError: names the row and the setting.
    """
    try:
        profile = profile_of(experiment.profile)
        if row.method is not None or row.without:
            profile = with_method(profile, row.method or profile.method, row.without)
        return changed(profile, **row.changes)
    except ValueError as problem:
        raise ExperimentError(f"{named(experiment, row)}: {problem}") from problem


def system_of_row(experiment: Experiment, row: Row) -> System:
    """The row's system, as the experiment scores it.

    Raises:
        ExperimentError: there is none of this name, or it finds no images although the experiment scores those.
    """
    try:
        system = system_of(row.system)
        return finding(system) if experiment.images == RETRIEVED else system
    except ValueError as problem:
        raise ExperimentError(f"{named(experiment, row)}: {problem}") from problem


def stages_of_job(experiment: Experiment, job: Job, places: Places) -> list[Stage]:
    """The scores of one row for one subject and seed; nothing is made."""
    return scores_of(experiment, job.workbench(experiment, places), system_of_row(experiment, job.row))


def scores_of(experiment: Experiment, workbench: Workbench, system: System) -> list[Stage]:
    """The scores of a system in one run, those that the experiment records."""
    return stages_of(workbench.run, system, experiment.estimates_alone)


def key_of(scores: Iterable[Stage]) -> str:
    """What a row's records are saved under: the keys of its scores."""
    return "-".join(stage.key for stage in scores)


def missing(store: Store, stages: Iterable[Stage], seen: set[str]) -> Iterator[Stage]:
    """Stages without a result, inputs first. The inputs of a saved result are not needed any more."""
    for stage in stages:
        if stage.key not in seen:
            seen.add(stage.key)
            if store.find(stage) is None:
                yield from missing(store, stage.inputs.values(), seen)
                yield stage


def named(experiment: Experiment, row: Row) -> str:
    """As messages call a row."""
    return f"row '{row.name}' of '{experiment.name}'"
