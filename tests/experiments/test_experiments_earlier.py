"""Records that an earlier run wrote into the same file: joined while they are true, named when they are not."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
from saved_scores import IMAGES, ONE_RUN, results_of

from brainram_lib.core.locks import held
from brainram_lib.core.store import Stage
from brainram_lib.experiments import earlier, runner, shown
from brainram_lib.experiments.entries import ExperimentError
from brainram_lib.experiments.experiment import parted
from brainram_lib.experiments.jobs import Asked, Places
from brainram_lib.experiments.per_image import lines_of
from brainram_lib.experiments.processes import Processes
from brainram_lib.experiments.results import Results, RowRecord, images_file, said_together

OTHER = ((2, 0),)


@dataclass(frozen=True)
class Keyed(Stage):
    named: str

    @property
    def key(self):
        return self.named


@pytest.fixture
def keys(monkeypatch):
    """What the scores' keys are now, {place: key}; 'key' where nothing else is said."""
    now = {}
    monkeypatch.setattr(earlier, "stages_of_job", lambda experiment, job, places: [Keyed(now.get(job.place, "key"))])
    return now


@pytest.fixture
def file(table, tmp_path):
    path = tmp_path / "table4.json"
    replace(results_of(table), command="first", made="2026-01-02T00:00:00Z").write(path)
    return path


def joined(table, file, runs=OTHER, whole=None, **of):
    return earlier.with_earlier(replace(results_of(table, runs), **of), table, whole or table, file, Places())


def runs_of(results):
    return {(one.subject, one.seed) for one in results.records}


def test_another_subject_joins_the_first_and_both_say_what_made_them(table, file, keys):
    both = joined(table, file, command="second", made="2026-01-03T00:00:00Z")
    assert runs_of(both) == {(1, 0), (2, 0)} and len(both.images.lines) == 8 * IMAGES
    (before,) = both.before
    assert before["command"] == "first" and before["places"] == [
        f"{row}/1/0" for row in ("average", "cross", "ram", "twin")
    ]
    text = shown.tables(table, both)[0].text()
    assert "Made by `second` on 2026-01-03" in text and "4 rows of subject 1, seed 0 before, by `first` on" in text
    both.write(file)
    assert Results.read(file) == both
    third = joined(table, file, ((5, 0),), command="third")
    assert [one["command"] for one in third.before] == ["first", "second"] and len(runs_of(third)) == 3
    third.write(file)
    again = joined(table, file, ONE_RUN, command="fourth")
    assert [one["command"] for one in again.before] == ["second", "third"], "what was made again is the new run's"


def test_records_of_other_settings_or_code_are_left_out_and_named(table, file, keys, capsys):
    keys |= {"average/1/0": "other", "ram/1/0": "other"}
    both = joined(table, file)
    assert {one.row for one in both.records if one.subject == 1} == {"cross", "twin"}
    said = capsys.readouterr().err
    assert "average/1/0, ram/1/0" in said and "the code have changed" in said


@pytest.mark.parametrize(("reference", "left"), [("key", {"cross", "twin"}), ("other", set()), (None, set())])
def test_differences_from_a_reference_that_changed_are_left_out(table, reference, left):
    """'average' is made again, and so is 'ram', with the same key, with another, or its earlier scores have gone."""
    over = RowRecord("table4", "", "", "pixcorr", 0.1, 0.0, 0.2, IMAGES, 1, 0)
    rows = ("average", "cross", "twin")
    before = replace(
        results_of(table), differences=tuple(replace(over, row=row, system=f"{row} over ram") for row in rows)
    )
    keys = {"average/1/0": "new"} | ({} if reference is None else {"ram/1/0": reference})
    now = replace(results_of(table), keys=keys, images=before.images.of_places(keys))
    both = now.joined(before, before.keys.keys() - {"ram/1/0"})
    assert {one.row for one in both.differences} == left


@pytest.mark.parametrize("problem", [ValueError("'subject' must be one of 2"), FileNotFoundError("no corpus")])
def test_records_whose_run_cannot_be_named_any_more_cost_no_new_ones(table, file, monkeypatch, capsys, problem):
    def gone(*_):
        raise problem

    monkeypatch.setattr(earlier, "stages_of_job", gone)
    assert runs_of(joined(table, file)) == {(2, 0)} and "average/1/0" in capsys.readouterr().err


def test_records_of_a_row_that_the_file_lost_are_left_out(table, file, keys, capsys):
    fewer = replace(table, rows=table.rows[1:])
    assert "average" not in {one.row for one in joined(table, file, whole=fewer).records if one.subject == 1}
    assert "average/1/0" in capsys.readouterr().err


