"""How much of what could be known is decoded: scores over their ceilings, and over fewer repetitions of the betas."""

from __future__ import annotations

import numpy as np

from brainram_lib.audits.ceilings import share_of_ceiling
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.evaluation import catalogue, records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.records import Record, Values
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.noise import REPETITIONS, noise_ceiling
from brainram_lib.pipeline.prior import Estimates, RidgeFit
from brainram_lib.pipeline.run import Run
from brainram_lib.pipeline.scores import POOL, chances
from brainram_lib.pipeline.trials import NoTrials
from brainram_lib.systems.audits.common import Audit, Subject, leads_over, scored
from brainram_lib.systems.scores import image_metrics, values_of
from brainram_lib.systems.system import BOUND, systems

FLOOR, CEILING = "shuffled", "ceiling"
TOKENS = catalogue.ESTIMATES + catalogue.IDENTIFICATION
SIGNAL = Metric("signal", "Signal in the betas", "up", percent=True)


def ceiling(subject: Subject) -> Audit:
    """Shares of the ceilings, of images where they are generated and of tokens; scores of 1, 2 and 3 repetitions."""
    audit, run = Audit("ceiling", subject), subject.run
    known = systems(run.profile.method)
    titles = {one.name: one.title for one in known}
    values, _ = values_of(run, subject.store, known, estimates_alone=not subject.images)
    parts = [("images", image_metrics(run))] if subject.images else []
    for words, columns in (*parts, ("token estimates", TOKENS)):
        rows = shares(subject, values, columns)
        if rows:
            notes = (
                "(score - shuffled) / (true tokens - shuffled): 0 is what another brain's estimate scores, 100 what "
                "the true tokens do. A column is empty where the two differ by less than two standard errors.",
            )
            shown = tuple(as_share(one) for one in columns)
            audit.add_scores(f"Share of the ceiling, {words}", rows, shown, titles, notes=notes)
    _add_repetitions(audit)
    return audit


def shares(subject: Subject, values: Values, columns: tuple[Metric, ...]) -> list[Record]:
    """One record per competing system and metric; none where a bound lacks it or is of other images, or both are close.

    Close: within two standard errors (`share_of_ceiling`).
    """
    bounds = {one.name for one in systems() if one.kind == BOUND}
    found = []
    for name, scores in values.items():
        for metric in (one.name for one in columns if one.name in scores and name not in bounds):
            floor, top = (values[bound].get(metric) for bound in (FLOOR, CEILING))
            if floor is None or top is None or not len(floor) == len(top) == len(scores[metric]):
                continue
            share = share_of_ceiling(scores[metric], floor, top)
            if share is not None:
                found.append(Record(name, f"{metric}_share", *share, n=len(floor), **subject.of))
    return found


def as_share(metric: Metric) -> Metric:
    """The column of a metric's share: in percent, and more is better whichever way the metric runs."""
    return Metric(f"{metric.name}_share", metric.title, "up", percent=True)


def decoders(run: Run) -> dict[str, tuple[str, dict[str, RidgeFit | Estimates]]]:
    """Those that estimate from betas alone, so that any betas can be handed to them: name -> title and stages."""
    return {
        "ridge": ("Ridge", {modality: run.ridge(modality) for modality in MODALITIES}),
        "stage1": ("Stage I (p)", {modality: run.estimates(modality) for modality in MODALITIES}),
    }


def signal(run: Run, subject: Subject) -> dict[int, float]:
    """Share of the betas' variance that is signal, by repetitions averaged: the noise ceiling's mean over voxels."""
    ncsnr = run.betas.prepared(subject.store).ncsnr
    known = ncsnr[np.isfinite(ncsnr)]
    counts = range(1, REPETITIONS + 1) if len(known) else ()
    return {count: float(noise_ceiling(known, count).mean()) for count in counts}


def _add_repetitions(audit: Audit) -> None:
    subject, run = audit.subject, audit.subject.run
    ceilings = signal(run, subject)
    values: Values = {}
    titles: dict[str, str] = {}
    try:
        for name, (title, stages) in decoders(run).items():
            found = subject.store.result(run.trial_scores(stages["image"], stages["text"])).json("values")
            values |= {f"{name} {count}": {m: np.array(v) for m, v in one.items()} for count, one in found.items()}
            titles |= {f"{name} {count}": f"{title}, {count} of {REPETITIONS}" for count in found}
    except (NsdError, NoTrials) as problem:
        audit.skipped.append(f"Fewer repetitions: {problem}")
        return
    images = len(values["ridge 1"]["image_mse"])
    rows = scored(subject, values, chances(min(POOL, images)))
    rows += [
        records.known(name, SIGNAL.name, ceilings[int(name.split()[1])], n=images, **subject.of)
        for name in values
        if ceilings
    ]
    notes = (
        "Trained on averages, tested on 1, 2 or all 3 presentations averaged; with fewer the mean over every choice.",
        "Signal: NSD's noise ceiling, ncsnr^2 / (ncsnr^2 + 1 / repetitions), mean over voxels.",
    )
    audit.add_scores("Repetitions of the test images", rows, (SIGNAL, *TOKENS), titles, list(values), notes)
    pairs = [(f"{name} 1", f"{name} {REPETITIONS}") for name in decoders(run)]
    audit.add_leads("What single trials cost", leads_over(subject, values, pairs), TOKENS, titles)
