"""Jobs of a Slurm partition, through submitit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainram_lib.experiments.entries import ExperimentError

# Minutes that a job may take, unless `time` is among the options.
MINUTES = 24 * 60


class SlurmJob:
    """One job in the queue, running or ended."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def done(self) -> bool:
        """Whether it has ended."""
        return self._job.done()

    def failure(self) -> str | None:
        """Why an ended job failed; None if it did not."""
        problem = self._job.exception()
        if problem is None:
            return None
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        return lines[-1] if lines else type(problem).__name__


class SlurmJobs:
    """All jobs are submitted at once and wait for their turn in the queue.

    Args:
        folder: of their messages.
        name: of the jobs in the queue.
        partition: of the cluster.
        options: for sbatch, `{"gres": "gpu:1", "mem": "64G"}`.

    Raises:
        ExperimentError: this machine has no `sbatch`.
    """

    at_once = None

    def __init__(self, folder: Path, name: str, partition: str, options: Mapping[str, str]) -> None:
        import submitit

        if shutil.which("sbatch") is None:
            raise ExperimentError(
                f"the partition '{partition}' was asked for, and this machine has no 'sbatch'. Run the command on a "
                "machine of the cluster, or with --jobs N on this one."
            )
        self._executor = submitit.AutoExecutor(folder, cluster="slurm")
        self._executor.update_parameters(
            name=name,
            timeout_min=MINUTES,
            slurm_partition=partition,
            slurm_additional_parameters=dict(options),
        )

    def start(self, command: list[str], _name: str) -> SlurmJob:
        """Submit one."""
        import submitit

        return SlurmJob(self._executor.submit(submitit.helpers.CommandFunction(command)))

    def leave(self, _running: list[SlurmJob]) -> None:
        """Jobs stay in the queue when this process is stopped: `scancel` ends them, the same command waits for them."""


def options_of(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`gres=gpu:1` as ('gres', 'gpu:1').

    Raises:
        ExperimentError: a word without a name or without '='.
    """
    pairs = [word.lstrip("-").partition("=") for word in words]
    for word, (name, sign, _) in zip(words, pairs, strict=True):
        if not name or not sign:
            raise ExperimentError(f"'--slurm-options' must be NAME=VALUE of sbatch, as gres=gpu:1. '{word}' was given.")
    return tuple((name, value) for name, _, value in pairs)
