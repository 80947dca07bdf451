"""Scores of every system, for the workbench: pictures against the stimuli, estimates against the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainram_lib import world
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.files import write_json
from brainram_lib.evaluation import catalogue, records
from brainram_lib.evaluation.backbones import load_network, one_layer
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.estimates import cosine, mean_squared_error
from brainram_lib.evaluation.identification import retrieval
from brainram_lib.evaluation.metrics import Judge, two_way_identification
from brainram_lib.evaluation.probe import Probe, fit_probe, label_matrix, named_by_chance
from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.tables import ScoreTable, lead_table, score_table
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.profiles import Profile
from brainram_lib.recipes.material import render_set
from brainram_lib.world.scenes import scene_of
from brainram_lib.world.vocabulary import category_names
from brainram_lib.world.world import scene_for_nsd_id

if TYPE_CHECKING:
    from brainram_lib.painting import Painter
    from brainram_lib.workbench import Workbench

PROBE_SET = "probe"
PROBE_CHUNK = 1000
PROBE = Path(world.__file__).parent / "assets" / "probe.safetensors"
POOL = 300
# The systems that BrainRAM is compared with image by image.
COMPARED = ("ridge", "brainram-no-ram")


def train_probe(work: Path, scenes: int, generator: Painter, path: Path = PROBE) -> Probe:
    """Train the shipped probe on scenes of its own set and on the autoencoder's outputs of the same scenes."""
    pictures = np.asarray(render_set(PROBE_SET, scenes, work / "probe_scenes.npy"))
    both = np.concatenate([pictures, generator.round_trip(pictures)])
    labels = label_matrix([scene_of(PROBE_SET, i).categories for i in range(scenes)], category_names())
    network = load_network("lite0")
    # the network gives all its layers, of which 20,000 pictures' fill the memory
    features = np.concatenate(
        [network(part)["late"] for part in np.split(both, range(PROBE_CHUNK, len(both), PROBE_CHUNK))]
    )
    groups = np.tile(np.arange(scenes), 2)
    probe = fit_probe(features, np.tile(labels, (2, 1)), category_names(), groups=groups)
    probe.save(path)
    return probe


def make_scores(folder: Path, workbench: Workbench) -> None:
    """Score every system: `records.json`, and `leads.json`, BrainRAM's lead over the systems in COMPARED."""
    values, chances = picture_values(workbench)
    of = {"subject": workbench.subject, "seed": workbench.seed}
    rows = [row for system, scores in values.items() for row in records.records_of(system, scores, **of)]
    n = len(workbench.nsd_ids("test"))
    rows += [records.known("chance", metric, chance, n=n, **of) for metric, chance in chances.items()]
    write_json(folder / "records.json", [asdict(row) for row in rows + estimate_records(workbench)])
    leads = [row for other in COMPARED for row in records.leads("brainram", other, values, **of)]
    write_json(folder / "leads.json", [asdict(row) for row in leads])


def picture_metrics(profile: Profile) -> tuple[Metric, ...]:
    """The columns of Table 1: the profile's metrics and, where it is known what the scenes show, the probe's."""
    return catalogue.metric_set(profile.metrics) + (catalogue.PROBE[:1] if profile.embedded_world else ())


def score_tables(workbench: Workbench, reported: bool = False) -> tuple[ScoreTable, ScoreTable, ScoreTable]:
    """Table 1, with the reported rows below where asked for; BrainRAM's lead image by image; the token estimates."""
    embedded, of, rows = workbench.profile.embedded_world, f"subject {workbench.subject}", workbench.records()
    pictures, estimates = picture_metrics(workbench.profile), catalogue.ESTIMATES + catalogue.IDENTIFICATION
    return (
        score_table(rows, pictures, f"Table 1, {of}", embedded=embedded, paper_table="1" if reported else None),
        lead_table(workbench.leads(), pictures, f"Lead of BrainRAM, {of}", embedded=embedded),
        score_table(rows, estimates, f"Token estimates, {of}", embedded=embedded),
    )


