"""The audits end to end on a tiny embedded world: their stages, tables and records."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from brainram_lib.__main__ import main
from brainram_lib.audits.encoding import Encoding, pattern_correlation
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.pipeline.controls import Fewer, FromTraining, Handed, Oracle, OtherBrain
from brainram_lib.pipeline.data import Images
from brainram_lib.pipeline.elsewhere import NotElsewhere, on
from brainram_lib.pipeline.encoding import BrainAgreement
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.pipeline.ram import Refined, Retrieved
from brainram_lib.pipeline.shown import USUAL, Shown
from brainram_lib.pipeline.source import EmbeddedWorld
from brainram_lib.pipeline.trials import NoTrials, Repetitions, decoded
from brainram_lib.profiles import MINI, changed
from brainram_lib.systems import brainram
from brainram_lib.systems.audits import Subject
from brainram_lib.systems.audits.retrieval import AS_FOUND, ORACLE, generated_with, own_picture, variants
from brainram_lib.systems.audits.stimuli import stimuli
from brainram_lib.systems.finding import refined_outputs
from brainram_lib.systems.system import system_of
from brainram_lib.view.new_stimuli import new_stimuli_figure
from brainram_lib.workbench import Workbench
from brainram_lib.world.corpus import planted_places
from brainram_lib.world.world import WorldSettings

PLANTED = 3
TINY = changed(
    MINI,
    data__sessions=3,
    split__validation=6,
    stage1__epochs=1,
    stage1__batch=8,
    stage1__start="",
    stage1__network__width=32,
    stage1__network__depth=1,
    stage1__network__heads=2,
    sampling__samples=2,
    sampling__steps=2,
    sampling__kind="draw",
    stage2__epochs=1,
    stage2__batch=8,
    retrieval__neighbours=3,
    retrieval__candidates=6,
    corpus__pairs=280,
    corpus__planted_test=PLANTED,
    corpus__planted_train=2,
)
WORLD = WorldSettings(
    name="tiny", subjects=(1, 2), voxels=(60, 50), sessions=3, trials_per_session=40, images=40, shared=10
)


@pytest.fixture(scope="module")
def workbench(tmp_path_factory):
    return Workbench(TINY, subject=1, runs=tmp_path_factory.mktemp("runs"), world=WORLD)


def audit(workbench, name):
    (found,) = workbench.audits([name], images=False)
    assert all(EMBEDDED in table.title for table in found.tables)
    assert all(np.isfinite([one.value, one.low, one.high]).all() and one.n > 0 for one in found.records)
    return found


def test_duplicates_are_counted_for_both_splits(workbench):
    found = audit(workbench, "duplicates")
    counts = {(one.system, one.metric): one.value for one in found.records}
    assert counts["test", "items"] == counts["test", "stimuli"] == PLANTED and counts["train", "items"] == 2
    assert "could be retrieved" in found.tables[0].text()


def test_every_row_of_what_retrieval_contributed_stands_beside_p_and_chance(workbench):
    found = audit(workbench, "retrieval")
    contributed, lead, curve, pictures = found.tables
    rows = list(contributed.sections[0].cells.index)
    assert rows[0] == "No neighbours (p)" and rows[-2:] == ["Best by the true tokens (upper bound)", "Chance"]
    assert not contributed.sections[0].best.loc[rows[-2]].any(), "a bound does not compete"
    assert len(lead.sections[0].cells) == 4 and list(curve.sections[0].cells.index) == [
        "70 items",
        "280 items",
        "Chance",
    ]
    assert "Neighbours of another brain" in pictures.sections[0].cells.index
    assert any("Near-duplicates of the stimuli" in note for note in contributed.footnotes)
    assert "generated" not in workbench.store.made


def test_the_variants_are_what_they_are_called(workbench):
    store, kinds = workbench.store, variants(workbench.run)
    as_found = kinds[AS_FOUND]["image"].found(store, "test").ids
    assert all(isinstance(one, Retrieved) for kind in kinds.values() for one in kind.values())
    assert len({one["image"].key for one in kinds.values()}) == len(kinds)
    for kind in kinds.values():
        assert kind["image"].found(store, "test").ids.shape == as_found.shape
    other = kinds["other-brain"]["image"].found(store, "test").ids
    np.testing.assert_array_equal(other, as_found[derangement(len(as_found), workbench.seed)])
    part = Fewer.of(kinds[AS_FOUND]["image"], kept=70)
    assert not np.isin(part.found(store, "test").ids, part.excluded(store, "test")).any()


def test_the_upper_bound_finds_what_the_truth_finds(workbench):
    found = variants(workbench.run)[ORACLE]["image"].found(workbench.store, "test").ids
    places = planted_places(280, workbench.run.corpus.planted)
    copies = {stimulus[1]: item for item, stimulus in places.items() if stimulus[0] == "shared"}
    # test images are the shared scenes, in the order of their nsdIds
    assert all(found[stimulus, 0, 0] == item for stimulus, item in copies.items())
    np.testing.assert_array_equal(found[:, 0], found[:, 1])


def test_no_training_image_is_its_own_neighbour(workbench):
    run, store = workbench.run, workbench.store
    found = FromTraining.of_run(run.neighbours("image"), run.training_corpus, splits=("train", "test"))
    ids = found.found(store, "train").ids
    assert len(ids) == len(workbench.nsd_ids("train")) == len(run.training_corpus.open(store.root))
    assert not (ids == np.arange(len(ids))[:, None, None]).any()
    assert run.training_corpus.open(store.root).caption(4) == workbench.captions("train")[4][0]
    assert found.found(store, "test").ids.max() < len(ids)


def test_more_outputs_of_a_fusion_begin_with_those_that_it_was_trained_on(workbench):
    """Table 2 draws 16: the first are the samples of every other table, and the fusion makes the same of them."""
    run, store = workbench.run, workbench.store
    more = np.array(store.result(refined_outputs(run)).array("test"), np.float32)
    known = np.array(store.result(run.refined("image")).array("test"), np.float32)
    assert known.shape[1] == 2 and more.shape == (len(known), 16, *known.shape[2:])
    np.testing.assert_allclose(more[:, :2], known, atol=2e-3)
    assert not np.allclose(more[:, 2], more[:, 3], atol=2e-3)


def test_a_fusion_that_is_handed_what_it_was_trained_on_gives_what_it_gave(workbench):
    run, store = workbench.run, workbench.store
    for modality in MODALITIES:
        trained = run.fusion(modality)
        same = Refined(Handed.to(trained, run.neighbours(modality)))
        np.testing.assert_array_equal(store.result(same).array("test"), workbench.refined(modality))
        handed = Handed.to(trained, OtherBrain.of(run.neighbours(modality)))
        assert handed.settings == trained.settings and handed.key != trained.key


def test_images_are_guided_by_the_neighbours_that_are_handed(workbench):
    found = {modality: Oracle.of(workbench.run.neighbours(modality)) for modality in MODALITIES}
    made = generated_with(workbench.run, found)
    assert made.guide.found == found["image"] and made.guide.estimate == made.image
    assert made.image.fusion.found == found["image"]


def test_only_systems_that_retrieve_have_a_neighbours_image_to_beat(workbench):
    run = workbench.run
    assert type(own_picture(run, system_of("brainram-plus"))).__name__ == "GuidingPicture"
    assert type(own_picture(run, system_of("brainram"))).__name__ == "NearestNeighbour"
    assert own_picture(run, system_of("ridge")) is None and own_picture(run, system_of("nearest-train")) is None


def test_the_command_prints_tables_and_records(workbench, monkeypatch, capsys):
    monkeypatch.setattr("brainram_lib.workbench.Workbench", lambda **_: workbench)
    assert main(["audit", "duplicates", "--tokens", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["duplicates"] and said["duplicates"][0]["subject"] == 1
    assert main(["audit", "duplicates", "--markdown"]) == 0
    assert "| Test stimuli |" in capsys.readouterr().out
    assert main(["audit", "split", "--held-out", "nearest-train"]) == 1
    assert "'nearest-train' was provided, which has none" in capsys.readouterr().err
    assert main(["audit", "dreams"]) == 1
    assert "'audit' must be one of duplicates, retrieval, split, ceiling, brain" in capsys.readouterr().err


def test_the_split_stands_beside_what_needs_no_brain_and_held_out_clusters(workbench):
    found = audit(workbench, "split")
    titles = [table.title for table in found.tables]
    assert titles[0].startswith("What the output space gives without a brain, subject 1")
    assert "training span 29 of" in found.tables[0].text()
    assert sum("The cluster beside the image" in title for title in titles) == 2, "30 images have no 40 clusters"
    held = next(table for table in found.tables if table.title.startswith("Held-out clusters, k = 5"))
    assert "Ridge: held-out clusters" in held.sections[0].cells.index and not held.sections[0].best.any(axis=None)
    values = {(one.system, one.metric): one for one in found.records}
    assert values["ridge outside", "image_mse"].n + values["ridge inside", "image_mse"].n == 10
    ceiling = values["ceiling", "cluster_named"]
    assert ceiling.value == 1 and values["chance", "cluster_named"].value < 0.5


def test_shares_of_the_ceiling_and_fewer_repetitions(workbench):
    found = audit(workbench, "ceiling")
    shares = {(one.system, one.metric): one.value for one in found.records if one.metric.endswith("_share")}
    assert 0 < shares["ridge", "image_mse_share"] < 1
    assert not {"shuffled", "ceiling"} & {system for system, _ in shares}
    values = {(one.system, one.metric): one.value for one in found.records}
    signal = [values[f"ridge {count}", "signal"] for count in (1, 2, 3)]
    assert signal == sorted(signal) and 0 < signal[0] < signal[2] < 1
    assert found.skipped == []


def test_three_repetitions_are_the_prepared_betas_and_give_the_saved_estimates(workbench):
    run, store = workbench.run, workbench.store
    trials = Repetitions(run.images)
    rows = trials.rows(store)
    betas = np.array(store.result(trials).array("test")).mean(1)
    np.testing.assert_allclose(betas, workbench.betas()["test"][rows], atol=1e-4)
    ridge = decoded(run.ridge("image"), store, workbench.betas()["test"])
    np.testing.assert_allclose(ridge[:, 0], workbench.ridge("image"), atol=1e-6)
    drawn = decoded(run.estimates("image"), store, workbench.betas()["test"])
    np.testing.assert_array_equal(drawn.astype(np.float16), workbench.estimates("image", "test"))


def test_betas_that_do_not_compare_with_single_trials_are_skipped_and_named(workbench):
    other = Workbench(changed(TINY, data__normalisation="none"), runs=workbench.store.root, world=WORLD)
    with pytest.raises(NoTrials, match="this profile's betas are 'none': they do not compare"):
        Repetitions(other.run.images).make(workbench.store.root, workbench.store)


def test_brain_agreement_stands_between_truth_and_other_brains(workbench):
    found = audit(workbench, "brain")
    own, agreement, *_ = found.tables
    assert list(own.sections[0].cells.index) == [
        "Encoding model, r of voxels over test images",
        "Noise ceiling of the betas, as r",
    ]
    rows = list(agreement.sections[0].cells.index)
    assert rows[:2] == ["Nearest neighbour (its image)", "Nearest training image"]
    assert rows[2:] == ["Stimuli themselves (truth)", "Stimuli of other brains (shuffled)"]
    values = {(one.system, one.metric): one.value for one in found.records}
    assert values["stimuli", "brain_all"] > values["stimuli-of-others", "brain_all"]


def test_the_model_that_judges_is_fitted_without_the_test_images(workbench):
    run, store = workbench.run, workbench.store
    model = run.encoding_model
    features = model.features(workbench.targets("image", "train"))
    fitted = Encoding.fit(features, workbench.betas()["train"])
    np.testing.assert_allclose(model.load(store).weights, fitted.weights, atol=1e-6)
    same = BrainAgreement(model, None)
    predicted = fitted.predict(model.features(workbench.targets("image", "test")))
    every = {"all": np.ones(predicted.shape[1], bool)}
    expected = pattern_correlation(predicted, workbench.betas()["test"], workbench.betas()["train"].mean(0), every)
    np.testing.assert_allclose(store.result(same).json("values")["all"], expected["all"], atol=1e-4)


@dataclass(frozen=True)
class ShownAgain(Shown):
    """The test images once more, as if they were others."""

    images: Images

    def make(self, folder, store):
        betas, ids = self.images.betas(store)["test"], self.images.nsd_ids(store, "test")
        arrays = {"test": betas, "halves": np.stack([betas, betas], 1), "ids": ids}
        self._write(folder, ["a", "b"] * (len(ids) // 2), **arrays, presentations=np.full(len(ids), 3))


def test_a_decoder_handed_the_test_betas_gives_what_it_gave_for_the_test_images(workbench):
    run, store = workbench.run, workbench.store
    shown = ShownAgain(run.images)
    for modality in MODALITIES:
        for stage in (run.ridge(modality), run.estimates(modality), run.refined(modality)):
            made, before = (store.result(one).array("test") for one in (on(stage, shown), stage))
            np.testing.assert_allclose(made, before, atol=1e-6, err_msg=stage.name)
    moved = on(system_of("brainram-plus").images(run), shown)
    assert moved.guide.estimate == moved.image and moved.guide.found == moved.image.fusion.found
    guides = [np.array(store.result(one).array("items")) for one in (moved.guide, brainram.images(run).guide)]
    np.testing.assert_array_equal(*guides)
    with pytest.raises(NotElsewhere, match="'mixed-image' cannot be handed the betas of other stimuli"):
        on(system_of("convex-mix").tokens(run)["image"], shown)


def test_new_kinds_of_stimuli_stand_beside_ordinary_images(workbench):
    found = audit(workbench, "stimuli")
    titles = [table.title.split(",")[0] for table in found.tables]
    assert titles[0] == "New kinds of stimuli: how new" and titles[-1].endswith("how the session is z-scored")
    scores = found.tables[1].sections[0]
    assert list(scores.cells.index)[:2] == [USUAL, "Natural scenes"] and len(scores.cells) == 11
    assert not scores.best.any(axis=None), "rows are of different stimuli"
    values = {(one.system, one.metric): one for one in found.records}
    for system in ("brainram-plus", "brainram-plus-no-ram", "ridge"):
        assert values[f"{system}, Gratings", "image_mse"].n == values[f"{system}, Gratings", "first_of_kind"].n == 2
        assert values[f"{system}, {USUAL}", "chance_of_kind"].value == 0.5
    assert values["Noise", "nearest_train"].value < values["Natural scenes", "nearest_train"].value
    assert any(one.system == "brainram-plus, Noise over ridge, Noise" for one in found.records)
    assert found.skipped == [] and "generated" not in workbench.store.made


def test_new_stimuli_that_are_not_there_are_named(workbench, tmp_path):
    given = replace(workbench.run, source=EmbeddedWorld(WORLD, workbench.layout.root), _marks={})
    (workbench.layout.root / "nsddata/experiments/nsdsynthetic").rename(tmp_path / "away")
    try:
        found = stimuli(replace(Subject(given, workbench.store), images=False))
    finally:
        (tmp_path / "away").rename(workbench.layout.root / "nsddata/experiments/nsdsynthetic")
    assert found.tables == [] and "the design of NSD-synthetic" in found.skipped[0]
    other = Workbench(changed(TINY, data__normalisation="none"), runs=workbench.store.root, world=WORLD)
    assert "this profile's betas are 'none': they do not compare" in audit(other, "stimuli").skipped[0]


def test_a_gallery_has_the_first_of_every_kind_above_what_systems_make_of_them(workbench):
    quick = changed(TINY, generation__steps=1, sampling__samples=1)
    rows, kinds = Workbench(quick, runs=workbench.store.root, world=WORLD).new_stimuli({"ridge": "ridge"}, each=1)
    assert list(rows) == ["stimulus", "ridge"] and len(kinds) == len(set(kinds)) == 10
    stage = workbench.run.new_stimuli()
    np.testing.assert_array_equal(rows["stimulus"][3], stage.pictures(workbench.store, slice(6, 7))[0])
    assert rows["ridge"].shape == rows["stimulus"].shape
    assert len(new_stimuli_figure(rows, kinds).axes[0].images) == 20
