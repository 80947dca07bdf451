"""Everything that computes, on a second device: no tensor is left behind, and the numbers are the same."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from elsewhere import DEVICE, Elsewhere, SecondDevice
from given_stages import SmallRun
from small_stages import PROFILE, VALIDATION, small_data
from test_generation_sampling import IMAGE_TOKENS, TEXT_TOKENS, UNET, VAE
from test_generation_sampling import tokens as generation_tokens

from brainram_lib.attribution.decoders import PriorDecoder
from brainram_lib.attribution.gradients import integrated_gradients
from brainram_lib.attribution.scores import TokenAgreement
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.ridge import fit_ridge
from brainram_lib.core.store import Store
from brainram_lib.core.whitening import whitened_by
from brainram_lib.encoders import load_encoder
from brainram_lib.evaluation.backbones import load_network
from brainram_lib.generation import sampling
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion
from brainram_lib.recipes import curriculum, generator, recogniser
from brainram_lib.recipes import prior as prior_recipe
from brainram_lib.recipes.degrade import Spectrum
from brainram_lib.recipes.recall import Recall
from brainram_lib.recipes.training import Budget
from brainram_lib.stage1.free import FreeRows
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples
from brainram_lib.stage2.training import RamExamples, train_fusion

# torch takes what says 'meta' for empty, and warns that nothing was loaded into it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture
def second_device(monkeypatch):
    for module in ("core.devices", "stage1.training", "stage2.training", "evaluation.backbones"):
        monkeypatch.setattr(f"brainram_lib.{module}.accelerator", lambda: DEVICE)
    with SecondDevice():
        yield


@pytest.fixture(scope="module")
def data():
    return small_data()


def run_stages(folder):
    """Both stages, from betas to refined estimates; returns prior, fusion and every array that they wrote."""
    run, store = SmallRun(), Store(folder)
    results = {stage.name: store.result(stage).folder for stage in run.stages}
    arrays = {f"{name}/{path.name}": np.load(path) for name, at in results.items() for path in at.glob("*.npy")}
    return run.prior.load(store), run.fusion.load(store), arrays


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory):
    return run_stages(tmp_path_factory.mktemp("cpu"))


def test_without_a_gpu_the_cpu_computes():
    assert accelerator().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_both_stages_give_the_same_on_a_second_device(tmp_path, on_the_cpu, second_device):
    prior, fusion, found = run_stages(tmp_path)
    assert prior.device == fusion.device == DEVICE and isinstance(prior.whitening.mean, Elsewhere)
    assert len(found) == 4
    for name, array in found.items():
        np.testing.assert_allclose(array, on_the_cpu[2][name], atol=2e-3, rtol=2e-3, err_msg=str(name))


def test_samples_and_means_return_to_where_the_betas_were(data, on_the_cpu, second_device):
    betas, linear = (torch.from_numpy(part["test"]) for part in data[:2])
    prior = on_the_cpu[0]
    here = prior.sample(betas, linear, seed=3, steps=3), prior.predict(betas, linear)
    try:
        prior.to(DEVICE)
        there = prior.sample(betas, linear, seed=3, steps=3), prior.predict(betas, linear)
        moved = prior.sample(betas.to(DEVICE), linear.to(DEVICE), seed=3, steps=3)
    finally:
        prior.cpu()
    assert {one.device.type for one in there} == {"cpu"} and moved.device == DEVICE
    torch.testing.assert_close(there, here)
    torch.testing.assert_close(moved.cpu(), here[0])


def test_a_training_goes_on_on_another_device(tmp_path, data, monkeypatch):
    from brainram_lib.core import loop
    from brainram_lib.stage1 import training

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    betas, linear, targets, *_ = data
    parts = [torch.from_numpy(part["train"]) for part in (betas, linear, targets)]
    held = training.Examples(*(part[:VALIDATION] for part in parts))
    rows = training.Examples(*parts)
    whole, _ = training.train_prior(PROFILE.stage1, rows, held, tmp_path / "whole", 5, "whole")

    real, calls = training.validation_row, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "validation_row", stops)
    with pytest.raises(KeyboardInterrupt):
        training.train_prior(PROFILE.stage1, rows, held, tmp_path / "cut", 5, "cut")
    monkeypatch.setattr(training, "accelerator", lambda: DEVICE)
    with SecondDevice():
        resumed, _ = training.train_prior(PROFILE.stage1, rows, held, tmp_path / "cut", 5, "cut")
        assert resumed.device == DEVICE
        resumed.cpu()
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, atol=1e-4, rtol=1e-4, msg=name)


def test_a_fusion_learns_on_a_second_device_from_tensors_in_memory(tmp_path, data, second_device):
    _, _, targets, ids, corpus = data
    goal, known = torch.from_numpy(targets["train"]), corpus.float()
    rows = RamExamples(torch.stack([goal + 0.3, goal - 0.2], 1), torch.from_numpy(ids["train"]), goal)
    ram, _ = train_fusion(PROFILE.stage2, rows, rows, lambda asked: known[asked], tmp_path, 1, "ram")
    assert ram.device == DEVICE


def test_attributions_are_the_same_on_a_second_device(data, on_the_cpu, second_device):
    betas, _, targets, *_ = data
    ridge = fit_ridge(betas["train"], targets["train"], betas["test"], targets["test"])
    score = TokenAgreement.of(torch.from_numpy(targets["test"]), torch.from_numpy(targets["train"]).mean(0))
    seen, mean = torch.from_numpy(betas["test"]), torch.from_numpy(betas["train"]).mean(0)
    prior, found = on_the_cpu[0], []
    try:
        for place in ("cpu", DEVICE):
            decoder = PriorDecoder(prior.to(place), ridge)
            found.append(integrated_gradients(decoder, score, seen, mean, steps=4, batch=4, tolerance=1.0))
    finally:
        prior.cpu()
    np.testing.assert_allclose(found[1].values, found[0].values, atol=1e-4)


def test_a_metrics_network_computes_on_a_second_device(second_device, monkeypatch):
    pictures = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    there = load_network("lite0")
    assert isinstance(next(there.module.parameters()), Elsewhere)
    monkeypatch.setattr("brainram_lib.evaluation.backbones.accelerator", lambda: torch.device("cpu"))
    here = load_network("lite0")(pictures)
    for layer, features in there(pictures).items():
        np.testing.assert_allclose(features, here[layer], atol=1e-4, rtol=1e-3)


def test_clip_encodes_the_same_on_a_second_device():
    pictures, captions = (
        np.random.default_rng(0).integers(256, size=(2, 64, 64, 3), dtype=np.uint8),
        [["a dog", "a cat"]],
    )

    def encoded(clip):
        return clip.image_tokens(pictures), clip.text_tokens(captions), clip.pooled_texts(["a dog"])

    clip = load_encoder("mini")
    here = encoded(clip)
    with SecondDevice():
        clip.model.to(DEVICE)
        torch.testing.assert_close(encoded(clip), here)


@pytest.mark.parametrize("scheduler", sampling.SCHEDULERS)
def test_the_generator_gives_the_same_on_a_second_device(scheduler):
    model = VersatileDiffusion.random(IMAGE_TOKENS, TEXT_TOKENS, unet_config=UNET, vae_config=VAE)
    settings = {"text_mix": 0.4, "guidance_scale": 2.0, "steps": 2, "scheduler": scheduler, "batch_size": 2}
    here = sampling.generate(model, **generation_tokens(), **settings)
    again = model.decode(model.encode(here))
    with SecondDevice():
        model.to(DEVICE)
        np.testing.assert_allclose(sampling.generate(model, **generation_tokens(), **settings), here, atol=1)
        np.testing.assert_allclose(model.decode(model.encode(here)), again, atol=1)


def test_the_second_device_refuses_what_a_gpu_would():
    with SecondDevice():
        there = torch.ones(3).to(DEVICE)
        assert (there + 1.5).cpu().tolist() == [2.5] * 3
        with pytest.raises(AssertionError, match="two devices"):
            there + torch.ones(3)
        with pytest.raises(AssertionError, match="two devices"):
            torch.nn.Linear(3, 2)(there)
        with pytest.raises(AssertionError, match="draws on the device"):
            torch.randn(3, device=DEVICE)


def test_seeded_randomness_repeats_and_leaves_no_trace():
    before = torch.get_rng_state()
    with seeded(4):
        first = torch.rand(3)
    with seeded(4):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_recipes_steps_leave_no_tensor_behind(tmp_path, second_device, monkeypatch, data):
    """The mini generator's step, the recogniser's, and that of the prior's network."""
    for module in (generator, recogniser, prior_recipe):
        monkeypatch.setattr(module, "in_bfloat16", lambda device: nullcontext())
    monkeypatch.setattr(recogniser, "accelerator", lambda: DEVICE)
    monkeypatch.setattr(generator, "_attention", lambda device: nullcontext())
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda weights, fused=None, **how: adamw(weights, foreach=False, **how))
    shapes = (5, 12), (7, 12)
    rng, count = np.random.default_rng(0), generator.HELD_OUT + 5
    model = VersatileDiffusion.random(*shapes, unet_config=UNET, vae_config=VAE)
    latents = rng.standard_normal((count, *model.latent_shape)).astype(np.float16)
    tokens = [rng.standard_normal((count, *shape)).astype(np.float16) for shape in shapes]
    sees = recogniser.train_recogniser(
        tmp_path / "r.safetensors", latents[:5], rng.random((5, 3)) < 0.5, Budget(1, 60, 1e-3)
    )
    assert isinstance(next(sees.parameters()), Elsewhere)
    spectra = tuple(Spectrum.of(torch.zeros(shape), torch.eye(shape[1])) for shape in shapes)
    material = curriculum.Material(
        latents,
        np.ones((count, *model.latent_shape[1:]), np.float16),
        *tokens,
        tuple(torch.zeros(shape) for shape in shapes),
        spectra,
        Recall.of(tokens[0], tokens[0], (spectra[0], spectra[0])),
        torch.arange(3),
    )
    unet = model.unet.requires_grad_(True).to(DEVICE)
    phase = replace(curriculum.OBJECTS, batch=3, share=1.0, rate=1.0, recalled=0.0)
    monkeypatch.setattr(generator, "PHASES", (phase,))
    generator.train_phase(tmp_path / "d.safetensors", unet, material, phase, Budget(1, 60, 1e-3), sees)
    betas, linear, targets, *_ = data
    rows = Examples(*(torch.from_numpy(part["train"]) for part in (betas, linear, targets)))
    made = Prior(PROFILE.stage1, rows.betas.shape[1], *rows.targets.shape[1:]).to(DEVICE)
    free = FreeRows(rows.targets, rows.linear, rows.targets, whitened_by(made.whitening))
    loss = prior_recipe._loss(made, rows, free, torch.Generator().manual_seed(0))
    loss.backward()
    assert isinstance(loss, Elsewhere) and prior_recipe.held_out_error(made, rows) > 0
