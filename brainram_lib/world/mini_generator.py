"""The mini generator's denoiser: Versatile Diffusion's dual-guided U-Net at a small size, trained on scenes.

Remade by `python -m brainram_lib world train-generator`, after the mini CLIP and the autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from brainram_lib.world.degrade import Faults, Spectrum, spoilt
from brainram_lib.world.material import (
    captions_of_set,
    categories_of_set,
    covers_of_set,
    object_counts,
    render_set,
)
from brainram_lib.world.mini_autoencoder import LATENT_CHANNELS, to_signed
from brainram_lib.world.mini_clip import MATERIAL_SET
from brainram_lib.world.recall import Recall
from brainram_lib.world.recogniser import Recogniser, train_recogniser
from brainram_lib.world.training import Budget, run

ASSETS = Path(__file__).parent / "assets" / "mini_generator"
HELD_OUT = 300
CHUNK = 500
SCHEDULER = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
SCHEDULER |= {"beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
# 16 x 16 latents folded to 8 x 8 positions: those of the 8 x 8 image tokens, one to one.
FOLD = 2
UNET = {
    "sample_size": 16 // FOLD,
    "in_channels": LATENT_CHANNELS,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (96, 160),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    # diffusers reads this as the number of heads
    "attention_head_dim": 4,
}
# Share of the samples whose tokens are replaced by the null tokens, for classifier-free guidance.
NULLED = 0.08
# The first phase shows clean tokens only at first, and as many as its faults say from a third of it on.
CLEAN_FALL = 2.0
# Examples for the whitening of the tokens.
WHITENED = 12_000


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


# First learn to paint. Then learn words, where the image tokens do not tell what they say: spoilt more often and more
# strongly, these know where something stands rather than what. Last, learn shapes: what a thing looks like of which
# only the name is known takes the most examples, and a step without image tokens costs two fifths less; scenes with one
# object show it large, and no word of theirs can be meant for another. At the end, objects that can be recognised: to a
# squared error a dog is nearly a brown patch.
PAINT = Phase("paint", 0.23, 1.0, 0.12, 0.3, Faults(), Faults(), object_weight=1.0, clean_first=True)
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
PHASES = PAINT, WORDS, SHAPES, OBJECTS


@dataclass(frozen=True)
class Material:
    """What the denoiser trains on: scaled latents, how far objects fill them, and both kinds of tokens of the scenes.

    Then, for image and text tokens, what stands for no guidance and how tokens vary; the tokens of similar scenes; and
    which scenes show one object. The last HELD_OUT scenes are never drawn.
    """

    latents: Float[np.ndarray, "n channels height width"]
    covers: Float[np.ndarray, "n height width"]
    image_tokens: Float[np.ndarray, "n image_tokens features"]
    text_tokens: Float[np.ndarray, "n text_tokens features"]
    nulls: tuple[Tensor, Tensor]
    spectra: tuple[Spectrum, Spectrum]
    recall: Recall
    single: Int64[Tensor, " m"]


Encode = Callable[[object], Tensor]


def encoded(path: Path, items: list | np.ndarray, encode: Encode, describe: str) -> Float[np.ndarray, "n ..."]:
    """`encode` applied to all items in chunks, kept in `path` as float16; computed once for as many items."""
    if path.exists() and len(made := np.load(path, mmap_mode="r")) == len(items):
        return made
    parts = [
        encode(items[start : start + CHUNK]).half().numpy()
        for start in tqdm(range(0, len(items), CHUNK), desc=describe, unit="chunk")
    ]
    partial = path.with_suffix(".partial.npy")
    np.save(partial, np.concatenate(parts))
    partial.replace(path)
    return np.load(path, mmap_mode="r")


def prepare_tokens(work: Path, scenes: int, images: Encode, texts: Encode) -> tuple[np.ndarray, np.ndarray]:
    """Image and text tokens of the models' scenes, from the encoder's two functions."""
    pictures = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    image_tokens = encoded(work / "image_tokens.npy", pictures, images, "image tokens")
    text_tokens = encoded(work / "text_tokens.npy", captions_of_set(MATERIAL_SET, scenes), texts, "text tokens")
    return image_tokens, text_tokens


@torch.no_grad()
def latents_of(vae: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n c h w"]:
    """Scaled latents of pictures."""
    parts = [vae.encode(part).latent_dist.mode() for part in to_signed(images).split(100)]
    return torch.cat(parts) * vae.config.scaling_factor


def route(phase: Phase, random: torch.Generator) -> float:
    """The text's share of one training step's guidance: 0 image alone, 1 text alone, or a mix of both."""
    draw, mix = torch.rand(2, generator=random).tolist()
    return 0.0 if draw < phase.image_alone else 1.0 if draw < phase.image_alone + phase.text_alone else 0.2 + 0.6 * mix


def eased(faults: Faults, phase: Phase, progress: float) -> Faults:
    """The faults at this share of a phase: more samples are clean at first where the phase says so."""
    return replace(faults, clean=max(faults.clean, 1 - CLEAN_FALL * progress)) if phase.clean_first else faults


def noise_times(batch: int, random: torch.Generator, count: int = 1000) -> Int64[Tensor, " batch"]:
    """Diffusion times of one training step, t = count (1 - u^2) with u uniform: more of the noisy ones.

    There the tokens decide what is painted; little noise is removed without them, and sampling spends few steps on it.
    """
    return (count * (1 - torch.rand(batch, generator=random).square())).long().clamp(max=count - 1)


@dataclass(frozen=True)
class Batch:
    """One training step's samples: what is noised, the tokens that guide, and the weight of every position."""

    latents: Float[Tensor, "batch channels height width"]
    image: Float[Tensor, "batch image_tokens features"]
    text: Float[Tensor, "batch text_tokens features"]
    weight: Float[Tensor, "batch height width"]


