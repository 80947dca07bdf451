"""Systems as Table 2 scores them: which tokens ask, which choose, which are compared; nothing is made."""

from __future__ import annotations

import pytest

from brainram_lib.pipeline.found import IMAGES, OUTPUTS, Found, FoundImage
from brainram_lib.pipeline.peers.mindeye import MindEyeProjected, MindEyeSamples
from brainram_lib.pipeline.pictures import Shuffled
from brainram_lib.pipeline.run import run_of
from brainram_lib.pipeline.scores import EstimateScores
from brainram_lib.profiles import MINI, changed
from brainram_lib.systems import system_of, systems
from brainram_lib.systems.finding import finding, found, outputs, refined_outputs
from brainram_lib.systems.scores import _pool_said, retrieved_in, stages_of

FIND = [one.name for one in systems() if one.tokens or one.finds]


@pytest.fixture(scope="module")
def run():
    return run_of(MINI, 1, 0)


def shown_by(run, name):
    stage = finding(system_of(name)).images(run)
    return stage.images if isinstance(stage, Shuffled) else stage


@pytest.mark.parametrize("name", FIND)
def test_every_system_asks_the_same_corpus_in_the_same_way(run, name):
    stage, ridge = shown_by(run, name), found(run, system_of("ridge"))
    assert isinstance(stage, FoundImage) and stage.found.count == IMAGES == 16
    assert (stage.found.corpus, stage.found.index, stage.found.encoder) == (ridge.corpus, ridge.index, ridge.encoder)
    assert any(isinstance(one, Found) for one in retrieved_in(stage)), "near-duplicates are counted"


@pytest.mark.parametrize("name", ["ridge", "brainram", "shuffled", "ceiling"])
def test_what_is_compared_with_the_test_images_is_what_table_1_compares(run, name):
    scored = [
        [stage.key for stage in stages_of(run, one) if isinstance(stage, EstimateScores)]
        for one in (system_of(name), finding(system_of(name)))
    ]
    assert scored[0] == scored[1] and len(scored[0]) == 1


def test_mindeye_finds_with_its_projector_and_asks_with_samples_of_its_prior(run):
    stage, tokens = shown_by(run, "mindeye"), finding(system_of("mindeye")).tokens(run)
    assert isinstance(stage.found.outputs, MindEyeSamples) and stage.found.outputs.samples == OUTPUTS == 16
    assert isinstance(stage.choosing, MindEyeProjected) and tokens == {"image": stage.choosing}
    assert stage.found.outputs.training == stage.choosing.training


def test_what_is_drawn_asks_sixteen_times_and_a_mean_once(run):
    printed = run.of_method("brainram")
    drawn = shown_by(run, "brainram-no-ram").found.outputs
    assert drawn == outputs(printed, "image") and drawn.sampling.samples == 16 and drawn.prior == printed.prior("image")
    fusion = shown_by(run, "brainram").found.outputs.fusion
    assert fusion.estimates == drawn and fusion.found.image == drawn and fusion.found.text is None
    assert fusion.trained == printed.fusion("image"), "the fusion is the one that was trained on four samples"
    assert shown_by(run, "brainram-plus").found.outputs == run.refined("image")


def test_where_both_estimates_ask_together_both_are_drawn(run):
    drawn = run_of(changed(MINI, sampling__kind="draw"), 1, 0)
    fusion = refined_outputs(drawn).fusion
    image, text = outputs(drawn, "image"), outputs(drawn, "text")
    assert (fusion.found.image, fusion.found.text, fusion.beside) == (image, text, text)


def test_systems_that_find_nothing_are_named_and_images_that_exist_stay(run):
    for call in (finding, lambda system: found(run, system)):
        with pytest.raises(ValueError, match="the system 'takagi' estimates no image tokens"):
            call(system_of("takagi"))
    assert finding(system_of("nearest-train")) is system_of("nearest-train")
    pooled = run_of(changed(MINI, sampling__kind="draw", stage2__pooled=True), 1, 0)
    with pytest.raises(ValueError, match="'stage2.pooled' shares the neighbours of 4 samples, and Table 2 draws 16"):
        refined_outputs(pooled)


def test_betas_of_others_show_what_others_found(run):
    stage = finding(system_of("shuffled")).images(run)
    assert isinstance(stage, Shuffled) and stage.images == shown_by(run, "brainram-plus")


@pytest.mark.parametrize(
    ("pool", "count", "words"),
    [
        (300, 982, "30 draws of 300 of the 982 test images without replacement; chance 0.33%"),
        (300, 300, "30 draws of 300 of the 300 test images without replacement, so that each draw is all of them"),
        (40, 40, "30 draws of 40 (there are too few for 300) of the 40 test images"),
        (100, 982, "30 draws of 100 (not of 300) of the 982 test images without replacement; chance 1.00%"),
    ],
)
def test_the_pool_is_said(pool, count, words):
    assert words in _pool_said(pool, count)
