"""Nothing that is not finite passes from one stage to the next: stage, stimulus and sample are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from brainram_lib.generation.versatile_diffusion import NotFiniteError, require_finite
from brainram_lib.pipeline.data import finite
from brainram_lib.pipeline.pictures import generator_of
from brainram_lib.pipeline.weights import EncoderWeights, GeneratorWeights
from brainram_lib.profiles import MINI, changed

PROFILE = changed(MINI, generation__steps=1, generation__batch=2)


@pytest.fixture(scope="module")
def generator():
    weights = GeneratorWeights(PROFILE.generation.checkpoint)
    return generator_of(PROFILE.generation, weights, EncoderWeights("mini"))


@pytest.fixture
def tokens():
    encoder = EncoderWeights("mini").load()
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    return encoder.image_tokens(images).numpy(), encoder.text_tokens([["a dog"]] * 3).numpy()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize(("shape", "place", "said"), [
    ((5, 4, 3), (2, 1, 1), "for stimulus 12 (stored as"),
    ((5, 2, 4, 3), (1, 1, 3, 0), "for stimulus 11, sample 1 (stored as"),
    ((5, 7), (4, 6), "for stimulus 14 (stored as"),
])  # fmt: skip
def test_values_that_are_not_finite_are_named(value, kind, shape, place, said):
    values = np.ones(shape, kind)
    assert finite(values, "refined-image", 10) is values
    values[place] = value
    with pytest.raises(ValueError, match="'refined-image' gave 1 values that are NaN or infinite " + re.escape(said)):
        finite(values, "refined-image", 10)


def test_a_cast_that_overflows_is_named():
    with np.errstate(over="ignore"):
        halved = np.full((2, 3, 4), 1e6, np.float32).astype(np.float16)
    with pytest.raises(ValueError, match="stimulus 0 .stored as float16"):
        finite(halved, "estimates-image")


def test_an_image_that_is_not_finite_is_no_black_image():
    pixels = torch.zeros(3, 3, 5, 7)
    require_finite(pixels)
    pixels[1, 2, 4, 6] = torch.nan
    with pytest.raises(NotFiniteError, match="image 1 is not finite") as caught:
        require_finite(pixels)
    assert caught.value.row == 1


def test_a_decoder_that_overflows_is_named(generator, tokens, monkeypatch):
    weight = generator.model.vae.decoder.conv_out.weight
    monkeypatch.setattr(weight, "data", weight.data * float("inf"))
    with pytest.raises(NotFiniteError, match="image 0 is not finite: the decoder overflowed"):
        generator.generate(*tokens)


def test_an_estimate_that_is_not_finite_names_its_row_over_all_batches(generator, tokens):
    image, text = tokens
    image = image.copy()
    image[2, 3] = np.nan
    with pytest.raises(NotFiniteError) as caught:
        generator.generate(image, text)
    assert caught.value.row == 2


def test_the_batch_changes_no_image(generator, tokens):
    image, text = tokens
    alone = [generator.generate(image[:2], text[:2]), generator.generate(image, text)[:2]]
    np.testing.assert_array_equal(*alone)
