"""One small end-to-end run: from simulated NSD files to a scored table, through every stage."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from brainram_lib.__main__ import main
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.generation.selection import agreement
from brainram_lib.pipeline.run import run_of
from brainram_lib.pipeline.source import EmbeddedWorld, NsdFiles
from brainram_lib.profiles import MINI, changed
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.systems import system, system_of, systems
from brainram_lib.systems.scores import image_metrics, labels, stages_of
from brainram_lib.view.gallery import score_plot
from brainram_lib.workbench import Workbench
from brainram_lib.world.world import WorldSettings

CHANGES = {
    "data__sessions": 3,
    "split__validation": 6,
    "stage1__epochs": 1,
    "stage1__batch": 8,
    "sampling__samples": 2,
    "sampling__steps": 2,
    "sampling__kind": "draw",
    "stage2__epochs": 1,
    "stage2__batch": 8,
    "retrieval__neighbours": 3,
    "generation__steps": 2,
    "corpus__pairs": 40,
}
TINY = changed(MINI, **CHANGES)
WORLD = WorldSettings(
    name="tiny", subjects=(1, 2), voxels=(60, 50), sessions=3, trials_per_session=40, images=40, shared=10
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def workbench(runs):
    return Workbench(TINY, subject=1, runs=runs, world=WORLD)


@pytest.fixture(scope="session")
def finished(workbench):
    """The workbench, with everything made."""
    make_all(workbench)
    return workbench


@pytest.fixture(scope="session")
def records(finished):
    """Its records, whose intervals take a while."""
    return finished.records()


def make_all(workbench):
    """All that the tables need, without their intervals; returns what had to be made."""
    for one in systems("brainram-plus"):
        for stage in stages_of(workbench.run, one):
            workbench.store.result(stage)
    return workbench.store.made


def again(runs, **changes):
    """Another workbench on the same runs, which knows nothing of the first."""
    return Workbench(changed(TINY, **changes), subject=1, runs=runs, world=WORLD)


def test_the_splits_are_nsds(workbench):
    assert workbench.betas()["train"].shape[0] == 30 and workbench.betas()["test"].shape[0] == 10
    assert workbench.nsd_ids("test").tolist() == list(range(10))
    assert len(workbench.stimuli("test")) == len(workbench.captions("test")) == 10


def test_every_stage_has_the_shapes_of_the_method(workbench):
    for modality in MODALITIES:
        tokens, width = workbench.targets(modality, "test").shape[1:]
        assert workbench.ridge(modality).shape == (10, tokens, width)
        assert workbench.ridge_r2(modality).shape == (tokens,)
        assert workbench.estimates(modality, "train").shape == (30, 2, tokens, width)
        assert workbench.neighbours(modality, "test").ids.shape == (10, 2, 3)
        assert workbench.refined(modality).shape == (10, 2, tokens, width)
        weights = workbench.fusion_weights(modality)
        assert weights.shape == (10, 2, 4, tokens)
        np.testing.assert_allclose(weights.sum(2), 1, atol=1e-3)
        assert len(workbench.prior_history(modality)) == len(workbench.fusion_history(modality)) == 1


def test_records_hold_every_system_and_metric(records):
    assert all(isinstance(one, Record) for one in records)
    assert list(dict.fromkeys(one.system for one in records)) == [
        *(one.name for one in systems("brainram-plus")),
        "chance",
    ]
    needed = {"pixcorr", "ssim", "lite0_early", "lite0_middle", "lite0_late", "clip", "probe_category"}
    assert {one.metric for one in records if one.system == "brainram-plus"} == needed | {
        *("image_mse", "image_cosine", "text_mse", "text_cosine"),
        *("image_retrieval", "brain_retrieval", "global_two_way"),
    }
    for one in records:
        assert one.low <= one.value + 1e-9 and one.value <= one.high + 1e-9, one
        assert (one.subject, one.seed) == (1, 0)


def test_some_systems_and_estimates_alone_can_be_asked_for(finished):
    assert {one.system for one in finished.records(["ridge"])} == {"ridge", "chance"}
    estimates = finished.estimate_records(["ridge", "ceiling"])
    assert {one.system for one in estimates} == {"ridge", "ceiling", "chance"}
    assert "pixcorr" not in {one.metric for one in estimates}


def test_leads_are_differences_of_the_scores(finished, records):
    means = {(one.system, one.metric): one.value for one in records}
    leads = {(one.system, one.metric): one for one in finished.leads()}
    assert {system for system, _ in leads} == {
        f"brainram-plus over {other}" for other in ("ridge", "brainram-plus-no-ram")
    }
    for (name, metric), lead in leads.items():
        first, other = name.split(" over ")
        assert lead.value == pytest.approx(means[first, metric] - means[other, metric])


def test_the_tables_say_what_they_cannot_be_compared_with_and_keep_small_errors_apart(finished):
    images, lead, estimates = finished.score_tables()
    assert all(EMBEDDED in table.title for table in (images, lead, estimates))
    assert "| Ridge |" in images.markdown() and "| MindEye |" in finished.score_tables(reported=True)[0].markdown()
    assert "MindEye" not in images.markdown() and "| BrainRAM-plus over Ridge |" in lead.markdown()
    errors = estimates.sections[0].cells["Image tokens MSE ↓"]
    assert len(errors["Ridge"].split()[0]) == len(".00221") and errors["True tokens (ceiling)"] == ".00000"


def test_the_ceilings_estimates_are_perfect_and_shuffled_ones_are_not(records):
    rows = {(one.system, one.metric): one.value for one in records}
    assert rows["ceiling", "image_mse"] == 0 and rows["ceiling", "text_cosine"] == pytest.approx(1)
    assert rows["ceiling", "image_retrieval"] == 1
    assert rows["shuffled", "image_mse"] > rows["brainram-plus", "image_mse"]


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


def test_both_modalities_share_the_neighbours_that_both_estimates_found(workbench):
    image, text = (workbench.neighbours(modality, "test") for modality in MODALITIES)
    np.testing.assert_array_equal(image.ids, text.ids)
    assert (np.diff(image.similarity, axis=-1) <= 0).all()


def test_a_broken_picture_of_the_corpus_does_not_stop_the_search(workbench, tmp_path):
    broken = int(workbench.neighbours("image", "test").ids[0, 0, 0])
    corpus = Corpus(shutil.copytree(workbench.corpus.folder, tmp_path / "corpus"), workbench.encoder.image_size)
    tar = corpus.layout.tar(0)
    with tarfile.open(tar) as archive:
        member = next(one for one in archive if Path(one.name).suffix == ".jpg" and int(Path(one.name).stem) == broken)
    with open(tar, "r+b") as stored:
        stored.seek(member.offset_data)
        stored.write(bytes(member.size))
    search = workbench.run.neighbours("image").search(workbench.store)
    search = replace(search, tokens=TokenCache(corpus, workbench.encoder, tmp_path / "tokens"))
    estimates = {modality: workbench.estimates(modality, "test") for modality in MODALITIES}
    with pytest.warns(UserWarning, match=f"Item {broken}: "):
        search.write(tmp_path, "test", "both", estimates, workbench.prior("image").whitening)
    ids = np.load(tmp_path / "test_ids.npy")
    assert ids.shape == workbench.neighbours("image", "test").ids.shape and broken not in ids


def test_only_brainram_is_guided_by_a_neighbour_for_each_sample(finished, runs):
    found, items = finished.neighbours("image", "test"), finished.guiding_neighbours("brainram-plus")
    assert (items[:, 0] != items[:, 1]).all()
    assert all(set(own) <= set(ids.ravel()) for own, ids in zip(items, found.ids, strict=True))
    for other in ("brainram-plus-no-ram", "ridge", "ceiling"):
        assert finished.guiding_neighbours(other) is None and finished.guiding_images(other) is None
    chosen = np.array(finished.store.result(finished._system("brainram-plus").images(finished.run)).array("index"))
    shown = finished.corpus.images(items[np.arange(len(items)), chosen])
    np.testing.assert_array_equal(finished.guiding_images("brainram-plus"), shown)
    alone = again(runs, generation__neighbour_share=0.0)
    assert alone.guiding_neighbours("brainram-plus") is None
    np.testing.assert_array_equal(alone.samples("ridge"), finished.samples("ridge"))
    assert alone.store.made == [], "the share of a neighbour is nothing to systems without one"
    assert not np.array_equal(alone.samples("brainram-plus"), finished.samples("brainram-plus"))


def test_ridge_chooses_among_as_many_images_and_the_ceiling_never(finished):
    ridge = finished.samples("ridge")
    assert ridge.shape == finished.samples("brainram-plus").shape and not np.array_equal(ridge[:, 0], ridge[:, 1])
    made = finished.encoder.image_tokens(ridge.reshape(-1, *ridge.shape[2:])).unflatten(0, ridge.shape[:2])
    agreed = agreement(made, torch.from_numpy(np.array(finished.ridge("image"))))
    np.testing.assert_array_equal(finished.reconstructions("ridge"), ridge[np.arange(len(ridge)), agreed.argmax(1)])
    assert finished.samples("ceiling").shape[1] == 1


def test_the_papers_search_asks_with_each_modality_alone(runs):
    plain = {"text_weight": None, "word_weight": 0.0, "candidates": None, "token_weight": 0.0, "query_whitening": 0.0}
    workbench = again(runs, **{f"retrieval__{name}": value for name, value in plain.items()})
    image, text = (workbench.neighbours(modality, "test") for modality in MODALITIES)
    assert image.ids.shape == text.ids.shape == (10, 2, 3) and not np.array_equal(image.ids, text.ids)
    assert (image.similarity <= 1 + 1e-3).all(), "cosines"
    run = workbench.run
    assert list(run.neighbours("text").inputs) == ["text", "readouts"]


@pytest.mark.parametrize(
    ("alone", "needed"),
    [("text_weight", "word_weight.*needs a 'retrieval.text"), ("candidates", "token_weight.*needs")],
)
def test_settings_that_would_have_no_effect_are_named(alone, needed):
    with pytest.raises(ValueError, match=needed):
        changed(TINY, **{f"retrieval__{alone}": None})


def test_the_browser_shows_what_the_stages_made(workbench):
    assert workbench.browser_data().modalities == MODALITIES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "maxi"}, "'profile' must be one of"),
        ({"subject": 3}, r"'subject' must be one of \[1, 2, 5, 7\].*'3' was provided"),
        ({"profile": "paper"}, "give nsd_root"),
        ({"seed": -1}, "'seed' must be a whole number, 0 or more. -1 was"),
    ],
)
def test_what_cannot_be_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Workbench(**arguments)


def test_a_profile_without_a_corpus_asks_for_one(tmp_path):
    with pytest.raises(ValueError, match="needs a corpus of your own: give corpus_root"):
        _ = Workbench("paper", nsd_root=tmp_path).corpus


def test_attributions_of_tokens_and_neighbours_add_up_to_what_was_gained(workbench):
    voxels = workbench.betas()["test"].shape[1]
    for asked in ({}, {"token": 2}, {"neighbour": 1}):
        found = workbench.attribution("text", **asked)
        assert found.values.shape == (10, voxels) and found.shortfall < 0.05
    # both estimates ask together here, so that a neighbour has one reason for both
    np.testing.assert_array_equal(workbench.attribution("image", neighbour=1).values, found.values)
    with pytest.raises(ValueError, match="give 'token' or 'neighbour', not both"):
        workbench.attribution("text", token=0, neighbour=0)


def test_an_unknown_system_or_modality_is_named(workbench):
    for asked in (workbench.reconstructions, workbench.samples, workbench.tokens_of_system):
        with pytest.raises(ValueError, match="'system' must be one of brainram, .*'dream' was provided"):
            asked("dream")
    with pytest.raises(ValueError, match="'modality' must be one of"):
        workbench.targets("sound", "test")
    with pytest.raises(ValueError, match="'nearest-train' shows images that exist and has no tokens"):
        workbench.tokens_of_system("nearest-train")


# --- what a change makes again


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


def test_more_images_at_a_time_make_nothing_again(finished, runs):
    other = again(runs, generation__batch=3)
    assert make_all(other) == []


def test_results_that_were_moved_are_found(finished, tmp_path):
    shutil.copytree(finished.store.root, tmp_path / "moved")
    other = again(tmp_path / "moved")
    assert make_all(other) == []


def test_a_profile_of_another_name_shares_all_results(finished, runs, tmp_path):
    (tmp_path / "row.json").write_text(json.dumps({"base": "mini"} | CHANGES))
    other = Workbench(str(tmp_path / "row.json"), subject=1, runs=runs, world=WORLD)
    assert other.profile.name == "row" and make_all(other) == []


# --- the files of NSD


@pytest.fixture(scope="module")
def nsd(workbench, tmp_path_factory):
    """A world's files in a folder of the user's."""
    return Path(shutil.copytree(workbench.layout.root, tmp_path_factory.mktemp("given") / "nsd"))


NSD = replace(changed(TINY, corpus__pairs=40), source="nsd")


def test_a_folder_named_relative_absolute_or_by_a_link_is_one_preparation(nsd, tmp_path, monkeypatch):
    monkeypatch.chdir(nsd.parent)
    (tmp_path / "link").symlink_to(nsd)
    made = []
    for root in (nsd, "nsd", Path("..") / nsd.parent.name / "nsd", tmp_path / "link"):
        one = Workbench(NSD, subject=1, runs=tmp_path / "runs", nsd_root=root)
        one.betas()
        one.targets("text", "test")
        made += one.store.made
    assert made == ["subject", "images", "targets-text"]


def test_a_world_that_is_given_is_read_and_not_written(nsd, tmp_path):
    given = Workbench(TINY, subject=1, runs=tmp_path, nsd_root=nsd)
    assert given.layout.root == nsd and given.run.source == EmbeddedWorld(root=nsd)
    assert given.betas()["test"].shape[0] == 10


def keys(root):
    """The keys of one run's data."""
    run = run_of(NSD, 1, 0, root)
    return {"subject": run.betas.key} | {f"targets-{modality}": run.targets(modality).key for modality in MODALITIES}