def _judge(workbench: Workbench) -> tuple[Judge, dict]:
    metrics = catalogue.metric_set(workbench.profile.metrics)
    names = dict.fromkeys(metric.backbone for metric in metrics if metric.backbone)
    encoder = workbench.encoder
    backbones = {
        name: one_layer(lambda images: encoder.pooled_images(images).numpy()) if name == "clip" else load_network(name)
        for name in names
    }
    return Judge(workbench.stimuli("test"), metrics, backbones), backbones


def picture_values(workbench: Workbench) -> tuple[records.Values, dict[str, float]]:
    """Per-image scores of every system with pictures, the probe's where the scenes are known, and what chance gives."""
    from brainram_lib.workbench import all_systems

    judge, backbones = _judge(workbench)
    probe = Probe.load(workbench.probe) if workbench.profile.embedded_world else None
    labels = None if probe is None else test_labels(workbench, probe)
    values: records.Values = {}
    chances = {metric.name: metric.chance for metric in judge.metrics if metric.chance is not None}
    for system in all_systems():
        pictures = workbench.reconstructions(system)
        values[system] = judge.score(pictures, f"score, {system}")
        if probe is not None:
            features = backbones["lite0"](pictures)["late"]
            values[system] |= {"probe_category": probe.named(features, labels).astype(float)}
            if system == "brainram":
                chances["probe_category"] = named_by_chance(probe, features, labels)
    return values, chances


def test_labels(workbench: Workbench, probe: Probe) -> np.ndarray:
    """What each test stimulus shows, (n, categories)."""
    scenes = [scene_for_nsd_id(workbench.world, int(nsd_id)) for nsd_id in workbench.nsd_ids("test")]
    return label_matrix([scene.categories for scene in scenes], probe.categories)


ESTIMATING = ("brainram", "brainram-no-ram", "ridge", "ceiling")


def estimate_records(workbench: Workbench, systems: Sequence[str] = ESTIMATING) -> list[Record]:
    """Token estimates of estimating systems: squared error and cosine per modality, and identification of the image."""
    of = {"subject": workbench.subject, "seed": workbench.seed}
    targets = {m: np.array(workbench.targets(m, "test"), np.float32) for m in MODALITIES}
    n = len(targets["image"])
    order = derangement(n, workbench.seed)
    rows: list[Record] = []
    for system in systems:
        every = {m: np.array(tokens, np.float32) for m, tokens in workbench.tokens_of_system(system).items()}
        rows += _estimate_rows(system, every, targets, of)
        if system == "brainram":
            rows += _estimate_rows("shuffled", {m: tokens[order] for m, tokens in every.items()}, targets, of)
    pool = min(POOL, n)
    chances = {"image_retrieval": 1 / pool, "brain_retrieval": 1 / pool}
    chances["global_two_way"] = catalogue.metric("global_two_way").chance
    return rows + [records.known("chance", metric, chance, n=n, **of) for metric, chance in chances.items()]


def _estimate_rows(system: str, every: dict[str, np.ndarray], targets: dict[str, np.ndarray], of: dict) -> list[Record]:
    """One system's rows. Errors are means over samples; identification uses the mean of a stimulus's samples."""
    rows = []
    for modality, tokens in every.items():
        for name, measure in (("mse", mean_squared_error), ("cosine", cosine)):
            values = np.mean([measure(tokens[:, s], targets[modality]) for s in range(tokens.shape[1])], axis=0)
            rows.append(records.record(system, f"{modality}_{name}", values, **of))
    mean = every["image"].mean(1)
    found = retrieval(mean, targets["image"], pool=min(POOL, len(mean)))
    # token 0 is the global embedding that CLIP's own metric compares
    by_global = two_way_identification(targets["image"][:, 0], mean[:, 0])
    rows += records.identification_records(system, found, **of)
    return [*rows, records.record(system, "global_two_way", by_global, **of)]
