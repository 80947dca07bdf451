"""Jobs of experiments in processes of their own: on this machine, or on a Slurm cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from brainram_lib.core.store import Stage, Store, default_runs
from brainram_lib.experiments.jobs import Asked, Job, Places, jobs_of, missing, stages_of_job
from brainram_lib.experiments.local import LocalJobs, ended_by_sigterm
from brainram_lib.experiments.plan import known_times
from brainram_lib.experiments.slurm import SlurmJobs
from brainram_lib.experiments.times import Times, joined, kind
from brainram_lib.profiles import profile_of

POLL = 1.0


@runtime_checkable
class Started(Protocol):
    """A job that was begun."""

    def done(self) -> bool:
        """Whether it has ended."""

    def failure(self) -> str | None:
        """Why an ended job failed, or None."""


@runtime_checkable
class Executor(Protocol):
    """Where jobs run."""

    at_once: int | None

    def start(self, command: list[str], name: str) -> Started:
        """Begin one."""

    def leave(self, running: list[Started]) -> None:
        """Called when this process is stopped while jobs run."""


@dataclass(frozen=True)
class Processes:
    """Where jobs run.

    Attributes:
        jobs: how many run at once on this machine; 1: in this process.
        slurm: a partition to use instead. options: for its sbatch.
    """

    jobs: int = 1
    slurm: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def several(self) -> bool:
        """Whether jobs run in other processes than this one."""
        return self.slurm is not None or self.jobs > 1

    def executor(self, folder: Path, name: str) -> Executor:
        """What starts them."""
        if self.slurm is None:
            return LocalJobs(folder, self.jobs)
        return SlurmJobs(folder, name, self.slurm, dict(self.options))


ALONE = Processes()


class Wanted(NamedTuple):
    """One job of an experiment."""

    asked: Asked
    job: Job

    @property
    def name(self) -> str:
        """As its file of messages is called."""
        return f"{self.asked.experiment.name}-{self.job.row.name}-subj{self.job.subject:02d}-seed{self.job.seed}"

    def command(self, places: Places) -> list[str]:
        """The command line that does it."""
        words = [sys.executable, "-m", "brainram_lib", "experiment", "job", str(self.asked.path.absolute())]
        words += ["--row", self.job.row.name, "--subject", str(self.job.subject), "--seed", str(self.job.seed)]
        return [*words, "--profile", self.asked.experiment.profile, *places.arguments()]


class Waiting:
    """Jobs that have something to make and have not begun.

    Rows share stages, and a process waits while another makes what it needs: a job begins only when no running job is
    at the stage that it would make next. The longest come first, so that no long job runs alone at the end.

    Args:
        times: CPU seconds of stages by kind; jobs of the same length stay in the experiments' order.
    """

    def __init__(self, asked: Sequence[Asked], places: Places, store: Store, times: Times | None = None) -> None:
        self._store = store
        every = [Wanted(one, job) for one in asked for job in jobs_of(one.experiment)]
        stages = [(one, stages_of_job(one.asked.experiment, one.job, places)) for one in every]
        self._stages = [(one, own) for one, own in stages if any(store.find(stage) is None for stage in own)]
        self._stages.sort(key=lambda pair: -self._seconds(pair[1], times or {}))
        self._begun: list[int] = []

    def _seconds(self, scores: list[Stage], times: Times) -> float:
        """How long all that a job lacks takes, as far as known; what several jobs need is counted for each."""
        return sum(times.get(kind(stage.described), 0.0) for stage in missing(self._store, scores, set()))

    def __len__(self) -> int:
        return len(self._stages) - len(self._begun)

    def next(self, running: Sequence[Wanted]) -> Wanted | None:
        """The first job with work that no running one is at; None if there is none now."""
        places = [place for place in self._begun if any(self._stages[place][0] is one for one in running)]
        busy = {self._at(place) for place in places} - {None}
        for place, (wanted, _) in enumerate(self._stages):
            if place not in self._begun and self._at(place) not in busy:
                self._begun.append(place)
                return wanted
        return None

    def _at(self, place: int) -> str | None:
        """The key of the stage that a job makes next, or is making."""
        first = next(missing(self._store, self._stages[place][1], set()), None)
        return None if first is None else first.key


def in_processes(asked: Sequence[Asked], places: Places, how: Processes) -> dict[str, dict[str, str]]:
    """Run every job of some experiments in a process of its own, all of them from one queue.

    Args:
        how: where they run.

    Returns:
        {experiment: {row/subject/seed: why}} of the jobs that failed.

    Raises:
        ExperimentError: there is no Slurm here.
    """
    from tqdm.auto import tqdm

    store, names = Store(places.runs or default_runs()), [one.experiment.name for one in asked]
    executor = how.executor(store.root.absolute() / "jobs", "-".join(names))
    profiles = {profile_of(one.experiment.profile).name for one in asked}
    waiting = Waiting(asked, places, store, joined(*(known_times(profile, store) for profile in sorted(profiles))))
    running: list[tuple[Wanted, Started]] = []
    failed: dict[str, dict[str, str]] = {name: {} for name in names}
    try:
        with ended_by_sigterm(), tqdm(total=len(waiting), desc=", ".join(names), unit="job") as bar:
            while len(waiting) or running:
                while executor.at_once is None or len(running) < executor.at_once:
                    # on a cluster every job waits for its turn there
                    wanted = waiting.next([] if executor.at_once is None else [one for one, _ in running])
                    if wanted is None:
                        break
                    running.append((wanted, executor.start(wanted.command(places), wanted.name)))
                for pair in [pair for pair in running if pair[1].done()]:
                    running.remove(pair)
                    bar.update()
                    if (why := pair[1].failure()) is not None:
                        failed[pair[0].asked.experiment.name][pair[0].job.place] = why
                time.sleep(POLL)
    finally:
        executor.leave([started for _, started in running])
    return failed