def changed_keys(root, change):
    """Which keys a change of the files changes."""
    before = keys(root)
    change()
    return {name for name, key in keys(root).items() if key != before[name]}


@pytest.fixture
def copied(nsd, tmp_path):
    return Path(shutil.copytree(nsd, tmp_path / "nsd"))


ALL = {"subject", "targets-image", "targets-text"}


def test_replaced_betas_are_prepared_anew(copied):
    layout = NsdFiles(copied).layout(copied, 1)
    path = layout.betas_session(1, 2)

    def replace_betas():
        with h5py.File(path, "r+") as file:
            file["betas"][3] = file["betas"][3] + 1

    assert changed_keys(copied, replace_betas) == ALL


def test_the_betas_of_sessions_and_subjects_that_are_not_read_do_not_count(copied):
    layout = NsdFiles(copied).layout(copied, 1)

    def write():
        for path in (layout.betas_session(1, 4), layout.betas_session(2, 1)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"other")

    assert changed_keys(copied, write) == set()


def test_an_ncsnr_that_is_fetched_later_counts(copied):
    path = NsdFiles(copied).layout(copied, 1).ncsnr(1, NSD.data.beta_version)
    kept = path.read_bytes()
    path.unlink()
    assert changed_keys(copied, lambda: path.write_bytes(kept)) == ALL


