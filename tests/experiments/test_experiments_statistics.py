"""Tables and tests from the saved scores of single images, without a folder of runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas
import pytest
from saved_scores import IMAGES, ONE_RUN, RUNS, results_of, scores_of

from brainram_lib.__main__ import main
from brainram_lib.evaluation.intervals import paired_difference
from brainram_lib.evaluation.permutation import sign_flip_p
from brainram_lib.experiments import claims, per_image, shown, statistics
from brainram_lib.experiments.entries import ExperimentError
from brainram_lib.experiments.per_image import PerImage, lines_of
from brainram_lib.experiments.results import Results, images_file


def test_scores_of_images_are_small_and_survive_writing(every_run, saved):
    again = Results.read(saved / "table4.json")
    pandas.testing.assert_frame_equal(again.images.lines, every_run.images.lines, check_dtype=False)
    assert again == every_run and "lines" not in (saved / "table4.json").read_text()
    cube = again.images.cube
    assert cube.runs == list(RUNS) and cube.values.shape == (4, 8, 3, IMAGES)
    kept = cube.values[cube.rows.index("ram"), cube.runs.index((5, 1)), cube.metrics.index("pixcorr")]
    np.testing.assert_allclose(kept, scores_of((5, 1))["ram"]["pixcorr"], atol=5e-5)
    assert images_file(saved / "table4.json").stat().st_size < 14_000, "four bytes a score would be 26,880"


def test_records_are_joined_with_the_images_of_earlier_rows(table):
    earlier = results_of(table, ((1, 0), (1, 1)))
    now = results_of(replace(table, rows=table.rows[:1]), ONE_RUN)
    now = replace(now, keys={"average/1/0": "new"}, images=now.images.of_places(["average/1/0"]))
    joined = now.joined(earlier, earlier.keys)
    counts = joined.images.lines.groupby(["row", "subject", "seed"]).size()
    assert len(counts) == 8 and set(counts) == {IMAGES}


def test_images_of_other_records_are_not_taken(table, tmp_path):
    results_of(table).write(tmp_path / "table4.json")
    results_of(table, ((2, 0),)).images.write(images_file(tmp_path / "table4.json"))
    found = Results.read(tmp_path / "table4.json")
    assert not found.images and len(shown.tables(table, found)) == 1
    assert "the scores of single images are not saved beside" in claims.claim_table(table, found).text()
    images_file(tmp_path / "table4.json").write_text("no parquet")
    with pytest.raises(ExperimentError, match="cannot be read as parquet"):
        PerImage.read(images_file(tmp_path / "table4.json"))


def test_images_that_identification_never_drew_have_no_score(monkeypatch):
    drawn = np.array([0, 2, 3, 6])
    monkeypatch.setattr(per_image, "drawn_images", lambda count: drawn)
    lines = lines_of("ram", 1, 0, np.arange(7), {"clip": np.ones(7), "image_retrieval": np.full(4, 0.5)})
    assert np.flatnonzero(lines["image_retrieval"].notna()).tolist() == drawn.tolist()
    with pytest.raises(ExperimentError, match="'clip' has 5 values of 7 images"):
        lines_of("ram", 1, 0, np.arange(7), {"clip": np.ones(5)})


def test_differences_of_one_run_are_the_paired_ones_and_the_test_is_theirs(table):
    values = scores_of((1, 0))
    one = next(
        d for d in statistics.differences(results_of(table).images, [("average", "ram")]) if d.metric == "pixcorr"
    )
    first, second = (values[row]["pixcorr"] for row in ("average", "ram"))
    assert (one.system, one.n, one.subject, one.seed) == ("average over ram", IMAGES, 1, 0)
    assert (one.value, one.low, one.high) == pytest.approx(paired_difference(first, second), abs=1e-4)
    assert one.p == pytest.approx(sign_flip_p((first - second)[None])[0], abs=0.01)


def test_marked_differences_remain_after_the_correction(table):
    _, differences, tests = shown.tables(table, results_of(table))
    text = differences.markdown()
    assert "| average over ram | **-.1" in text and "**" not in next(x for x in text.splitlines() if "twin over" in x)
    assert "the 2 of 8 differences that remain" in text and "Holm's correction for this table's 8 comparisons" in text
    cells = tests.sections[0].cells
    assert cells.loc["average over ram", "PixCorr ↑"] == ".0001, .0008"
    assert cells.loc["twin over ram", "PixCorr ↑"] == "1, 1" and cells.loc["twin over ram", "SSIM ↑"] == "–"
    assert r"\textbf{" in tests.latex() and "**.0001, .0008**" in tests.markdown()


def test_several_runs_have_one_row_with_images_and_seeds_in_its_interval(table, every_run):
    scores, _, tests = shown.tables(table, every_run)
    assert list(scores.sections[0].cells.index) == ["average", "cross", "twin", "ram"]
    assert "interval over images and seeds, of the mean over 4 subjects, who are fixed" in scores.text()
    assert tests.sections[0].cells.loc["average over ram", "PixCorr ↑"].endswith(", 4 of 4")
    wide = shown.tables(table, every_run, population=True)[1].text()
    assert "interval over images, seeds and subjects" in wide
    with pytest.raises(ExperimentError, match="need records of two subjects or more. .* has subject 1 alone"):
        shown.tables(table, results_of(table), population=True)
    alone = shown.tables(table, results_of(table, ((1, 0), (2, 0))))[0].text()
    assert "with one seed each, another training is not in it" in alone


def test_a_row_with_fewer_runs_is_compared_over_those_and_named(table, every_run):
    results = every_run
    kept = results.images.lines.query("row != 'average' or (subject == 2 and seed == 1)")
    records = [one for one in results.records if one.row != "average" or (one.subject, one.seed) == (2, 1)]
    results = replace(results, images=PerImage(kept), records=tuple(records))
    text = shown.tables(table, results)[0].text()
    assert "their differences are over those alone: average (1)." in text and "subject 0" not in text
    one = statistics.differences(results.images, [("average", "ram")])[0]
    assert (one.subject, one.seed, one.subjects) == (2, 1, 1)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["show", "--json"], '"p_corrected"'),
        (["show", "--markdown"], "| average over ram | **.0001"),
        (["show", "--latex"], r"\textbf{.0001"),
        (["show", "--population"], "interval over images, seeds and subjects"),
        (["claims"], "+ holds*"),
        (["claims", "--markdown"], "| ram over average | **+ holds** |"),
        (["claims", "--json"], '"verdict": "undecided"'),
    ],
)
def test_tests_and_claims_are_printed_in_every_format(path, saved, capsys, command, part):
    assert main(["experiment", command[0], str(path), "--results", str(saved), *command[1:]]) == 0
    printed = capsys.readouterr().out
    assert part in printed
    if command == ["show", "--json"]:
        said = json.loads(printed)
        assert set(said) == {"records", "means", "differences"} and len(said["means"]) == 11
