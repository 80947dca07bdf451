"""Brain agreement: would a system's images have driven the voxels as the stimuli did?"""

from __future__ import annotations

import numpy as np

from brainram_lib.audits.ceilings import share_of_ceiling
from brainram_lib.evaluation import records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.records import Record, Values
from brainram_lib.nsd.noise import noise_ceiling
from brainram_lib.pipeline.encoding import ALL, BrainAgreement, EncodingModel
from brainram_lib.systems.audits.common import Audit, Subject, leads_over, scored
from brainram_lib.systems.system import SHOWN, System, systems

TRUTH, OTHERS, OWN, NOISE = "stimuli", "stimuli-of-others", "encoding-model", "noise-ceiling"
TITLES = {
    OWN: "Encoding model, r of voxels over test images",
    NOISE: "Noise ceiling of the betas, as r",
    TRUTH: "Stimuli themselves (truth)",
    OTHERS: "Stimuli of other brains (shuffled)",
}


def brain(subject: Subject) -> Audit:
    """The model's own r; patterns of every system's images beside the truth and the shuffled; shares of the truth."""
    audit, run, store = Audit("brain", subject), subject.run, subject.store
    model = run.encoding_model
    known = shown(subject)
    stages = {one.name: BrainAgreement(model, one.images(run)) for one in known}
    stages |= {TRUTH: BrainAgreement(model, None), OTHERS: BrainAgreement(model, None, run.seed)}
    values: Values = {}
    for name, stage in stages.items():
        found = store.result(stage).json("values")
        values[name] = {metric_name(region): np.array(one) for region, one in found.items()}
    columns = tuple(Metric(metric_name(region), _title(region), "up") for region in model.regions(store))
    titles = {one.name: one.title for one in known} | TITLES
    _add_own(audit, model, columns)
    notes = (
        "r over a region's voxels between the measured betas of a test image and those that the encoding model gives "
        "to the image that a system shows, both less the mean training betas; mean over images.",
    )
    bounds = [TRUTH, OTHERS, "shuffled", "ceiling"]
    audit.add_scores("Brain agreement", scored(subject, values, {}), columns, titles, bounds, notes)
    _add_shares(audit, values, columns, titles)
    pairs = [(one.name, OTHERS) for one in known]
    audit.add_leads("Brain agreement over other brains' stimuli", leads_over(subject, values, pairs), columns, titles)
    return audit


def shown(subject: Subject) -> list[System]:
    """The systems with images; where nothing may be generated, those that show existing images."""
    known = [one for one in systems(subject.run.profile.method) if one.images is not None]
    return known if subject.images else [one for one in known if one.kind == SHOWN]


def metric_name(region: str) -> str:
    """The region's metric, as records name it."""
    return f"brain_{region}"


def _title(region: str) -> str:
    return "All voxels" if region == ALL else region


def _add_own(audit: Audit, model: EncodingModel, columns: tuple[Metric, ...]) -> None:
    subject, found = audit.subject, audit.subject.store.result(model)
    images = len(model.targets.images.nsd_ids(subject.store, "test"))
    rows = [Record(OWN, metric_name(name), *ends, n=images, **subject.of) for name, ends in found.json("own").items()]
    for region, value in noise_ceilings(subject, model).items():
        rows.append(records.known(NOISE, metric_name(region), value, n=images, **subject.of))
    notes = (
        "Fitted on training images alone, alpha by leave-one-out error; r of each voxel over test images, mean.",
        "Noise ceiling: sqrt(ncsnr^2 / (ncsnr^2 + 1 / repetitions)), mean over voxels.",
    )
    audit.add_scores("Encoding model", rows, columns, TITLES, [OWN, NOISE], notes)


def noise_ceilings(subject: Subject, model: EncodingModel) -> dict[str, float]:
    """By region, the r over test images that no model of its voxels can exceed; without ncsnr there is none."""
    prepared = subject.run.betas.prepared(subject.store)
    highest = np.sqrt(noise_ceiling(prepared.ncsnr, prepared.n_averaged("test")))
    found = {name: highest[mask & np.isfinite(highest)] for name, mask in model.regions(subject.store).items()}
    return {name: float(values.mean()) for name, values in found.items() if len(values)}


def _add_shares(audit: Audit, values: Values, columns: tuple[Metric, ...], titles: dict[str, str]) -> None:
    rows = []
    for name in (one for one in values if one not in (TRUTH, OTHERS)):
        for metric, scores in values[name].items():
            share = share_of_ceiling(scores, values[OTHERS][metric], values[TRUTH][metric])
            if share is not None:
                rows.append(Record(name, f"{metric}_share", *share, n=len(scores), **audit.subject.of))
    if rows:
        shown_as = tuple(Metric(f"{one.name}_share", one.title, "up", percent=True) for one in columns)
        notes = ("0 is what the stimuli of other brains reach, 100 what the stimuli themselves do.",)
        bounds = ["shuffled", "ceiling"]
        audit.add_scores("Brain agreement, share of the truth's", rows, shown_as, titles, bounds, notes)
