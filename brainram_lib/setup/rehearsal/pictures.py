"""Random pictures and captions: smooth colours and plain sentences, each a function of its number alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from brainram_lib.retrieval.images import encoded
from brainram_lib.retrieval.writing import CorpusItem
from brainram_lib.world.vocabulary import category_names

# reserved for documentation: these addresses lead nowhere
ADDRESS = "https://rehearsal.example"
_COARSE = 9
CAPTIONS = 5


def random_picture(number: int, side: int, purpose: int) -> UInt8[np.ndarray, "side side 3"]:
    """Smooth random colours; `purpose` keeps stimuli and corpus apart."""
    coarse = np.random.default_rng([purpose, number]).integers(0, 256, (_COARSE, _COARSE, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def random_captions(number: int, purpose: int, count: int = CAPTIONS) -> list[str]:
    """Sentences that name two random things."""
    names = category_names()
    pairs = np.random.default_rng([purpose, number, 1]).integers(0, len(names), (count, 2))
    return [f"a photo of a {names[first]} beside a {names[second]}" for first, second in pairs]


def corpus_items(count: int, side: int) -> Iterator[CorpusItem]:
    """JPEG pictures with one caption and one address each."""
    for number in range(count):
        picture = encoded(random_picture(number, side, purpose=2))
        yield CorpusItem(picture, random_captions(number, 2, 1)[0], f"{ADDRESS}/{number}.jpg")
