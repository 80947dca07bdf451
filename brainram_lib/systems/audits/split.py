"""What the split gives away: held-out clusters, the cluster beside the image, and what needs no brain."""

from __future__ import annotations

import numpy as np

from brainram_lib.audits.clusters import named_by_chance, nearest_centre, two_way_by_cluster
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.identification import retrieval
from brainram_lib.pipeline.clusters import MeanTarget, NearestTarget, TrainingPicture
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.audits.common import Audit, Subject, image_values, scored, token_values
from brainram_lib.systems.audits.held_out import IN_SPAN, NEAREST_TRUE, TITLES, add_held_out, nearest_true, spanned
from brainram_lib.systems.bounds import truth
from brainram_lib.systems.scores import image_metrics
from brainram_lib.systems.system import DECODER, System, Tokens, systems

CLUSTERS = (5, 10, 40)
NEAREST, MEAN = "nearest-train", "mean-target"
NO_BRAIN = {MEAN: "Mean training target (no brain)", NEAREST: "Nearest training image to the estimate", **TITLES}
BOUNDS = (MEAN, NEAREST_TRUE, IN_SPAN, "ceiling", "shuffled")
COLUMNS = catalogue.ESTIMATES + catalogue.IDENTIFICATION
KINDS = (
    Metric("cluster_named", "Cluster named", "up", percent=True),
    Metric("two_way_between", "Two-way, other clusters", "up", percent=True, chance=0.5),
    Metric("two_way_within", "Two-way, same cluster", "up", percent=True, chance=0.5),
    Metric("image_first", "Image first of all", "up", percent=True),
)


def nearest(run: Run) -> Tokens:
    """Tokens of the training stimulus nearest to Stage I's estimate."""
    image, by = run.targets("image"), run.estimates("image")
    return {modality: NearestTarget(run.targets(modality), image, by) for modality in MODALITIES}


def mean(run: Run) -> Tokens:
    """The mean training target."""
    return {modality: MeanTarget(run.targets(modality)) for modality in MODALITIES}


def split(subject: Subject) -> Audit:
    """No brain; the cluster beside the image; held-out clusters, for k = 5, 10 and 40."""
    audit = Audit("split", subject)
    _add_no_brain(audit)
    for k in CLUSTERS:
        if k <= len(subject.run.images.nsd_ids(subject.store, "train")) // 2:
            _add_kinds(audit, k)
            add_held_out(audit, k)
    return audit


def compared(run: Run) -> list[System]:
    """The decoders that estimate tokens, of the tables of this run's method."""
    return [one for one in systems(run.profile.method) if one.tokens is not None and one.kind == DECODER]


def _add_no_brain(audit: Audit) -> None:
    run, store = audit.subject.run, audit.subject.store
    known = compared(run)
    rows = {MEAN: mean(run), NEAREST: nearest(run), **{one.name: one.tokens(run) for one in known}}
    rows |= {NEAREST_TRUE: nearest_true(run), IN_SPAN: spanned(run)}
    values, chances = token_values(audit.subject, rows)
    spans = {modality: store.result(stage).json("span") for modality, stage in rows[IN_SPAN].items()}
    said = [f"{m} targets of training span {one['rank']} of {one['of']} dimensions" for m, one in spans.items()]
    titles = {**NO_BRAIN, **{one.name: one.title for one in known}}
    notes = (f"{'; '.join(said).capitalize()}. Upper bounds look at the truth and are no decoders.",)
    title = "What the output space gives without a brain"
    audit.add_scores(title, scored(audit.subject, values, chances), COLUMNS, titles, BOUNDS, notes)
    shown = {NEAREST: run.nearest_training(), NEAREST_TRUE: TrainingPicture(rows[NEAREST_TRUE]["image"])}
    values, chances = image_values(audit.subject, shown)
    title, columns = "Training images as they are", image_metrics(run)
    audit.add_scores(title, scored(audit.subject, values, chances), columns, titles, BOUNDS)


def _add_kinds(audit: Audit, k: int) -> None:
    """Is the image identified, or only its cluster?"""
    run, store = audit.subject.run, audit.subject.store
    stage = run.clusters(k)
    labels, centres = stage.labels(store, "test"), np.array(store.result(stage).array("centres"))
    real = np.asarray(store.result(run.targets("image")).array("test"), np.float32)
    known = compared(run)
    tokens = {one.name: one.tokens(run) for one in known} | {NEAREST_TRUE: nearest_true(run), "ceiling": truth(run)}
    made = {name: _mean_tokens(store.result(one["image"]).array("test")) for name, one in tokens.items()}
    made["shuffled"] = made[run.profile.method][derangement(len(labels), run.seed)]
    values = {name: _kinds(real, one, labels, centres) for name, one in made.items()}
    train = stage.labels(store, "train")
    chances = {"cluster_named": named_by_chance(labels, train, k), "image_first": 1 / len(labels)}
    chances |= {"two_way_between": 0.5, "two_way_within": 0.5}
    titles = {one.name: one.title for one in known} | NO_BRAIN
    titles |= {"shuffled": "Shuffled betas", "ceiling": "True tokens (ceiling)"}
    notes = (
        f"k-means of the training stimuli's CLIP embeddings, k = {k}; an estimate names the cluster of the nearest "
        "centre. Two-way by token 0, against images of other clusters and of the same.",
    )
    title = f"The cluster beside the image, k = {k}"
    audit.add_scores(title, scored(audit.subject, values, chances), KINDS, titles, BOUNDS, notes)


def _kinds(real: np.ndarray, made: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> dict[str, np.ndarray]:
    within, between = two_way_by_cluster(real[:, 0], made[:, 0], labels)
    first = retrieval(made, real, pool=len(real), repeats=1)["image_retrieval"]
    found = {
        "cluster_named": (nearest_centre(made[:, 0], centres) == labels).astype(float),
        "two_way_between": between[np.isfinite(between)],
        "two_way_within": within[np.isfinite(within)],
        "image_first": first.per_image,
    }
    # a metric for which no image qualifies is left out
    return {name: one for name, one in found.items() if len(one)}


def _mean_tokens(tokens: np.ndarray) -> np.ndarray:
    if tokens.ndim == 3:
        return np.asarray(tokens, np.float32)
    return np.stack([np.asarray(samples, np.float32).mean(0) for samples in tokens])
