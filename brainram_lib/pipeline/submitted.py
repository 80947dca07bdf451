"""Scores of reconstructions that others made, against the test stimuli of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainram_lib.core.files import write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.evaluation.submitted import SHOWN, Submission, SubmissionError, read_submission
from brainram_lib.pipeline.data import Images
from brainram_lib.pipeline.scores import evaluator_of
from brainram_lib.pipeline.weights import EncoderWeights


@dataclass(frozen=True)
class SubmittedScores(Stage):
    """Per-image scores of a folder of reconstructions: `values.json`, and `said.json`, what was not scored.

    Attributes:
        folder: of the images. content: the mark of its files.
        images: the stimuli. mark: of their file.
        metrics: a set of `evaluation.catalogue`.
        encoder: of the metric 'clip'.
    """

    folder: Path = field(metadata={"keyed": False})
    content: str
    images: Images
    mark: str
    metrics: str
    encoder: EncoderWeights

    def make(self, folder: Path, store: Store) -> None:
        """Score the images whose stimuli are test images of the subject."""
        submission = read_submission(self.folder)
        known = self.images.nsd_ids(store, "test")
        strangers = np.setdiff1d([*submission.ids, *submission.left_out], known)
        if len(strangers):
            raise SubmissionError(
                f"'{self.folder}' holds {len(strangers)} images that are of no test image of this subject, the first "
                f"nsdId {_first(strangers)}. Ids are counted from 0."
            )
        if len(submission.ids) < 2:
            raise SubmissionError(f"'{self.folder}' holds {len(submission.ids)} images to score; two are needed.")
        rows = np.searchsorted(known, submission.ids) if (np.diff(known) > 0).all() else _places(known, submission.ids)
        evaluator = evaluator_of(store, self.images, self.mark, self.metrics, self.encoder, tuple(rows.tolist()))
        values = evaluator.score(submission.images, self.folder.name)
        write_json(folder / "values.json", {name: np.asarray(one, np.float64).tolist() for name, one in values.items()})
        write_json(folder / "chance.json", {m.name: m.chance for m in evaluator.metrics if m.chance is not None})
        write_json(folder / "said.json", _notes(submission, known))


def _notes(submission: Submission, known: np.ndarray) -> list[str]:
    """What was scored and what was not, for the table's footnotes."""
    count, left_out = len(submission.ids), submission.left_out
    missing = np.setdiff1d(known, [*submission.ids, *left_out])
    notes = [f"{count} of {len(known)} test images are scored; two-way identification is among these."]
    if left_out:
        notes.append(f"{len(left_out)} images hold nothing (constant or not finite): nsdId {_first(left_out)}.")
    if len(missing):
        notes.append(f"{len(missing)} test images are missing: nsdId {_first(missing)}.")
    return notes


def _places(known: np.ndarray, ids: np.ndarray) -> np.ndarray:
    place = {int(one): row for row, one in enumerate(known)}
    return np.array([place[int(one)] for one in ids])


def _first(ids: object) -> str:
    listed = [str(int(one)) for one in ids]
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
