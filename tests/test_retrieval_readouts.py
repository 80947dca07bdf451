"""The pooled text embedding read out of tokens."""

import numpy as np
import pytest
import torch

from brainram_lib.encoders import load_encoder
from brainram_lib.retrieval.readouts import PooledTextReadout
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import scene_of


def made(count: int, tokens: int = 5, width: int = 7, pooled: int = 6):
    """Tokens that hold their pooled embedding in a fixed linear mix."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, tokens, width, generator=generator)
    mix = torch.randn(tokens * width, pooled, generator=generator)
    return inputs, torch.nn.functional.normalize(inputs.flatten(1) @ mix, dim=-1)


@pytest.mark.parametrize("count", [30, 200])
def test_more_inputs_than_captions_or_fewer(count):
    tokens, pooled = made(count)
    inputs, alpha = tokens.flatten(1).double(), 0.1
    readout = PooledTextReadout.fit(tokens, pooled, alphas=(alpha,))
    centred, goal = inputs - inputs.mean(0), (pooled - pooled.mean(0)).double()
    dual = count < inputs.shape[1]
    penalty = alpha * centred.square().sum() / (count if dual else inputs.shape[1])
    weight = torch.linalg.solve(centred.T @ centred + penalty * torch.eye(inputs.shape[1]), centred.T @ goal)
    torch.testing.assert_close(readout.weight.double(), weight, atol=1e-4, rtol=1e-3)


def test_it_finds_its_own_caption_and_survives_saving(tmp_path):
    tokens, pooled = made(400)
    readout = PooledTextReadout.fit(tokens[:300], pooled[:300])
    found = readout(tokens[300:])
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(100))
    assert ((found @ pooled[300:].T).argmax(1) == torch.arange(100)).float().mean() > 0.95
    readout.save(tmp_path / "readout.safetensors")
    again = PooledTextReadout.load(tmp_path / "readout.safetensors")
    torch.testing.assert_close(again(np.asarray(tokens[300:])), found)


def test_it_finds_true_captions_of_the_embedded_world():
    encoder = load_encoder("mini")
    captions = sorted({captions_of(scene_of("corpus", item), "corpus", item)[0] for item in range(220)})[:200]
    tokens, pooled = encoder.text_tokens([[caption] for caption in captions]), encoder.pooled_texts(captions)
    readout = PooledTextReadout.fit(tokens[:150], pooled[:150])
    assert ((readout(tokens[150:]) @ pooled.T).argmax(1) == torch.arange(150, 200)).float().mean() > 0.9


def test_mistakes_are_named(tmp_path):
    tokens, pooled = made(12)
    with pytest.raises(ValueError, match="same 10 or more captions, got 12 and 11"):
        PooledTextReadout.fit(tokens, pooled[:11])
    readout = PooledTextReadout.fit(tokens, pooled)
    with pytest.raises(ValueError, match=r"tokens x width = 35 numbers, got \(2, 4, 7\)"):
        readout(torch.zeros(2, 4, 7))
    with pytest.raises(FileNotFoundError, match="no text readout at"):
        PooledTextReadout.load(tmp_path / "none.safetensors")
