"""What lies in the folder of results: listed with its use, and what nothing needs removed after asking."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from brainram_lib.__main__ import main
from brainram_lib.core.files import write_array
from brainram_lib.core.locks import Holder, held
from brainram_lib.core.store import Stage, Store
from brainram_lib.setup import saved


@dataclass(frozen=True)
class Numbers(Stage):
    """A stage without inputs."""

    count: int

    def make(self, folder, store):
        write_array(folder / "test.npy", np.arange(self.count))


@dataclass(frozen=True)
class EstimateScores(Stage):
    """Named as the stage that scores are made by."""

    numbers: Numbers

    def make(self, folder, store):
        write_array(folder / "values.npy", store.result(self.numbers).array("test"))


@pytest.fixture
def runs(tmp_path):
    store = Store(tmp_path)
    store.result(EstimateScores(Numbers(3)))
    store.result(Numbers(5))
    (tmp_path / "shared" / "numbers" / ".abc.partial").mkdir()
    return tmp_path


def test_what_is_saved_is_listed_with_settings_and_use(runs, capsys):
    assert main(["runs", "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "[count 3]  used by estimate-scores" in said and "[count 5]  used by nothing" in said
    assert "3 results in" in said


def test_what_nothing_needs_is_removed_after_asking(runs, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(["runs", "prune", "--runs", str(runs)]) == 0
    assert Store(runs).find(Numbers(5)) is not None and "Nothing was removed" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert main(["runs", "prune", "--runs", str(runs)]) == 0
    store = Store(runs)
    assert store.find(Numbers(5)) is None and store.find(EstimateScores(Numbers(3))) and store.find(Numbers(3))
    assert not (runs / "shared" / "numbers" / ".abc.partial").exists()
    main(["runs", "prune", "--runs", str(runs)])
    assert "is without use" in capsys.readouterr().out


def test_old_scores_can_be_given_up_with_all_that_only_they_need(runs):
    assert main(["runs", "prune", "--runs", str(runs), "--older-than", "0", "--yes"]) == 0
    assert list(runs.rglob("result.json")) == []


@pytest.mark.parametrize("host", ["here", "elsewhere/0"])
def test_nothing_is_removed_while_results_are_made(runs, host, capsys):
    """What a running job has read is named by no score yet."""
    lock = runs / "shared" / "numbers" / ".abc.lock"
    with held(lock, "numbers"):
        if host != "here":
            lock.write_text(json.dumps(asdict(replace(Holder.own(), host=host))))
        assert main(["runs", "prune", "--runs", str(runs), "--yes"]) == 1
        assert "is making results in" in capsys.readouterr().err
        assert Store(runs).find(Numbers(5)) and (runs / "shared" / "numbers" / ".abc.partial").exists()


def test_locks_of_the_dead_hold_nothing_up(runs):
    lock = runs / "shared" / "numbers" / ".abc.lock"
    lock.write_text(json.dumps(asdict(replace(Holder.own(), host="elsewhere/0"))))
    os.utime(lock, (0, 0))
    (runs / "shared" / "numbers" / ".def.lock").write_text("nobody")
    assert main(["runs", "prune", "--runs", str(runs), "--yes"]) == 0
    assert Store(runs).find(Numbers(5)) is None


@pytest.mark.parametrize("order", ["before", "behind"])
def test_the_named_folder_alone_is_pruned_wherever_it_stands(runs, tmp_path_factory, monkeypatch, order):
    checkout, removed = tmp_path_factory.mktemp("checkout"), []
    Store(checkout).result(Numbers(7))
    monkeypatch.setattr(saved, "default_runs", lambda: checkout)
    monkeypatch.setattr(saved, "shutil", SimpleNamespace(rmtree=lambda folder, **how: removed.append(folder)))
    place = ["--runs", str(runs)]
    words = ["runs", *place, "prune"] if order == "before" else ["runs", "prune", *place]
    assert main([*words, "--yes"]) == 0
    assert len(removed) == 2 and all(folder.is_relative_to(runs) for folder in removed)


def test_an_empty_folder_holds_nothing(tmp_path, capsys):
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    assert "0 results" in capsys.readouterr().out


def test_tokens_of_a_users_corpus_are_left_and_those_of_an_unused_one_that_was_made_are_not(runs):
    names = ("embedded-aaa", "tokens-aaa-eee", "indices-aaa", "training-ccc", "tokens-ccc-eee", "tokens-bbb-eee")
    for name in names:
        (runs / "corpora" / name).mkdir(parents=True)
    main(["runs", "prune", "--runs", str(runs), "--yes"])
    assert [name for name in names if (runs / "corpora" / name).exists()] == ["tokens-bbb-eee"]
