"""What the embedded world reaches, row by row: the figures that its shipped models and the method on it must show.

The shipped models are measured on scenes of their own set, `report`: no recipe trains on it, and no subject sees it, so
a model that is trained anew may be judged by these rows. What the method reaches on test images has rows of its own:
nothing is chosen by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from brainram_lib.core.ridge import fit_ridge
from brainram_lib.evaluation.catalogue import metric_set
from brainram_lib.evaluation.identification import IMAGES, found_first
from brainram_lib.evaluation.intervals import bootstrap_interval
from brainram_lib.evaluation.metrics import Evaluator
from brainram_lib.evaluation.probe import Probe, label_matrix
from brainram_lib.generation.generator import Generator
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.scores import PROBE, backbones_of
from brainram_lib.workbench import Workbench
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import render, scene_of
from brainram_lib.world.vocabulary import category_names

if TYPE_CHECKING:
    from brainram_lib.encoders import ClipTokens

REPORT_SET, SCENES = "report", 300
EARLY, LATE = ("V1", "V2", "V3"), ("midventral", "midlateral", "ventral", "lateral")
MODELS = f"the shipped models, on {SCENES} scenes that no training and no subject sees"
BRAINS = "the simulated brains, on validation images"
METHOD = "the method, on test images: nothing is chosen by these rows"


@dataclass(frozen=True)
class Figure:
    """One figure: what it is, what was measured, what it must reach at least."""

    what: str
    measured: str
    needed: str


@dataclass(frozen=True)
class Scenes:
    """The scenes of a set with their captions, and which categories each shows (as `category_names`)."""

    pictures: UInt8[np.ndarray, "n height width 3"]
    captions: list[list[str]]
    shown: Bool[np.ndarray, "n categories"]

    @classmethod
    def of(cls, count: int = SCENES, scene_set: str = REPORT_SET) -> Scenes:
        """The first `count` scenes of a set."""
        scenes = [scene_of(scene_set, index) for index in range(count)]
        captions = [captions_of(scene, scene_set, index) for index, scene in enumerate(scenes)]
        shown = label_matrix([scene.categories for scene in scenes], category_names())
        return cls(np.stack([render(scene) for scene in scenes]), captions, shown)


def world_report(workbench: Workbench) -> dict[str, list[Figure]]:
    """Every row, under its heading."""
    return {
        MODELS: model_rows(workbench.encoder, workbench.generator, Scenes.of(), workbench.profile.metrics),
        BRAINS: [_area_row(workbench)],
        METHOD: _method_rows(workbench),
    }


def model_rows(encoder: ClipTokens, generator: Generator, scenes: Scenes, metrics: str) -> list[Figure]:
    """The mini CLIP, the autoencoder, and the generator from true tokens, with the profile's settings."""
    return [*_network_rows(encoder, generator, scenes), *_generated_rows(encoder, generator, scenes, metrics)]


def _network_rows(encoder: ClipTokens, generator: Generator, scenes: Scenes) -> list[Figure]:
    pictures, captions = scenes.pictures, [group[0] for group in scenes.captions]
    similarity = (encoder.pooled_images(pictures) @ encoder.pooled_texts(captions).T).numpy()
    top1 = [found_first(matrix, IMAGES) for matrix in (similarity, similarity.T)]
    again = generator.round_trip(pictures).astype(np.float64)
    decibel = -10 * np.log10(np.square((again - pictures) / 255).mean((1, 2, 3)))
    pairs = f"mini CLIP, top-1 of {len(pictures)} pairs, both directions"
    return [
        Figure(pairs, " / ".join(map(_share, top1)), ".55"),
        Figure("autoencoder, dB", "{:.1f} [{:.1f}, {:.1f}]".format(*bootstrap_interval(decibel)), "23.5"),
    ]


def _generated_rows(encoder: ClipTokens, generator: Generator, scenes: Scenes, metrics: str) -> list[Figure]:
    """Images from the scenes' own tokens, scored against these scenes; then from their captions' tokens alone."""
    images, texts = encoder.image_tokens(scenes.pictures).numpy(), encoder.text_tokens(scenes.captions).numpy()
    made = generator.generate(images, texts, "true tokens")
    evaluator = Evaluator(scenes.pictures, metric_set(metrics), backbones_of(metrics, encoder))
    similarity = (encoder.pooled_images(made) @ encoder.pooled_images(scenes.pictures).T).numpy()
    by_text = generator.generate(images, texts, "true text alone", text_mix=1.0)
    late = evaluator.score(made, "score, true tokens")["lite0_late"]
    of_all = late, found_first(similarity, IMAGES), _named(evaluator, made, scenes)
    return [
        Figure(
            "true tokens: Lite0 two-way / mini CLIP top-1 / named",
            " / ".join(map(_share, of_all)),
            ".96 / .70 / .60",
        ),
        Figure("true text tokens alone: named", _share(_named(evaluator, by_text, scenes)), ".30"),
    ]


def _named(evaluator: Evaluator, made: np.ndarray, scenes: Scenes) -> Bool[np.ndarray, " n"]:
    """Whether the category that the probe ranks first in each image is one that its scene shows."""
    return Probe.load(PROBE).named(evaluator.backbones["lite0"](made)["late"], scenes.shown)


def _share(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> str:
    """Mean and 95 % interval over images."""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*bootstrap_interval(np.asarray(values, np.float64)))


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
        Figure("BrainRAM-plus without RAM: Lite0 two-way / named", both("brainram-plus-no-ram"), ".70 / .15"),
        Figure(
            "BrainRAM-plus: Lite0 two-way / named (share of the ceiling)",
            f"{both('brainram-plus')} ({share:.2f})",
            ".78 / .30 (.45)",
        ),
        Figure("shuffled betas: Lite0 two-way / named", both("shuffled"), ".47-.53 / at most .08"),
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


def report_text(sections: dict[str, list[Figure]]) -> str:
    """The rows as aligned text, each heading above its own."""
    rows = [row for section in sections.values() for row in section]
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("what", "measured")]
    blocks = []
    for heading, section in sections.items():
        word = "expected" if heading == METHOD else "needed"
        lines = [f"{row.what:<{widths[0]}}  {row.measured:<{widths[1]}}  {word}: {row.needed}" for row in section]
        blocks.append("\n".join([f"[{heading}]", *lines]))
    return "\n\n".join(blocks)
