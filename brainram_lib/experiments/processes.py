"""An experiment's jobs in processes of their own, through submitit: on this machine, or on a Slurm cluster."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from brainram_lib.core.store import Store, default_runs
from brainram_lib.experiments.experiment import Experiment, ExperimentError
from brainram_lib.experiments.jobs import Job, Places, jobs_of, missing, stages_of_job

POLL = 1.0
THREADS = "OMP_NUM_THREADS"


class Waiting:
    """Jobs that have something to make and have not begun.

    Rows share stages, and a process stands still where another makes what it needs: a job begins when the next stage
    that it would make is none that a running one is at.
    """

    def __init__(self, experiment: Experiment, places: Places, store: Store) -> None:
        self._store = store
        every = [(job, stages_of_job(experiment, job, places)) for job in jobs_of(experiment)]
        self._stages = [(job, own) for job, own in every if any(store.find(stage) is None for stage in own)]
        self._begun: list[int] = []

    def __len__(self) -> int:
        return len(self._stages) - len(self._begun)

    def next(self, running: list[Job]) -> Job | None:
        """The first, in the experiment's order, that has work of its own beside those that run; None: none has now."""
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


def in_processes(experiment: Experiment, path: Path, places: Places, jobs: int, slurm: str | None) -> None:
    """Run every job in a process of its own.

    Args:
        path: the experiment's file.
        jobs: processes on this machine at once, which share its cores.
        slurm: a partition, to submit all jobs there instead.

    Raises:
        ExperimentError: there is no Slurm here, or jobs failed.
    """
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
    waiting = Waiting(experiment, places, store)
    environment = None if slurm is not None else shared_cores(jobs)
    running: list[tuple[Job, Any]] = []
    failed: list[str] = []
    with tqdm(total=len(waiting), desc=experiment.name, unit="job") as bar:
        while len(waiting) or running:
            while slurm is not None or len(running) < jobs:
                # on a cluster every job waits for its turn there
                job = waiting.next([] if slurm is not None else [one for one, _ in running])
                if job is None:
                    break
                command = submitit.helpers.CommandFunction(_command(job, experiment, path, places), env=environment)
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


def shared_cores(jobs: int) -> dict[str, str]:
    """The environment of one of several processes: its share of the cores, unless the user has said how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {THREADS: str(max(1, cores // jobs)), **os.environ}


def _command(job: Job, experiment: Experiment, path: Path, places: Places) -> list[str]:
    words = [sys.executable, "-m", "brainram_lib", "experiment", "job", str(path.absolute()), "--row", job.row.name]
    words += ["--subject", str(job.subject), "--seed", str(job.seed), "--profile", experiment.profile]
    return words + places.arguments()
