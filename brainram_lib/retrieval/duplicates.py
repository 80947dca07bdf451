"""Near-duplicate audit: NSD's stimuli come from COCO, so a web corpus can contain the stimulus itself.

Every item is compared with every stimulus. The cosine of their global embeddings only selects what is looked at: two
red cars on a beach are near 1, and a copy that was cropped and relit can be at .78. What decides is the layout: the
correlation of coloured miniatures, with the stimulus cropped a little where that fits better. On the embedded world 200
planted copies correlate by .976 and more, 5.2 million other pairs by .962 and less: at .97 all are found and none is
flagged wrongly. A 64-bit difference hash (is each pixel of a 9 x 8 grey miniature brighter than the one to its right?)
is recorded too, since it is what others report; one copy in ten differs by more than 12 bits, because plain skies are
noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, Int64, UInt8, UInt64
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.settings import COSINE_AT, LAYOUT_AT

HASH_BITS = 64
# A copy on the web is often cropped: shares of the side cut off at each edge before comparison.
CROPS = (0.0, 1 / 64, 2 / 64)
MINIATURE = 16
ITEMS = 1024


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates among all pairs of corpus item and stimulus, the pair p being (item[p], stimulus[p]).

    Attributes:
        item: rows of the corpus. stimulus: rows of the stimuli.
        cosine: of the global embeddings. layout: correlation of the miniatures.
        distance: Hamming distance of the difference hashes, 0 to 64.
        looked_at: how many items were looked at because of their cosine with a stimulus.
        unread: those of them that could not be read, and why.
    """

    item: Int64[np.ndarray, " p"]
    stimulus: Int64[np.ndarray, " p"]
    cosine: Float32[np.ndarray, " p"]
    layout: Float32[np.ndarray, " p"]
    distance: UInt8[np.ndarray, " p"]
    looked_at: int
    unread: dict[int, str]


@dataclass(frozen=True)
class Looks:
    """The features by which stimuli are compared."""

    miniatures: Float32[np.ndarray, "crops n values"]
    hashes: UInt64[np.ndarray, " n"]

    @classmethod
    def of(cls, *stimuli: UInt8[np.ndarray, "_n height width 3"]) -> Looks:
        """Those of one or more sets of stimuli, concatenated."""
        shown = [np.concatenate([miniatures(some, crop) for some in stimuli]) for crop in CROPS]
        return cls(np.stack(shown), np.concatenate([difference_hash(some) for some in stimuli]))


def near_duplicates(
    corpus: Corpus,
    stimuli: Looks,
    stimuli_embeddings: Float[np.ndarray, "_n embedding"],
    cosine_at: float = COSINE_AT,
    layout_at: float = LAYOUT_AT,
) -> Pairs:
    """All pairs of a corpus's items and stimuli with cosine >= `cosine_at` and layout >= `layout_at`.

        layout(i, s) = max over crops c of corr(miniature(i), miniature(s cropped by c))

    Items are processed in blocks; only those that pass the cosine threshold are opened. One that cannot be read counts
    as no duplicate, and is recorded.

    Args:
        corpus: whose image embeddings and pictures are compared.
        stimuli: as the subject saw them.
        stimuli_embeddings: their L2-normalised global embeddings, by the encoder that embedded the corpus.

    Raises:
        ValueError: there is not one embedding per stimulus, or their width differs from the corpus's.
    """
    known = _checked(corpus, stimuli, stimuli_embeddings)
    unread: dict[int, str] = {}
    found: list[tuple[np.ndarray, ...]] = []
    looked_at = 0
    for start in tqdm(range(0, len(corpus), ITEMS), desc="near-duplicates", unit="block", delay=2):
        items = np.arange(start, min(start + ITEMS, len(corpus)))
        cosine = corpus.embedding_rows("image", items) @ known.T
        pictures, failed = _opened(items[(cosine >= cosine_at).any(1)], corpus)
        looked_at += len(pictures) + len(failed)
        unread |= failed
        if pictures:
            cosine = cosine[np.array(list(pictures)) - start]
            found.append(_pairs(pictures, cosine, stimuli, cosine_at, layout_at))
    return Pairs(*_joined(found), looked_at, unread)


