"""What another seed, setting, place or name makes again, and what it shares."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tiny_run import CHANGES, TINY, WORLD, again, make_all

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.workbench import Workbench


def test_a_second_workbench_makes_nothing_again(records, runs):
    other = again(runs)
    assert other.records() == records
    assert other.store.made == []


def test_another_seed_is_another_result_beside_the_first(workbench, runs):
    first = workbench.estimates("image", "test")
    other = Workbench(TINY, subject=1, seed=1, runs=runs, world=WORLD)
    assert not np.allclose(first, other.estimates("image", "test"))
    assert other.store.made == ["prior-image", "estimates-image"]
    assert np.array_equal(first, workbench.estimates("image", "test"))


def test_another_stage_two_makes_again_only_what_follows_it(finished, runs):
    other = again(runs, stage2__gamma=0.5)
    make_all(other)
    fused = [name for modality in MODALITIES for name in (f"fusion-{modality}", f"refined-{modality}")]
    brainram = [*fused, "guiding-neighbours", "generated", "image-scores", "estimate-scores"]
    shuffled = ["shuffled", "image-scores", "estimate-scores"]
    assert sorted(other.store.made) == sorted([*brainram, *shuffled])


@pytest.mark.parametrize(("setting", "value"), [("sampling__steps", 3), ("sampling__samples", 1)])
def test_other_sampling_trains_no_prior(finished, runs, setting, value):
    other = again(runs, **{setting: value})
    other.estimates("image", "test")
    assert other.store.made == ["estimates-image"]
    stages = (other.run, finished.run)
    assert len({run.prior("text").key for run in stages}) == 1 and len({run.refined("text").key for run in stages}) == 2


def test_samples_of_test_images_alone_are_the_same(finished, runs):
    other = again(runs, sampling__training=False)
    np.testing.assert_array_equal(other.estimates("text", "test"), finished.estimates("text", "test"))
    assert other.store.made == ["estimates-text"]
    folder = other.store.result(other.run.estimates("text")).folder
    assert (folder / "test.npy").is_file() and not (folder / "train.npy").exists()


def test_more_images_at_a_time_make_nothing_again(finished, runs):
    other = again(runs, generation__batch=3)
    assert make_all(other) == []


def test_results_that_were_moved_are_found(finished, tmp_path):
    # what another worker is making meanwhile has a name with a dot
    shutil.copytree(finished.store.root, tmp_path / "moved", ignore=shutil.ignore_patterns(".*"))
    other = again(tmp_path / "moved")
    assert make_all(other) == []


def test_a_profile_of_another_name_shares_all_results(finished, runs, tmp_path):
    (tmp_path / "row.json").write_text(json.dumps({"base": "mini"} | CHANGES))
    other = Workbench(str(tmp_path / "row.json"), subject=1, runs=runs, world=WORLD)
    assert other.profile.name == "row" and make_all(other) == []
