"""Near-duplicate audit: NSD's stimuli come from COCO, so a web corpus can contain the stimulus itself.

Every neighbour is compared with every test image, by the cosine of their global embeddings and by the Hamming distance
of a 64-bit difference hash (dHash: is each pixel of a 9 x 8 grey miniature brighter than its right neighbour?). The
hash knows layout but not content, the cosine content but not layout (two red cars on a beach are near 1): a pair is
flagged when both agree. On the embedded world (200 test images, 2,500 corpus items, 200 planted copies) cosine >= .90
and distance <= 12 find 91 % of the copies and flag 1 % of the test images wrongly; .90 and 8 find 73 % and flag none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64, UInt8, UInt64
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.index import Neighbours

HASH_BITS = 64
NOT_HASHED = 255


@dataclass(frozen=True)
class DuplicateAudit:
    """Corpus items (m) against test images (n).

    `cosine` and `distance` (Hamming, 0 to 64; 255 where the picture could not be read) have shape (m, n). A pair is
    flagged as near-duplicate when cosine >= `cosine_at` and distance <= `distance_at`; where a picture could not be
    read (`unread` says why), the cosine decides alone.
    """

    items: Int64[np.ndarray, " m"]
    cosine: Float32[np.ndarray, "m n"]
    distance: UInt8[np.ndarray, "m n"]
    cosine_at: float
    distance_at: int
    unread: dict[int, str]

    @property
    def flagged(self) -> Bool[np.ndarray, "m n"]:
        """Which item is a near-duplicate of which test image."""
        alike = (self.distance <= self.distance_at) | (self.distance == NOT_HASHED)
        return (self.cosine >= self.cosine_at) & alike

    def duplicates(self) -> Int64[np.ndarray, " d"]:
        """Items that are a near-duplicate of any test image: `exclude` for a search without them."""
        return self.items[self.flagged.any(axis=1)]

    def flags(self, neighbours: Neighbours) -> Bool[np.ndarray, "*rows k"]:
        """Which neighbours are a near-duplicate of any test image.

        Raises:
            ValueError: a neighbour that was not audited.
        """
        if not np.isin(neighbours.ids, self.items).all():
            missing = np.setdiff1d(neighbours.ids, self.items)
            raise ValueError(f"{len(missing)} neighbours were not audited, e.g. item {missing[0]}: audit them as well.")
        return np.isin(neighbours.ids, self.duplicates())

    def records(self) -> list[dict[str, float]]:
        """The flagged pairs, the most similar first: item, stimulus, cosine, distance."""
        rows, columns = np.nonzero(self.flagged)
        pairs = [
            {
                "item": int(self.items[row]),
                "stimulus": int(column),
                "cosine": round(float(self.cosine[row, column]), 4),
                "distance": int(self.distance[row, column]),
            }
            for row, column in zip(rows, columns, strict=True)
        ]
        return sorted(pairs, key=lambda pair: -pair["cosine"])


def audit(
    ids: Int[np.ndarray, "*rows"],
    corpus: Corpus,
    stimuli: UInt8[np.ndarray, "n height width 3"],
    stimuli_embeddings: Float[np.ndarray, "_n embedding"],
    cosine_at: float = 0.90,
    distance_at: int = 12,
) -> DuplicateAudit:
    """Compare every item among `ids` with every stimulus.

    `stimuli_embeddings`: L2-normalised global embeddings of the stimuli, by the encoder that embedded the corpus.

    Raises:
        ValueError: not one embedding for each stimulus.
    """
    if len(stimuli) != len(stimuli_embeddings):
        raise ValueError(f"{len(stimuli)} stimuli need as many embeddings; {len(stimuli_embeddings)} were provided.")
    items = np.unique(np.asarray(ids, np.int64))
    cosine = corpus.embedding_rows("image", items) @ np.asarray(stimuli_embeddings, np.float32).T
    hashes, unread = _hashes(items, corpus)
    distance = hamming(hashes[:, None], difference_hash(stimuli)[None, :])
    distance[np.isin(items, list(unread))] = NOT_HASHED
    return DuplicateAudit(items, cosine, distance, cosine_at, distance_at, unread)


def difference_hash(images: UInt8[np.ndarray, "n height width 3"]) -> UInt64[np.ndarray, " n"]:
    """64-bit dHash of every picture: bit = a grey 9 x 8 miniature's pixel is brighter than its right neighbour."""
    small = np.stack(
        [np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)) for image in images]
    )
    bits = (small[:, :, :-1] > small[:, :, 1:]).reshape(len(images), HASH_BITS)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).ravel()


def hamming(one: UInt64[np.ndarray, "*one"], other: UInt64[np.ndarray, "*other"]) -> UInt8[np.ndarray, "*both"]:
    """Number of bits that differ, the two arrays broadcast against each other."""
    return np.bitwise_count(one ^ other)


def _hashes(items: Int64[np.ndarray, " m"], corpus: Corpus) -> tuple[UInt64[np.ndarray, " m"], dict[int, str]]:
    hashes, unread = np.zeros(len(items), np.uint64), {}
    for row, item in enumerate(tqdm(items.tolist(), desc="hash neighbours", unit="image", disable=len(items) < 5000)):
        try:
            hashes[row] = difference_hash(corpus.image(item)[None])[0]
        except ImageRefused as problem:
            unread[item] = str(problem)
    return hashes, unread
