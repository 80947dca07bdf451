"""Stages whose results are given: arrays that a test holds stand where NSD, CLIP or a corpus would."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from small_stages import CORPUS, PROFILE, VALIDATION, small_data

from brainram_lib.core.files import write_array
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.pipeline.corpus import EmbeddedCorpus, Readouts
from brainram_lib.pipeline.data import Images, Subject, Targets
from brainram_lib.pipeline.prior import CrossFitted, Estimates, PriorTraining, RidgeFit
from brainram_lib.pipeline.ram import FusionTraining, Refined, Retrieved
from brainram_lib.pipeline.source import EmbeddedWorld
from brainram_lib.pipeline.tokens import CorpusTokens
from brainram_lib.pipeline.weights import EncoderWeights
from brainram_lib.stage2.evidence import Evidence
from brainram_lib.stage2.settings import EVIDENCE_FUSIONS
from brainram_lib.stage2.training import RamExamples

MINI = EncoderWeights("mini")


def unkeyed() -> Any:
    """A field that is no part of a key, and may be anything."""
    return field(default_factory=dict, compare=False, metadata={"keyed": False})


class _Written:
    """Stages that write the arrays that they hold."""

    def make(self, folder: Path, store: Store) -> None:
        for name, array in self.arrays.items():
            write_array(folder / f"{name}.npy", array)


@dataclass(frozen=True)
class Given(_Written, Stage):
    """Any stage; `label` alone tells two of them apart."""

    label: str
    arrays: dict[str, np.ndarray] = unkeyed()


@dataclass(frozen=True)
class GivenSubject(_Written, Subject):
    """A subject with these betas of both splits."""

    arrays: dict[str, np.ndarray] = unkeyed()

    def prepared(self, store: Store) -> Any:
        return SimpleNamespace(betas=lambda split: self.arrays[split])


@dataclass(frozen=True)
class GivenImages(Images):
    """All images of a given subject, with these stimuli."""

    shown: dict[str, np.ndarray] = unkeyed()

    def make(self, folder: Path, store: Store) -> None:
        for split, betas in self.subject.arrays.items():
            write_array(folder / f"{split}.npy", np.arange(len(betas)))

    def stimuli(self, store: Store, split: str) -> np.ndarray:
        return self.shown[split]


@dataclass(frozen=True)
class GivenTargets(_Written, Targets):
    arrays: dict[str, np.ndarray] = unkeyed()


@dataclass(frozen=True)
class GivenRidge(_Written, RidgeFit):
    arrays: dict[str, np.ndarray] = unkeyed()


@dataclass(frozen=True)
class GivenCrossFitted(_Written, CrossFitted):
    arrays: dict[str, np.ndarray] = field(default_factory=dict, compare=False, metadata={"keyed": False})


@dataclass(frozen=True)
class GivenReadouts(Readouts):
    """Nothing is read out."""

    def make(self, folder: Path, store: Store) -> None:
        pass


@dataclass(frozen=True)
class GivenRetrieved(_Written, Retrieved):
    """These neighbours: '<split>_ids' and '<split>_similarity'."""

    arrays: dict[str, np.ndarray] = unkeyed()


@dataclass(frozen=True)
class SmallFusion(FusionTraining):
    """A fusion whose corpus is one array."""

    corpus: Any = field(default=None, compare=False, metadata={"keyed": False})

    def tokens(self, store: Store) -> CorpusTokens:
        return CorpusTokens(np.arange(CORPUS), self.corpus, self.estimates.prior.load(store).whitening)

    def examples(self, store: Store, split: str, rows: np.ndarray | None = None) -> RamExamples:
        """One modality speaks for its neighbours twice."""
        made = super().examples(store, split, rows)
        if self.settings.fusion not in EVIDENCE_FUSIONS:
            return made
        p, tokens = (dict.fromkeys(MODALITIES, one) for one in (made.p, self.tokens(store)))
        return replace(made, evidence=Evidence(p, tokens))


def given_images(betas: dict[str, np.ndarray], shown: dict[str, np.ndarray] | None = None) -> GivenImages:
    """The images of a subject with these betas."""
    subject = GivenSubject(EmbeddedWorld(), "given", 1, DataSettings(sessions=1), betas)
    return GivenImages(subject, None, shown or {})


def given_targets(images: Images, arrays: dict[str, np.ndarray], modality: str = "image") -> GivenTargets:
    """These tokens of the images."""
    return GivenTargets(images, "given", MINI, modality, arrays)


def given_neighbours(estimates: Estimates | None, ids: dict[str, np.ndarray]) -> GivenRetrieved:
    """These neighbours, in the order of their similarity."""
    readouts = GivenReadouts(EmbeddedCorpus(CORPUS, MINI), MINI, False)
    arrays = {f"{split}_ids": rows for split, rows in ids.items()}
    for split, rows in ids.items():
        falling = np.broadcast_to(np.linspace(1, 0.5, rows.shape[-1], dtype=np.float32), rows.shape)
        arrays[f"{split}_similarity"] = np.ascontiguousarray(falling)
    return GivenRetrieved(estimates, None, readouts, PROFILE.retrieval, "both", arrays=arrays)


class SmallRun:
    """Both stages of one modality on small given arrays."""

    def __init__(self, seed: int = 1, fusion: str = "ram", **stage2: Any) -> None:
        self.betas, self.linear, self.tokens, self.ids, self.corpus = small_data()
        self.images = given_images(self.betas)
        self.targets = given_targets(self.images, self.tokens)
        self.ridge = GivenRidge(self.targets, VALIDATION, {"test": self.linear["test"]})
        self.crossed = GivenCrossFitted(self.ridge, arrays={"train": self.linear["train"]})
        self.prior = PriorTraining(self.targets, self.crossed, None, None, PROFILE.stage1, VALIDATION, seed)
        self.estimates = Estimates(self.prior, PROFILE.sampling, seed)
        self.found = given_neighbours(self.estimates, self.ids)
        settings = replace(PROFILE.stage2, fusion=fusion, **stage2)
        self.fusion = SmallFusion(self.estimates, self.found, None, settings, VALIDATION, seed, self.corpus)
        self.refined = Refined(self.fusion)

    @property
    def stages(self) -> list[Stage]:
        """Those whose arrays are compared."""
        return [self.estimates, self.refined]


def weights_of(store: Store, stage: Stage, name: str) -> dict[str, torch.Tensor]:
    """The weights that a training saved."""
    from safetensors.torch import load_file

    return load_file(store.result(stage).folder / f"{name}.safetensors")