def test_records_without_the_scores_of_their_images_are_left_out(table, file, keys, capsys):
    images_file(file).unlink()
    assert runs_of(joined(table, file)) == {(2, 0)}
    assert "scores of single images are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"profile": "paper"}, "records of profile 'paper', and this run is of 'mini'"),
        ({"experiment": "table3"}, "records of experiment 'table3', and this run is of 'table4'"),
        ({"simulated": False}, "records of NSD, and these are of the embedded world"),
    ],
)
def test_records_of_other_data_are_not_replaced(table, tmp_path, keys, of, message):
    path = tmp_path / "table4.json"
    replace(results_of(table), **of).write(path)
    content = path.read_bytes()
    with pytest.raises(ExperimentError, match=message):
        joined(table, path)
    assert path.read_bytes() == content


def test_another_profiles_file_is_refused_before_anything_is_made(table, path, tmp_path, monkeypatch):
    replace(results_of(table), profile="paper").write(tmp_path / "out" / "table4.json")
    monkeypatch.setattr(runner, "check", lambda *_: None)
    monkeypatch.setattr(runner, "collect", lambda *_: pytest.fail("made"))
    with pytest.raises(ExperimentError, match="records of profile 'paper'"):
        runner.run([Asked(table, path)], Places(tmp_path / "runs"), out=tmp_path / "out")


def test_a_table_has_the_runs_of_its_own_rows_alone(table, every_run):
    """Records of a row that the table does not have say nothing of its subjects."""
    few = replace(table, rows=table.rows[:1], reference=None)
    one = every_run.of_rows({"average"})
    assert {record.row for record in one.records} == {"average"} == set(one.images.lines["row"])
    assert set(one.keys) == {place for place in every_run.keys if place.startswith("average/")}
    stray = replace(every_run, records=tuple(r for r in every_run.records if r.row != "average" or r.subject == 1))
    assert "subject 1, seeds" in shown.tables(few, shown.of_table(few, stray))[0].title


def test_some_subjects_and_seeds_of_the_records(table, every_run):
    said = ("Subject 1: one", "Subject 2: two", "of all")
    results = replace(every_run, said=said, failed={"cross/5/0": "why"})
    some = results.of_runs([2], [0])
    assert runs_of(some) == {(2, 0)} and some.images.cube.runs == [(2, 0)] and some.failed == {}
    assert some.said == ("Subject 2: two", "of all")
    text = shown.tables(table, some)[0].text()
    assert "subject 2, seed 0" in text and " two\n" in text and "Subject 2: two" not in text
    assert (
        every_run.of_rows({"ram"}).failed
        == {}
        == replace(results, failed={"none/1/0": "why"}).of_rows({row.name for row in table.rows}).failed
    )
    assert results.of_runs() is results and runs_of(results.of_runs(seeds=[1])) == {(s, 1) for s in (1, 2, 5, 7)}
    with pytest.raises(ExperimentError, match="none of subjects .3., seeds"):
        results.of_runs([3])


def test_rows_without_the_scores_of_their_images_are_named(table, every_run):
    less = replace(every_run, images=every_run.images.of_places([p for p in every_run.keys if p[:3] != "ram"]))
    assert "are missing, and so are these rows: 'ram'" in shown.tables(table, less)[0].text()


def test_two_that_write_one_file_keep_each_others_records(table, path, tmp_path, monkeypatch, keys):
    """The second waits with its reading until the first has written."""
    monkeypatch.setattr(runner, "check", lambda *_: None)
    monkeypatch.setattr(runner, "collect", lambda one, *_: results_of(table, ((one.subjects[0], 0),)))
    file = tmp_path / "out" / "table4.json"

    def run(subject):
        runner.run([Asked(table.of(subjects=[subject]), path)], Places(tmp_path / "runs"), out=tmp_path / "out")

    threads = [threading.Thread(target=run, args=(subject,)) for subject in (1, 2, 5)]
    with held(file.with_name(".table4.json.lock"), "a test"):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(60)
    assert runs_of(Results.read(file)) == {(1, 0), (2, 0), (5, 0)} and Results.read(file).images


