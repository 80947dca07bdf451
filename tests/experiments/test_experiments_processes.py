"""Which job begins next where rows share stages, and which cores each of several has."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from brainram_lib.core.store import Stage, Store
from brainram_lib.experiments import processes
from brainram_lib.experiments.jobs import Places
from brainram_lib.experiments.processes import THREADS, Waiting, shared_cores


@dataclass(frozen=True)
class Made(Stage):
    label: str
    first: Stage | None = None
    second: Stage | None = None

    @property
    def name(self) -> str:
        return self.label

    def make(self, folder: Path, store: Store) -> None:
        (folder / "made.txt").write_text("x")


TOKENS = Made("tokens")
PRIOR, RIDGE, PEER = Made("prior", TOKENS), Made("ridge", TOKENS), Made("peer")
ROWS = {
    "ram": Made("ram scores", Made("ram", PRIOR), RIDGE),
    "no-ram": Made("no-ram scores", PRIOR),
    "ridge": Made("ridge scores", RIDGE),
    "peer": Made("peer scores", PEER),
}


@pytest.fixture
def waiting(table, tmp_path, monkeypatch):
    """Jobs of four rows, and `made(stage)`, which saves a result as another process would."""
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [ROWS[job.row.name]])
    rows = tuple(replace(table.rows[0], name=name) for name in ROWS)
    store = Store(tmp_path / "runs")
    found = Waiting(replace(table, rows=rows, subjects=(1,), seeds=(0,)), Places(), store)
    found.made = lambda stage: Store(tmp_path / "runs").result(stage)
    return found


def begin(waiting, running):
    job = waiting.next(running)
    if job is not None:
        running.append(job)
    return None if job is None else job.row.name


def test_a_job_that_would_stand_still_is_passed_over(waiting):
    running = []
    assert begin(waiting, running) == "ram"
    # all but one need the tokens, which the first job is making
    assert begin(waiting, running) == "peer" and begin(waiting, running) is None and len(waiting) == 2
    waiting.made(TOKENS)
    assert begin(waiting, running) == "ridge" and begin(waiting, running) is None
    waiting.made(PRIOR)
    assert begin(waiting, running) == "no-ram" and len(waiting) == 0


def test_where_none_runs_the_first_begins(waiting):
    assert [begin(waiting, []) for _ in ROWS] == list(ROWS)
    assert waiting.next([]) is None


def test_a_job_that_is_done_while_it_waits_holds_nobody(waiting):
    running = []
    assert begin(waiting, running) == "ram"
    for stage in ROWS.values():
        waiting.made(stage)
    assert [begin(waiting, running) for _ in range(4)] == ["no-ram", "ridge", "peer", None]


def test_jobs_whose_scores_are_saved_do_not_wait(table, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [PEER])
    store = Store(tmp_path)
    two = replace(table, rows=table.rows[:1], subjects=(1, 2), seeds=(0,))
    assert len(Waiting(two, Places(), store)) == 2
    store.result(PEER)
    assert len(Waiting(two, Places(), store)) == 0


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert [shared_cores(jobs)[THREADS] for jobs in (1, 2, 3, 20)] == ["8", "4", "2", "1"]
    assert shared_cores(2)["PATH"] == os.environ["PATH"]
    monkeypatch.setenv(THREADS, "5")
    assert shared_cores(2)[THREADS] == "5", "what the user says stays"