def drawn_rows(material: Material, phase: Phase, text_share: float, random: torch.Generator) -> Int64[Tensor, " batch"]:
    """The scenes of one step; where words guide alone, a share of them with one object."""
    drawn = torch.randint(len(material.latents) - HELD_OUT, (phase.batch,), generator=random)
    if text_share < 1 or not phase.single:
        return drawn
    single = material.single[torch.randint(len(material.single), (phase.batch,), generator=random)]
    return torch.where(torch.rand(phase.batch, generator=random) < phase.single, single, drawn)


def drawn_batch(material: Material, phase: Phase, progress: float, text_share: float, random: torch.Generator) -> Batch:
    """Samples of one step: tokens spoilt as the phase says, a few of them null for classifier-free guidance."""
    drawn = drawn_rows(material, phase, text_share, random)
    rows = drawn.numpy()
    latents, covers, image, text = (
        torch.from_numpy(np.asarray(part[rows], dtype=np.float32))
        for part in (material.latents, material.covers, material.image_tokens, material.text_tokens)
    )
    image = spoilt(image, material.spectra[0], random, eased(phase.image_faults, phase, progress))
    text = spoilt(text, material.spectra[1], random, eased(phase.text_faults, phase, progress))
    if phase.recalled:
        image, text = material.recall.moved(image, text, drawn, random, phase.recalled)
    nulled = torch.rand(phase.batch, 1, 1, generator=random) < NULLED
    image, text = (
        torch.where(nulled, null, tokens) for null, tokens in zip(material.nulls, (image, text), strict=True)
    )
    return Batch(latents, image, text, 1 + (phase.object_weight - 1) * covers)


@dataclass(frozen=True)
class Diffused:
    """A batch on its way through diffusion: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, and what is to be predicted."""

    noisy: Float[Tensor, "batch channels height width"]
    velocity: Float[Tensor, "batch channels height width"]
    kept: Float[Tensor, "batch 1 1 1"]  # a_t
    t: Int64[Tensor, " batch"]

    @classmethod
    def of(cls, latents: Tensor, schedule: DDPMScheduler, random: torch.Generator) -> Diffused:
        """Noise and times drawn from `random`."""
        t = noise_times(len(latents), random)
        noise = torch.randn(latents.shape, generator=random)
        kept = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return cls(schedule.add_noise(latents, noise, t), schedule.get_velocity(latents, noise, t), kept, t)

    def clean(self, velocity: Tensor) -> Tensor:
        """x_0 that a predicted velocity implies: sqrt(a_t) x_t - sqrt(1 - a_t) v."""
        return self.kept.sqrt() * self.noisy - (1 - self.kept).sqrt() * velocity


