"""A plan says what is missing and how long its like took, and makes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from brainram_lib.core.settings import Settings, number
from brainram_lib.core.store import Stage, Store
from brainram_lib.experiments import plan as plans
from brainram_lib.experiments.jobs import Places
from brainram_lib.experiments.results import committed_times
from brainram_lib.experiments.times import in_words, joined, kind, spent, times_of


@dataclass(frozen=True)
class Sizes(Settings):
    epochs: int = number(3)


@dataclass(frozen=True)
class Tokens(Stage):
    subject: int

    @property
    def name(self) -> str:
        return "tokens"

    def make(self, folder: Path, store: Store) -> None:
        (folder / "tokens.txt").write_text("x")


@dataclass(frozen=True)
class Prior(Stage):
    tokens: Tokens
    seed: int = 0
    settings: Sizes = field(default_factory=Sizes)

    @property
    def name(self) -> str:
        return "prior-image"

    def make(self, folder: Path, store: Store) -> None:
        raise AssertionError("a plan makes nothing")


@dataclass(frozen=True)
class Scores(Stage):
    prior: Prior
    row: str

    @property
    def name(self) -> str:
        return "image-scores"

    def make(self, folder: Path, store: Store) -> None:
        raise AssertionError("a plan makes nothing")


@pytest.fixture
def planned(table, tmp_path, monkeypatch):
    """Two rows that share a prior; `planned(times)` on the same store each time."""
    monkeypatch.setattr(
        plans,
        "stages_of_job",
        lambda experiment, job, places: [Scores(Prior(Tokens(job.subject), job.seed), job.row.name)],
    )
    store = Store(tmp_path / "runs")
    two = table.of([1], [0], [row.name for row in table.rows[:2]])

    def made(times, seen=None):
        return plans.plan(two, Places(), store, times, seen)

    made.store = store
    return made


def test_what_rows_share_stands_at_the_first(planned):
    first, second = planned({})
    assert [stage.name for stage in first.stages] == ["tokens", "prior-image", "image-scores"]
    assert [stage.name for stage in second.stages] == ["image-scores"]
    said = plans.said([first, second])
    whole = "To make: 4 stages; their like took 0 s of CPU time at the longest. What several rows need counts once."
    assert whole in said
    assert "no result of their like is saved: image-scores, prior-image, tokens." in said


def test_what_an_experiment_before_makes_does_not_count_again(planned):
    seen = {Prior(Tokens(1), 0).key, Tokens(1).key}
    first, second = planned({}, seen)
    assert [[stage.name for stage in one.stages] for one in (first, second)] == [["image-scores"]] * 2
    assert all(stage.key in seen for one in (first, second) for stage in one.stages)


def test_times_of_the_same_kind_are_added(planned):
    like = {kind(Prior(Tokens(7), 5).described): 8000.0, kind(Tokens(2).described): 30.0}
    first, second = planned(like)
    assert first.known == 8030 and second.known == 0
    said = plans.said([first, second]).splitlines()
    assert "subject 1, seed 0: 3 stages, 2 h 14 min: prior-image 2 h 13 min, tokens 30 s" in said[0]
    assert said[-1].endswith("is saved: image-scores.")


def test_what_is_saved_or_begun_is_told_apart(planned):
    planned.store.result(Tokens(1))
    prior = Prior(Tokens(1))
    folder = planned.store.folder(prior)
    partial = folder.with_name(f".{prior.key}.partial")
    partial.mkdir(parents=True)
    assert planned({})[0].begun == 0, "an empty folder is no beginning"
    (partial / "checkpoint").write_text("x")
    first, _ = planned({})
    assert [stage.name for stage in first.stages] == ["prior-image", "image-scores"] and first.begun == 1
    assert "2 stages, 1 begun, " in plans.said([first])
    partial.rename(folder)
    (folder / "result.json").write_text("{}")
    assert [stage.name for stage in planned({})[0].stages] == ["image-scores"]


def test_nothing_to_make_is_said():
    assert plans.said([]) == "Nothing is to be made: all scores are saved."


def test_a_kind_is_of_sizes_and_not_of_seeds_subjects_and_rows():
    prior = Prior(Tokens(1))
    assert kind(prior.described) == kind(Prior(Tokens(2), 4).described)
    assert kind(prior.described) != kind(Prior(Tokens(1), settings=Sizes(4)).described)
    assert kind(Scores(prior, "a").described) == kind(Scores(prior, "b").described)


def test_the_longest_of_a_kind_counts_and_damaged_records_do_not(tmp_path):
    described = Prior(Tokens(1)).described
    times = times_of([described | {"cpu_seconds": 40}, described | {"cpu_seconds": 12}, {}, {"stage": "x"}])
    assert times == {kind(described): 40.0}
    assert joined(times, {kind(described): 50.0, "other": 1.0}) == {kind(described): 50.0, "other": 1.0}
    store = Store(tmp_path)
    store.result(Tokens(1))
    assert spent(store, [Scores(Prior(Tokens(1)), "a")]).keys() == {kind(Tokens(1).described)}


def test_a_damaged_file_of_records_costs_its_times_alone(every_run, tmp_path, monkeypatch):
    monkeypatch.setattr("brainram_lib.experiments.results.RESULTS", tmp_path)
    replace(every_run, took={"prior-image-x": 8.0}).write(tmp_path / "mini" / "table4.json")
    (tmp_path / "mini" / "other.json").write_text("{")
    assert committed_times("mini") == {"prior-image-x": 8.0} and committed_times("paper") == {}


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "1 h 0 min")])
def test_durations_are_said_to_two_figures(seconds, words):
    assert in_words(seconds) == words
