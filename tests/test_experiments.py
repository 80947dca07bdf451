"""Experiments as data: what a file may say, what is run, what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pandas
import pytest

from brainram_lib.__main__ import main
from brainram_lib.core.store import Store
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.experiments import experiment, runner, shown
from brainram_lib.experiments import plan as plans
from brainram_lib.experiments.collected import collect
from brainram_lib.experiments.experiment import ExperimentError
from brainram_lib.experiments.jobs import Asked
from brainram_lib.experiments.processes import Processes
from brainram_lib.experiments.results import Results, RowRecord
from brainram_lib.experiments.table import TableRun
from brainram_lib.experiments.times import kind
from brainram_lib.world import world
from brainram_lib.world.world import WorldSettings

GOOD = """
title = "A table"
reference = "one"
paper_table = "4"
[[row]]
name = "one"
system = "ridge"
reported = "RAM"
[[row]]
name = "two"
system = "ridge"
reported = "Average"
[row.changes]
generation__steps = 7
"""
TINY = """
title = "A table"
profile = "{profile}"
reference = "ridge"
[[row]]
name = "ridge"
system = "ridge"
[[row]]
name = "p"
system = "brainram-plus-no-ram"
"""
SIZES = {
    "data__sessions": 3,
    "split__validation": 6,
    "stage1__epochs": 1,
    "stage1__batch": 8,
    "stage1__start": "",
    "stage1__network__width": 32,
    "stage1__network__depth": 1,
    "stage1__network__heads": 2,
    "sampling__samples": 2,
    "generation__steps": 1,
    "corpus__pairs": 40,
}


# Shows an experiment, then says which libraries of networks were loaded for it.
SHOWN = """
import sys
from brainram_lib.__main__ import main
main(sys.argv[1:])
print(sorted({"torch", "open_clip", "diffusers"} & set(sys.modules)))
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="table"):
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", experiment.listed(), ids=lambda path: path.stem)
def test_every_committed_experiment_can_be_run(path):
    one = experiment.load(path)
    runner.check(one, runner.Places())
    assert one.name == path.stem and one.reference and all(row.what for row in one.rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "cannot be read as TOML"),
        ('title = "x"', r"at least one \[\[row\]\]"),
        (GOOD.replace("title", "titel"), "'titel' is no entry"),
        (GOOD.replace('title = "A table"', "title = 3"), "'title' must be a str"),
        (GOOD.replace('system = "ridge"', "kind = 2", 1), "'kind' is no entry"),
        (GOOD.replace('name = "two"', 'name = "one"'), "row 'one' stands 2 times"),
        (GOOD.replace('reference = "one"', 'reference = "six"'), "'reference' must be one of"),
        ("subjects = [1, 1]\n" + GOOD, "'subjects' must be a list of different whole numbers"),
        ("seeds = [true]\n" + GOOD, "'seeds' must be a list"),
        ("seeds = []\n" + GOOD, "'seeds' must be a list"),
        ('metrics = ["clip", "beauty"]\n' + GOOD, "'metrics' must be of pixcorr, .*'beauty' was provided"),
        (GOOD.replace('"4"', "4"), "'paper_table' must be a str. 4 was provided"),
        (GOOD.replace('"4"', '"7"'), "'paper_table' must be one of 1, 2, 3, 4. '7' was provided"),
        (GOOD.replace("Average", "Averge"), "'reported' must be a row of the paper's table 4, .*'Averge' was provided"),
        (GOOD.replace('"RAM"', "3"), "'reported' must be a str. 3 was provided"),
        ('metrics = "clip"\n' + GOOD, "'metrics' must be a list"),
        ('images = "dreamt"\n' + GOOD, "'images' must be one of reconstructed, retrieved. 'dreamt' was provided"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_named(written, text, message):
    with pytest.raises(ExperimentError, match=message):
        experiment.load(written(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace('"ridge"', '"dream"', 1), "row 'one' of 'table': 'system' must be one of"),
        (GOOD.replace("generation__steps", "generation__stairs"), "row 'two' of 'table': 'stairs' is not a setting"),
        (GOOD.replace("steps = 7", "steps = 0"), "'steps' of GenerationSettings must be a whole number, at least 1"),
        (GOOD.replace("generation__steps = 7", "stage2__epochs = 7"), "gives the same numbers as row 'one'"),
        (GOOD.replace("generation__steps = 7", "generation__batch = 7"), "gives the same numbers as row 'one'"),
        ("subjects = [3]\n" + GOOD, "'subject' must be one of"),
        ("seeds = [-1]\n" + GOOD, "'seed' must be a whole number"),
        (
            'images = "retrieved"\n' + GOOD.replace('"ridge"', '"takagi"', 1),
            "row 'one' of 'table': the system 'takagi' estimates no image tokens",
        ),
        ('images = "retrieved"\n' + GOOD, "row 'two' of 'table' gives the same numbers as row 'one'"),
    ],
)
def test_what_cannot_be_run_is_named_before_anything_is_made(written, tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        runner.check(experiment.load(written(text)), runner.Places(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_changes_without_effect_are_named_where_no_other_row_shows_it(written):
    alone = (
        GOOD.split("[[row]]")[0].replace('reference = "one"', 'reference = "two"')
        + "[[row]]"
        + GOOD.split("[[row]]")[2]
    )
    text = alone.replace("generation__steps = 7", "stage2__epochs = 7")
    with pytest.raises(
        ExperimentError, match=r"its changes \(stage2__epochs = 7\) have no effect on the system 'ridge'"
    ):
        runner.check(experiment.load(written(text)), runner.Places())


def test_a_partition_without_slurm_is_named(written, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    path = written(GOOD)
    with pytest.raises(ExperimentError, match="the partition 'gpu' was asked for, and this machine has no 'sbatch'"):
        runner.run([Asked(experiment.load(path), path)], runner.Places(tmp_path / "runs"), Processes(slurm="gpu"))
    assert not (tmp_path / "runs" / "experiments").exists()


def record(row, metric, value, half=0.01, **of):
    said = {"experiment": "table", "system": "ridge", "n": 10, "subject": 1, "seed": 0} | of
    return RowRecord(row=row, metric=metric, value=value, low=value - half, high=value + half, **said)


def some(experiment_of, found, differences=()):
    keys = {one.place: "key" for one in found}
    return Results.of(experiment_of, found, differences, keys, profile="mini", simulated=True, command="x")


def test_records_survive_writing_and_are_joined_with_earlier_rows(written, tmp_path):
    table = experiment.load(written(GOOD))
    first = some(table, [record("one", "pixcorr", 0.3), record("two", "pixcorr", 0.4)])
    first.write(tmp_path / "table.json")
    again = Results.read(tmp_path / "table.json")
    assert again == first and json.loads((tmp_path / "table.json").read_text())["library"]["version"]
    joined = some(table, [record("two", "pixcorr", 0.5)]).joined(again, again.keys)
    assert {(one.row, one.value) for one in joined.records} == {("one", 0.3), ("two", 0.5)}


@pytest.mark.parametrize("text", ["", "[]", '{"records": 3}', '{"experiment": "table"}'])
def test_a_file_that_holds_no_records_is_named(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ExperimentError, match="does not hold the records of an experiment"):
        Results.read(path)


def test_a_table_says_where_it_is_from_and_several_runs_give_their_mean(written):
    table = experiment.load(written(GOOD))
    runs = [record("one", "pixcorr", value, seed=seed) for seed, value in enumerate((0.2, 0.4))]
    first, *_ = shown.tables(table, some(table, runs))
    text = first.text()
    assert EMBEDDED in first.title and "seeds 0, 1" in first.title and "Mean over 2 runs" in text and "commit" in text
    # t(.975, 1) = 12.706, half = 12.706 * .1414 / sqrt(2) = 1.2706
    assert ".300 [-.971, 1.571]" in text
    old = replace(some(table, runs), library={"version": "0.0.1", "commit": None})
    assert "version 0.0.1, commit None; this is version" in shown.tables(table, old)[0].text()


def test_saved_tables_open_without_a_network_library(tmp_path, written):
    path = written(GOOD, "table4")
    some(replace(experiment.load(path), name="table4"), [record("one", "pixcorr", 0.3)]).write(tmp_path / "table4.json")
    command = [sys.executable, "-c", SHOWN, "experiment", "show", str(path), "--results", str(tmp_path)]
    before = os.times()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ".300 [.290, .310]" in said and said.splitlines()[-1] == "[]"
    spent = [after - earlier for after, earlier in zip(os.times(), before, strict=True)]
    assert spent[2] + spent[3] < 30, "seconds of the process, in it and in the system"


@pytest.mark.parametrize(
    ("flag", "part"), [("--json", '"row": "one"'), ("--markdown", "| one |"), ("--latex", r"\toprule")]
)
def test_tables_are_printed_in_every_format(tmp_path, written, capsys, flag, part):
    path = written(GOOD)
    some(experiment.load(path), [record("one", "pixcorr", 0.3)]).write(tmp_path / "table.json")
    assert main(["experiment", "show", str(path), "--results", str(tmp_path), flag]) == 0
    assert part in capsys.readouterr().out


def test_records_that_are_not_there_are_named(written, tmp_path, capsys):
    assert main(["experiment", "show", str(written(GOOD)), "--results", str(tmp_path)]) == 1
    assert "there are no records of 'table'" in capsys.readouterr().err
    assert main(["experiment", "show", "table9"]) == 1
    assert "must be a TOML file or one of" in capsys.readouterr().err


def test_jobs_at_once_make_what_they_share_once(written, tmp_path):
    """Each row a process."""
    settings = WorldSettings(
        name="tiny", subjects=(1, 2), voxels=(60, 50), sessions=3, trials_per_session=40, images=40, shared=10
    )
    world.make_world(tmp_path / "nsd", settings, [1])
    profile = tmp_path / "tiny.json"
    profile.write_text(json.dumps({"base": "mini", **SIZES}))
    path = written(TINY.format(profile=profile))
    table, places = experiment.load(path), runner.Places(tmp_path / "runs", tmp_path / "nsd")
    before = plan_of(table, places)
    [file] = runner.run([Asked(table, path)], places, Processes(2), out=tmp_path / "out")
    found = Results.read(file)
    assert {log.name for log in (tmp_path / "runs" / "jobs").iterdir()} == {
        f"table-{row}-subj01-seed0.log" for row in ("ridge", "p")
    }
    assert {one.row for one in found.records} == {"ridge", "p"} and found.differences
    assert len(list((tmp_path / "runs").rglob("ridge-image/*/result.json"))) == 1
    workbench = runner.Job(table.rows[0], 1, 0).workbench(table, places)
    again = collect(table, places)
    assert again.records == found.records and workbench.store.made == []
    pandas.testing.assert_frame_equal(again.images.lines, found.images.lines, check_dtype=False)
    means = {(one.row, one.metric): one.value for one in found.records}
    for (row, metric), one in found.images.lines.groupby("row")[found.images.metrics].mean().stack().items():
        assert one == pytest.approx(means[row, metric], abs=1e-4)
    what_was_planned_was_made(table, places, before, found)
    shown_in_a_notebook(TableRun(str(path), str(profile), 1, 0, tmp_path / "runs", tmp_path / "nsd"))
    what_is_retrieved_is_scored(table, places, means)
    no_image_is_generated_where_none_counts(table, places)


def plan_of(table, places):
    return plans.plan(table, places, Store(places.runs), {})


def what_was_planned_was_made(table, places, before, found):
    """Every stage of the plan, and afterwards there is none; another seed's will take as long as these."""
    assert all(one.stages for one in before) and all(one.stages == () for one in plan_of(table, places))
    assert {kind(stage.described) for one in before for stage in one.stages} <= found.took.keys()
    other = plans.plan(table.of(seeds=[1]), places, Store(places.runs), found.took)
    assert sum(len(one.stages) for one in other) < sum(len(one.stages) for one in before), "ridge has no seed"
    assert all(took is not None for one in other for took in one.seconds)


def no_image_is_generated_where_none_counts(table, places):
    """A row then needs its estimates' scores and no other stage."""
    found = collect(replace(table, metrics=("image_mse", "caption_retrieval")), places)
    both = collect(replace(table, metrics=("image_mse", "pixcorr")), places)
    assert {key.count("-") for key in found.keys.values()} == {0} and {k.count("-") for k in both.keys.values()} == {1}
    assert {one.metric for one in found.records} == {"image_mse", "caption_retrieval"}


def what_is_retrieved_is_scored(table, places, reconstructed):
    """The same rows as Table 2 scores them, by some of the metrics."""
    found = collect(replace(table, images="retrieved", metrics=("incep", "lite0_late", "image_retrieval")), places)
    assert {one.metric for one in found.records} == {"lite0_late", "image_retrieval"} == set(found.images.metrics)
    assert any("30 draws of 10 (there are too few for 300) of the 10 test images" in note for note in found.said)
    for one in found.records:
        assert (one.value == reconstructed[one.row, one.metric]) == (one.metric == "image_retrieval")


def shown_in_a_notebook(table):
    """What notebooks 07 and 08 show of a table."""
    rows = table.rows()
    assert list(rows.index) == ["ridge", "p"] and "embedded world" in table.title
    longest = rows.assign(what="every word of a description that goes on for more than fifty characters")
    assert "more than fifty characters" in type(rows)(longest)._repr_html_()
    scores, differences, tests = table.tables()
    assert "p over ridge" in differences.text() and EMBEDDED in scores.title and "corrected p" in tests.text()
    assert "The paper compares no two of these rows" in table.claims().text()
    images = table.images(3)
    assert list(images) == ["stimulus", "ridge", "p"] and {len(one) for one in images.values()} == {3}
    assert table.committed() == []
