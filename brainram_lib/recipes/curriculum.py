"""What the mini generator is shown in training, in which order: phases, and the samples of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from brainram_lib.recipes.degrade import Faults, Spectrum, corrupted
from brainram_lib.recipes.recall import Recall, taken

HELD_OUT = 300
# Share of the samples whose tokens are replaced by the null tokens, for classifier-free guidance.
NULLED = 0.08
# The first phase begins with clean tokens only; from a third of it on, as many are clean as its faults say.
CLEAN_FALL = 2.0


@dataclass(frozen=True)
class Phase:
    """A part of the training: its share of the budget, its peak rate over the recipe's, and what it shows.

    Versatile Diffusion trains one route at a time, but reconstructions use both, so most steps mix them; image_alone
    and text_alone are the shares of the others. `object_weight` is how much more the loss counts a position that an
    object fills: objects are what words name and people look for, but they fill a fifth of a picture. `recalled` is
    the share of samples whose tokens move towards those of similar scenes, as the tokens of a RAM do; `single` is the
    share of a step's samples from words alone that show one object; `batch` counts the samples of a step. `recognised`
    is the weight of the distance between what a recogniser sees in the predicted and in the true latents.
    """

    name: str
    share: float
    rate: float
    image_alone: float
    text_alone: float
    image_faults: Faults
    text_faults: Faults
    object_weight: float
    recalled: float = 0.0
    single: float = 0.0
    clean_first: bool = False
    batch: int = 32
    recognised: float = 0.0


# First learn to generate. Then learn words, where image tokens do not give them away: corrupted more often and more
# strongly, these say where something is rather than what. Then learn shapes: what a thing looks like when only its name
# is known takes the most examples, and a step without image tokens costs two fifths less; scenes with one object show
# it large, and every word of theirs is about it. At the end, objects that can be recognised: to a squared error a dog
# is nearly a brown patch.
FIRST = Phase("first", 0.23, 1.0, 0.12, 0.3, Faults(), Faults(), object_weight=1.0, clean_first=True)
WORDS = Phase(
    "words",
    0.35,
    0.6,
    image_alone=0.06,
    text_alone=0.2,
    image_faults=Faults(clean=0.3, reliability=(0.15, 0.9)),
    text_faults=Faults(clean=0.4),
    object_weight=4.0,
    recalled=0.5,
)
SHAPES = replace(
    WORDS,
    name="shapes",
    share=0.34,
    image_alone=0.05,
    text_alone=0.7,
    text_faults=Faults(clean=0.6),
    recalled=0.3,
    single=0.5,
    batch=64,
)
OBJECTS = replace(SHAPES, name="objects", share=0.08, recognised=1.0)
PHASES = FIRST, WORDS, SHAPES, OBJECTS


@dataclass(frozen=True)
class Material:
    """What the denoiser trains on: scaled latents, how far objects fill them, and both kinds of tokens of the scenes.

    Then, for image and text tokens, the tokens of no guidance and how tokens vary; the tokens of similar scenes; and
    which scenes show one object. The last HELD_OUT scenes are never drawn.
    """

    latents: Float[np.ndarray | Tensor, "n channels height width"]
    covers: Float[np.ndarray | Tensor, "n height width"]
    image_tokens: Float[np.ndarray | Tensor, "n image_tokens features"]
    text_tokens: Float[np.ndarray | Tensor, "n text_tokens features"]
    nulls: tuple[Tensor, Tensor]
    spectra: tuple[Spectrum, Spectrum]
    recall: Recall
    single: Int64[Tensor, " m"]

    def to(self, device: torch.device) -> Material:
        """All of it on a device, in half precision as in the files: some 25 KB a scene."""
        arrays = (self.latents, self.covers, self.image_tokens, self.text_tokens)
        latents, covers, image, text = (torch.from_numpy(np.array(part)).to(device) for part in arrays)
        spectra = tuple(one.to(device) for one in self.spectra)
        # the corpus of `recall` is the first of these scenes: a view, not a second copy
        corpus = len(self.recall.image_tokens)
        recall = Recall(image[:corpus], text[:corpus], spectra, self.recall.features.to(device))
        nulls = tuple(null.to(device) for null in self.nulls)
        return Material(latents, covers, image, text, nulls, spectra, recall, self.single.to(device))


def route(phase: Phase, random: torch.Generator) -> float:
    """The text's share of one training step's guidance: 0 image alone, 1 text alone, or a mix of both."""
    draw, mix = torch.rand(2, generator=random).tolist()
    return 0.0 if draw < phase.image_alone else 1.0 if draw < phase.image_alone + phase.text_alone else 0.2 + 0.6 * mix


def eased(faults: Faults, phase: Phase, progress: float) -> Faults:
    """The faults at this share of a phase: more samples are clean at first where the phase says so."""
    return replace(faults, clean=max(faults.clean, 1 - CLEAN_FALL * progress)) if phase.clean_first else faults


@dataclass(frozen=True)
class Batch:
    """One training step's samples: what is noised, the tokens that guide, and the weight of every position."""

    latents: Float[Tensor, "batch channels height width"]
    image: Float[Tensor, "batch image_tokens features"]
    text: Float[Tensor, "batch text_tokens features"]
    weight: Float[Tensor, "batch height width"]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(part.to(device) for part in (self.latents, self.image, self.text, self.weight)))


def drawn_rows(material: Material, phase: Phase, text_share: float, random: torch.Generator) -> Int64[Tensor, " batch"]:
    """The scenes of one step; where words guide alone, a share of them with one object."""
    source = {"generator": random, "device": random.device}
    drawn = torch.randint(len(material.latents) - HELD_OUT, (phase.batch,), **source)
    if text_share < 1 or not phase.single:
        return drawn
    single = material.single[torch.randint(len(material.single), (phase.batch,), **source)]
    return torch.where(torch.rand(phase.batch, **source) < phase.single, single, drawn)


def drawn_batch(material: Material, phase: Phase, progress: float, text_share: float, random: torch.Generator) -> Batch:
    """Samples of one step: tokens corrupted as the phase says, a few of them null for classifier-free guidance.

    `random` is on the material's device.
    """
    drawn = drawn_rows(material, phase, text_share, random)
    latents, covers, image, text = (
        taken(part, drawn) for part in (material.latents, material.covers, material.image_tokens, material.text_tokens)
    )
    image = corrupted(image, material.spectra[0], random, eased(phase.image_faults, phase, progress))
    text = corrupted(text, material.spectra[1], random, eased(phase.text_faults, phase, progress))
    if phase.recalled:
        image, text = material.recall.moved(image, text, drawn, random, phase.recalled)
    nulled = torch.rand(phase.batch, 1, 1, generator=random, device=random.device) < NULLED
    image, text = (
        torch.where(nulled, null, tokens) for null, tokens in zip(material.nulls, (image, text), strict=True)
    )
    return Batch(latents, image, text, 1 + (phase.object_weight - 1) * covers)
