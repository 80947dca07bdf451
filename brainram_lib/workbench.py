"""The workbench: one method a stage. Each loads its saved result, or makes it and what it needs.

wb = Workbench("mini", subject=1)
wb.scores()          # everything, from betas to Table 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8

from brainram_lib import stages
from brainram_lib.attribution.decoders import PriorDecoder
from brainram_lib.attribution.gradients import STEPS, Attribution
from brainram_lib.attribution.scores import NeighbourSimilarity, Score, TokenAgreement, global_token
from brainram_lib.core.checkpoints import Row
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.ridge import Ridge
from brainram_lib.core.store import Result
from brainram_lib.core.marks import file_fingerprint
from brainram_lib.core.whitening import TokenWhitening
from brainram_lib.evaluation.records import Record
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.retrieval.reranking import best_by_tokens
from brainram_lib.scoring import COMPARED, PROBE, estimate_records, make_scores
from brainram_lib.sources import Sources
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage2.ram import Ram
from brainram_lib.view.browser import BrowserData

# Systems that paint pictures, and where their tokens come from.
PAINTED = ("brainram", "brainram-no-ram", "ridge", "ceiling")
SHOWN = ("nearest-neighbour", "nearest-train", "shuffled")


class Workbench(Sources):
    """The whole method for one subject; see `Sources` for its parameters."""

    # --- ridge --------------------------------------------------------------------------------------------------------

    def _ridge(self, modality: str) -> Result:
        targets = self._targets(modality)

        def make(folder: Path) -> None:
            stages.make_ridge(folder, self.betas(), targets.array("train"), self.profile.data.validation_images)

        settings = {"modality": modality, "validation": self.profile.data.validation_images}
        return self.store.result(f"ridge-{modality}", settings, {"targets": targets}, make)

    def ridge(self, modality: str, split: str = "test") -> Float[np.ndarray, "n tokens width"]:
        """The ridge baseline's estimates (cross-fitted on the training images)."""
        return self._ridge(modality).array(split)

    def ridge_r2(self, modality: str) -> Float[np.ndarray, " tokens"]:
        """The ridge's r2 on the validation images, token by token."""
        return np.array(self._ridge(modality).json("fit")["validation_r2"])

    # --- Stage I ------------------------------------------------------------------------------------------------------

    def _prior(self, modality: str) -> Result:
        targets, ridge = self._targets(modality), self._ridge(modality)

        def make(folder: Path) -> None:
            stages.make_prior(
                folder,
                self.profile,
                self.betas()["train"],
                ridge.array("train"),
                targets.array("train"),
                self.seed,
                f"Stage I, {modality} prior",
            )

        settings = {"stage1": self.profile.stage1, "modality": modality, "seed": self.seed}
        settings["validation"] = self.profile.data.validation_images
        return self.store.result(f"prior-{modality}", settings, {"targets": targets, "ridge": ridge}, make)

    def prior(self, modality: str) -> Prior:
        """The trained diffusion prior of one modality."""
        result = self._prior(modality)
        shape = self.targets(modality, "test").shape[1:]
        return stages.load_prior(result.folder, self.profile, self.betas()["test"].shape[1], *shape)

    def prior_history(self, modality: str) -> list[Row]:
        """Its losses, one row an epoch."""
        return self._prior(modality).json("history")

    def _estimates(self, modality: str) -> Result:
        prior, ridge = self._prior(modality), self._ridge(modality)

        def make(folder: Path) -> None:
            linear = {split: ridge.array(split) for split in stages.SPLITS}
            stages.make_estimates(folder, self.profile, self.prior(modality), self.betas(), linear, self.seed)

        stage1 = self.profile.stage1
        settings = {"samples": stage1.samples, "steps": stage1.sample_steps, "seed": self.seed}
        return self.store.result(f"estimates-{modality}", settings, {"prior": prior}, make)

    def estimates(self, modality: str, split: str) -> Float[np.ndarray, "n samples tokens width"]:
        """S samples p of the prior for every stimulus."""
        return self._estimates(modality).array(split)

    # --- attribution --------------------------------------------------------------------------------------------------

    def decoder(self, modality: str) -> PriorDecoder:
        """The trained prior's estimate as a differentiable function of the betas alone."""
        linear = self.profile.stage1.projector.linear_path
        ridge = Ridge.load(self._ridge(modality).folder / "ridge.safetensors") if linear else None
        return PriorDecoder(self.prior(modality), ridge, [self.seed])

    def attribution(self, modality: str, token: int | None = None, neighbour: int | None = None) -> Attribution:
        """Which voxels drive the prior's estimates of the test images towards their targets.

        `token`: in that token alone. `neighbour`: which voxels made the neighbour of that rank (0 the first, of the
        first sample) be found, instead: they move the query of this modality towards it.
        """

        def make(folder: Path) -> None:
            decoder, batch = self.decoder(modality), self.profile.stage1.batch
            stages.make_attribution(folder, decoder, self._score(modality, token, neighbour), self.betas(), batch)

        settings = {"token": token, "neighbour": neighbour, "steps": STEPS, "seed": self.seed}
        inputs = {"prior": self._prior(modality)}
        if neighbour is not None:
            inputs["neighbours"] = self._neighbours(modality)
        result = self.store.result(f"attribution-{modality}", settings, inputs, make)
        return Attribution(np.array(result.array("values")), np.array(result.array("gained")))

    def _score(self, modality: str, token: int | None, neighbour: int | None) -> Score:
        if neighbour is None:
            tokens = {split: stages.as_tensor(self.targets(modality, split)) for split in stages.SPLITS}
            return TokenAgreement.of(tokens["test"], tokens["train"].mean(0), token)
        if token is not None:
            raise ValueError(f"give 'token' or 'neighbour', not both. {token} and {neighbour} were provided.")
        found = self.neighbours(modality, "test").ids[:, 0, neighbour]
        query = global_token if modality == "image" else self.readout
        return NeighbourSimilarity(stages.as_tensor(self.corpus.embedding_rows(modality, found)), query)

    # --- retrieval ----------------------------------------------------------------------------------------------------

    def _neighbours(self, modality: str) -> Result:
        inputs = {other: self._estimates(other) for other in MODALITIES}
        # estimates that ask together find the same items for both modalities
        asked = modality if self.profile.retrieval.text_weight is None else "both"

        def make(folder: Path) -> None:
            for split in stages.SPLITS:
                estimates = {other: inputs[other].array(split) for other in MODALITIES}
                self.search.write(folder, split, asked, estimates, self.prior("image").whitening)

        settings = {"retrieval": self.profile.retrieval, "modality": asked, "corpus": self.corpus.fingerprint}
        return self.store.result(f"neighbours-{asked}", settings, inputs, make)

    def neighbours(self, modality: str, split: str) -> Neighbours:
        """K neighbours of every prior sample: rows of the corpus and similarities, (n, S, K)."""
        result = self._neighbours(modality)
        return Neighbours(np.array(result.array(f"{split}_ids")), np.array(result.array(f"{split}_similarity")))

    def _tokens_of_neighbours(self, modality: str, whitening: TokenWhitening) -> stages.CorpusTokens:
        found = self._neighbours(modality)
        ids = np.unique(np.concatenate([found.array(f"{split}_ids").ravel() for split in stages.SPLITS]))
        return stages.CorpusTokens(ids, self.corpus_tokens.tokens_of(ids, modality, torch.float16), whitening)

    # --- Stage II -----------------------------------------------------------------------------------------------------

    def _ram(self, modality: str) -> Result:
        inputs = {"estimates": self._estimates(modality), "neighbours": self._neighbours(modality)}

        def make(folder: Path) -> None:
            whitening = self.prior(modality).whitening
            stages.make_ram(
                folder,
                self.profile,
                whitening,
                inputs["estimates"].array("train"),
                inputs["neighbours"].array("train_ids"),
                self.targets(modality, "train"),
                self._tokens_of_neighbours(modality, whitening),
                self.seed,
                f"Stage II, {modality} RAM",
            )

        settings = {"stage2": self.profile.stage2, "modality": modality, "seed": self.seed}
        return self.store.result(f"ram-{modality}", settings, inputs, make)

    def ram(self, modality: str) -> Ram:
        """The trained Retrieval-Augmented Module of one modality."""
        shape = self.targets(modality, "test").shape[1:]
        return stages.load_ram(self._ram(modality).folder, self.profile, self.profile.retrieval.neighbours, *shape)

    def ram_history(self, modality: str) -> list[Row]:
        """Its losses, one row an epoch."""
        return self._ram(modality).json("history")

    def _refined(self, modality: str) -> Result:
        inputs = {"ram": self._ram(modality), "estimates": self._estimates(modality)}

        def make(folder: Path) -> None:
            whitening = self.prior(modality).whitening
            stages.make_refined(
                folder,
                self.ram(modality),
                whitening,
                self.estimates(modality, "test"),
                self._neighbours(modality).array("test_ids"),
                self._tokens_of_neighbours(modality, whitening),
            )

        return self.store.result(f"refined-{modality}", {}, inputs, make)

    def refined(self, modality: str) -> Float[np.ndarray, "n samples tokens width"]:
        """The refined estimates p + q of the test stimuli."""
        return self._refined(modality).array("test")

    def ram_weights(self, modality: str) -> Float[np.ndarray, "n samples sources tokens"]:
        """The weights the RAM gave p (row 0) and each neighbour, for every token of the test stimuli."""
        return self._refined(modality).array("weights")

    # --- generation ---------------------------------------------------------------------------------------------------

    def tokens_of_system(self, system: str) -> dict[str, Float[np.ndarray, "n samples tokens width"]]:
        """What a painting system estimates, per modality: (n, S, T, D); S is 1 for systems without samples.

        Raises:
            ValueError: a system that paints nothing.
        """
        sources = {
            "brainram": self.refined,
            "brainram-no-ram": lambda modality: self.estimates(modality, "test"),
            "ridge": lambda modality: self.ridge(modality)[:, None],
            "ceiling": lambda modality: self.targets(modality, "test")[:, None],
        }
        if system not in sources:
            raise ValueError(f"'system' must be one of {list(sources)}. '{system}' was provided.")
        return {modality: sources[system](modality) for modality in MODALITIES}

    def guiding_neighbours(self, system: str) -> Int64[np.ndarray, "n samples"] | None:
        """The corpus items whose tokens guide a system's samples beside its estimate: BrainRAM's, on some profiles.

        Sample s gets the s-th best of the items that the stimulus's samples found, by agreement with the mean of
        p + q, which is nearer to the truth than what the search asked with. The choice among samples is so one among
        neighbours.
        """
        if system != "brainram" or not self.profile.generation.neighbour_share:
            return None
        whitened = stages.whitened_by(self.prior("image").whitening)
        refined = stages.as_tensor(self.refined("image"))
        return best_by_tokens(
            self.neighbours("image", "test"),
            whitened(refined.mean(1)).cpu(),
            lambda items: whitened(self.corpus_tokens.tokens_of(items, "image")),
            refined.shape[1],
        )

    @cached_property
    def generator(self) -> Any:
        """Versatile Diffusion."""
        from brainram_lib.painting import load_painter

        return load_painter(self.profile, self.encoder)

    def _painted(self, system: str) -> Result:
        results = {
            "brainram": self._refined,
            "brainram-no-ram": self._estimates,
            "ridge": self._ridge,
            "ceiling": self._targets,
        }
        inputs = {modality: results[system](modality) for modality in MODALITIES}
        # ridge chooses among as many as the others; a choice by true tokens would be one by the truth
        pictures = 1 if system == "ceiling" else self.profile.stage1.samples

        def make(folder: Path) -> None:
            tokens, items = self.tokens_of_system(system), self.guiding_neighbours(system)
            stages.make_reconstructions(
                folder,
                tokens["image"],
                tokens["text"],
                None if items is None else self.corpus_tokens.tokens_of(items, "image").numpy(),
                pictures,
                self.generator.paint,
                self.encoder.image_tokens,
                f"reconstruct, {system}",
            )

        share = self.profile.generation.neighbour_share if system == "brainram" else 0.0
        generation = replace(self.profile.generation, neighbour_share=share)
        settings = {"generation": generation, "generator": self.generator.fingerprint, "pictures": pictures}
        return self.store.result(f"reconstructions-{system}", settings, inputs, make)

    def reconstructions(self, system: str = "brainram") -> UInt8[np.ndarray, "n height width 3"]:
        """One picture for each test stimulus.

        Args:
            system: brainram, brainram-no-ram, ridge, ceiling (true tokens); nearest-neighbour and nearest-train (a
                picture that exists, shown as it is); shuffled (BrainRAM's pictures for other brains).
        """
        if system in PAINTED:
            return np.array(self._painted(system).array("chosen"))
        from brainram_lib.painting import shown_pictures

        return shown_pictures(self, system)

    def samples(self, system: str = "brainram") -> UInt8[np.ndarray, "n samples height width 3"]:
        """All pictures of each test stimulus, of which one is chosen: S, of the ceiling one."""
        return np.array(self._painted(system).array("samples"))

    # --- scores -------------------------------------------------------------------------------------------------------

    @property
    def probe(self) -> Path:
        """The shipped linear probe that names categories; it never saw a stimulus."""
        return PROBE

    def estimate_records(self, systems: Sequence[str]) -> list[Record]:
        """Squared error, cosine and retrieval of some systems' token estimates; nothing is painted for them."""
        return estimate_records(self, systems)

    def records(self) -> list[Record]:
        """`scores`, as the tables and plots take them."""
        return [Record(**row) for row in self.scores()]

    def browser_data(self) -> BrowserData:
        """What the neighbour browser of notebook 04 shows."""
        return BrowserData(
            stimuli=self.stimuli("test"),
            captions=self.captions("test"),
            neighbours={modality: self.neighbours(modality, "test") for modality in MODALITIES},
            corpus_images=self.corpus.images,
            corpus_captions=lambda ids: [self.corpus.caption(int(item)) for item in ids],
            weights={modality: self.ram_weights(modality) for modality in MODALITIES},
        )

    def scores(self) -> list[dict[str, Any]]:
        """Every system's scores as records {system, metric, value, low, high, n, subject, seed}."""
        return self._scores().json("records")

    def leads(self) -> list[Record]:
        """How much BrainRAM scores above ridge and above itself without RAM, image by image."""
        return [Record(**row) for row in self._scores().json("leads")]

    def _scores(self) -> Result:
        inputs: dict[str, Result] = {system: self._painted(system) for system in PAINTED}
        inputs |= {f"refined-{modality}": self._refined(modality) for modality in MODALITIES}
        settings = {"metrics": self.profile.metrics, "subject": self.subject, "seed": self.seed, "leads_over": COMPARED}
        if self.profile.embedded_world:
            settings["probe"] = file_fingerprint(self.probe)
        return self.store.result("scores", settings, inputs, lambda folder: make_scores(folder, self))


def all_systems() -> Sequence[str]:
    """Every system with pictures, in the order of the tables."""
    return (*PAINTED, *SHOWN)