def _checked(corpus: Corpus, stimuli: Looks, embeddings: np.ndarray) -> Float32[np.ndarray, "n embedding"]:
    known = np.asarray(embeddings, np.float32)
    if len(stimuli.hashes) != len(known):
        raise ValueError(f"{len(stimuli.hashes)} stimuli need as many embeddings; {len(known)} were provided.")
    width = corpus.image_embeddings()[0].shape[1]
    if known.shape[1] != width:
        raise ValueError(
            f"the stimuli's embeddings are {known.shape[1]} wide and those of the corpus '{corpus.folder}' {width}: "
            "compare them by the encoder that embedded the corpus."
        )
    return known


def _pairs(
    pictures: dict[int, np.ndarray],
    cosine: Float32[np.ndarray, "m n"],
    stimuli: Looks,
    cosine_at: float,
    layout_at: float,
) -> tuple[np.ndarray, ...]:
    """The pairs of some pictures, as the columns of `Pairs`: one product correlates all of them."""
    own = miniatures(np.stack(list(pictures.values())))
    layout = np.full(cosine.shape, -1, np.float32)
    for cropped in stimuli.miniatures:
        np.maximum(layout, own @ cropped.T, out=layout)
    rows, columns = np.nonzero((cosine >= cosine_at) & (layout >= layout_at))
    items = np.array(list(pictures), np.int64)[rows]
    hashes = np.array([difference_hash(pictures[item][None])[0] for item in items.tolist()], np.uint64)
    return items, columns, cosine[rows, columns], layout[rows, columns], hamming(hashes, stimuli.hashes[columns])


def _joined(found: list[tuple[np.ndarray, ...]]) -> Iterator[np.ndarray]:
    """The columns of all blocks, joined; empty if there are none."""
    for place, kind in enumerate((np.int64, np.int64, np.float32, np.float32, np.uint8)):
        yield np.concatenate([np.zeros(0, kind), *(columns[place].astype(kind) for columns in found)])


def near_duplicates_reference(
    corpus: Corpus,
    stimuli: UInt8[np.ndarray, "n height width 3"],
    stimuli_embeddings: Float[np.ndarray, "_n embedding"],
    cosine_at: float = COSINE_AT,
    layout_at: float = LAYOUT_AT,
) -> list[tuple[int, int]]:
    """The same pairs, one at a time, with numpy's corrcoef."""
    found = []
    for item in range(len(corpus)):
        own = miniatures(corpus.image(item)[None])[0]
        embedding = corpus.embedding_rows("image", np.array([item]))[0]
        for row, stimulus in enumerate(stimuli):
            layout = max(np.corrcoef(own, miniatures(stimulus[None], crop)[0])[0, 1] for crop in CROPS)
            if embedding @ stimuli_embeddings[row] >= cosine_at and layout >= layout_at:
                found.append((item, row))
    return found


def miniatures(images: UInt8[np.ndarray, "n height width 3"], crop: float = 0.0) -> Float32[np.ndarray, "n values"]:
    """Coloured miniatures of 16 x 16 pixels, centred and of norm 1, so that the product of two is their correlation.

    `crop`: the share of the side that is cut off at each side first. A picture of a single colour becomes zero.
    """
    height, width = images.shape[1:3]
    top, left = round(crop * height), round(crop * width)
    cut = images[:, top : height - top, left : width - left]
    small = [
        np.asarray(Image.fromarray(one).resize((MINIATURE, MINIATURE), Image.Resampling.BOX), np.float32) for one in cut
    ]
    flat = np.stack(small).reshape(len(images), -1)
    centred = flat - flat.mean(1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3)


def _opened(items: Int[np.ndarray, " m"], corpus: Corpus) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    pictures, failed = {}, {}
    for item in items.tolist():
        try:
            pictures[item] = corpus.image(item)
        except ImageRefused as problem:
            failed[item] = str(problem)
    return pictures, failed


def difference_hash(images: UInt8[np.ndarray, "n height width 3"]) -> UInt64[np.ndarray, " n"]:
    """64-bit dHash of every picture: bit = a grey 9 x 8 miniature's pixel is brighter than the one to its right."""
    small = np.stack(
        [np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)) for image in images]
    )
    bits = (small[:, :, :-1] > small[:, :, 1:]).reshape(len(images), HASH_BITS)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).ravel()


def hamming(one: UInt64[np.ndarray, "*one"], other: UInt64[np.ndarray, "*other"]) -> UInt8[np.ndarray, "*both"]:
    """Number of bits that differ, the two arrays broadcast against each other."""
    return np.bitwise_count(one ^ other)
