"""What the paper claims, judged by the corrected test on the same images."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest
from saved_scores import TABLE, results_of

from brainram_lib.experiments import claims, experiment
from brainram_lib.experiments.entries import ExperimentError
from brainram_lib.experiments.table import saved_claims

CLAIM = '[[claim]]\nrow = "ram"\nover = "average"\nsaid = "section 5.3: RAM is ahead"\n'
# Shows an experiment or its claims, then says which libraries of networks were loaded for it.
ALONE = """
import sys
from brainram_lib.__main__ import main
main(sys.argv[1:])
print(sorted({"torch", "open_clip", "diffusers"} & set(sys.modules)))
"""


def test_claims_are_judged_by_the_corrected_test(table):
    found = {(one.over, one.metric): one for one in claims.claims(table, results_of(table))}
    # the paper: RAM ahead of Average on all, of Cross-Attention on all but PixCorr
    assert {key: one.verdict for key, one in found.items()} == {
        ("average", "pixcorr"): claims.HOLDS,
        ("average", "ssim"): claims.OPPOSITE,
        ("average", "clip"): claims.OPEN,
        ("cross", "pixcorr"): claims.OPEN,
        ("cross", "ssim"): claims.OPEN,
        ("cross", "clip"): claims.OPEN,
    }
    assert found["cross", "pixcorr"].here.p < 0.05 < found["cross", "pixcorr"].corrected
    assert not found["cross", "pixcorr"].ahead and found["cross", "ssim"].corrected == 1
    text = claims.claim_table(table, results_of(table)).text()
    assert "Of the 6 comparisons that the paper prints and that can be measured here: 1 as in the paper, 1 the" in text
    assert "+ opposite" in text and "- undecided" in text


def test_claims_of_the_file_are_the_family(tmp_path):
    file = tmp_path / "table4.toml"
    file.write_text(TABLE + CLAIM)
    table = experiment.load(file)
    results = results_of(table)
    found = claims.claims(table, results)
    assert len(found) == 3 and found[0].corrected == pytest.approx(3 * found[0].here.p)
    assert "The paper, section 5.3: RAM is ahead." in claims.claim_table(table, results).text()
    few = replace(results, images=results.images.of_places(["ram/1/0"]))
    assert "there are no records of both rows" in claims.claim_table(table, few).text()
    file.write_text(TABLE + CLAIM.replace('"average"', '"twin"'))
    with pytest.raises(ExperimentError, match="must be rows that are 'reported'.*'twin' was provided"):
        experiment.load(file)


@pytest.mark.parametrize("name", ["table1", "table3", "table4"])
def test_committed_claims_are_printed_by_the_paper(name):
    table = experiment.load(experiment.find(name))
    assert table.claims and all(claims._printed(table, one) for one in table.claims)


def test_notebooks_read_saved_claims_or_say_that_there_are_none(every_run, path, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"base": "mini"}')
    (said,) = saved_claims(str(path), str(other), tmp_path).footnotes
    assert "there are no records of 'table4'" in said
    every_run.write(tmp_path / "experiments" / "mini" / "table4.json")
    assert "<b>+ holds</b>" in saved_claims(str(path), "mini", tmp_path).html()


def test_claims_are_judged_fast_and_without_a_network_library(path, saved):
    command = [sys.executable, "-c", ALONE, "experiment", "claims", str(path), "--results", str(saved)]
    started = time.monotonic()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "+ holds" in said and said.splitlines()[-1] == "[]" and time.monotonic() - started < 30
