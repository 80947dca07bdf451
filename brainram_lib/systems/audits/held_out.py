"""Systems whose training leaves whole clusters of stimuli out, on test images of these clusters and of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.records import Values
from brainram_lib.pipeline.clusters import FOLDS, InSpan, NearestTarget
from brainram_lib.pipeline.run import Run
from brainram_lib.profiles import changed
from brainram_lib.systems.audits.common import Audit, Subject, leads_over, scored, token_values
from brainram_lib.systems.system import Tokens, system_of

IN_SPAN, NEAREST_TRUE = "in-span", "nearest-true"
TITLES = {
    NEAREST_TRUE: "Nearest training image to the truth (upper bound)",
    IN_SPAN: "Best in the span of the training targets (upper bound)",
}
COLUMNS = catalogue.ESTIMATES + catalogue.IDENTIFICATION
KINDS = {"inside": "clusters trained on", "outside": "held-out clusters", "usual": "the same, usual split"}


def nearest_true(run: Run) -> Tokens:
    """Tokens of the training stimulus nearest to the truth."""
    image = run.targets("image")
    return {modality: NearestTarget(run.targets(modality), image, image) for modality in MODALITIES}


def spanned(run: Run) -> Tokens:
    """The best estimate in the span of the training targets."""
    return {modality: InSpan(run.targets(modality)) for modality in MODALITIES}


@dataclass(frozen=True)
class Fold:
    """One training without a part of the clusters.

    Attributes:
        scores: per-image values by metric, of all test images.
        outside: which of them are of clusters that it was not trained on.
    """

    scores: Mapping[str, Float[np.ndarray, " n"]]
    outside: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, subject: Subject, k: int, fold: int, make: Callable[[Run], Tokens]) -> Fold:
        """Train and score; metrics without a value for every test image are dropped."""
        profile = changed(subject.run.profile, split__clusters=k, split__held_out=fold)
        run = replace(subject.run, profile=profile)
        values, _ = token_values(replace(subject, run=run), {"one": make(run)})
        outside = run.images.outside(subject.store)
        return cls({metric: one for metric, one in values["one"].items() if len(one) == len(outside)}, outside)


def inside(folds: Sequence[Fold]) -> dict[str, Float[np.ndarray, " ever"]]:
    """For every image that was ever inside, its mean over the trainings that knew its cluster."""
    weights = np.stack([~one.outside for one in folds]).astype(float)
    ever, total = weights.sum(0) > 0, np.maximum(weights.sum(0), 1)
    return {
        metric: ((np.stack([one.scores[metric] for one in folds]) * weights).sum(0) / total)[ever]
        for metric in folds[0].scores
    }


def outside(folds: Sequence[Fold]) -> dict[str, Float[np.ndarray, " outside"]]:
    """Scores of the images of held-out clusters, each from the training that left its cluster out."""
    return {metric: np.concatenate([one.scores[metric][one.outside] for one in folds]) for metric in folds[0].scores}


def _fair(subject: Subject) -> Subject:
    """With priors trained from scratch, for the usual split too, where their start has seen this subject's images."""
    run = subject.run
    if not replace(run, profile=changed(run.profile, split__clusters=2)).start_has_seen:
        return subject
    return replace(subject, run=replace(run, profile=changed(run.profile, stage1__start="")))


def add_held_out(audit: Audit, k: int) -> None:
    """Inside, outside, and the same images as outside under the usual split, for every system; what it costs."""
    subject = _fair(audit.subject)
    makers: dict[str, Callable[[Run], Tokens]] = {name: system_of(name).tokens for name in subject.systems}
    makers |= {IN_SPAN: spanned, NEAREST_TRUE: nearest_true}
    usual, chances = token_values(subject, {name: make(subject.run) for name, make in makers.items()})
    found: Values = {}
    titles: dict[str, str] = {}
    count = 0
    for name, make in makers.items():
        folds = [Fold.of(subject, k, fold, make) for fold in range(subject.folds)]
        rows = np.concatenate([np.flatnonzero(one.outside) for one in folds])
        count = len(rows)
        if not count:
            return
        same = {metric: one[rows] for metric, one in usual[name].items() if metric in folds[0].scores}
        parts = {"inside": inside(folds), "outside": outside(folds), "usual": same}
        found |= {f"{name} {kind}": one for kind, one in parts.items()}
        words = TITLES.get(name) or system_of(name).title
        titles |= {f"{name} {kind}": f"{words}: {said}" for kind, said in KINDS.items()}
    notes = (
        f"k = {k}; {subject.folds} of {FOLDS} parts of the clusters were held out of training in turn; {count} test "
        "images lie outside. Identification is among all test images.",
    )
    start = subject.run.profile.stage1.start
    if start != audit.subject.run.profile.stage1.start:
        notes += ("Priors begin from nothing, also under the usual split: the shipped start has seen these images.",)
    elif start:
        notes += (
            "Priors begin with a start that has seen corpus items of every cluster, and no betas of this subject.",
        )
    _add_tables(audit, k, found, chances, titles, notes)


def _add_tables(
    audit: Audit, k: int, found: Values, chances: Mapping[str, float], titles: Mapping[str, str], notes: Sequence[str]
) -> None:
    columns = tuple(one for one in COLUMNS if all(one.name in scores for scores in found.values()))
    shown = {one.name: chances[one.name] for one in columns if one.name in chances}
    # rows are of different images, so none is the best
    rows = scored(audit.subject, found, shown)
    audit.add_scores(f"Held-out clusters, k = {k}", rows, columns, titles, list(found), notes)
    pairs = [(one, one.replace("outside", "usual")) for one in found if one.endswith("outside")]
    leads = leads_over(audit.subject, found, pairs)
    audit.add_leads(f"What the held-out clusters cost, k = {k}", leads, columns, titles, notes)
