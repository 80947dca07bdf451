"""New kinds of stimuli: what a decoder makes of images unlike those that it was trained on, kind by kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from brainram_lib.audits.new_stimuli import above_chance, found_again, kept, rows_of
from brainram_lib.evaluation import records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.records import Record, Values
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.noise import REPETITIONS
from brainram_lib.nsd.synthetic.prepare import CORE, SESSION
from brainram_lib.pipeline.elsewhere import NotElsewhere, on, tokens_on
from brainram_lib.pipeline.kinds import KindScores
from brainram_lib.pipeline.nearest import nearest_by_tokens
from brainram_lib.pipeline.pictures import CHOSEN
from brainram_lib.pipeline.shown import USUAL, FirstOfEach, Shown, UsualImages
from brainram_lib.pipeline.trials import NoTrials
from brainram_lib.systems.audits.common import Audit, Subject, leads_over, scored
from brainram_lib.systems.audits.split import compared
from brainram_lib.systems.system import System, system_of

Kinds = dict[str, dict[str, np.ndarray]]
SCORES = (
    Metric("image_mse", "Image tokens MSE", "down", decimals=5),
    Metric("image_cosine", "Image tokens cosine", "up"),
    Metric("cosine_of_other", "Cosine, another of the kind", "up"),
    Metric("two_way_within", "Two-way, same kind", "up", percent=True, chance=0.5),
    Metric("two_way_between", "Two-way, other kinds", "up", percent=True, chance=0.5),
    Metric("first_of_kind", "First of its kind", "up", percent=True),
    Metric("chance_of_kind", "Chance of that", "up", percent=True),
    Metric("first_of_all", "First of all new stimuli", "up", percent=True),
)
SHARES = (
    Metric("kept_image_cosine", "Cosine above another's", "up", percent=True),
    Metric("kept_two_way_within", "Two-way, same kind", "up", percent=True),
    Metric("kept_first_of_kind", "First of its kind", "up", percent=True),
)
NOVELTY = (
    Metric("presentations", "Presentations", "up", decimals=2),
    Metric("nearest_train", "Cosine to the nearest training image", "up"),
    Metric("spread", "Cosine to another of the kind", "up"),
    Metric("found_again", "Betas find their other presentation", "up", percent=True),
)
LEADS = tuple(one for one in SCORES if one.name in ("image_mse", "image_cosine", "two_way_within", "first_of_kind"))
SAID = {SESSION: "statistics of this session", CORE: "statistics of the core sessions"}


def stimuli(subject: Subject) -> Audit:
    """How new each kind is; every decoder on every kind; the share that is left of its usual score; leads."""
    audit, run, store = Audit("stimuli", subject), subject.run, subject.store
    try:
        shown = run.new_stimuli()
        counts = np.array(store.result(shown).array("presentations"))
        usual = run.usual_images(int(np.clip(np.median(counts), 1, REPETITIONS)))
        store.result(usual)
        _add_novelty(audit, {USUAL: usual, "": shown})
        values = {one.name: _values(audit, one, shown, usual) for one in compared(run)}
        values = {name: found for name, found in values.items() if found}
        for name, found in values.items():
            _add_system(audit, system_of(name), found)
        _add_leads(audit, values)
        _add_statistics(audit, list(values))
    except (NsdError, NoTrials) as problem:
        audit.skipped.append(f"New kinds of stimuli: {problem}")
    return audit


def _values(audit: Audit, system: System, shown: Shown, usual: Shown) -> Kinds:
    """Scores by kind, those of ordinary test images first; nothing where the decoder cannot be handed other betas."""
    subject = audit.subject
    try:
        return kind_values(subject, system, usual) | kind_values(subject, system, shown)
    except NotElsewhere as problem:
        audit.skipped.append(f"New kinds of stimuli, {system.title}: {problem}")
        return {}


def kind_values(subject: Subject, system: System, shown: Shown, seen: Shown | None = None) -> Kinds:
    """Per-image scores of a system's estimates of what was shown, by kind and metric.

    Ordinary images get the same task as a kind: to be found among as many.

    Args:
        seen: the same stimuli with other betas, if their tokens are there.
    """
    run, store, sizes = subject.run, subject.store, kind_sizes(subject)
    tokens = tokens_on(system.tokens(run), shown)["image"]
    pools = tuple(sorted(set(sizes))) if isinstance(shown, UsualImages) else ()
    found = KindScores(tokens, run.shown_targets(seen or shown), shown, pools).values(store)
    if own := found.get(USUAL):
        own["first_of_kind"] = own[f"first_of_{usual_pool(sizes)}"]
        del own["first_of_all"]
    return found


def kind_sizes(subject: Subject) -> list[int]:
    """The number of images of each kind with more than one."""
    kinds = subject.run.new_stimuli().kinds(subject.store)
    return [len(rows) for rows in rows_of(kinds).values() if len(rows) > 1]


def usual_pool(sizes: list[int]) -> int:
    """Among how many ordinary images must be found: the median of the kinds' sizes."""
    return sorted(sizes)[len(sizes) // 2]


def _add_novelty(audit: Audit, shown: Mapping[str, Shown]) -> None:
    """How far each kind is from the training images, by true tokens; no brain data enter."""
    run, store = audit.subject.run, audit.subject.store
    train = np.asarray(store.result(run.targets("image")).array("train"), np.float32)
    rows: list[Record] = []
    pool = usual_pool(kind_sizes(audit.subject))
    for stage in shown.values():
        real, counts = run.shown_targets(stage).tokens(store), np.array(store.result(stage).array("presentations"))
        nearest = nearest_by_tokens(real, train)[1]
        flat = real.reshape(len(real), -1)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        for kind, own in rows_of(stage.kinds(store)).items():
            known = {"presentations": counts[own].astype(float), "nearest_train": nearest[own]}
            known["spread"] = (unit[own] * np.roll(unit[own], 1, 0)).sum(1)
            halves = np.array(store.result(stage).array("halves")[own])
            if np.isfinite(halves).all() and len(own) > 1:
                known["found_again"] = found_again(halves, pool if kind == USUAL else None)
            rows += records.records_of(kind, known, **audit.subject.of)
    said = store.result(run.new_stimuli()).json("said")
    notes = (
        f"Cosines of the true image tokens. Images of each kind: {_counted(rows_of(run.new_stimuli().kinds(store)))}.",
        "Last column: one half of an image's presentations looks for the betas of the other half among its kind, "
        f"ordinary images among {pool}. It is what half of the betas tells, whoever decodes them.",
        f"{said['silent_voxels']} voxels cannot be z-scored in this session and are 0; {said['blank']} images are of "
        "one colour within the middle square and are left out.",
    )
    kinds = [row.system for row in rows]
    audit.add_scores("New kinds of stimuli: how new", rows, NOVELTY, dict(zip(kinds, kinds, strict=True)), kinds, notes)


def _counted(rows: Mapping[str, np.ndarray]) -> str:
    counts = {kind: len(own) for kind, own in rows.items()}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))}"
    return ", ".join(f"{count} {kind.lower()}" for kind, count in counts.items())