def test_another_region_counts(copied):
    path = NsdFiles(copied).layout(copied, 1).roi(1, "nsdgeneral")

    def smaller():
        image = nibabel.load(path)
        values = np.asarray(image.dataobj).copy()
        values[tuple(np.argwhere(values == 1)[0])] = 0
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)

    assert changed_keys(copied, smaller) == ALL


def test_a_changed_stimulus_changes_the_image_targets_alone(copied):
    def invert():
        with h5py.File(NsdFiles(copied).layout(copied, 1).stimuli, "r+") as file:
            file["imgBrick"][5] = 255 - file["imgBrick"][5]

    assert changed_keys(copied, invert) == {"targets-image"}


def test_a_changed_caption_changes_the_text_targets_alone(copied):
    path = NsdFiles(copied).layout(copied, 1).captions("train2017")
    path = path if path.exists() else NsdFiles(copied).layout(copied, 1).captions("val2017")

    def reword():
        said = json.loads(path.read_text())
        said["annotations"][0]["caption"] = "another caption"
        path.write_text(json.dumps(said))

    assert changed_keys(copied, reword) == {"targets-text"}


# --- several processes

STIMULI = """
import sys
sys.path.insert(0, sys.argv[3])
from test_workbench import TINY, WORLD
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.workbench import Workbench
from brainram_lib.world.world import make_experiment
subject = int(sys.argv[2])
wb = Workbench(TINY, subject=subject, runs=sys.argv[1], world=WORLD)
seen = make_experiment(WORLD).subject_images[subject - 1]
print(min(int(image.max()) for image in read_stimuli(wb.layout, seen)))
"""


