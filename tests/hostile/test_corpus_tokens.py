"""Corpus tokens: pictures that arrive or change, folders of others, several processes in one folder."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_corpora import SIDE, keys_of, png, tar, tar_of, write

from brainram_lib.retrieval import tokens as tokens_module
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.tokens import TokenCache

COUNT = 7


class Encoder:
    """Tokens that tell the mean red of a picture, or the last number of a caption; remembers how many it encoded."""

    def __init__(self, fingerprint="fake", scale=1.0):
        self.encoded, self.fingerprint, self.scale = [], fingerprint, scale

    def image_tokens(self, images):
        self.encoded.append(len(images))
        return torch.from_numpy(images[..., 0].mean((1, 2)))[:, None, None] * self.scale * torch.ones(3, 2)

    def text_tokens(self, captions):
        self.encoded.append(len(captions))
        return torch.tensor([float(group[0].split()[-1]) for group in captions])[:, None, None] * torch.ones(2, 4)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "corpus", COUNT)


@pytest.fixture
def cache_of(folder, tmp_path):
    return lambda encoder=None: TokenCache(Corpus(folder, SIDE), encoder or Encoder(), tmp_path / "tokens")


def colours(folder, reds):
    tar(
        folder / "images/00000.tar",
        [(f"{key}.png", png((red, 0, 0))) for key, red in zip(keys_of(COUNT), reds, strict=True)],
    )


def test_a_picture_that_arrives_is_tried_again_by_the_next_process(folder, cache_of):
    assert len(cache_of().prepare(np.arange(COUNT), "image")) == COUNT
    tar_of(folder, COUNT)
    later = cache_of()
    assert not later.prepare(np.arange(COUNT), "image") and later.encoder.encoded == [COUNT]


def test_pictures_that_arrive_cost_none_of_the_tokens_that_are_there(folder, cache_of):
    for key in keys_of(COUNT)[:4]:
        (folder / f"images/{key}.png").write_bytes(png())
    cache_of().prepare(np.arange(COUNT), "image")
    (folder / f"images/{keys_of(COUNT)[5]}.png").write_bytes(png())
    later = cache_of()
    assert list(later.prepare(np.arange(COUNT), "image")) == [4, 6] and later.encoder.encoded == [1]


@pytest.mark.parametrize("restart", [False, True])
def test_a_picture_that_changed_is_encoded_again(folder, cache_of, restart):
    colours(folder, range(10, 17))
    cache_of().prepare(np.arange(COUNT), "image")
    colours(folder, [10, 99, *range(12, 17)])
    if restart:
        cache_of()
    later = cache_of()
    np.testing.assert_allclose(later.tokens_of(np.arange(COUNT), "image")[:, 0, 0], [10, 99, *range(12, 17)], rtol=1e-2)
    assert later.encoder.encoded == [1]


@pytest.mark.parametrize("change", ["caption", "embedding"])
def test_a_folder_of_a_corpus_with_another_row_is_refused(folder, cache_of, change):
    cache_of()
    if change == "caption":
        write(folder, COUNT, caption=[f"other {row}" for row in range(COUNT)])
    else:
        np.save(folder / "text_emb/text_emb_0.npy", -np.load(folder / "text_emb/text_emb_0.npy"))
    with pytest.raises(CorpusError, match="holds tokens of another corpus .* Choose another folder"):
        cache_of()


def test_a_folder_of_another_encoder_is_refused(cache_of):
    cache_of(Encoder("one"))
    with pytest.raises(CorpusError, match="holds tokens of another encoder"):
        cache_of(Encoder("other"))


def test_a_corpus_that_moved_keeps_its_tokens(folder, cache_of, tmp_path):
    cache_of().prepare(np.arange(COUNT), "text")
    moved = Corpus(folder.rename(tmp_path / "moved"), SIDE)
    cache = TokenCache(moved, Encoder(), tmp_path / "tokens")
    np.testing.assert_array_equal(cache.tokens_of(np.arange(COUNT), "text")[:, 0, 0], np.arange(COUNT))
    assert not cache.encoder.encoded


@pytest.mark.parametrize("damage", ["{", "[1]", '{"corpus": "old"}'])
def test_a_mark_that_is_none_is_named(cache_of, tmp_path, damage):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/corpus.json").write_text(damage)
    with pytest.raises(CorpusError, match="corpus.json' (cannot be read|does not say)|tokens of another corpus"):
        cache_of()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("000000.npy", np.zeros((2, 3), np.float16)),
        ("000000.ids.npy", np.arange(99)),
        ("000000.ids.npy", np.array([0.5])),
    ],
)
def test_a_block_that_does_not_fit_is_named(cache_of, tmp_path, name, array):
    cache_of().prepare(np.array([1, 2]), "text")
    np.save(tmp_path / "tokens/text" / name, array)
    with pytest.raises(CorpusError, match="000000.npy' .* do not fit each other"):
        cache_of()


def test_two_that_use_one_folder_encode_everything_once(cache_of):
    first, second = cache_of(), cache_of()
    first.prepare(np.arange(4), "text")
    second.prepare(np.arange(2, COUNT), "text")
    first.prepare(np.arange(COUNT), "text")
    assert first.encoder.encoded == [4] and second.encoder.encoded == [3]
    for cache in (first, second, cache_of()):
        np.testing.assert_array_equal(cache.tokens_of(np.arange(COUNT), "text")[:, 0, 0], np.arange(COUNT))


def test_two_at_once_write_no_block_over_another(cache_of, monkeypatch):
    monkeypatch.setattr(tokens_module, "BLOCK", 4)
    caches = [cache_of(), cache_of()]
    threads = [threading.Thread(target=cache.prepare, args=(np.arange(COUNT), "text")) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sum(cache.encoder.encoded) for cache in caches) == COUNT
    np.testing.assert_array_equal(cache_of().tokens_of(np.arange(COUNT), "text")[:, 0, 0], np.arange(COUNT))


@pytest.mark.parametrize("scale", [1e6, np.nan])
def test_tokens_that_half_precision_cannot_hold_are_never_stored(folder, cache_of, tmp_path, scale):
    tar_of(folder, COUNT)
    with pytest.raises(ValueError, match=r"NaN or infinite in half precision for 2 items, the first are \[2, 5\]"):
        cache_of(Encoder(scale=scale)).prepare(np.array([2, 5]), "image")
    assert not list((tmp_path / "tokens").rglob("*.npy"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc, which is not here")
def test_no_file_of_many_stays_open(cache_of, folder, monkeypatch):
    """A process may hold some 1,000 files open; a large corpus has more shards, and its tokens more blocks."""
    monkeypatch.setattr(tokens_module, "BLOCK", 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    cache, embeddings = cache_of(), Corpus(folder, SIDE).embeddings("text")
    assert cache.tokens_of(np.arange(COUNT), "text").shape == (COUNT, 2, 4) and len(embeddings) == 1
    assert len(list((cache.folder / "text").glob("*.ids.npy"))) == COUNT
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
