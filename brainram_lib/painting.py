"""Pictures for the workbench: the generator with this profile's settings, and the systems that show what exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.published import PUBLISHED
from brainram_lib.encoders import ClipTokens
from brainram_lib.generation.sampling import generate
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion, load_generator
from brainram_lib.pipeline.nearest import best_neighbour, derangement, nearest_by_tokens
from brainram_lib.profiles import Profile
from brainram_lib.stages import as_tensor

if TYPE_CHECKING:
    from brainram_lib.workbench import Workbench

ROUND_TRIP_CHUNK = 100


class Painter:
    """Versatile Diffusion with a profile's settings: tokens in, pictures out."""

    def __init__(self, profile: Profile, model: VersatileDiffusion, null_image: Tensor, null_text: Tensor) -> None:
        self.settings, self.model = profile.generation, model
        self.null_image, self.null_text = null_image, null_text

    @property
    def fingerprint(self) -> str:
        """Changes with the generator's weights."""
        return self.model.fingerprint

    def round_trip(self, pictures: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n height width 3"]:
        """Pictures through the autoencoder and back: the best that any latent can give."""
        starts = tqdm(range(0, len(pictures), ROUND_TRIP_CHUNK), desc="autoencoder", unit="chunk")
        parts = (pictures[start : start + ROUND_TRIP_CHUNK] for start in starts)
        return np.concatenate([self.model.decode(self.model.encode(part)) for part in parts])

    def paint(
        self,
        image_tokens: Float[np.ndarray, "n image_tokens features"],
        text_tokens: Float[np.ndarray, "n text_tokens features"],
        label: str = "generate",
        text_mix: float | None = None,
        neighbours: Float[np.ndarray, "n image_tokens features"] | None = None,
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """One picture for each pair of token sets.

        `neighbours`: image tokens of corpus items that guide beside the estimate, with the profile's share;
        `text_mix` where it is not the profile's.
        """
        settings = self.settings
        return generate(
            self.model,
            as_tensor(image_tokens),
            as_tensor(text_tokens),
            null_image_tokens=self.null_image,
            null_text_tokens=self.null_text,
            second_image_tokens=None if neighbours is None else as_tensor(neighbours),
            second_share=settings.neighbour_share,
            text_mix=settings.text_mix if text_mix is None else text_mix,
            guidance_scale=settings.guidance_scale,
            steps=settings.steps,
            scheduler=settings.scheduler,
            batch_size=settings.batch,
            label=label,
        )


def load_painter(profile: Profile, encoder: ClipTokens) -> Painter:
    """The generator of a profile, with the encoder's tokens of a blank picture and of an empty caption."""
    model = load_generator(checkpoint_folder(profile.generation.checkpoint))
    return Painter(profile, model, encoder.blank_image_tokens(), encoder.empty_text_tokens())


def checkpoint_folder(name: str) -> Path:
    """Where a profile's generator lies: inside this package, a folder of the user's, or pinned in the hub's cache.

    Raises:
        FileNotFoundError: in none of these places.
    """
    for folder in (Path(__file__).parent / name, Path(name)):
        if (folder / "scheduler").is_dir():
            return folder
    if name in PUBLISHED:
        return PUBLISHED[name].require()
    raise FileNotFoundError(
        f"no generator is at '{name}'. Fetch the checkpoint and set generation.checkpoint to its folder, which holds "
        "image_unet, text_unet, vae and scheduler; `python -m brainram_lib doctor --profile paper` says how."
    )


def shown_pictures(workbench: Workbench, system: str) -> UInt8[np.ndarray, "n height width 3"]:
    """The systems that paint nothing of their own.

    nearest-neighbour: the picture of the most similar neighbour. nearest-train: the training picture whose tokens are
    nearest to the brain's estimate. shuffled: BrainRAM's picture for another brain.

    Raises:
        ValueError: another name.
    """
    if system == "nearest-neighbour":
        found = workbench.neighbours("image", "test")
        return workbench.corpus.images(best_neighbour(found.ids, found.similarity))
    if system == "nearest-train":
        estimates = np.asarray(workbench.estimates("image", "test"), np.float32).mean(1)
        rows, _ = nearest_by_tokens(estimates, np.asarray(workbench.targets("image", "train"), np.float32))
        return workbench.stimuli("train")[rows]
    if system == "shuffled":
        pictures = workbench.reconstructions("brainram")
        return pictures[derangement(len(pictures), workbench.seed)]
    raise ValueError(
        f"'system' must be one of brainram, brainram-no-ram, ridge, ceiling, nearest-neighbour, nearest-train, "
        f"shuffled. '{system}' was provided."
    )