def _add_system(audit: Audit, system: System, found: Kinds) -> None:
    """One row per kind: its scores, and what is left of the score on ordinary test images."""
    subject, titles = audit.subject, {f"{system.name}, {kind}": kind for kind in found}
    middle = usual_pool(kind_sizes(subject))
    rows: list[Record] = []
    shares: list[Record] = []
    for kind, own in found.items():
        name, count = f"{system.name}, {kind}", len(own["image_mse"])
        rows += records.records_of(name, {one.name: own[one.name] for one in SCORES if one.name in own}, **subject.of)
        pool = min(middle, count) if kind == USUAL else count
        rows.append(records.known(name, "chance_of_kind", 1 / pool, n=count, **subject.of))
        if kind != USUAL:
            shares += _shares(subject, name, own, found[USUAL])
    notes = (
        "Nothing was trained again: the decoders were trained on ordinary scenes alone.",
        f"Ordinary test images: as many presentations as most new stimuli had, found among {middle} at a time.",
        "Two-way by token 0. First of its kind: image retrieval among the images of the kind alone.",
    )
    title = f"New kinds of stimuli, {system.title}"
    audit.add_scores(title, rows, SCORES, titles, list(titles), notes)
    notes = (
        "(score - chance) over the same of ordinary test images, found among as many. Chance of the cosine: the "
        "estimate of another picture of the kind. 100: as good as on ordinary images; 0: at chance.",
    )
    audit.add_scores(f"{title}: share of the usual score", shares, SHARES, titles, list(titles), notes)