def phase_loss(
    phase: Phase, batch: Batch, diffused: Diffused, predicted: Tensor, recogniser: Recogniser
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What a step minimises, and the squared error in it alone.

    The squared error is that of v = sqrt(a_t) eps - sqrt(1 - a_t) x_0; a position weighs 1 + (object_weight - 1) cover,
    cover the share of it that objects fill. To it comes `recognised` times the distance of what the recogniser sees in
    the implied x_0 from what it sees in the true one.
    """
    error = (batch.weight[:, None] * (predicted - diffused.velocity).square()).mean() / batch.weight.mean()
    if not phase.recognised:
        return error, error
    made, true = (
        part.contiguous(memory_format=torch.channels_last) for part in (diffused.clean(predicted), batch.latents)
    )
    with torch.autocast("cpu", torch.bfloat16):
        distance = recogniser.distance(made, true)
    return error + phase.recognised * distance, error


def train_phase(
    checkpoint: Path, unet: nn.Module, material: Material, phase: Phase, budget: Budget, recogniser: Recogniser
) -> None:
    """Train the denoiser through one phase, from `checkpoint` on where it was interrupted."""
    schedule = DDPMScheduler(**SCHEDULER)
    random = torch.Generator()
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    part = Budget(round(budget.steps * phase.share), budget.minutes * phase.share, budget.peak_rate * phase.rate)
    average = None
    for step, bar in run(part, unet, optimizer, checkpoint, f"mini generator, {phase.name}"):
        # a step's draws depend on its number alone: a training that goes on sees new ones, not its first again
        random.manual_seed(1_000_000 * PHASES.index(phase) + step)
        text_share = route(phase, random)
        batch = drawn_batch(material, phase, bar.n / bar.total, text_share, random)
        diffused = Diffused.of(batch.latents, schedule, random)
        # plain attention: for so few positions the backward pass of the fused kernel takes a third of a step on a CPU
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(diffused.noisy, diffused.t, batch.image, batch.text, text_share)
        loss, error = phase_loss(phase, batch, diffused, predicted.float(), recogniser)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average = error.item() if average is None else 0.99 * average + 0.01 * error.item()
        if step % 50 == 0:
            bar.set_postfix_str(f"step {step}, squared error {average:.4f}")


def train(work: Path, *, scenes: int, budget: Budget, seed: int = 0) -> None:
    """Train the denoiser on the first `scenes` of the models' set and write the generator to `assets`.

    The mini CLIP and the autoencoder must be there.
    """
    # world/ stands below the rooms that use its models; the recipe alone reaches up for the classes it trains
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.generation.dual_unet import DualGuidedUNet
    from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

    torch.manual_seed(seed)
    encoder = ClipTokens.mini()
    vae = AutoencoderKL.from_pretrained(ASSETS / "vae", local_files_only=True).eval()
    images, texts = prepare_tokens(work, scenes, encoder.image_tokens, encoder.text_tokens)
    pictures = render_set(MATERIAL_SET, scenes, work / "models_scenes.npy")
    latents = encoded(work / "latents.npy", pictures, lambda part: latents_of(vae, part), "latents")
    unet = DualGuidedUNet(
        UNET,
        image_tokens=images.shape[1:],
        text_tokens=texts.shape[1:],
        position_channels=True,
        position_codes=True,
        whitened_tokens=True,
        fold=FOLD,
    )
    spectra = []
    for kind, tokens in (("image", images), ("text", texts)):
        whitening = unet.whitening[kind].fit(torch.from_numpy(np.asarray(tokens[:WHITENED], dtype=np.float32)))
        spectra.append(Spectrum.of(whitening.mean, whitening.matrix))
    recall = Recall.of(images[:-HELD_OUT], texts[:-HELD_OUT], tuple(spectra))
    covers = covers_of_set(MATERIAL_SET, scenes, latents.shape[-1], work / "covers.npy")
    nulls = encoder.blank_image_tokens(), encoder.empty_text_tokens()
    single = torch.from_numpy(np.flatnonzero(object_counts(MATERIAL_SET, scenes)[:-HELD_OUT] == 1))
    material = Material(latents, covers, images, texts, nulls, tuple(spectra), recall, single)
    labels = categories_of_set(MATERIAL_SET, scenes)
    recogniser = train_recogniser(work / "recogniser.safetensors", latents[:-HELD_OUT], labels[:-HELD_OUT])
    unet.to(memory_format=torch.channels_last)
    for phase in PHASES:
        train_phase(work / f"denoiser_{phase.name}.safetensors", unet, material, phase, budget, recogniser)
    VersatileDiffusion(unet.eval(), vae, SCHEDULER).save(ASSETS, torch.float16)
