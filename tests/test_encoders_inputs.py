"""What enters CLIP: pixels as transformers' processor makes them, ids as its tokenizer gives them."""

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from brainram_lib.encoders import HuggingFaceTokeniser, fit_square

MEAN, STD = (np.array(value) for value in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
# Cleaning cannot tell these apart: open_clip's and Hugging Face's tokenizers must agree on every one.
HOSTILE = [
    "",
    " \t\n two   zebras\n\nin  snow ",
    "A Dog's CAT'S we'll they've I'm it'd re're",
    "1234567890 12,5% 3/4 2nd",
    "e\u0301te\u0301 café naïve Ångström",
    "漢字 かな 한국어 العربية हिन्दी",
    "🐶🐕‍🦺 👩‍👩‍👧 ©®™",
    "!!!???...---___***",
    "a" * 300,
    "word " * 200,
    "http://example.org/a?b=c&d=e#f",
    "<b>bold</b> {curly} [square] \\ back",
]


@pytest.mark.parametrize("shape", [(64, 64), (41, 57), (57, 41), (425, 425), (33, 224), (500, 333), (29, 28)])
def test_pixels_equal_transformers(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    ours = (fit_square(picture, 28) / 255 - MEAN) / STD
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    exact = CLIPImageProcessorPil(**size)(picture, return_tensors="pt").pixel_values[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, exact, atol=1e-5)
    # the torchvision processor rounds its resampling differently, by up to two of 255 levels
    near = CLIPImageProcessor(**size)(picture, return_tensors="pt").pixel_values[0].permute(1, 2, 0).numpy()
    assert np.abs((ours - near) * STD * 255).max() < 2.5


@pytest.fixture(scope="module")
def tokenisers() -> tuple[HuggingFaceTokeniser, SimpleTokenizer]:
    return HuggingFaceTokeniser(77), SimpleTokenizer(context_length=77)


@pytest.mark.parametrize("text", HOSTILE)
def test_ids_equal_open_clips_with_the_end_repeated(tokenisers, text):
    ids, expected = (tokenise([text])[0] for tokenise in tokenisers)
    end = int(expected.argmax())
    expected[end:] = expected[end]
    assert ids.shape == (77,) and ids[0] == 49406
    assert torch.equal(ids, expected)


def test_ids_keep_hugging_faces_own_cleaning(tokenisers):
    tokenise, plain = tokenisers
    ids = tokenise(["salt &amp; pepper"])[0]
    assert not torch.equal(ids[:5], plain(["salt &amp; pepper"])[0][:5])
    assert not torch.equal(tokenise(["ﬁre"])[0][:3], plain(["ﬁre"])[0][:3])
    literal = tokenise(["<start_of_text> dog"])[0]
    assert (literal == 49406).sum() == 1
