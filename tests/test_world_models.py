"""The shipped mini models do what they are for, and their recipes run and resume."""

import numpy as np
import pytest
import torch

from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation.identification import BRAINS, IMAGES, found_first
from brainram_lib.world import mini_autoencoder, mini_clip
from brainram_lib.world.captions import captions_of
from brainram_lib.world.degrade import Faults, spoilt
from brainram_lib.world.mini_generator import noise_times, route
from brainram_lib.world.scenes import render, scene_of
from brainram_lib.world.training import Budget, run, scheduled_rate

PAIRS = 300


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render(scene_of("shared", index)) for index in range(PAIRS)])


def test_the_shipped_clip_finds_captions_and_pictures(pictures):
    captions = [captions_of(scene_of("shared", index), "shared", index)[0] for index in range(PAIRS)]
    encoder = ClipTokens.mini()
    similarity = (encoder.pooled_images(pictures) @ encoder.pooled_texts(captions).T).numpy()
    assert found_first(similarity, IMAGES).mean() > 0.55
    assert found_first(similarity, BRAINS).mean() > 0.55


def test_the_shipped_autoencoder_keeps_pictures(pictures):
    from diffusers import AutoencoderKL

    folder = mini_autoencoder.ASSETS
    model = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True).eval()
    assert mini_autoencoder.psnr(model, pictures[:60]) > 23.5


def test_the_tokeniser_keeps_what_is_in_use_and_pads_with_the_end():
    tokenizer = mini_clip.CompactTokenizer(mini_clip.pieces_in_use([["a red car"]]), context_length=7)
    ids = tokenizer(["a red car", "a red zeppelin", "a " * 20])
    start, end = tokenizer.vocab_size - 2, tokenizer.vocab_size - 1
    assert ids[0].tolist()[0] == start and ids[0].tolist()[-3:] == [end] * 3
    assert 0 in ids[1].tolist(), "an unknown piece is 0"
    assert ids.shape == (3, 7) and (ids[:, -1] == end).all()


def test_spoilt_tokens_shrink_and_a_share_stays_clean():
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(400, 5, 6, generator=random) + 3
    mean = tokens.mean(0)
    bad = spoilt(tokens, mean, random, Faults(clean=0.3))
    same = (bad == tokens).all(dim=(1, 2))
    assert 0.2 < same.float().mean() < 0.4
    kept = torch.nn.functional.cosine_similarity((bad - mean)[~same].flatten(1), (tokens - mean)[~same].flatten(1))
    assert 0.3 < kept.mean() < 0.95


def test_the_crowd_has_the_tokens_own_covariance():
    random = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 1.0, 0.1, 0.01])
    tokens = torch.randn(600, 5, 4, generator=random) * spread
    none = (0.0, 0.0)
    only = Faults(clean=0, shrink=none, stranger=none, crowd=(1.0, 1.0), missing=none)
    noise = spoilt(tokens, torch.zeros(5, 4), random, only)
    torch.testing.assert_close(noise.std((0, 1)), spread, rtol=0.1, atol=0)
    assert abs(torch.corrcoef(torch.stack([noise[..., 0].flatten(), tokens[..., 0].flatten()]))[0, 1]) < 0.1


def test_the_noisy_times_are_trained_most():
    times = noise_times(4000, torch.Generator().manual_seed(0))
    assert times.min() >= 0 and times.max() == 999
    assert 0.65 < (times > 500).float().mean() < 0.77


def test_every_route_is_trained():
    random = torch.Generator().manual_seed(0)
    drawn = [route(random) for _ in range(500)]
    assert 0.0 in drawn and 1.0 in drawn and all(0 <= mix <= 1 for mix in drawn)
    assert any(0 < mix < 1 for mix in drawn)


def test_an_interrupted_recipe_goes_on_where_it_stopped(tmp_path):
    def training(steps, stop=None):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        done = []
        for step, _ in run(Budget(steps, 60, 1e-2), model, optimizer, tmp_path / "x.safetensors", "test"):
            done.append(step)
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            if stop is not None and step == stop:
                break
        return done

    assert training(4) == [0, 1, 2, 3]
    assert training(7) == [4, 5, 6]


def test_the_rate_warms_up_and_falls_to_zero():
    budget = Budget(1000, 60, 0.5)
    assert scheduled_rate(budget, 0, 0.0) < scheduled_rate(budget, 99, 0.0) == 0.5
    assert scheduled_rate(budget, 999, 1.0) == pytest.approx(0)
