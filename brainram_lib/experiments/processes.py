"""An experiment's jobs in processes of their own: on this machine, or on a Slurm cluster."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from brainram_lib.core.store import Stage, Store, default_runs
from brainram_lib.experiments.experiment import Experiment
from brainram_lib.experiments.jobs import Job, Places, jobs_of, missing, stages_of_job
from brainram_lib.experiments.local import LocalJobs, ended_by_sigterm
from brainram_lib.experiments.plan import known_times
from brainram_lib.experiments.slurm import SlurmJobs
from brainram_lib.experiments.times import Times, kind
from brainram_lib.profiles import profile_of

POLL = 1.0


@runtime_checkable
class Started(Protocol):
    """A job that was begun."""

    def done(self) -> bool:
        """Whether it has ended."""

    def failure(self) -> str | None:
        """Of an ended job: why it failed, or None."""


@runtime_checkable
class Executor(Protocol):
    """Where jobs run."""

    at_once: int | None

    def start(self, command: list[str], name: str) -> Started:
        """Begin one."""

    def leave(self, running: list[Started]) -> None:
        """This process is stopped while jobs run."""


@dataclass(frozen=True)
class Processes:
    """Where an experiment's jobs run.

    Attributes:
        jobs: at once on this machine; 1: in this process.
        slurm: a partition, in their place. options: of sbatch for it.
    """

    jobs: int = 1
    slurm: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def several(self) -> bool:
        """Whether there are processes beside this one."""
        return self.slurm is not None or self.jobs > 1

    def executor(self, folder: Path, name: str) -> Executor:
        """What starts them."""
        if self.slurm is None:
            return LocalJobs(folder, self.jobs)
        return SlurmJobs(folder, name, self.slurm, dict(self.options))


ALONE = Processes()


class Waiting:
    """Jobs that have something to make and have not begun.

    Rows share stages, and a process stands still where another makes what it needs: a job begins when the next stage
    that it would make is none that a running one is at. The longest come first, so that none is left over alone.

    Args:
        times: CPU seconds of stages by kind; those of the same length stay in the experiment's order.
    """

    def __init__(self, experiment: Experiment, places: Places, store: Store, times: Times | None = None) -> None:
        self._store = store
        every = [(job, stages_of_job(experiment, job, places)) for job in jobs_of(experiment)]
        self._stages = [(job, own) for job, own in every if any(store.find(stage) is None for stage in own)]
        self._stages.sort(key=lambda pair: -self._seconds(pair[1], times or {}))
        self._begun: list[int] = []

    def _seconds(self, scores: list[Stage], times: Times) -> float:
        """What all that a job lacks takes, as far as it is known; what others need too is counted for each."""
        return sum(times.get(kind(stage.described), 0.0) for stage in missing(self._store, scores, set()))

    def __len__(self) -> int:
        return len(self._stages) - len(self._begun)

    def next(self, running: list[Job]) -> Job | None:
        """The first that has work of its own beside those that run; None: none has now."""
        busy = {self._at(place) for place in self._begun if self._stages[place][0] in running} - {None}
        for place, (job, _) in enumerate(self._stages):
            if place not in self._begun and self._at(place) not in busy:
                self._begun.append(place)
                return job
        return None

    def _at(self, place: int) -> str | None:
        """The key of the stage that a job makes next, or is making."""
        first = next(missing(self._store, self._stages[place][1], set()), None)
        return None if first is None else first.key


def in_processes(experiment: Experiment, path: Path, places: Places, how: Processes) -> dict[str, str]:
    """Run every job in a process of its own.

    Args:
        path: the experiment's file.
        how: where they run.

    Returns:
        {row/subject/seed: why} of the jobs that failed.

    Raises:
        ExperimentError: there is no Slurm here.
    """
    from tqdm.auto import tqdm

    store = Store(places.runs or default_runs())
    executor = how.executor(store.root.absolute() / "jobs", experiment.name)
    waiting = Waiting(experiment, places, store, known_times(profile_of(experiment.profile).name, store))
    running: list[tuple[Job, Started]] = []
    failed: dict[str, str] = {}
    try:
        with ended_by_sigterm(), tqdm(total=len(waiting), desc=experiment.name, unit="job") as bar:
            while len(waiting) or running:
                while executor.at_once is None or len(running) < executor.at_once:
                    # on a cluster every job waits for its turn there
                    job = waiting.next([] if executor.at_once is None else [one for one, _ in running])
                    if job is None:
                        break
                    running.append(
                        (job, executor.start(_command(job, experiment, path, places), _name(experiment, job)))
                    )
                for pair in [pair for pair in running if pair[1].done()]:
                    running.remove(pair)
                    bar.update()
                    if (why := pair[1].failure()) is not None:
                        failed[pair[0].place] = why
                time.sleep(POLL)
    finally:
        executor.leave([started for _, started in running])
    return failed


def _name(experiment: Experiment, job: Job) -> str:
    return f"{experiment.name}-{job.row.name}-subj{job.subject:02d}-seed{job.seed}"


def _command(job: Job, experiment: Experiment, path: Path, places: Places) -> list[str]:
    words = [sys.executable, "-m", "brainram_lib", "experiment", "job", str(path.absolute()), "--row", job.row.name]
    words += ["--subject", str(job.subject), "--seed", str(job.seed), "--profile", experiment.profile]
    return words + places.arguments()
