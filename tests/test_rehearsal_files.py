"""A small rehearsal's files: in the real formats, read by the readers of the real data, and continued where stopped."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainram_lib.core.published import CLIP_VIT_L14, VERSATILE_DIFFUSION
from brainram_lib.evaluation.backbones import load_network
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion
from brainram_lib.nsd import check
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.profiles import PAPER, profile_of
from brainram_lib.setup.rehearsal import subject, weights
from brainram_lib.setup.rehearsal.pictures import corpus_items, random_picture
from brainram_lib.setup.rehearsal.sizes import FULL, SMALL, sizes_of
from brainram_lib.world.world import make_experiment


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return subject.write_subject(tmp_path_factory.mktemp("nsd"), SMALL)


def test_every_notebook_finds_what_it_needs(layout):
    findings = check.check(layout, 1, SMALL.sessions)
    assert [finding.thing for finding in findings if finding.stops] == []
    assert {finding.status for finding in findings} == {check.THERE}


def test_the_stimulus_file_has_all_rows_and_holds_those_in_use(layout):
    trials = Design.read(layout).trials(1, SMALL.sessions)
    with h5py.File(layout.stimuli) as file:
        brick = file["imgBrick"]
        assert brick.shape == (SMALL.experiment.n_stimuli, 64, 64, 3)
        assert brick.id.get_num_chunks() == len(trials.test_ids) + 32 < len(brick)
    first = trials.test_ids[:2]
    np.testing.assert_array_equal(read_stimuli(layout, first)[1], random_picture(int(first[1]), 64, 1))


def test_a_second_writing_touches_nothing(layout):
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}
    subject.write_subject(layout.root, SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}


def test_an_interrupted_writing_goes_on(tmp_path, monkeypatch):
    def stops(path, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(subject, "write_hdf5", stops)
    with pytest.raises(KeyboardInterrupt):
        subject.write_subject(tmp_path, SMALL)
    written = []
    monkeypatch.setattr(subject, "write_hdf5", lambda path, size, session: written.append(session))
    monkeypatch.setattr(subject, "random_picture", lambda *_: pytest.fail("the stimuli were written before"))
    subject.write_subject(tmp_path, SMALL)
    assert written == [1, 2, 3, 4, 5]


def test_the_full_sizes_are_nsds_and_the_papers():
    experiment = make_experiment(FULL.experiment)
    assert FULL.experiment.n_stimuli == 73_000
    assert len(experiment.ordering) == 30_000 and experiment.subject_images.shape == (8, 10_000)
    assert FULL.volume.roi_voxels == 15_724 and FULL.picture == 425
    subject._check_repetitions(_shown_of_the_first(experiment, FULL.sessions))
    image, text = weights.clip_shapes(FULL.encoder)
    assert (1 + (image["image_size"] // image["patch_size"]) ** 2, image["projection_dim"]) == (257, 768)
    assert (text["max_position_embeddings"], text["projection_dim"]) == (77, 768)


def _shown_of_the_first(experiment, sessions):
    shown = experiment.ordering[experiment.session <= sessions]
    return shown[shown < FULL.experiment.shared]


def test_too_few_repetitions_are_named():
    with pytest.raises(ValueError, match="1 test images have 3 trials.*needs 9"):
        subject._check_repetitions(np.array([4, 4, 4, 5, 5]))


@pytest.mark.parametrize("sizes", [FULL, SMALL], ids=lambda sizes: sizes.name)
def test_the_profile_is_the_papers_but_for_what_is_shortened(sizes, tmp_path):
    path = tmp_path / "rehearsal_profile.json"
    weights.write_profile(path, sizes)
    profile = profile_of(str(path))
    assert profile.split.images == (16, 2) and profile.generation.checkpoint == PAPER.generation.checkpoint
    assert profile.sampling.samples == PAPER.sampling.samples and profile.generation.guidance_scale == 3.5
    if sizes is FULL:
        assert profile.stage1.projector == PAPER.stage1.projector and profile.stage1.network == PAPER.stage1.network
        assert profile.encoder == PAPER.encoder and profile.metrics == PAPER.metrics


def test_the_generator_lies_where_the_hub_keeps_it_and_loads(tmp_path):
    weights.write_generator(tmp_path, SMALL)
    folder = VERSATILE_DIFFUSION.require(tmp_path)
    assert not (folder / "dual_guided.json").exists()
    stored = load_file(folder / "image_unet/diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    model = VersatileDiffusion.load(folder)
    assert model.unet.config.image_tokens == (65, 128) and model.unet.config.text_tokens == (24, 128)
    stamp = (folder / "vae/config.json").stat().st_mtime_ns
    weights.write_generator(tmp_path, SMALL)
    assert (folder / "vae/config.json").stat().st_mtime_ns == stamp


def test_clip_lies_where_the_hub_keeps_it(tmp_path, monkeypatch):
    """A stand-in for the largest of the files."""
    monkeypatch.setattr(weights.open_clip, "create_model", lambda *_, **__: torch.nn.Linear(5, 3))
    weights.write_clip(tmp_path, FULL.encoder)
    assert load_file(CLIP_VIT_L14.require(tmp_path) / CLIP_VIT_L14.files[0])["weight"].dtype == torch.float16


def test_the_metrics_networks_are_read_by_their_loader(tmp_path, monkeypatch):
    kept = {name: weights.NETWORKS[name] for name in ("efficientnet_b1",)}
    monkeypatch.setattr(weights, "NETWORKS", kept)
    weights.write_metric_networks(tmp_path, "paper")
    assert [path.name for path in tmp_path.iterdir()] == ["efficientnet_b1-c27df63c.pth"]
    features = load_network("efficientnet_b1", tmp_path)(np.zeros((2, 32, 32, 3), np.uint8))
    assert features["avgpool"].shape == (2, 1280)


def test_swavs_keys_are_prefixed_as_published(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "NETWORKS", {"swav": weights.NETWORKS["swav"]})
    weights.write_metric_networks(tmp_path, "paper")
    stored = torch.load(tmp_path / "swav_800ep_pretrain.pth.tar", weights_only=True)
    assert "module.conv1.weight" in stored


def test_corpus_items_differ_and_repeat():
    first, again = list(corpus_items(3, 32)), list(corpus_items(3, 32))
    assert first == again and len({item.image for item in first}) == 3
    assert first[0].caption.startswith("a photo of a ")


def test_unknown_sizes_are_named():
    with pytest.raises(ValueError, match=r"'sizes' must be one of \['full', 'small'\]. 'huge' was provided"):
        sizes_of("huge")
