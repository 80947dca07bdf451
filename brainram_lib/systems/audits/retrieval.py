"""What retrieval contributed: the same decoder with neighbours that say less, or more, than those it found.

The fusion is the one that was trained on the neighbours as found, and so are the estimates; only what is handed to it
at test time differs. The table follows tests of a retrieval-augmented captioning model (RitaRamo/smallcap, issue 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.evaluation import catalogue
from brainram_lib.pipeline.controls import Fewer, FromTraining, Handed, Oracle, OtherBrain, Random
from brainram_lib.pipeline.pictures import Generated, GuidingPicture, NearestNeighbour
from brainram_lib.pipeline.ram import Refined, Retrieved
from brainram_lib.pipeline.run import Run
from brainram_lib.systems import brainram
from brainram_lib.systems.audits.common import Audit, Subject, image_values, leads_over, scored, token_values
from brainram_lib.systems.scores import image_metrics, retrieval_notes, retrieved_in
from brainram_lib.systems.system import DECODER, System, Tokens, system_of, systems

ALONE, AS_FOUND, ORACLE = "p-alone", "as-found", "oracle"
TITLES = {
    ALONE: "No neighbours (p)",
    "random": "Random neighbours",
    "other-brain": "Neighbours of another brain",
    "training": "Training images in the place of the corpus",
    AS_FOUND: "Neighbours as found",
    ORACLE: "Best by the true tokens (upper bound)",
}
COLUMNS = catalogue.ESTIMATES + catalogue.IDENTIFICATION
# Fewer items than this make no corpus.
LEAST = 64
Found = Mapping[str, Retrieved]


def variants(run: Run) -> dict[str, Found]:
    """The neighbours of both modalities by row, in the order of the tables."""
    as_found = {modality: run.neighbours(modality) for modality in MODALITIES}

    def each(make) -> dict[str, Retrieved]:
        return {modality: make(found) for modality, found in as_found.items()}

    return {
        "random": each(lambda found: Random.of(found, seed=run.seed)),
        "other-brain": each(lambda found: OtherBrain.of(found, seed=run.seed)),
        "training": each(lambda found: FromTraining.of_run(found, run.training_corpus)),
        AS_FOUND: as_found,
        ORACLE: each(Oracle.of),
    }


def refined_with(run: Run, found: Found) -> Tokens:
    """p + q of the run's fusions when they are handed these neighbours."""
    return {modality: Refined(Handed.to(run.fusion(modality), one)) for modality, one in found.items()}


def generated_with(run: Run, found: Found) -> Stage:
    """The method's images when fusion and guidance are handed these neighbours."""
    as_found, tokens = brainram.images(run), refined_with(run, found)
    guide = as_found.guide and replace(as_found.guide, estimate=tokens["image"], found=found["image"])
    return replace(as_found, image=tokens["image"], text=tokens["text"], guide=guide)


def retrieval(subject: Subject) -> Audit:
    """The decoder with other neighbours; their own images; a curve over corpus sizes; leads over neighbours' images."""
    audit, run = Audit("retrieval", subject), subject.run
    kinds = variants(run)
    notes = retrieval_notes(run, subject.store, [system_of(run.profile.method)])
    _add_tokens(audit, kinds, notes)
    _add_curve(audit, kinds[AS_FOUND])
    _add_pictures(audit, kinds, notes)
    if subject.images:
        _add_generated(audit, kinds)
        _add_leads(audit)
    return audit


def _add_tokens(audit: Audit, kinds: Mapping[str, Found], notes: tuple[str, ...]) -> None:
    run = audit.subject.run
    rows: dict[str, Tokens] = {ALONE: brainram.estimates(run)}
    rows |= {name: brainram.refined(run) if name == AS_FOUND else refined_with(run, one) for name, one in kinds.items()}
    values, chances = token_values(audit.subject, rows)
    said = (
        "The fusion was trained on the neighbours as found and is handed these at test time.",
        "The upper bound chooses by the truth and is no decoder.",
        *notes,
    )
    audit.add_scores(
        "What retrieval contributed", scored(audit.subject, values, chances), COLUMNS, TITLES, [ORACLE], said
    )
    pairs = [(AS_FOUND, other) for other in rows if other not in (AS_FOUND, ORACLE)]
    leads = leads_over(audit.subject, values, pairs)
    audit.add_leads("Lead of the neighbours as found", leads, COLUMNS, TITLES)


def _add_curve(audit: Audit, as_found: Found) -> None:
    from brainram_lib.audits.controls import sizes

    run, items = audit.subject.run, len(as_found["image"].corpus.open(audit.subject.store.root))
    least = max(LEAST, 4 * (run.profile.retrieval.candidates or run.profile.retrieval.neighbours))
    rows: dict[str, Tokens] = {}
    for kept in sizes(items, least):
        found = {m: Fewer.of(one, kept=kept, seed=run.seed) for m, one in as_found.items()}
        rows[f"corpus-{kept}"] = refined_with(run, found)
    rows[f"corpus-{items}"] = brainram.refined(run)
    titles = {name: f"{name.removeprefix('corpus-')} items" for name in rows}
    values, chances = token_values(audit.subject, rows)
    notes = ("Each corpus is a random part of the next; the fusion was trained on neighbours of the whole.",)
    audit.add_scores("Size of the corpus", scored(audit.subject, values, chances), COLUMNS, titles, notes=notes)


def _add_pictures(audit: Audit, kinds: Mapping[str, Found], notes: tuple[str, ...]) -> None:
    """The nearest neighbour's own image: nothing is generated."""
    rows = {name: NearestNeighbour(found["image"]) for name, found in kinds.items()}
    values, chances = image_values(audit.subject, rows)
    columns = image_metrics(audit.subject.run)
    title = "The first neighbour's own image"
    audit.add_scores(title, scored(audit.subject, values, chances), columns, TITLES, [ORACLE], notes)


def _add_generated(audit: Audit, kinds: Mapping[str, Found]) -> None:
    """Generated images with each kind of neighbours, fusion and guidance alike."""
    run = audit.subject.run
    rows = {
        name: brainram.images(run) if name == AS_FOUND else generated_with(run, found) for name, found in kinds.items()
    }
    values, chances = image_values(audit.subject, {ALONE: brainram.stage1_images(run), **rows})
    title, columns = "Images with each kind of neighbours", image_metrics(run)
    audit.add_scores(title, scored(audit.subject, values, chances), columns, TITLES, [ORACLE])


def _add_leads(audit: Audit) -> None:
    """How much each retrieving system's images score above the image of its own neighbour."""
    run = audit.subject.run
    rows: dict[str, Stage] = {}
    titles: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for system in systems(run.profile.method):
        if (own := own_picture(run, system)) is not None:
            neighbour = f"{system.name}'s neighbour"
            rows |= {system.name: system.images(run), neighbour: own}
            titles |= {system.name: system.title, neighbour: "its neighbour's image"}
            pairs.append((system.name, neighbour))
    values, _ = image_values(audit.subject, rows)
    columns = image_metrics(run)
    audit.add_leads("Lead over the own neighbour's image", leads_over(audit.subject, values, pairs), columns, titles)


def own_picture(run: Run, system: System) -> Stage | None:
    """The image of the neighbour that guided a decoder's image, else of the first one; None without retrieval."""
    if system.kind != DECODER or system.images is None:
        return None
    made = system.images(run)
    if isinstance(made, Generated) and made.guide is not None:
        return GuidingPicture(made)
    asked = (made.image,) if isinstance(made, Generated) else (made,)
    found = next((one for stage in asked for one in retrieved_in(stage)), None)
    return None if found is None else NearestNeighbour(found)
