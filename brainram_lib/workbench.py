"""The workbench: one method a stage. Each loads its saved result, or makes it and what it needs.

wb = Workbench("mini", subject=1)
wb.scores()          # everything, from betas to Table 1
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from brainram_lib import stages
from brainram_lib.checkpoints import Row
from brainram_lib.encoders import ClipTokens, PooledTextReadout, load_encoder
from brainram_lib.evaluation.records import Record
from brainram_lib.nsd.captions import Captions
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.profiles import MODALITIES, Profile, default_runs, profile_of
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.scoring import PROBE, estimate_records, make_scores
from brainram_lib.search import fit_readout, search_neighbours
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage2.ram import Ram
from brainram_lib.store import Result, Store, file_fingerprint, fingerprint
from brainram_lib.view.browser import BrowserData
from brainram_lib.world.corpus import make_mini_corpus
from brainram_lib.world.world import WorldSettings, make_world

ENCODE_CHUNK = 250
# Systems that paint pictures, and where their tokens come from.
PAINTED = ("brainram", "brainram-no-ram", "ridge", "ceiling")
SHOWN = ("nearest-neighbour", "nearest-train", "shuffled")


class Workbench:
    """The whole method for one subject.

    Args:
        profile: 'mini', 'paper', or a `Profile` of your own (see `profiles.changed`).
        subject: NSD's number of the subject.
        seed: of everything that is random in training and sampling.
        runs: folder of saved results; `runs` at the top of the checkout by default.
        nsd_root: the folder that holds `nsddata`; the embedded world makes its own.
        corpus_root: a corpus folder in clip-retrieval's format; the embedded world makes its own.
        world: the embedded world's sizes, where they are not the default.

    Raises:
        ValueError: an unknown profile or subject, or a profile without an embedded world and no `nsd_root`.
    """

    def __init__(
        self,
        profile: str | Profile = "mini",
        subject: int = 1,
        seed: int = 0,
        runs: str | Path | None = None,
        nsd_root: str | Path | None = None,
        corpus_root: str | Path | None = None,
        world: WorldSettings | None = None,
    ) -> None:
        self.profile = profile if isinstance(profile, Profile) else profile_of(profile)
        if subject not in self.profile.subjects:
            raise ValueError(
                f"'subject' must be one of {list(self.profile.subjects)} on the profile '{self.profile.name}'. "
                f"'{subject}' was provided."
            )
        if not self.profile.embedded_world and nsd_root is None:
            raise ValueError(
                f"the profile '{self.profile.name}' reads real NSD files: give nsd_root, the folder that holds "
                "'nsddata' and 'nsddata_betas'. `python -m brainram_lib nsd check` lists what to fetch."
            )
        self.subject, self.seed = subject, seed
        self.root = Path(runs or default_runs()) / self.profile.name
        self.world = world or WorldSettings()
        self._nsd_root = Path(nsd_root) if nsd_root else None
        self._corpus_root = Path(corpus_root) if corpus_root else None
        self.store = Store(self.root / f"subj{subject:02d}")
        self.shared = Store(self.root / "shared")

    # --- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> NsdLayout:
        """NSD's files. The embedded world is written on first use."""
        if self._nsd_root is not None:
            return NsdLayout(self._nsd_root)
        return make_world(self.root / "nsd" / fingerprint(self.world), self.world, [self.subject])

    @cached_property
    def _subject_result(self) -> Result:
        data, layout = self.profile.data, self.layout
        settings = {"data": data, "subject": self.subject, "root": str(layout.root), "world": self.world}

        def make(folder: Path) -> None:
            prepare_subject(
                layout,
                self.subject,
                folder,
                sessions=data.sessions,
                version=data.beta_version,
                roi=data.roi,
                normalisation=data.normalisation,
            )

        return self.store.result("subject", settings, {}, make)

    def subject_data(self) -> PreparedSubject:
        """The subject's betas: normalised, averaged over repetitions, split, rows in the order of nsdId."""
        return PreparedSubject.load(self._subject_result.folder)

    def betas(self) -> dict[str, np.ndarray]:
        """{'train': (n, voxels), 'test': (n, voxels)}."""
        data = self.subject_data()
        return {split: np.asarray(data.betas(split), np.float32) for split in stages.SPLITS}

    def nsd_ids(self, split: str) -> np.ndarray:
        """The nsdIds of a split, the order of every array here."""
        data = self.subject_data()
        return np.asarray({"train": data.train_ids, "test": data.test_ids}[split])

    def stimuli(self, split: str) -> UInt8[np.ndarray, "n height width 3"]:
        """The pictures that the subject saw."""
        return read_stimuli(self.layout, self.nsd_ids(split))

    def captions(self, split: str) -> list[list[str]]:
        """Their captions."""
        return Captions(self.layout).of_all(self.nsd_ids(split).tolist())

    # --- targets ------------------------------------------------------------------------------------------------------

    @cached_property
    def encoder(self) -> ClipTokens:
        """CLIP."""
        return load_encoder(self.profile.encoder)

    def _targets(self, modality: str) -> Result:
        check_modality(modality)

        def make(folder: Path) -> None:
            pictures, words = (self.stimuli, self.encoder.image_tokens), (self.captions, self.encoder.text_tokens)
            source, encode = pictures if modality == "image" else words
            items = {split: source(split) for split in stages.SPLITS}
            stages.encode_targets(folder, encode, items, ENCODE_CHUNK, f"{modality} targets")

        settings = {"encoder": self.encoder.fingerprint, "modality": modality}
        return self.store.result(f"targets-{modality}", settings, {"subject": self._subject_result}, make)

    def targets(self, modality: str, split: str) -> Float[np.ndarray, "n tokens width"]:
        """CLIP's tokens of the stimuli, or of their captions (averaged over captions)."""
        return self._targets(modality).array(split)

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

    # --- retrieval ----------------------------------------------------------------------------------------------------

    @cached_property
    def corpus(self) -> Corpus:
        """The image-text corpus. The embedded world's is written on first use."""
        size = self.encoder.image_size
        if self._corpus_root is not None:
            return Corpus(self._corpus_root, size)
        if not self.profile.embedded_world:
            raise ValueError(
                f"the profile '{self.profile.name}' needs a corpus of your own: give corpus_root, a folder in "
                "clip-retrieval's format (img_emb, text_emb, metadata) with its pictures."
            )
        folder = self.root / "corpus" / self.encoder.fingerprint
        make_mini_corpus(folder, self.encoder, self.profile.corpus_pairs)
        return Corpus(folder, size)

    @cached_property
    def corpus_tokens(self) -> TokenCache:
        """The corpus's pictures and captions as tokens, encoded once."""
        return TokenCache(self.corpus, self.encoder, self.root / "corpus_tokens" / self.encoder.fingerprint)

    @cached_property
    def readout(self) -> PooledTextReadout:
        """The pooled text embedding read out of text tokens, fitted on captions of the corpus."""
        result = self.shared.result(
            "readout",
            {"corpus": self.corpus.fingerprint, "encoder": self.encoder.fingerprint},
            {},
            lambda folder: fit_readout(folder, self.corpus, self.encoder),
        )
        return PooledTextReadout.load(result.folder / "readout.safetensors")

    def _neighbours(self, modality: str) -> Result:
        inputs = {other: self._estimates(other) for other in MODALITIES}

        def make(folder: Path) -> None:
            for split in stages.SPLITS:
                estimates = {other: inputs[other].array(split) for other in MODALITIES}
                search_neighbours(folder, split, self.profile.retrieval, modality, estimates, self.corpus, self.readout)

        settings = {"retrieval": self.profile.retrieval, "modality": modality, "corpus": self.corpus.fingerprint}
        return self.store.result(f"neighbours-{modality}", settings, inputs, make)

    def neighbours(self, modality: str, split: str) -> Neighbours:
        """K neighbours of every prior sample: rows of the corpus and similarities, (n, S, K)."""
        result = self._neighbours(modality)
        return Neighbours(np.array(result.array(f"{split}_ids")), np.array(result.array(f"{split}_similarity")))

    def _tokens_of_neighbours(self, modality: str, prior: Prior) -> stages.CorpusTokens:
        found = self._neighbours(modality)
        ids = np.unique(np.concatenate([found.array(f"{split}_ids").ravel() for split in stages.SPLITS]))
        return stages.CorpusTokens(ids, self.corpus_tokens.tokens_of(ids, modality), prior)

    # --- Stage II -----------------------------------------------------------------------------------------------------

    def _ram(self, modality: str) -> Result:
        inputs = {"estimates": self._estimates(modality), "neighbours": self._neighbours(modality)}

        def make(folder: Path) -> None:
            prior = self.prior(modality)
            stages.make_ram(
                folder,
                self.profile,
                prior,
                inputs["estimates"].array("train"),
                inputs["neighbours"].array("train_ids"),
                self.targets(modality, "train"),
                self._tokens_of_neighbours(modality, prior),
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
            prior = self.prior(modality)
            stages.make_refined(
                folder,
                self.ram(modality),
                prior,
                self.estimates(modality, "test"),
                self._neighbours(modality).array("test_ids"),
                self._tokens_of_neighbours(modality, prior),
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
        """What a painting system paints from, per modality: (n, S, T, D); S is 1 for systems without samples.

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

        def make(folder: Path) -> None:
            tokens = self.tokens_of_system(system)
            stages.make_reconstructions(
                folder,
                tokens["image"],
                tokens["text"],
                self.generator.paint,
                self.encoder.image_tokens,
                f"reconstruct, {system}",
            )

        settings = {"generation": self.profile.generation, "generator": self.generator.fingerprint}
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
        """All S pictures of each test stimulus."""
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
        inputs: dict[str, Result] = {system: self._painted(system) for system in PAINTED}
        inputs |= {f"refined-{modality}": self._refined(modality) for modality in MODALITIES}
        settings = {"metrics": self.profile.metrics, "subject": self.subject, "seed": self.seed}
        if self.profile.embedded_world:
            settings["probe"] = file_fingerprint(self.probe)
        return self.store.result("scores", settings, inputs, lambda folder: make_scores(folder, self)).json("records")


def check_modality(modality: str) -> None:
    """Refuse anything but 'image' and 'text'."""
    if modality not in MODALITIES:
        raise ValueError(f"'modality' must be one of {MODALITIES}. '{modality}' was provided.")


def all_systems() -> Sequence[str]:
    """Every system with pictures, in the order of the tables."""
    return (*PAINTED, *SHOWN)
