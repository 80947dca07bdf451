"""Stages of MindEye: its two trainings, samples of the prior, projected tokens, latents for the start image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from brainram_lib.core.blocks import keep_blocks
from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.peers.settings import LowLevelSettings, MindEyeSettings
from brainram_lib.pipeline.data import Images, Targets, finite, validation_rows
from brainram_lib.pipeline.peers.latents import Latents
from brainram_lib.pipeline.peers.linear import SingleTrials
from brainram_lib.pipeline.ram import write_weights

if TYPE_CHECKING:
    from torch import Tensor

    from brainram_lib.peers.low_level import LowLevel
    from brainram_lib.peers.mindeye import MindEye
    from brainram_lib.peers.pairs import Pairs

SAMPLE_CHUNK = 256


def pairs_of(
    store: Store, images: Images, targets: Stage, trials: SingleTrials | None, validation: int
) -> tuple[Pairs, Pairs]:
    """What is trained on, single trials where there are any, and the validation images with their averages."""
    from brainram_lib.core.rows import Rows
    from brainram_lib.peers.pairs import Pairs, Trialwise

    goals, betas = store.result(targets).array("train"), images.betas(store)["train"]
    fit, held = validation_rows(len(goals), validation)
    if trials is None:
        training = Pairs(Rows(betas, fit), Rows(goals, fit))
    else:
        single, shown = trials.of(store, images.nsd_ids(store, "train")[fit])
        training = Pairs(Rows(single), Rows(goals, fit), Trialwise.of(shown, len(fit)))
    return training, Pairs(Rows(betas, held), Rows(goals, held))


def write_trained(folder: Path, train: Callable[[], tuple[object, list]]) -> None:
    """Train, and write weights and history where this is the process that writes."""
    from brainram_lib.core import parallel
    from brainram_lib.core.loop import finished

    model, history = train()
    if parallel.first():
        write_weights(folder / "weights.safetensors", model)
        write_json(folder / "history.json", history)
        finished(folder)


@dataclass(frozen=True)
class MindEyeTraining(Stage):
    """The high-level pipeline, trained end to end (section 2.1).

    Attributes:
        targets: the image tokens.
        trials: single trials to train on; None: averages.
        settings: sizes and training.
        validation: training images that are monitored, not trained on.
        seed: of weights, batches and noise.
    """

    targets: Targets
    trials: SingleTrials | None
    settings: MindEyeSettings
    validation: int
    seed: int
    together: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "mindeye"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.peers.mindeye_training import train_mindeye

        pairs = pairs_of(store, self.targets.images, self.targets, self.trials, self.validation)
        write_trained(folder, lambda: train_mindeye(self.settings, *pairs, folder, self.seed))

    def load(self, store: Store) -> MindEye:
        """The trained networks, on a GPU where there is one."""
        from brainram_lib.core.devices import accelerator
        from brainram_lib.peers.mindeye import MindEye

        shape = store.result(self.targets).array("test").shape[1:]
        voxels = self.targets.images.betas(store)["test"].shape[1]
        weights = store.result(self).folder / "weights.safetensors"
        return MindEye(self.settings, voxels, *shape).load(weights).to(accelerator())

    def test_betas(self, store: Store) -> Tensor:
        """Averages of the test images."""
        return _test_betas(store, self.targets.images)


@dataclass(frozen=True)
class MindEyeEstimates(Stage):
    """One sample of the prior for every test stimulus, (n, T, D)."""

    training: MindEyeTraining
    seed: int

    @property
    def name(self) -> str:
        return "mindeye-estimates"

    def make(self, folder: Path, store: Store) -> None:
        """From the averages of the test images."""
        model = self.training.load(store)
        estimates = model.sample(self.training.test_betas(store), self.seed).half().numpy()
        write_array(folder / "test.npy", finite(estimates, self.name))


@dataclass(frozen=True)
class MindEyeSamples(Stage):
    """Several samples of the prior for every test stimulus, (n, S, T, D): the outputs that ask a corpus (Table 2)."""

    training: MindEyeTraining
    seed: int
    samples: int

    @property
    def name(self) -> str:
        return "mindeye-samples"

    def make(self, folder: Path, store: Store) -> None:
        """From the averages of the test images, SAMPLE_CHUNK stimuli at a time; each sample's noise is its own."""
        import torch
        from tqdm.auto import tqdm

        model, betas = self.training.load(store), self.training.test_betas(store)
        starts = range(0, len(betas), SAMPLE_CHUNK)

        def blocks(first: int) -> Iterator[np.ndarray]:
            done = first // SAMPLE_CHUNK
            bar = tqdm(total=len(starts) * self.samples, initial=done * self.samples, desc=self.name, unit="batch")
            with bar:
                for start in starts[done:]:
                    drawn = []
                    for sample in range(self.samples):
                        seed = self.seed * 1000 + sample + start
                        drawn.append(model.sample(betas[start : start + SAMPLE_CHUNK], seed).half())
                        bar.update()
                    yield finite(torch.stack(drawn, 1).numpy(), self.name, start)

        keep_blocks(folder / "test.npy", len(betas), blocks)


@dataclass(frozen=True)
class MindEyeProjected(Stage):
    """The projector's tokens of every test stimulus, (n, T, D): they find images, and choose among reconstructions."""

    training: MindEyeTraining

    @property
    def name(self) -> str:
        return "mindeye-projected"

    def make(self, folder: Path, store: Store) -> None:
        """From the averages of the test images."""
        projected = self.training.load(store).projected(self.training.test_betas(store)).half().numpy()
        write_array(folder / "test.npy", finite(projected, self.name))


@dataclass(frozen=True)
class LowLevelTraining(Stage):
    """The low-level pipeline, trained alone (section 2.2). Attributes as of `MindEyeTraining`, of latents."""

    latents: Latents
    trials: SingleTrials | None
    settings: LowLevelSettings
    validation: int
    seed: int
    together: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "mindeye-low-level"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.peers.low_level import train_low_level

        pairs = pairs_of(store, self.latents.images, self.latents, self.trials, self.validation)
        write_trained(folder, lambda: train_low_level(self.settings, *pairs, folder, self.seed))

    def load(self, store: Store) -> LowLevel:
        """The trained network, on a GPU where there is one."""
        from brainram_lib.core.devices import accelerator
        from brainram_lib.peers.low_level import LowLevel

        shape = store.result(self.latents).array("train").shape[1:]
        voxels = self.latents.images.betas(store)["test"].shape[1]
        weights = store.result(self).folder / "weights.safetensors"
        return LowLevel(self.settings, voxels, shape).load(weights).to(accelerator())


@dataclass(frozen=True)
class LowLevelEstimates(Stage):
    """The latents of every test stimulus, (n, C, h, w)."""

    training: LowLevelTraining

    @property
    def name(self) -> str:
        return "mindeye-latents"

    def make(self, folder: Path, store: Store) -> None:
        """From the averages of the test images, a chunk at a time."""
        model, betas = self.training.load(store), _test_betas(store, self.training.latents.images)

        def blocks() -> Iterator[np.ndarray]:
            for part in betas.split(256):
                yield finite(model.predict(part).numpy(), self.name)

        write_blocks(folder / "test.npy", len(betas), blocks())


def _test_betas(store: Store, images: Images) -> Tensor:
    from brainram_lib.core.rows import as_tensor

    return as_tensor(images.betas(store)["test"])
