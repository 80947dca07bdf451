"""From estimates to neighbours, for the workbench: the readout's fit and the search of both splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from brainram_lib.encoders import ClipTokens, PooledTextReadout
from brainram_lib.profiles import RetrievalSettings
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.index import Neighbours, VectorIndex
from brainram_lib.retrieval.neighbours import (
    CombinedIndex,
    find_cross_modality_neighbours,
    find_neighbours,
    image_query,
    text_query,
)
from brainram_lib.store import write_array

READOUT_CAPTIONS = 8_000
CHUNK = 500


def fit_readout(folder: Path, corpus: Corpus, encoder: ClipTokens) -> None:
    """Fit the pooled text embedding on single captions of the corpus, the first READOUT_CAPTIONS.

    The targets average an image's captions, and the readout serves them too: it is linear up to the length of what it
    gives, so that of averaged tokens it reads the average.
    """
    count = min(READOUT_CAPTIONS, len(corpus))
    captions = [corpus.caption(item) for item in range(count)]
    tokens, pooled = [], []
    for start in tqdm(range(0, count, CHUNK), desc="text readout", unit="chunk"):
        part = captions[start : start + CHUNK]
        tokens.append(encoder.text_tokens([[caption] for caption in part]))
        pooled.append(encoder.pooled_texts(part))
    readout = PooledTextReadout.fit(torch.cat(tokens), torch.cat(pooled))
    readout.save(folder / "readout.safetensors")


Estimates = Mapping[str, Float[np.ndarray, "n samples tokens width"]]


def search_neighbours(
    folder: Path,
    split: str,
    settings: RetrievalSettings,
    modality: str,
    estimates: Estimates,
    corpus: Corpus,
    readout: PooledTextReadout,
) -> None:
    """K neighbours of every sample for one modality, written as `<split>_ids.npy` and `<split>_similarity.npy`.

    Without `settings.text_weight` this is the paper's search, by cosine in the modality's own index. Otherwise both
    estimates ask together for both modalities, each part's similarities z-scored over the corpus.
    """
    search = _alone if settings.text_weight is None else _by_both
    found = search(settings, modality, estimates, corpus, readout)
    write_array(folder / f"{split}_ids.npy", found.ids)
    write_array(folder / f"{split}_similarity.npy", found.similarity)


def _alone(
    settings: RetrievalSettings, modality: str, estimates: Estimates, corpus: Corpus, readout: PooledTextReadout
) -> Neighbours:
    index = VectorIndex.of(corpus, modality, settings.index)
    image = modality == "image"
    queries = image_query(estimates["image"]) if image else text_query(estimates["text"], readout)
    return find_neighbours(index, queries, settings.neighbours)


def _by_both(
    settings: RetrievalSettings, modality: str, estimates: Estimates, corpus: Corpus, readout: PooledTextReadout
) -> Neighbours:
    index = CombinedIndex.of(corpus)
    queries = [image_query(estimates["image"]), text_query(estimates["text"], readout)]
    if settings.query_whitening:
        queries = [index.whitened(part, asked, settings.query_whitening) for part, asked in enumerate(queries)]
    return find_cross_modality_neighbours(index, *queries, settings.neighbours, settings.text_weight, z_scored=True)
