"""Whether a trained prior denoises and its samples are calibrated, on the validation images; one sample's denoising."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brainram_lib.core.files import write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.prior import PriorTraining

if TYPE_CHECKING:
    from torch import Tensor

    from brainram_lib.stage1.calibration import LevelError, SampleReport


@dataclass(frozen=True)
class Calibration(Stage):
    """Errors of x_0 at each level of noise given the betas, and a report on samples, for the first validation images.

    Attributes:
        prior: which.
        stimuli: how many validation images. samples, steps: of each. seed: of the noise.
    """

    prior: PriorTraining
    stimuli: int = 96
    samples: int = 4
    steps: int = 12
    seed: int = 0

    @property
    def name(self) -> str:
        return f"calibration-{self.prior.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Measure both."""
        from brainram_lib.stage1.calibration import errors_by_level, sample_report

        prior = self.prior.load(store)
        condition, x0 = self.batch(store, self.stimuli)
        levels = errors_by_level(prior, condition, x0, self.seed)
        report = sample_report(prior, condition, x0, self.samples, self.steps, self.seed)
        write_json(folder / "levels.json", [asdict(one) for one in levels])
        write_json(folder / "samples.json", asdict(report))

    def batch(self, store: Store, count: int) -> tuple[Tensor, Tensor]:
        """Condition and x_0 of the first validation images, in the prior's units."""
        from brainram_lib.core.rows import as_tensor

        prior, training = self.prior.load(store), self.prior
        targets = store.result(training.targets).array("train")
        rows = validation_rows(len(targets), training.validation)[1][:count]
        betas = as_tensor(training.targets.images.betas(store)["train"][rows])
        linear = None if training.linear is None else as_tensor(store.result(training.linear).array("train")[rows])
        return prior.conditions(betas, linear), prior.whitening(as_tensor(targets[rows]).to(prior.device))

    def levels(self, store: Store) -> list[LevelError]:
        """The errors at each level."""
        from brainram_lib.stage1.calibration import LevelError

        return [LevelError(**row) for row in store.result(self).json("levels")]

    def report(self, store: Store) -> SampleReport:
        """The report on the samples."""
        from brainram_lib.stage1.calibration import SampleReport

        return SampleReport(**store.result(self).json("samples"))


def denoising_path(
    store: Store, training: PriorTraining, stimulus: int, seed: int, steps: int
) -> Float[np.ndarray, "estimates tokens width"]:
    """Every estimate of x_0 while a sample of a test stimulus is denoised, in CLIP's units; the last is the sample."""
    from brainram_lib.core.rows import as_tensor

    prior, rows = training.load(store), slice(stimulus, stimulus + 1)
    betas = as_tensor(training.targets.images.betas(store)["test"][rows])
    linear = None if training.linear is None else as_tensor(store.result(training.linear.ridge).array("test")[rows])
    seen: list[Tensor] = []
    drawn = prior.draw(prior.conditions(betas, linear), seed, steps, lambda estimate: seen.append(estimate))
    return np.stack([prior.whitening.restored(one)[0].cpu().numpy() for one in (*seen, drawn)])
