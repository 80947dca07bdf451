"""What an experiment would make, before it makes anything: its missing stages, and how long similar ones took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brainram_lib.core.store import Stage, Store
from brainram_lib.experiments.experiment import Experiment
from brainram_lib.experiments.jobs import Job, Places, jobs_of, missing, stages_of_job
from brainram_lib.experiments.results import committed_times
from brainram_lib.experiments.times import Times, in_words, joined, kind, times_of

SHOWN = 3


@dataclass(frozen=True)
class Planned:
    """What one row, subject and seed would make: a stage that an earlier one makes too is counted there.

    Attributes:
        stages: missing, inputs first.
        seconds: CPU time of each, in their order; None: no similar result is saved.
        begun: how many of them go on from what an interrupted run left.
    """

    job: Job
    stages: tuple[Stage, ...]
    seconds: tuple[float | None, ...]
    begun: int

    @property
    def known(self) -> float:
        """CPU seconds of all stages whose time is known."""
        return sum(one for one in self.seconds if one is not None)

    def longest(self) -> str:
        """The longest of them in words."""
        timed = [(took, stage.name) for took, stage in zip(self.seconds, self.stages, strict=True) if took is not None]
        first = sorted(timed, key=lambda pair: -pair[0])[:SHOWN]
        return ", ".join(f"{name} {in_words(took)}" for took, name in first)


def plan(
    experiment: Experiment, places: Places, store: Store, times: Times, seen: set[str] | None = None
) -> list[Planned]:
    """What `experiment run` would make, in its order; nothing is made, and nothing is read but records.

    `seen`: keys of stages that another experiment makes, which are not counted here; those of this one join them.
    """
    seen, found = set() if seen is None else seen, []
    for job in jobs_of(experiment):
        stages = tuple(missing(store, stages_of_job(experiment, job, places), seen))
        seconds = tuple(times.get(kind(stage.described)) for stage in stages)
        found.append(Planned(job, stages, seconds, sum(store.begun(stage) for stage in stages)))
    return found


def known_times(profile: str, store: Store) -> Times:
    """What stages took: those of the committed records of a profile, and the user's own."""
    return joined(committed_times(profile), times_of(record for _, record in store.records()))


def said(planned: Iterable[Planned]) -> str:
    """All of it as text: a line for each row, subject and seed that has something to make, and the whole."""
    planned = list(planned)
    return "\n".join([*lines(planned), whole_said(planned)])


def lines(planned: Iterable[Planned]) -> list[str]:
    """One for each row, subject and seed that has something to make."""
    return [_line(one) for one in planned if one.stages]


def whole_said(planned: Iterable[Planned]) -> str:
    """How much is to be made and how long that takes, and what is not counted."""
    planned = list(planned)
    count, known = sum(len(one.stages) for one in planned), sum(one.known for one in planned)
    if not count:
        return "Nothing is to be made: all scores are saved."
    line = f"To make: {count} stages; their like took {in_words(known)} of CPU time at the longest. "
    line += "What several rows need counts once."
    pairs = [pair for one in planned for pair in zip(one.stages, one.seconds, strict=True)]
    unknown = sorted({stage.name for stage, took in pairs if took is None})
    if not unknown:
        return line
    listed = ", ".join(unknown[: 2 * SHOWN]) + (", ..." if len(unknown) > 2 * SHOWN else "")
    return f"{line}\nCounted as nothing, because no result of their like is saved: {listed}."


def _line(one: Planned) -> str:
    begun = f", {one.begun} begun" if one.begun else ""
    longest = f": {one.longest()}" if one.known else ""
    job = f"{one.job.row.title}, subject {one.job.subject}, seed {one.job.seed}"
    return f"{job}: {len(one.stages)} stages{begun}, {in_words(one.known)}{longest}"