def _shares(subject: Subject, name: str, own: dict[str, np.ndarray], usual: dict[str, np.ndarray]) -> list[Record]:
    count = len(own["image_mse"])
    of_usual = above_chance({**usual, "first_of_kind": usual[f"first_of_{count}"]}, count)
    found = []
    for metric, scores in above_chance(own, count).items():
        share = kept(scores, of_usual[metric], subject.run.seed)
        if share is not None:
            found.append(Record(name, f"kept_{metric}", *share, n=count, **subject.of))
    return found


def _add_leads(audit: Audit, values: Mapping[str, Kinds]) -> None:
    """How much the method leads over itself without Stage II and over ridge, kind by kind."""
    method = audit.subject.run.profile.method
    rivals = [name for name in (f"{method}-no-ram", "ridge") if name in values]
    if method not in values or not rivals:
        return
    flat: Values = {f"{name}, {kind}": own for name, found in values.items() for kind, own in found.items()}
    pairs = [(f"{method}, {kind}", f"{rival}, {kind}") for rival in rivals for kind in values[method]]
    titles = {f"{rival}, {kind}": system_of(rival).title for rival in rivals for kind in values[method]}
    titles |= {f"{method}, {kind}": f"{kind}: {system_of(method).title}" for kind in values[method]}
    audit.add_leads("New kinds of stimuli: leads", leads_over(audit.subject, flat, pairs), LEADS, titles)


def _add_statistics(audit: Audit, names: list[str]) -> None:
    """The same session z-scored with statistics of the core sessions: what the choice is worth."""
    subject = audit.subject
    values: Values = {}
    titles: dict[str, str] = {}
    for name in names:
        for statistics, words in SAID.items():
            shown = subject.run.new_stimuli(statistics), subject.run.new_stimuli()
            found = kind_values(subject, system_of(name), *shown).values()
            common = set.intersection(*(set(one) for one in found)) & {one.name for one in SCORES}
            key = f"{name} {statistics}"
            values[key] = {metric: np.concatenate([one[metric] for one in found]) for metric in common}
            titles[key] = f"{system_of(name).title}, {words}"
    notes = ("All new stimuli together, each kind among itself.",)
    title = "New kinds of stimuli: how the session is z-scored"
    columns = tuple(one for one in SCORES if one.name != "chance_of_kind")
    audit.add_scores(title, scored(subject, values, {}), columns, titles, list(titles), notes)


def gallery_of(
    subject: Subject, systems: Mapping[str, str], each: int
) -> tuple[dict[str, UInt8[np.ndarray, "n height width 3"]], list[str]]:
    """Rows of a gallery: the stimuli, the first `each` of every kind, and every system's images of them; their kinds.

    Args:
        systems: label of the row -> the system's name.
    """
    run, store = subject.run, subject.store
    few = FirstOfEach(run.new_stimuli(), each)
    kinds = few.kinds(store)
    rows = {"stimulus": few.pictures(store, slice(None))}
    for label, name in systems.items():
        rows[label] = np.array(store.result(on(system_of(name).images(run), few)).array(CHOSEN))
    return rows, kinds
