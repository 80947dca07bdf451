"""Weights as values: the key is the pinned revision or the content of the files; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import brainram_lib
from brainram_lib.core.marks import content_mark
from brainram_lib.core.measure import hand_back_memory
from brainram_lib.core.published import PUBLISHED

if TYPE_CHECKING:
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

PACKAGE = Path(brainram_lib.__file__).parent
MINI_ENCODER = "mini"


@dataclass(frozen=True)
class EncoderWeights:
    """A CLIP: 'mini', which ships, or open_clip's name of an architecture, with the pinned weights."""

    name: str

    @property
    def key(self) -> str:
        """The pinned revision, or the mark of the shipped files."""
        if self.name == MINI_ENCODER:
            return _folder_mark(PACKAGE / "world/assets/mini_clip")
        return PUBLISHED[self.name].revision[:12] if self.name in PUBLISHED else self.name

    def load(self, images_alone: bool = False) -> ClipTokens:
        """The encoder, once in a process; for images alone it has no text tower."""
        return _encoder(self.name, images_alone)

    def release(self) -> None:
        """Let go of the encoders that were loaded, and of their memory; the next `load` reads anew."""
        _encoder.cache_clear()
        hand_back_memory()


@dataclass(frozen=True)
class GeneratorWeights:
    """A generator: a folder inside this package, one of the user's, or a pinned name in the hub's cache."""

    checkpoint: str

    @property
    def folder(self) -> Path:
        """Where it lies.

        Raises:
            FileNotFoundError: in none of these places.
        """
        for folder in (PACKAGE / self.checkpoint, Path(self.checkpoint)):
            if (folder / "scheduler").is_dir():
                return folder
        if self.checkpoint in PUBLISHED:
            return PUBLISHED[self.checkpoint].require()
        raise FileNotFoundError(
            f"no generator is at '{self.checkpoint}'. Fetch the checkpoint and set generation.checkpoint to its "
            "folder, which holds image_unet, text_unet, vae and scheduler; `python -m brainram_lib doctor --profile "
            "paper` says how."
        )

    @property
    def key(self) -> str:
        """The pinned revision, or the mark of the folder's files."""
        folder = self.folder
        pinned = PUBLISHED.get(self.checkpoint)
        return folder.name[:12] if pinned and folder.name == pinned.revision else _folder_mark(folder)

    def load(self) -> VersatileDiffusion:
        """The network, once in a process."""
        return _generator(self.folder)


# What the shipped start was trained on besides corpus items: this subject's first images, minus validation images.
START_SUBJECT, START_IMAGES, START_VALIDATION = 1, 3_200, 300


@dataclass(frozen=True)
class PriorWeights:
    """Networks of priors that were trained on a corpus, `image.safetensors` and `text.safetensors` in one folder.

    A quarter of the rows of the shipped ones were training images of subject 1 (`recipes/prior.py`), so they may begin
    no training that holds some of these images out (`Run.start_has_seen`).
    """

    start: str

    @property
    def folder(self) -> Path:
        """Where it lies, inside this package or where the path says.

        Raises:
            FileNotFoundError: in neither place.
        """
        for folder in (PACKAGE / self.start, Path(self.start)):
            if (folder / "image.safetensors").is_file():
                return folder
        raise FileNotFoundError(
            f"no prior's networks are at '{self.start}': 'stage1.start' names a folder with image.safetensors and "
            "text.safetensors. Leave it empty to train without."
        )

    @property
    def key(self) -> str:
        """The mark of the files."""
        return _folder_mark(self.folder)

    def file(self, modality: str) -> Path:
        """Of one modality."""
        return self.folder / f"{modality}.safetensors"


def _folder_mark(folder: Path) -> str:
    return content_mark((path for path in folder.rglob("*") if path.is_file()), folder)


@cache
def _encoder(name: str, images_alone: bool) -> ClipTokens:
    from brainram_lib.encoders import load_encoder

    return load_encoder(name, images_alone=images_alone)


@cache
def _generator(folder: Path) -> VersatileDiffusion:
    from brainram_lib.generation.versatile_diffusion import load_generator

    return load_generator(folder)
