"""Scores of one system at a time: its images against the stimuli, its tokens against the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from brainram_lib.core.files import write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import Images, Targets
from brainram_lib.pipeline.nearest import derangement
from brainram_lib.pipeline.pictures import CHOSEN
from brainram_lib.pipeline.weights import PACKAGE, EncoderWeights

if TYPE_CHECKING:
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.evaluation.metrics import Backbone, Evaluator

PROBE = PACKAGE / "world/assets/probe.safetensors"
NAMED = "probe_category"
POOL = 300


@dataclass(frozen=True)
class ImageScores(Stage):
    """Per-image scores of a system's images: `values.json`, {metric: one value per image}.

    Attributes:
        made: the stage of the images.
        images: the stimuli. mark: of their file.
        metrics: a set of `evaluation.catalogue`.
        encoder: of the metric 'clip'.
        probe: mark of the probe that names categories, where the stimuli's are known.
        label: of the progress bar.
    """

    made: Stage
    images: Images
    mark: str
    metrics: str
    encoder: EncoderWeights
    probe: str | None
    label: str = field(default="score", metadata={"keyed": False})

    def make(self, folder: Path, store: Store) -> None:
        """Every metric of the set and, where categories are known, whether one that is shown can be named."""
        from brainram_lib.evaluation.probe import Probe, label_matrix, named_by_chance

        evaluator = evaluator_of(store, self.images, self.mark, self.metrics, self.encoder)
        made = np.array(store.result(self.made).array(CHOSEN))
        features = evaluator.features(made, self.label)
        values = evaluator.score(made, self.label, features)
        chance = {metric.name: metric.chance for metric in evaluator.metrics if metric.chance is not None}
        if self.probe is not None:
            probe, subject = Probe.load(PROBE), self.images.subject
            shown = subject.source.labels(store.root, subject.subject, self.images.nsd_ids(store, "test").tolist())
            labels = label_matrix(shown, probe.categories)
            late = features["lite0"]["late"]
            values |= {NAMED: probe.named(late, labels).astype(float)}
            chance[NAMED] = named_by_chance(probe, late, labels)
        write_json(folder / "values.json", {name: np.asarray(one, np.float64).tolist() for name, one in values.items()})
        write_json(folder / "chance.json", chance)


@lru_cache(maxsize=1)
def evaluator_of(store: Store, images: Images, mark: str, metrics: str, encoder: EncoderWeights) -> Evaluator:
    """The stimuli's features, which all systems are compared with, once per process. `mark` is of the stimuli."""
    from brainram_lib.evaluation import catalogue
    from brainram_lib.evaluation.metrics import Evaluator

    stimuli = images.stimuli(store, "test")
    return Evaluator(stimuli, catalogue.metric_set(metrics), backbones_of(metrics, encoder.load()))


def backbones_of(metrics: str, clip: ClipTokens) -> dict[str, Backbone]:
    """The networks that a set of metrics names; 'clip' is the encoder that is given."""
    from brainram_lib.evaluation import catalogue
    from brainram_lib.evaluation.backbones import load_network, one_layer

    layers: dict[str, dict[str, None]] = {}
    for metric in catalogue.metric_set(metrics):
        if metric.backbone is not None:
            layers.setdefault(metric.backbone, {})[metric.layer] = None
    own = one_layer(lambda seen: clip.pooled_images(seen).numpy())
    return {name: own if name == "clip" else load_network(name, layers=of) for name, of in layers.items()}


@dataclass(frozen=True)
class EstimateScores(Stage):
    """Per-image scores of a system's tokens: `values.json`.

    Errors are means over samples; identification uses the mean of a stimulus's samples.

    Attributes:
        image, text: the stages of the tokens; `text` may be None. image_targets, text_targets: what they estimate.
        pool: images among which one is identified.
        shuffled: a seed, to hand every estimate to the wrong brain; None: to its own.
    """

    VERSION: ClassVar[int] = 2  # caption retrieval added

    image: Stage
    text: Stage | None
    image_targets: Targets
    text_targets: Targets | None
    pool: int = POOL
    shuffled: int | None = None

    def make(self, folder: Path, store: Store) -> None:
        """Squared error, cosine and retrieval of both modalities, two-way identification of the image."""
        values: dict[str, np.ndarray] = {}
        pool = self.pool
        for modality, stage, goal in (
            ("image", self.image, self.image_targets),
            ("text", self.text, self.text_targets),
        ):
            if stage is None:
                continue
            tokens, target = self._tokens(store, stage), np.array(store.result(goal).array("test"), np.float32)
            pool = min(self.pool, len(target))
            values |= token_scores(modality, tokens, target, pool)
        write_json(folder / "values.json", {name: np.asarray(one, np.float64).tolist() for name, one in values.items()})
        write_json(folder / "chance.json", {name: one for name, one in chances(pool).items() if name in values})

    def _tokens(self, store: Store, stage: Stage) -> np.ndarray:
        tokens = np.array(store.result(stage).array("test"), np.float32)
        tokens = tokens if tokens.ndim == 4 else tokens[:, None]
        return tokens if self.shuffled is None else tokens[derangement(len(tokens), self.shuffled)]


def chances(pool: int) -> dict[str, float]:
    """What a blind guess scores where one of `pool` is to be found, or one of two."""
    found = dict.fromkeys(("image_retrieval", "brain_retrieval", "caption_retrieval"), 1 / pool)
    return found | {"global_two_way": 0.5}


def token_scores(
    modality: str,
    tokens: Float[np.ndarray, "n samples tokens width"],
    target: Float[np.ndarray, "n tokens width"],
    pool: int,
) -> dict[str, np.ndarray]:
    """Per-image scores of one modality's tokens, with identification among `pool` images or their captions."""
    from brainram_lib.evaluation.estimates import cosine, mean_squared_error
    from brainram_lib.evaluation.identification import retrieval
    from brainram_lib.evaluation.metrics import two_way_identification

    values = {}
    for name, measure in (("mse", mean_squared_error), ("cosine", cosine)):
        per_sample = [measure(tokens[:, s], target) for s in range(tokens.shape[1])]
        values[f"{modality}_{name}"] = np.mean(per_sample, axis=0)
    mean = tokens.mean(1)
    found = {name: one.per_image for name, one in retrieval(mean, target, pool=pool).items()}
    if modality == "text":
        return values | {"caption_retrieval": found["image_retrieval"]}
    # token 0 is the global embedding that CLIP's own metric compares
    return values | found | {"global_two_way": two_way_identification(target[:, 0], mean[:, 0])}
