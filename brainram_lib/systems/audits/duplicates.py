"""Near-duplicates of the stimuli in the corpus: how many, of which split, and how often they were retrieved."""

from __future__ import annotations

import numpy as np

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation import records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.pipeline.data import SPLITS
from brainram_lib.systems.audits.common import Audit, Subject

COLUMNS = (
    Metric("items", "Items of the corpus", "down", decimals=0),
    Metric("stimuli", "Stimuli that have one", "down", decimals=0),
    Metric("retrieved", "Stimuli that retrieved their own", "down", percent=True),
)


def duplicates(subject: Subject) -> Audit:
    """Counts for both splits; whether they were retrieved is a share of stimuli with an interval."""
    audit, run, store = Audit("duplicates", subject), subject.run, subject.store
    stage = run.duplicates
    result, counts, rows = store.result(stage), store.result(stage).json("counts"), []
    for split in SPLITS:
        for name in ("items", "stimuli"):
            rows.append(records.known(split, name, counts[split][name], n=counts[split]["of"], **subject.of))
        own = retrieved_own(
            np.array(result.array(f"{split}_item")),
            np.array(result.array(f"{split}_stimulus")),
            [run.neighbours(modality).found(store, split).ids for modality in MODALITIES],
        )
        rows.append(records.record(split, "retrieved", own, **subject.of))
    titles = {"test": "Test stimuli", "train": "Training stimuli"}
    notes = (stage.said(store, run.profile.retrieval.exclude_duplicates),)
    audit.add_scores("Near-duplicates in the corpus", rows, COLUMNS, titles, SPLITS, notes)
    return audit


def retrieved_own(items: np.ndarray, stimuli: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
    """For each stimulus whether any of its neighbours (n, S, K) is its own near-duplicate; pairs as in the stage."""
    own = np.zeros(len(found[0]))
    for ids in found:
        flat = ids.reshape(len(ids), -1)
        for item, stimulus in zip(items.tolist(), stimuli.tolist(), strict=True):
            own[stimulus] = max(own[stimulus], float((flat[stimulus] == item).any()))
    return own
