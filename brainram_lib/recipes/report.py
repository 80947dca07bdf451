"""What the embedded world reaches, row by row: the figures that its shipped models and the method on it must show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainram_lib.core.ridge import fit_ridge
from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation.backbones import load_network
from brainram_lib.evaluation.identification import IMAGES, found_first
from brainram_lib.evaluation.probe import Probe, label_matrix
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.scores import PROBE
from brainram_lib.workbench import Workbench
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import render, scene_of

PAIRS, HELD_OUT_SET = 300, "shared"
EARLY, LATE = ("V1", "V2", "V3"), ("midventral", "midlateral", "ventral", "lateral")


@dataclass(frozen=True)
class Figure:
    """One figure: what it is, what was measured, what it must reach at least."""

    what: str
    measured: str
    needed: str


def world_report(workbench: Workbench) -> list[Figure]:
    """Every row, measured on the subject's test images."""
    return [*_model_rows(workbench), *_method_rows(workbench), _area_row(workbench)]


def _model_rows(workbench: Workbench) -> list[Figure]:
    pictures = np.stack([render(scene_of(HELD_OUT_SET, i)) for i in range(PAIRS)])
    captions = [captions_of(scene_of(HELD_OUT_SET, i), HELD_OUT_SET, i)[0] for i in range(PAIRS)]
    similarity = _pairs(workbench.encoder, pictures, captions)
    top1 = [found_first(matrix, IMAGES).mean() for matrix in (similarity, similarity.T)]
    again = workbench.generator.round_trip(pictures).astype(np.float64)
    error = np.square((again - pictures) / 255).mean((1, 2, 3))
    decibel = float((-10 * np.log10(error)).mean())
    tokens = workbench.tokens_of_system("ceiling")
    images, texts = (np.asarray(tokens[m][:, 0], np.float32) for m in ("image", "text"))
    by_text = workbench.generator.generate(images, texts, "true text alone", text_mix=1.0)
    return [
        Figure("mini CLIP, top-1 of 300 held-out pairs, both directions", f"{top1[0]:.2f} / {top1[1]:.2f}", ".55"),
        Figure("autoencoder", f"{decibel:.1f} dB", "23.5 dB"),
        Figure(
            "true tokens: Lite0 two-way / mini CLIP top-1 / named",
            f"{_score(workbench, 'ceiling', 'lite0_late'):.3f} / {_identified(workbench):.2f} / "
            f"{_score(workbench, 'ceiling', 'probe_category'):.2f}",
            ".96 / .70 / .60",
        ),
        Figure("true text tokens alone: named", f"{_named(workbench, by_text):.2f}", ".30"),
    ]


def _pairs(encoder: ClipTokens, pictures: np.ndarray, captions: list[str]) -> np.ndarray:
    return (encoder.pooled_images(pictures) @ encoder.pooled_texts(captions).T).numpy()


def _identified(workbench: Workbench) -> float:
    """Top-1 of the stimulus among all test stimuli for a picture generated from true tokens, by mini CLIP."""
    encode = workbench.encoder.pooled_images
    similarity = (encode(workbench.reconstructions("ceiling")) @ encode(workbench.stimuli("test")).T).numpy()
    return float(found_first(similarity, IMAGES).mean())


def _named(workbench: Workbench, pictures: np.ndarray) -> float:
    probe, run = Probe.load(PROBE), workbench.run
    shown = run.source.labels(workbench.store.root, run.subject, workbench.nsd_ids("test").tolist())
    features = load_network("lite0")(pictures)["late"]
    return float(probe.named(features, label_matrix(shown, probe.categories)).mean())


def _score(workbench: Workbench, system: str, metric: str) -> float:
    return next(one.value for one in workbench.records() if one.system == system and one.metric == metric)


def _method_rows(workbench: Workbench) -> list[Figure]:
    def both(system: str) -> str:
        two_way, named = (_score(workbench, system, metric) for metric in ("lite0_late", "probe_category"))
        return f"{two_way:.3f} / {named:.2f}"

    share = _score(workbench, "brainram-plus", "probe_category") / _score(workbench, "ceiling", "probe_category")
    ridge = _score(workbench, "ridge", "image_retrieval")
    return [
        Figure("ridge, image tokens, top-1 of 300", f"{ridge:.2f}", "between .15 and .60"),
        Figure("BrainRAM without RAM: Lite0 two-way / named", both("brainram-plus-no-ram"), ".70 / .15"),
        Figure(
            "BrainRAM with RAM: Lite0 two-way / named (share of the ceiling)",
            f"{both('brainram-plus')} ({share:.2f})",
            ".78 / .30 (.45)",
        ),
        Figure("shuffled brains: Lite0 two-way / named", both("shuffled"), ".47-.53 / at most .08"),
    ]


def _area_row(workbench: Workbench) -> Figure:
    """Text tokens from early and from high-level areas alone: r2 of the ridge on the validation images."""
    r2 = [area_r2(workbench, areas) for areas in (LATE, EARLY)]
    what = "text tokens from high-level areas alone / early areas alone: ridge r2"
    return Figure(what, f"{r2[0]:.3f} / {r2[1]:.3f}", "the first larger")


def area_r2(workbench: Workbench, areas: tuple[str, ...], modality: str = "text") -> float:
    """Mean over tokens of the validation r2 of a ridge that sees only the voxels of some areas."""
    data = workbench.subject_data()
    voxels = np.logical_or.reduce([data.roi(area) for area in areas])
    betas, tokens = workbench.betas()["train"][:, voxels], np.asarray(workbench.targets(modality, "train"))
    fit, held = validation_rows(len(tokens), workbench.profile.split.validation)
    return float(fit_ridge(betas[fit], tokens[fit], betas[held], tokens[held]).r2.mean())


def report_text(rows: list[Figure]) -> str:
    """The rows as aligned text."""
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("what", "measured")]
    lines = [f"{row.what:<{widths[0]}}  {row.measured:<{widths[1]}}  needed: {row.needed}" for row in rows]
    return "\n".join(lines)