def test_two_subjects_that_start_together_each_see_all_their_images(tmp_path, root):
    tests = str(root / "tests")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STIMULI, str(tmp_path), str(subject), tests],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for subject in (1, 2)
    ]
    for process in processes:
        said, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem
        assert int(said) > 50, "no image is black"


# --- a system of one's own

TOY = '''
"""A decoder that estimates the mean of the training images' tokens."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainram_lib.core.files import write_array
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import Targets
from brainram_lib.systems.system import DECODER, System, register


@dataclass(frozen=True)
class MeanTokens(Stage):
    targets: Targets

    def make(self, folder: Path, store: Store) -> None:
        tokens = store.result(self.targets)
        mean = np.asarray(tokens.array("train"), np.float32).mean(0, keepdims=True)
        write_array(folder / "test.npy", np.repeat(mean, len(tokens.array("test")), 0))


def tokens(run):
    return {modality: MeanTokens(run.targets(modality)) for modality in MODALITIES}


def images(run):
    return run.generated(tokens(run), label="generate, toy")


register(System("toy", "Mean tokens", "tests", DECODER, 35, tokens, images))
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy decoder, known while the test runs."""
    monkeypatch.setattr(system, "_REGISTRY", dict(system._REGISTRY))
    assert len(TOY.strip().splitlines()) <= 40
    (tmp_path / "toy_decoder.py").write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_decoder", tmp_path / "toy_decoder.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_decoder", module)
    spec.loader.exec_module(module)
    return system_of("toy")


def test_a_decoder_of_one_file_stands_in_records_tables_plots_and_on_the_command_line(finished, runs, toy, capsys):
    other = again(runs)
    records = other.records()
    new = {"mean-tokens", "generated", "image-scores", "estimate-scores"}
    assert set(other.store.made) == new, "of the other systems nothing is made again"
    own = {one.metric for one in records if one.system == "toy"}
    assert own == {one.metric for one in records if one.system == "ridge"}
    images, _, estimates = other.score_tables()
    for table in (images, estimates):
        rows = list(table.sections[0].cells.index)
        assert rows.index("Mean tokens") == rows.index("Ridge") + 1
    figure = score_plot(records, image_metrics(other.run)[:1], labels=labels())
    assert "Mean tokens" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert other.samples("toy").shape == other.samples("ridge").shape
    with pytest.raises(SystemExit):
        main(["reconstruct", "--help"])
    assert "toy" in capsys.readouterr().out


def test_a_system_with_nothing_to_score_or_of_another_kind_is_refused(toy):
    with pytest.raises(ValueError, match="'toy' has neither tokens nor images"):
        system.register(replace(toy, tokens=None, images=None))
    with pytest.raises(ValueError, match="'kind' of 'toy' must be decoder, shown or bound. 'ghost' was given"):
        system.register(replace(toy, kind="ghost"))


def test_the_command_line_prints_the_records(records, runs, monkeypatch):
    class Same(Workbench):
        def __init__(self, **_):
            super().__init__(TINY, subject=1, runs=runs, world=WORLD)

    monkeypatch.setattr("brainram_lib.workbench.Workbench", Same)
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["scores", "--json"]) == 0
    assert json.loads(printed.getvalue()) == [asdict(one) for one in records]


def test_reconstructions_that_others_made_are_matched_by_their_ids(workbench, tmp_path):
    ids, stimuli = workbench.nsd_ids("test"), workbench.stimuli("test")
    for number, pixels in list(zip(ids, stimuli, strict=True))[1:][::-1]:
        Image.fromarray(pixels).save(tmp_path / f"nsd{number:05d}.png")
    made = len(workbench.store.made)
    table = workbench.submitted(tmp_path)
    assert sorted(workbench.store.made[made:]) == ["features-clip"] * 2 + ["features-lite0"] * 2 + ["submitted-scores"]
    assert table.sections[0].cells.loc[tmp_path.name, "PixCorr ↑"] == "1.000 [1.000, 1.000]"
    assert table.sections[0].cells.loc[tmp_path.name, "Lite0 late ↑ %"] == "100.0"
    assert EMBEDDED in table.title and "9 of 10 test images are scored" in table.text()
    assert f"1 test images are missing: nsdId {ids[0]}" in table.text()
    Image.fromarray(stimuli[0]).save(tmp_path / "nsd99999.png")
    with pytest.raises(ValueError, match="1 images that are of no test image of this subject, the first nsdId 99999"):
        workbench.submitted(tmp_path)


def test_a_preset_computes_only_what_it_sees_differently(workbench, tmp_path):
    stimuli = workbench.stimuli("test")
    sharp, soft = tmp_path / "sharp", tmp_path / "soft"
    for folder, images in ((sharp, stimuli), (soft, stimuli // 2 + 60)):
        folder.mkdir()
        np.save(folder / "images.npy", images)
        np.save(folder / "nsd_ids.npy", workbench.nsd_ids("test"))
    made = workbench.store.made
    workbench.submitted(sharp)
    before = len(made)
    table = workbench.submitted(sharp, "takagi")
    # CLIP's own preprocessing is both presets'
    assert sorted(made[before:]) == ["features-lite0"] * 2 + ["submitted-scores"]
    assert [one.split(" ↑")[0] for one in table.sections[0].cells.columns] == [
        "Lite0 early",
        "Lite0 middle",
        "Lite0 late",
        "mini CLIP",
    ]
    assert "compares over reconstructions" in table.text() and "pool of 10 is smaller than the 300" in table.text()
    before = len(made)
    workbench.submitted(sharp, "mindeye")
    plain = workbench.submitted(sharp, "mindeye2")
    # the same images seen in the same way
    assert sorted(made[before:]) == ["features-clip"] * 2 + ["features-lite0"] * 2 + ["submitted-scores"] * 2
    assert "no blurry images were given" in plain.text() and "scores 1000 images" in plain.text()
    before = len(made)
    blended = workbench.submitted(sharp, "mindeye2", soft)
    assert sorted(made[before:]) == ["features-clip", "features-lite0", "submitted-scores"]
    assert "75% reconstruction and 25% blurry image, blended before all metrics" in blended.text()
    with pytest.raises(ValueError, match="the preset 'mindeye' blends nothing"):
        workbench.submitted(sharp, "mindeye", soft)
    np.save(soft / "images.npy", stimuli[:-1])
    np.save(soft / "nsd_ids.npy", workbench.nsd_ids("test")[:-1])
    with pytest.raises(ValueError, match="lacks 1 of the 10 images of .* Every reconstruction needs its blurry twin"):
        workbench.submitted(sharp, "mindeye2", soft)
    with pytest.raises(ValueError, match="'preset' must be one of brainram"):
        workbench.submitted(sharp, "umbrae")
