"""Arrays and networks of one run, loaded, or made with what they need."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from brainram_lib.core.store import Store
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.pipeline.calibration import denoising_path
from brainram_lib.pipeline.corpus import corpus_tokens
from brainram_lib.pipeline.pictures import generator_of
from brainram_lib.pipeline.run import Run

if TYPE_CHECKING:
    from brainram_lib.attribution.gradients import Attribution
    from brainram_lib.core.checkpoints import Row
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.evaluation.choosing import Choosing
    from brainram_lib.generation.generator import Generator
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.index import Neighbours
    from brainram_lib.retrieval.tokens import TokenCache
    from brainram_lib.stage1.calibration import LevelError, SampleReport
    from brainram_lib.stage1.prior import Prior
    from brainram_lib.stage2.interface import Fusion

Tokens = Float[np.ndarray, "n samples tokens width"]


class RunArrays:
    """What the stages of a run have saved, as arrays.

    Args:
        run: which stages.
        store: where their results lie.
    """

    def __init__(self, run: Run, store: Store) -> None:
        self.run, self.store = run, store

    # --- data

    @cached_property
    def layout(self) -> NsdLayout:
        """NSD's files. The embedded world is written on first use."""
        return self.run.betas.layout(self.store)

    @property
    def cortex(self) -> NsdLayout | None:
        """The files that carry voxels to the cortical surface; None for data that have none."""
        return self.layout if self.run.source.on_cortex else None

    def subject_data(self) -> PreparedSubject:
        """The subject's betas with masks and regions, all images."""
        return self.run.betas.prepared(self.store)

    def betas(self) -> dict[str, Float[np.ndarray, "_n voxels"]]:
        """{'train': (n, voxels), 'test': (n, voxels)}, z-scored and averaged over repetitions."""
        return self.run.images.betas(self.store)

    def nsd_ids(self, split: str) -> Int[np.ndarray, " n"]:
        """The nsdIds of a split, the order of every array here."""
        return self.run.images.nsd_ids(self.store, split)

    def stimuli(self, split: str) -> UInt8[np.ndarray, "n height width 3"]:
        """The images that the subject saw."""
        return self.run.images.stimuli(self.store, split)

    def captions(self, split: str) -> list[list[str]]:
        """Their captions."""
        return self.run.images.captions(self.store, split)

    def targets(self, modality: str, split: str) -> Float[np.ndarray, "n tokens width"]:
        """CLIP's tokens of the stimuli, or of their captions (averaged over captions)."""
        return self.store.result(self.run.targets(modality)).array(split)

    # --- networks

    @property
    def encoder(self) -> ClipTokens:
        """CLIP."""
        return self.run.encoder.load()

    @cached_property
    def generator(self) -> Generator:
        """Versatile Diffusion."""
        return generator_of(self.run.profile.generation, self.run.generator, self.run.encoder)

    def prior(self, modality: str) -> Prior:
        """The trained diffusion prior of one modality."""
        return self.run.prior(modality).load(self.store)

    def fusion(self, modality: str) -> Fusion:
        """The trained fusion of one modality: the Retrieval-Augmented Module, unless the profile names another."""
        return self.run.fusion(modality).load(self.store)

    def prior_history(self, modality: str) -> list[Row]:
        """Losses of the prior's training, one row per epoch."""
        return self.store.result(self.run.prior(modality)).json("history")

    def fusion_history(self, modality: str) -> list[Row]:
        """Losses of the fusion's training, one row per epoch."""
        return self.store.result(self.run.fusion(modality)).json("history")

    # --- estimates

    def ridge(self, modality: str) -> Float[np.ndarray, "n tokens width"]:
        """The ridge baseline's estimates of the test images."""
        return self.store.result(self.run.ridge(modality)).array("test")

    def ridge_r2(self, modality: str) -> Float[np.ndarray, " tokens"]:
        """The ridge's r2 on the validation images, token by token."""
        return np.array(self.store.result(self.run.ridge(modality)).json("fit")["validation_r2"])

    def estimates(self, modality: str, split: str) -> Tokens:
        """S samples p of the prior for every stimulus."""
        return self.store.result(self.run.estimates(modality)).array(split)

    def calibration(self, modality: str) -> tuple[list[LevelError], SampleReport]:
        """The prior's errors at each level of noise, and a report on its samples, on validation images."""
        stage = self.run.calibration(modality)
        return stage.levels(self.store), stage.report(self.store)

    def denoising_path(
        self, modality: str, stimulus: int, seed: int = 0, steps: int = 12
    ) -> Float[np.ndarray, "estimates tokens width"]:
        """Every estimate of x_0 while one sample of a test stimulus is denoised; the last is the sample itself."""
        return denoising_path(self.store, self.run.prior(modality), stimulus, seed, steps)

    def refined(self, modality: str) -> Tokens:
        """The refined estimates p + q of the test stimuli."""
        return self.store.result(self.run.refined(modality)).array("test")

    def fusion_weights(self, modality: str) -> Float[np.ndarray, "n samples sources tokens"]:
        """The weights of p (row 0) and of each neighbour, for every token of the test stimuli."""
        return self.store.result(self.run.refined(modality)).array("weights")

    def choosing(self, modality: str) -> Choosing:
        """What the fusion's weights follow: the neighbours' rank, or how close each really is."""
        from brainram_lib.evaluation.choosing import choosing

        return choosing(self.fusion_weights(modality), self.run.fusion(modality).errors(self.store))

    def attribution(self, modality: str, token: int | None = None, neighbour: int | None = None) -> Attribution:
        """Which voxels drive the prior's estimates of the test images towards their targets.

        `token`: for that token alone. `neighbour`: instead, which voxels caused the neighbour of that rank (0 is the
        first) of the first sample to be found; the same for both modalities where both estimates query together.
        """
        from brainram_lib.attribution.gradients import Attribution

        if token is not None and neighbour is not None:
            raise ValueError(f"give 'token' or 'neighbour', not both. {token} and {neighbour} were provided.")
        by_neighbour = neighbour is not None
        run = self.run
        stage = run.neighbour_attributions(modality, neighbour) if by_neighbour else run.attributions(modality, token)
        result = self.store.result(stage)
        return Attribution(np.array(result.array("values")), np.array(result.array("gained")))

    # --- retrieval

    @property
    def corpus(self) -> Corpus:
        """The image-text corpus. The embedded world's is written on first use."""
        return self.run.corpus.open(self.store.root)

    @property
    def corpus_tokens(self) -> TokenCache:
        """The corpus's pictures and captions as tokens, encoded once."""
        return corpus_tokens(self.run.corpus, self.run.encoder, self.store)

    def neighbours(self, modality: str, split: str) -> Neighbours:
        """K neighbours of every prior sample: rows of the corpus and similarities, (n, S, K)."""
        return self.run.neighbours(modality).found(self.store, split)