def test_a_row_that_fails_leaves_the_others_their_records(table, path, tmp_path, monkeypatch, keys):
    from brainram_lib.experiments import collected

    monkeypatch.setattr(runner, "check", lambda *_: None)
    scores = {"pixcorr": np.linspace(0.1, 0.9, 10)}

    def take(self, experiment, job, places):
        if job.row.name == "cross":
            raise FileNotFoundError("its weights are not there\nmore")
        self.keys[job.place] = "key"
        self.images.append(lines_of(job.row.name, job.subject, job.seed, np.arange(10), scores))
        return scores

    monkeypatch.setattr(collected._Gathered, "take", take)
    with pytest.raises(
        ExperimentError, match="(?s)1 job of 'table4' failed.*'cross' of subject 1, seed 0: its weights"
    ):
        runner.run([Asked(table, path)], Places(tmp_path / "runs"), out=tmp_path / "out")
    found = Results.read(tmp_path / "out" / "table4.json")
    assert {one.row for one in found.records} == {"average", "twin", "ram"}
    assert found.failed == {"cross/1/0": "its weights are not there"}
    text = shown.tables(table, found)[0].text()
    assert "No scores of 'cross' of subject 1, seed 0, which failed: its weights are not there" in text
    with pytest.raises(FileNotFoundError):
        collected.collect(table, Places())


def test_a_full_disk_ends_the_run(table, path, tmp_path, monkeypatch):
    from brainram_lib.core.files import StoreError
    from brainram_lib.experiments import collected

    def full(*_):
        raise StoreError("no room on the disk")

    monkeypatch.setattr(runner, "check", lambda *_: None)
    monkeypatch.setattr(collected._Gathered, "take", full)
    with pytest.raises(StoreError):
        runner.run([Asked(table, path)], Places(tmp_path / "runs"), out=tmp_path / "out")


def test_a_run_is_asked_for_once_however_often_it_is_named(table):
    chosen = table.of([1, 1, 2], [0, 0], ["ram", "ram"])
    assert (chosen.subjects, chosen.seeds, [row.name for row in chosen.rows]) == ((1, 2), (0,), ["ram"])


def test_large_seeds_are_recorded():
    lines = lines_of("ram", 1, 2**40, np.arange(3), {"clip": np.ones(3)})
    assert set(lines["seed"]) == {2**40}


def test_a_note_of_several_subjects_stands_once():
    said = (
        "Subject 2: 9 items",
        "Subject 2: chance",
        "Subject 1: chance",
        "Subject 1: 9 items",
        "Subject 5: chance",
        "all",
    )
    assert said_together(said, {1, 2, 5}) == ["chance", "all", "Subjects 1, 2: 9 items"]
    assert said_together(said[:2], {2}) == ["9 items", "chance"]
    assert said_together(["Subject 5: b", "Subject 1: z"], {1, 5}) == ["Subject 1: z", "Subject 5: b"]


def test_one_of_several_experiments_fails_and_the_others_are_written(table, tmp_path, monkeypatch):
    """Every message comes, after the records; and what jobs failed with is told to its own experiment alone."""
    asked = [Asked(replace(table, name=name), tmp_path / f"{name}.toml") for name in ("first", "second")]
    broken = {"first": {}, "second": {"ram/1/0": "no memory"}}
    monkeypatch.setattr(runner, "check", lambda *_: None)
    monkeypatch.setattr(runner, "in_processes", lambda asked, places, how: broken)
    monkeypatch.setattr(runner, "load", lambda path: table)
    monkeypatch.setattr(runner, "with_earlier", lambda results, *_: results)
    told = {}

    def collect(experiment, places, command, failed):
        told[experiment.name] = failed
        return replace(results_of(table), experiment=experiment.name)

    monkeypatch.setattr(runner, "collect", collect)
    with pytest.raises(ExperimentError, match="1 job of 'second' failed") as problem:
        runner.run(asked, Places(tmp_path / "runs"), Processes(2), out=tmp_path / "out")
    assert told == broken and "'first' failed" not in str(problem.value)
    assert {path.name for path in (tmp_path / "out").glob("*.json")} == {"first.json", "second.json"}


def test_an_experiment_that_is_asked_for_twice_is_named(table, path, tmp_path):
    with pytest.raises(ExperimentError, match="'table4' is asked for 2 times. Name each experiment once"):
        runner.run([Asked(table, path)] * 2, Places(tmp_path / "runs"))


def test_rows_are_parted_among_experiments(table):
    few = replace(table, name="few", rows=table.rows[1:2])
    first, second = (row.name for row in table.rows[:2])
    assert parted([table, few], [second, first]) == [[second, first], [second]]
    with pytest.raises(ExperimentError, match=f"'few' has none of the rows {first}. Leave it out"):
        parted([table, few], [first])
    with pytest.raises(ExperimentError, match="'row' must be one of .*'none' was provided"):
        parted([table, few], [second, "none"])
