"""The committed records are what the committed experiments give with this code: the same rows, settings and stages."""

from __future__ import annotations

import pytest

from brainram_lib.experiments import experiment
from brainram_lib.experiments.jobs import Job, Places, key_of, stages_of_job
from brainram_lib.experiments.places import row_of, run_of
from brainram_lib.experiments.results import RESULTS, Results

COMMITTED = [path for path in experiment.listed() if (RESULTS / "mini" / f"{path.stem}.json").exists()]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_records_stand_under_the_keys_that_the_rows_have_now(path, tmp_path):
    whole, results = experiment.load(path), Results.read(RESULTS / "mini" / f"{path.stem}.json")
    rows, places = {row.name: row for row in whole.rows}, Places(tmp_path)
    now = {
        place: key_of(stages_of_job(whole, Job(rows[row_of(place)], *run_of(place)), places)) for place in results.keys
    }
    assert now == results.keys and results.images
