"""The corpus's items as rows of a prior's training."""

import numpy as np
import pytest
import torch

from brainram_lib.pipeline.free import free_tokens, nearest

# caption i points along its own axis, mixed with the next one's
EMBEDDINGS = np.float32([[10, 3, 0, 0], [3, 10, 0, 0], [0, 0, 10, 2], [0, 0, 2, 10]])
TOKENS = torch.arange(4.0)[:, None, None] * torch.ones(4, 3, 2)


class Corpus:
    """Four captions."""

    def __len__(self):
        return len(EMBEDDINGS)

    def embedding_rows(self, modality, ids):
        return EMBEDDINGS[ids]


class Cache:
    """Their tokens; items in `failed` cannot be encoded."""

    corpus = Corpus()

    def __init__(self, failed=()):
        self.failed = dict.fromkeys(failed, "damaged")

    def prepare(self, items, modality):
        return {item: why for item, why in self.failed.items() if item in items}

    def tokens_of(self, items, modality, dtype):
        return TOKENS[items].to(dtype)


def test_a_row_of_text_is_the_mean_of_the_captions_that_are_alike():
    rows = free_tokens(Cache(), 100, "text", 2)
    assert rows.dtype == torch.float16
    assert rows[:, 0, 0].tolist() == [0.5, 0.5, 2.5, 2.5]


@pytest.mark.parametrize(("modality", "captions"), [("image", 5), ("text", 1)])
def test_images_and_single_captions_stay_as_they_are(modality, captions):
    assert free_tokens(Cache(), 3, modality, captions)[:, 0, 0].tolist() == [0, 1, 2]


def test_items_that_cannot_be_encoded_are_left_out_of_rows_and_means():
    assert free_tokens(Cache(failed=[1]), 4, "text", 2)[1:, 0, 0].tolist() == [2.5, 2.5]


def test_items_that_are_like_a_stimulus_are_left_out_of_rows_and_means():
    assert free_tokens(Cache(), 4, "image", 1, without=[1])[:, 0, 0].tolist() == [0, 2, 3]
    assert free_tokens(Cache(), 4, "text", 2, without=[1])[1:, 0, 0].tolist() == [2.5, 2.5]


def test_more_captions_than_items_are_all_items():
    assert free_tokens(Cache(), 2, "text", 5)[:, 0, 0].tolist() == [0.5, 0.5]


def test_the_nearest_are_those_of_a_double_loop():
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    cosines = [[one @ two / np.linalg.norm(one) / np.linalg.norm(two) for two in vectors] for one in vectors]
    expected = [sorted(range(40), key=lambda column: -row[column])[:3] for row in cosines]
    assert nearest(vectors, 3).tolist() == expected
