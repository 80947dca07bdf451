"""Scores of systems as records and tables. Each system is scored by stages of its own, so rows share what they can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from brainram_lib.core.store import Stage, Store
from brainram_lib.evaluation import catalogue, records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.differences import lead_table
from brainram_lib.evaluation.identification import POOL, REPEATS
from brainram_lib.evaluation.labels import CHANCE, Labels
from brainram_lib.evaluation.presets import preset_of
from brainram_lib.evaluation.records import Record, Values
from brainram_lib.evaluation.tables import ScoreTable, score_table
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.found import Found
from brainram_lib.pipeline.ram import Retrieved
from brainram_lib.pipeline.run import Run
from brainram_lib.pipeline.scores import EstimateScores, ImageScores
from brainram_lib.systems.system import BOUND, System, systems


def labels() -> Labels:
    """Titles and order of all systems."""
    every = systems()
    titles = {system.name: system.title for system in every} | {CHANCE: "Chance"}
    return Labels(titles, frozenset({system.name for system in every if system.kind == BOUND} | {CHANCE}))


def image_metrics(run: Run) -> tuple[Metric, ...]:
    """The columns of Table 1: those of the profile and, where categories are known, whether one is named."""
    named = (catalogue.metric("probe_category"),) if run.source.simulated else ()
    return catalogue.metric_set(run.profile.metrics) + named


def stages_of(run: Run, system: System, estimates_alone: bool = False) -> list[ImageScores | EstimateScores]:
    """The stages that score one system; `estimates_alone`: its tokens only, so that nothing is generated."""
    found: list[ImageScores | EstimateScores] = []
    if system.images is not None and not estimates_alone:
        found.append(run.image_scores(system.images(run), f"score, {system.name}"))
    if system.tokens is not None:
        found.append(run.estimate_scores(system.tokens(run), run.seed if system.shuffled else None))
    return found


def values_of(
    run: Run, store: Store, chosen: Iterable[System], estimates_alone: bool = False
) -> tuple[Values, dict[str, float]]:
    """Per-image scores by system and metric, and what chance gives for each metric.

    `estimates_alone`: of tokens only; nothing is generated.
    """
    values: Values = {}
    chances: dict[str, float] = {}
    for system in chosen:
        for stage in stages_of(run, system, estimates_alone):
            result = store.result(stage)
            scores = {name: np.array(per_image) for name, per_image in result.json("values").items()}
            values[system.name] = values.get(system.name, {}) | scores
            # chance of naming a category depends on what a system shows: that of the first, the leader, is kept
            chances = result.json("chance") | chances
    return values, chances


def records_of(run: Run, values: Values, chances: dict[str, float]) -> list[Record]:
    """One record per system and metric, and one of chance per metric."""
    of = {"subject": run.subject, "seed": run.seed}
    rows = [row for system, scores in values.items() for row in records.records_of(system, scores, **of)]
    counts = {metric: len(one) for scores in values.values() for metric, one in scores.items()}
    return rows + [records.known(CHANCE, name, chance, n=counts[name], **of) for name, chance in chances.items()]


def submitted_table(run: Run, store: Store, folder: Path, preset: str, blurry: Path | None = None) -> ScoreTable:
    """A folder of reconstructions that others made, beside chance, scored as a preset does.

    Raises:
        ValueError: another preset.
        SubmissionError: a folder that cannot be scored.
    """
    preset_of(preset)
    stage = run.submitted_scores(folder, preset, blurry)
    if store.find(stage) is None:
        # what is wrong with a folder is reported before any network runs
        stage.check(store)
    result = store.result(stage)
    values = {folder.name: {name: np.array(one) for name, one in result.json("values").items()}}
    scores = records_of(run, values, result.json("chance"))
    title = f"'{folder.name}', subject {run.subject}, preset {preset}"
    return score_table(
        scores,
        stage.columns,
        title,
        embedded=run.source.simulated,
        labels=labels(),
        notes=result.json("said"),
    )


def retrieval_notes(run: Run, store: Store, chosen: Iterable[System]) -> tuple[str, ...]:
    """For every corpus that these systems search: how many near-duplicates of the stimuli it holds."""
    found = {
        (one.corpus.key, one.duplicates is not None): one
        for system in chosen
        for stage in stages_of(run, system)
        for one in retrieved_in(stage)
    }
    images = run.targets("image")
    audits = [(NearDuplicates(images, one.corpus), one.duplicates is not None) for one in found.values()]
    return tuple(duplicates.said(store, excluded) for duplicates, excluded in audits)


def pool_notes(run: Run, store: Store, chosen: Iterable[System]) -> tuple[str, ...]:
    """Among how many test images these systems' tokens must find the right one, and what chance gives."""
    stages = [stage for system in chosen for stage in stages_of(run, system) if isinstance(stage, EstimateScores)]
    count = len(run.images.nsd_ids(store, "test"))
    return tuple(dict.fromkeys(_pool_said(min(stage.pool, count), count) for stage in stages))


def _pool_said(pool: int, count: int) -> str:
    asked = "" if pool == POOL else f" (there are too few for {POOL})" if pool == count else f" (not of {POOL})"
    whole = ", so that each draw is all of them" if pool == count else ""
    return (
        f"Image and brain retrieval: top-1, mean over {REPEATS} draws of {pool}{asked} of the {count} test images "
        f"without replacement{whole}; chance {1 / pool:.2%}."
    )


def retrieved_in(stage: Stage) -> Iterator[Retrieved | Found]:
    """The neighbours that a stage is made from, through all its inputs; some may come twice."""
    if isinstance(stage, (Retrieved, Found)):
        yield stage
    for needed in stage.inputs.values():
        yield from retrieved_in(needed)


def leads_of(run: Run, values: Values) -> list[Record]:
    """How much the profile's method scores above ridge and above itself without RAM, image by image."""
    of, method = {"subject": run.subject, "seed": run.seed}, run.profile.method
    return [row for other in ("ridge", f"{method}-no-ram") for row in records.leads(method, other, values, **of)]


def score_tables(
    run: Run, scores: Sequence[Record], leads: Sequence[Record], reported: bool = False, notes: Sequence[str] = ()
) -> tuple[ScoreTable, ScoreTable, ScoreTable]:
    """Table 1, the lead image by image, and the token estimates; `reported` adds the papers' rows to the first.

    `notes` are printed below each, such as what `retrieval_notes` says.
    """
    of = f"subject {run.subject}" + (f", seed {run.seed}" if run.seed else "")
    if reported and not run.source.reported:
        notes = (*notes, "The papers' rows are of NSD, and not comparable: they are left out.")
    how = {"embedded": run.source.simulated, "labels": labels(), "notes": notes}
    beside = "1" if reported and run.source.reported else None
    images, estimates = image_metrics(run), catalogue.ESTIMATES + catalogue.IDENTIFICATION
    return (
        score_table(scores, images, f"Table 1, {of}", paper_table=beside, **how),
        lead_table(leads, images, f"Lead of {labels().title(run.profile.method)}, {of}", **how),
        score_table(scores, estimates, f"Token estimates, {of}", **how),
    )
