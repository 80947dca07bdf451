"""Stage I: ridge, the diffusion prior, its samples, and which voxels drive them (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from brainram_lib.core.blocks import keep_blocks
from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.corpus import CorpusSource, corpus_tokens
from brainram_lib.pipeline.data import SPLITS, Images, Targets, finite, validation_rows
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.weights import PriorWeights
from brainram_lib.stage1.settings import DRAW, SamplingSettings, Stage1Settings

if TYPE_CHECKING:
    from torch import Tensor

    from brainram_lib.core.ridge import Ridge
    from brainram_lib.core.rows import Rows
    from brainram_lib.stage1.prior import Prior

SAMPLE_CHUNK = 256


@dataclass(frozen=True)
class RidgeFit(Stage):
    """The ridge baseline: betas -> tokens, one linear map per token, alpha chosen on the validation images.

    Attributes:
        targets: what it predicts.
        validation: how many training images choose alpha and are not fitted on.
    """

    targets: Targets
    validation: int

    @property
    def name(self) -> str:
        return f"ridge-{self.targets.modality}"

    @property
    def images(self) -> Images:
        """Whose betas."""
        return self.targets.images

    def make(self, folder: Path, store: Store) -> None:
        """Fit, and estimate the test images."""
        from brainram_lib.core.ridge import fit_ridge

        betas, tokens = self.images.betas(store), np.asarray(store.result(self.targets).array("train"), np.float32)
        fit, held = validation_rows(len(tokens), self.validation)
        ridge = fit_ridge(betas["train"][fit], tokens[fit], betas["train"][held], tokens[held])
        ridge.save(folder / "ridge.safetensors")
        write_array(folder / "test.npy", finite(ridge.predict(betas["test"]), self.name))
        write_json(folder / "fit.json", {"alphas": ridge.alphas.tolist(), "validation_r2": ridge.r2.tolist()})

    def load(self, store: Store) -> Ridge:
        """The fitted map."""
        from brainram_lib.core.ridge import Ridge

        return Ridge.load(store.result(self).folder / "ridge.safetensors")


@dataclass(frozen=True)
class CrossFitted(Stage):
    """Ridge estimates of the training images; for fitting images, by ridges that were fitted without them.

    Attributes:
        ridge: whose estimates of the validation images are taken as they are.
        folds: how many parts the fitting images are split into.
    """

    ridge: RidgeFit
    folds: int = 5

    @property
    def name(self) -> str:
        return f"cross-fitted-ridge-{self.ridge.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Estimates of every training image, in the order of the nsdIds."""
        from brainram_lib.stage1.linear import cross_fitted

        betas = self.ridge.images.betas(store)["train"]
        tokens = np.asarray(store.result(self.ridge.targets).array("train"), np.float32)
        fit, held = validation_rows(len(tokens), self.ridge.validation)
        plain = self.ridge.load(store).predict(betas[held])
        crossed = cross_fitted(betas[fit], tokens[fit], betas[held], tokens[held], self.folds)
        write_blocks(folder / "train.npy", len(tokens), _interleaved(fit, crossed, held, plain))


