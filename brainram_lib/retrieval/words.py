"""Captions as sets of words, so that an estimate can search for the words that it contains.

A caption's embedding is a single direction for everything it says; a word that the brain's estimate contains with
certainty gets lost among the others. Here item j is the vector of its words,

    e_j = u_j / |u_j|,      u_jw = (x_jw - m_w) / sqrt(m_w (1 - m_w)),

x_jw being 1 where its caption holds word w and m_w the share of captions that do, so that the presence of a rare word
counts more than that of a common one. An estimate's query has the presence it expects in place of x.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

# Letters of any script: captions come from the web.
WORD = re.compile(r"[^\W\d_]+")
# A word in fewer captions cannot be read out of tokens; if there are more words, only the most frequent are kept.
LEAST, MOST = 20, 2_000


def words_of(caption: str) -> set[str]:
    """The different words of a caption, in lower case."""
    return set(WORD.findall(caption.lower()))


@dataclass(frozen=True)
class Vocabulary:
    """Words, and the share of captions that hold each (m_w)."""

    words: tuple[str, ...]
    share: Float32[np.ndarray, " words"]

    @classmethod
    def of(cls, captions: Sequence[str], least: int = LEAST, most: int = MOST) -> Vocabulary:
        """The words in at least `least` captions but not in all, the most frequent first.

        Raises:
            ValueError: there is no such word.
        """
        counts = Counter(word for caption in captions for word in words_of(caption))
        frequent = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = [(word, count) for word, count in frequent if least <= count < len(captions)][:most]
        if not kept:
            raise ValueError(
                f"none of the words of {len(captions)} captions stands in {least} of them or more, and not in all: "
                "such a corpus cannot be searched by words. Set retrieval.word_weight to 0."
            )
        return cls(tuple(word for word, _ in kept), np.array([count for _, count in kept], np.float32) / len(captions))

    def presence(self, captions: Sequence[str]) -> Bool[np.ndarray, "n words"]:
        """x: which caption holds which word."""
        columns = {word: column for column, word in enumerate(self.words)}
        found = np.zeros((len(captions), len(self.words)), bool)
        for row, caption in enumerate(captions):
            found[row, [columns[word] for word in words_of(caption) if word in columns]] = True
        return found

    def vectors(
        self, presence: Bool[np.ndarray, "n words"] | Float[np.ndarray, "n words"]
    ) -> Float32[np.ndarray, "n words"]:
        """e for captions; given the presence that an estimate expects, its query.

        Raises:
            ValueError: the number of words differs, or the presence is NaN or equals the shares (and so asks for
                nothing).
        """
        if presence.shape[1:] != self.share.shape:
            raise ValueError(f"presence of {len(self.words)} words is needed, got an array of {presence.shape}.")
        spread = np.sqrt(self.share * (1 - self.share))
        vectors = ((presence - self.share) / spread).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError("presence of words must be finite and differ from the words' shares in the captions.")
        return vectors / lengths
