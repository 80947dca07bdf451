"""What the stages of one subject start from: NSD's files, betas, stimuli, CLIP's targets, the corpus."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from brainram_lib import stages
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Result, Store
from brainram_lib.core.marks import fingerprint
from brainram_lib.encoders import ClipTokens, PooledTextReadout, load_encoder
from brainram_lib.nsd.captions import Captions
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.profiles import Profile, default_runs, profile_of
from brainram_lib.retrieval.corpus import Corpus
from brainram_lib.retrieval.tokens import TokenCache
from brainram_lib.search import Search, WordReadout, fit_readouts
from brainram_lib.world.corpus import make_mini_corpus
from brainram_lib.world.world import WorldSettings, make_world

ENCODE_CHUNK = 250


class Sources:
    """One subject's data and targets, the encoder, and the corpus.

    Args:
        profile: 'mini', 'paper', a JSON file of changes to one of them (see `profiles.profile_of`), or a `Profile`.
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
        return {split: np.asarray(data.betas(split)[self._used(split)], np.float32) for split in stages.SPLITS}

    def _used(self, split: str) -> slice:
        """The images of a split that this profile uses: all, or the first by nsdId."""
        images = self.profile.images
        return slice(None if images is None else images[stages.SPLITS.index(split)])

    def nsd_ids(self, split: str) -> np.ndarray:
        """The nsdIds of a split, the order of every array here."""
        data = self.subject_data()
        return np.asarray({"train": data.train_ids, "test": data.test_ids}[split])[self._used(split)]

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
        if self.profile.images is not None:
            settings["images"] = self.profile.images
        return self.store.result(f"targets-{modality}", settings, {"subject": self._subject_result}, make)

    def targets(self, modality: str, split: str) -> Float[np.ndarray, "n tokens width"]:
        """CLIP's tokens of the stimuli, or of their captions (averaged over captions)."""
        return self._targets(modality).array(split)

    # --- corpus -------------------------------------------------------------------------------------------------------

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
    def _readouts(self) -> Result:
        words = self.profile.retrieval.word_weight > 0
        return self.shared.result(
            "readouts",
            {"corpus": self.corpus.fingerprint, "encoder": self.encoder.fingerprint, "words": words},
            {},
            lambda folder: fit_readouts(folder, self.corpus, self.encoder, words),
        )

    @cached_property
    def readout(self) -> PooledTextReadout:
        """The pooled text embedding read out of text tokens, fitted on captions of the corpus."""
        return PooledTextReadout.load(self._readouts.folder / "readout.safetensors")

    @cached_property
    def search(self) -> Search:
        """The corpus, searched as the profile says."""
        settings = self.profile.retrieval
        words = WordReadout.load(self._readouts.folder) if settings.word_weight else None
        return Search(settings, self.corpus, self.readout, words, self.corpus_tokens)


def check_modality(modality: str) -> None:
    """Refuse anything but 'image' and 'text'."""
    if modality not in MODALITIES:
        raise ValueError(f"'modality' must be one of {MODALITIES}. '{modality}' was provided.")
