"""Which items of the corpus show a stimulus again: NSD's stimuli come from COCO, which web corpora contain too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.corpus import CorpusSource
from brainram_lib.pipeline.data import SPLITS, Targets
from brainram_lib.retrieval.settings import COSINE_AT, LAYOUT_AT

if TYPE_CHECKING:
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.duplicates import Pairs


@dataclass(frozen=True)
class NearDuplicates(Stage):
    """Corpus items that are near-duplicates of a subject's test or training stimuli.

    `<split>_item.npy`, `<split>_stimulus.npy`, `<split>_cosine.npy`, `<split>_layout.npy`, `<split>_distance.npy`: one
    entry per pair, the stimulus as a row of the split. `counts.json` has the numbers that tables print.

    Attributes:
        targets: image tokens, whose token 0 is the stimulus's global embedding.
        corpus: what is searched for them.
        cosine_at, layout_at: a pair that reaches both is flagged; see `retrieval.duplicates`.
    """

    targets: Targets
    corpus: CorpusSource
    cosine_at: float = COSINE_AT
    layout_at: float = LAYOUT_AT

    def make(self, folder: Path, store: Store) -> None:
        """Compare all items with all stimuli of both splits; each item is opened once."""
        corpus, result = self.corpus.open(store.root), store.result(self.targets)
        audited = "image" in corpus.modalities
        shown = [self.targets.images.stimuli(store, split) for split in SPLITS]
        found = _found(self, corpus, shown, [result.array(split) for split in SPLITS]) if audited else None
        counts: dict[str, Any] = {"items": len(corpus), "audited": audited}
        first = 0
        for split, stimuli in zip(SPLITS, shown, strict=True):
            pairs = {name: np.zeros(0, kind) for name, kind in _COLUMNS.items()}
            if found is not None:
                here = (found.stimulus >= first) & (found.stimulus < first + len(stimuli))
                pairs = {name: getattr(found, name)[here] for name in _COLUMNS}
                pairs["stimulus"] = pairs["stimulus"] - first
            for name, values in pairs.items():
                write_array(folder / f"{split}_{name}.npy", values)
            items, seen = len(np.unique(pairs["item"])), len(np.unique(pairs["stimulus"]))
            unread = 0 if found is None else len(found.unread)
            counts[split] = {"items": items, "stimuli": seen, "of": len(stimuli), "unread": unread}
            first += len(stimuli)
        write_json(folder / "counts.json", counts)

    def items(self, store: Store) -> Int64[np.ndarray, " d"]:
        """The rows of the corpus that show a stimulus of either split again."""
        result = store.result(self)
        return np.unique(np.concatenate([result.array(f"{split}_item") for split in SPLITS])).astype(np.int64)

    def said(self, store: Store, excluded: bool) -> str:
        """One sentence to print below a table: how many were found, and whether they could be retrieved."""
        counts = store.result(self).json("counts")
        if not counts["audited"]:
            return "Near-duplicates of the stimuli in the corpus: not looked for, it has no image embeddings."
        parts = [
            f"{counts[split]['items']} items of {counts[split]['stimuli']} of the {counts[split]['of']} {words}"
            for split, words in (("test", "test stimuli"), ("train", "training stimuli"))
        ]
        unread = max(counts[split]["unread"] for split in SPLITS)
        lost = f" {unread} items could not be opened." if unread else ""
        return (
            f"Near-duplicates of the stimuli among the corpus's {counts['items']} items: {parts[0]}, {parts[1]}; they "
            f"{'were excluded' if excluded else 'could be retrieved'}.{lost}"
        )


_COLUMNS = {"item": np.int64, "stimulus": np.int64, "cosine": np.float32, "layout": np.float32, "distance": np.uint8}


def _found(audit: NearDuplicates, corpus: Corpus, shown: list[np.ndarray], tokens: list[np.ndarray]) -> Pairs:
    """Pairs of the corpus and the stimuli of all splits, one split after the other."""
    from brainram_lib.retrieval.duplicates import Looks, near_duplicates
    from brainram_lib.retrieval.neighbours import image_query

    embeddings = np.concatenate([image_query(some) for some in tokens])
    return near_duplicates(corpus, Looks.of(*shown), embeddings, audit.cosine_at, audit.layout_at)
