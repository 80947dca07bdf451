"""From estimates to neighbours, for the workbench: the readout's fit and the search of both splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from brainram_lib.encoders import ClipTokens, PooledTextReadout
from brainram_lib.profiles import RetrievalSettings
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.neighbours import CombinedIndex, find_cross_modality_neighbours, image_query, text_query
from brainram_lib.store import write_array

READOUT_CAPTIONS = 8_000
CHUNK = 500


def fit_readout(folder: Path, corpus: Corpus, encoder: ClipTokens) -> None:
    """Fit the pooled text embedding on captions of the corpus: half of them alone, half averaged in fives.

    The targets average an image's captions, so the readout must serve averaged tokens as well.
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


def search_neighbours(
    folder: Path,
    split: str,
    settings: RetrievalSettings,
    modality: str,
    estimates: dict[str, Float[np.ndarray, "n samples tokens width"]],
    corpus: Corpus,
    readout: PooledTextReadout,
) -> None:
    """K neighbours of every sample for one modality, by both modalities' queries.

    The share of the other modality in the query is `settings.cross_weight`; 0 is the paper's search.
    """
    weight = settings.cross_weight if modality == "image" else 1 - settings.cross_weight
    found = find_cross_modality_neighbours(
        CombinedIndex.of(corpus),
        image_query(estimates["image"]),
        text_query(estimates["text"], readout),
        settings.neighbours,
        weight,
        z_scored=True,
    )
    write_array(folder / f"{split}_ids.npy", found.ids)
    write_array(folder / f"{split}_similarity.npy", found.similarity)