def _interleaved(fit: np.ndarray, crossed: np.ndarray, held: np.ndarray, plain: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of two arrays, merged in the order of their images."""
    for row in np.argsort(np.concatenate([fit, held])):
        yield finite(crossed[row] if row < len(fit) else plain[row - len(fit)], "cross-fitted-ridge", int(row))[None]


@dataclass(frozen=True)
class PriorTraining(Stage):
    """The projector and the diffusion prior of one modality, trained together (eq. 1 to 6).

    Attributes:
        targets: the tokens to reach.
        linear: ridge estimates of the training images, where the projector has a linear path.
        corpus: whose items are trained on too, where the settings say so.
        start: networks that were pre-trained on a corpus.
        settings: networks and training.
        validation: training images that are monitored, not trained on.
        seed: of weights, batches and noise.
        copies: near-duplicates of stimuli in the corpus, where they must not be trained on.
    """

    targets: Targets
    linear: CrossFitted | None
    corpus: CorpusSource | None
    start: PriorWeights | None
    settings: Stage1Settings
    validation: int
    seed: int
    # in the key where there are any
    copies: NearDuplicates | None = field(default=None, metadata={"keyed": False})
    together: ClassVar[bool] = True
    VERSION: ClassVar[int] = 2

    @property
    def name(self) -> str:
        return f"prior-{self.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.core import parallel
        from brainram_lib.core.loop import finished
        from brainram_lib.core.rows import Rows
        from brainram_lib.stage1.training import Examples, train_prior

        targets = store.result(self.targets).array("train")
        betas = self.targets.images.betas(store)["train"]
        linear = None if self.linear is None else store.result(self.linear).array("train")
        fit, held = (
            Examples(Rows(betas, rows), None if linear is None else Rows(linear, rows), Rows(targets, rows))
            for rows in validation_rows(len(targets), self.validation)
        )
        modality = self.targets.modality
        start = None if self.start is None else self.start.file(modality)
        items, label = self._items(store), f"Stage I, {modality} prior"
        prior, history = train_prior(self.settings, fit, held, folder, self.seed, label, items, start)
        if not parallel.first():
            return
        prior.save(folder / "prior.safetensors")
        write_json(folder / "history.json", history)
        finished(folder)

    def _items(self, store: Store) -> Tensor | None:
        """Tokens of the corpus's first items."""
        from brainram_lib.pipeline.free import free_tokens

        if self.corpus is None:
            return None
        cache = corpus_tokens(self.corpus, self.targets.encoder, store)
        without = () if self.copies is None else self.copies.items(store)
        modality, settings = self.targets.modality, self.settings
        return free_tokens(cache, settings.free_items, modality, settings.free_captions, without)

    def load(self, store: Store) -> Prior:
        """The trained prior, on a GPU where there is one."""
        from brainram_lib.core.devices import accelerator
        from brainram_lib.stage1.prior import Prior

        voxels = self.targets.images.subject.prepared(store).betas("test").shape[1]
        shape = store.result(self.targets).array("test").shape[1:]
        prior = Prior(self.settings, voxels, *shape).load(store.result(self).folder / "prior.safetensors")
        return prior.to(accelerator())


@dataclass(frozen=True)
class Estimates(Stage):
    """S samples p of a prior for every stimulus of `splits`, (n, S, T, D), kept as float16; or their mean, S = 1."""

    prior: PriorTraining
    sampling: SamplingSettings
    seed: int
    VERSION: ClassVar[int] = 2

    @property
    def name(self) -> str:
        return f"estimates-{self.prior.targets.modality}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that have estimates: the test stimuli alone where nothing is trained on them."""
        return SPLITS if self.sampling.training else SPLITS[1:]

    def make(self, folder: Path, store: Store) -> None:
        """One sample for each seed, SAMPLE_CHUNK stimuli at a time; interrupted, it goes on from the last chunk."""
        from brainram_lib.core.rows import Rows

        prior, betas = self.prior.load(store), self.prior.targets.images.betas(store)
        linear = self._linear(store)
        seeds = None
        if self.sampling.kind == DRAW:
            seeds = range(self.seed * 1000, self.seed * 1000 + self.sampling.samples)
        for split in self.splits:
            known = Rows(linear[split]) if linear else None
            label = f"{self.name}, {split}"
            blocks = partial(sampled, prior, Rows(betas[split]), known, seeds, self.sampling.steps, label)
            keep_blocks(folder / f"{split}.npy", len(betas[split]), blocks)

    def _linear(self, store: Store) -> dict[str, np.ndarray] | None:
        if self.prior.linear is None:
            return None
        ridge = self.prior.linear.ridge
        return {"train": store.result(self.prior.linear).array("train"), "test": store.result(ridge).array("test")}


def sampled(
    prior: Prior, betas: Rows, linear: Rows | None, seeds: range | None, steps: int, label: str, first: int = 0
) -> Iterator[Float[np.ndarray, "rows samples tokens width"]]:
    """One sample of the prior for every seed, SAMPLE_CHUNK stimuli at a time from the first; no seeds: the mean."""
    import torch
    from tqdm.auto import tqdm

    starts = range(0, len(betas), SAMPLE_CHUNK)
    done, each = first // SAMPLE_CHUNK, len(seeds or [0])
    with tqdm(total=len(starts) * each, initial=done * each, desc=label, unit="batch") as bar:
        for start in starts[done:]:
            rows = slice(start, start + SAMPLE_CHUNK)
            inputs = betas[rows], None if linear is None else linear[rows]
            samples = []
            for seed in seeds or [None]:
                one = prior.predict(*inputs) if seed is None else prior.sample(*inputs, seed + start, steps)
                samples.append(one.half())
                bar.update()
            yield finite(torch.stack(samples, 1).numpy(), label, start)
