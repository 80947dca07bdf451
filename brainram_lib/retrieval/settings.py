"""How a corpus is searched (section 3.3, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetrievalSettings:
    """Neighbours (section 3.3, 4.2)."""

    neighbours: int = 4  # K per prior sample, 4.2
    # the text estimate's share where both estimates ask together; None: each modality asks alone, as in the paper
    text_weight: float | None = None
    query_whitening: float = 0.0  # floor of the whitening of queries over the corpus; 0: plain cosines, as in the paper
    word_weight: float = 0.0  # of the words read out of the text estimate; those of both embeddings add to 1
    candidates: int | None = None  # found for each sample, the K best by their image tokens stay; None: K are found
    token_weight: float = 0.0  # what a cosine of 1 of whitened image tokens adds to a candidate's similarity
    index: str = "Flat"
