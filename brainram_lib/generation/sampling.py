"""Pictures from tokens: our own sampling loop on diffusers' schedulers.

The brain's estimates are tokens, so nothing here encodes prompts. Guidance as in Versatile Diffusion's pipeline:

    prediction = unconditional + scale (conditional - unconditional),

all in one pass. Two images may guide together, each by a prediction of its own (Liu et al. 2022, composed diffusion):

    conditional = (1 - a) conditional(image, text) + a conditional(second image, text).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.generation.dual_unet import settings_of
from brainram_lib.generation.versatile_diffusion import NotFiniteError, VersatileDiffusion

# ddim is Versatile Diffusion's own; dpm++ and unipc need fewer steps
SCHEDULERS = {
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
Seeds = int | Sequence[int | tuple[int, ...]]


@dataclass(frozen=True)
class Stimuli:
    """One row for each picture to make."""

    image_tokens: Float[Tensor, "n image_tokens image_width"]
    text_tokens: Float[Tensor, "n text_tokens text_width"]
    noise: Float[Tensor, "n channels h w"]
    start: Float[Tensor, "n channels h w"] | None
    second_image_tokens: Float[Tensor, "n image_tokens image_width"] | None = None


@dataclass(frozen=True)
class Guidance:
    """How the tokens guide, and how long."""

    null_image: Float[Tensor, "1 image_tokens image_width"]
    null_text: Float[Tensor, "1 text_tokens text_width"]
    text_mix: float
    scale: float
    steps: int
    scheduler: str
    strength: float
    second_share: float = 0.0


def generate(
    model: VersatileDiffusion,
    image_tokens: Float[Tensor, "n image_tokens image_width"],
    text_tokens: Float[Tensor, "_ text_tokens text_width"],
    *,
    null_image_tokens: Float[Tensor, "1 image_tokens image_width"],
    null_text_tokens: Float[Tensor, "1 text_tokens text_width"],
    second_image_tokens: Float[Tensor, "_ image_tokens image_width"] | None = None,
    second_share: float = 0.5,
    text_mix: float = 0.5,
    guidance_scale: float = 7.5,
    steps: int = 20,
    scheduler: str = "unipc",
    start_images: UInt8[np.ndarray, "n height width 3"] | None = None,
    strength: float = 1.0,
    seed: Seeds = 0,
    batch_size: int = 16,
    label: str = "generate",
    bar: tqdm | None = None,
) -> UInt8[np.ndarray, "n height width 3"]:
    """One picture for each row of tokens.

    Args:
        model: the generator.
        image_tokens: image guidance.
        text_tokens: text guidance.
        null_image_tokens: tokens of 'no image' (Versatile Diffusion: of a blank picture).
        null_text_tokens: tokens of 'no text' (of the empty caption).
        second_image_tokens: a second image's, which guides beside the first.
        second_share: a, the share of the prediction that it guides, 0 to 1.
        text_mix: the text's share of the guidance, 0 to 1.
        guidance_scale: 1 is the conditional prediction alone, in half the time.
        steps: of the scheduler, before `strength` leaves out the first of them.
        scheduler: ddim, dpm++ or unipc.
        start_images: pictures to start from instead of noise, of the size the generator makes.
        strength: 0 to 1, the share of the steps that a start image goes through: 1 hardly keeps it, 0 returns it.
        seed: one number for the whole call (row i draws from it and i), or one or several for each row: (7, i) gives
            what row i draws where the whole call has 7. Batches have no influence.
        batch_size: pictures at a time.
        label: of the progress bar.
        bar: a caller's own progress bar, which counts images, instead of one for this call.

    Raises:
        ValueError: a number out of its range, an unknown scheduler, or rows that do not match.
    """
    settings = Guidance(
        null_image_tokens, null_text_tokens, text_mix, guidance_scale, steps, scheduler, strength, second_share
    )
    _check(settings, image_tokens, text_tokens, second_image_tokens, start_images, seed, batch_size)
    pictures = []
    own = tqdm(total=len(image_tokens), desc=label, unit="picture") if bar is None else nullcontext(bar)
    with own as shown:
        for first in range(0, len(image_tokens), batch_size):
            rows = slice(first, first + batch_size)
            started = None if start_images is None else start_images[rows]
            second = None if second_image_tokens is None else second_image_tokens[rows]
            stimuli = _stimuli(model, image_tokens, text_tokens, second, started, seed, rows)
            try:
                pictures.append(model.decode(denoise(model, stimuli, settings)))
            except NotFiniteError as problem:
                raise NotFiniteError(first + problem.row) from None
            shown.update(len(pictures[-1]))
    return np.concatenate(pictures)


@torch.no_grad()
def denoise(model: VersatileDiffusion, stimuli: Stimuli, settings: Guidance) -> Float[Tensor, "n channels h w"]:
    """Latents of one batch, all predictions of a step in a single pass."""
    image_tokens, text_tokens, gains = _routes(stimuli, settings)
    image_tokens, text_tokens = (tokens.to(model.device, model.dtype) for tokens in (image_tokens, text_tokens))
    stepper, times, latents = _start(model, stimuli, settings)
    for time in times:
        seen = stepper.scale_model_input(torch.cat([latents] * (1 + len(gains))), time).to(model.dtype)
        predicted = model.unet(seen, time, image_tokens, text_tokens, settings.text_mix).float()
        base, *others = predicted.chunk(1 + len(gains))
        predicted = base + sum(gain * (other - base) for gain, other in zip(gains, others, strict=True))
        latents = stepper.step(predicted, time, latents, return_dict=False)[0]
    return latents


def _routes(
    stimuli: Stimuli, settings: Guidance
) -> tuple[Float[Tensor, "m image_tokens image_width"], Float[Tensor, "m text_tokens text_width"], list[float]]:
    """The conditions of a step's predictions, stacked, and the gain of each later one's difference from the first."""
    images, shares = [stimuli.image_tokens], [1.0]
    if stimuli.second_image_tokens is not None and settings.second_share:
        images, shares = [*images, stimuli.second_image_tokens], [1 - settings.second_share, settings.second_share]
    texts = [stimuli.text_tokens] * len(images)
    if settings.scale == 1:
        return torch.cat(images), torch.cat(texts), shares[1:]
    images = [settings.null_image.expand_as(stimuli.image_tokens), *images]
    texts = [settings.null_text.expand_as(stimuli.text_tokens), *texts]
    return torch.cat(images), torch.cat(texts), [settings.scale * share for share in shares]


def generate_reference(
    model: VersatileDiffusion,
    image_tokens: Float[Tensor, "n image_tokens image_width"],
    text_tokens: Float[Tensor, "_ text_tokens text_width"],
    *,
    null_image_tokens: Float[Tensor, "1 image_tokens image_width"],
    null_text_tokens: Float[Tensor, "1 text_tokens text_width"],
    text_mix: float = 0.5,
    guidance_scale: float = 7.5,
    steps: int = 20,
    scheduler: str = "unipc",
    seed: Seeds = 0,
) -> UInt8[np.ndarray, "n height width 3"]:
    """`generate` as published research scripts run it: one stimulus at a time, two passes for guidance."""
    pictures = []
    for row in tqdm(range(len(image_tokens)), desc="generate, one at a time", unit="picture"):
        latents = denoise_reference(
            model,
            (image_tokens[row : row + 1], text_tokens[row : row + 1]),
            (null_image_tokens, null_text_tokens),
            noise_for(model, seed, range(row, row + 1)),
            (text_mix, guidance_scale, steps, scheduler),
        )
        pictures.append(model.decode(latents))
    return np.concatenate(pictures)


@torch.no_grad()
def denoise_reference(
    model: VersatileDiffusion,
    tokens: tuple[Tensor, Tensor],
    null_tokens: tuple[Tensor, Tensor],
    noise: Float[Tensor, "1 channels h w"],
    settings: tuple[float, float, int, str],
    second: tuple[Tensor, float] | None = None,
) -> Float[Tensor, "1 channels h w"]:
    """Latents of one stimulus: a pass for every prediction; `second` are a second image's tokens and their share."""
    text_mix, scale, steps, name = settings
    stepper = make_scheduler(model, name)
    stepper.set_timesteps(steps, device=model.device)
    latents = noise.to(model.device) * stepper.init_noise_sigma
    for time in stepper.timesteps:
        seen = stepper.scale_model_input(latents, time).to(model.dtype)
        passes = [
            model.unet(seen, time, *(part.to(model.device, model.dtype) for part in route), text_mix).float()
            for route in (null_tokens, tokens, *([] if second is None else [(second[0], tokens[1])]))
        ]
        given = passes[1] if second is None else (1 - second[1]) * passes[1] + second[1] * passes[2]
        predicted = passes[0] + scale * (given - passes[0])
        latents = stepper.step(predicted, time, latents, return_dict=False)[0]
    return latents


def make_scheduler(model: VersatileDiffusion, name: str) -> Any:
    """A fresh scheduler with the model's schedule of noise.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"'scheduler' must be one of {', '.join(SCHEDULERS)}. '{name}' was provided.")
    # diffusers' DDIM clips its estimate to [-1, 1] unless told otherwise: right for pixels, wrong for latents
    return SCHEDULERS[name].from_config({**settings_of(model.scheduler_config), "clip_sample": False})


def noise_for(model: VersatileDiffusion, seed: Seeds, rows: range) -> Float[Tensor, "n channels h w"]:
    """Each row's own noise, drawn on the CPU: the same on every machine and in every batch."""
    drawn = []
    for row in rows:
        mixed = np.random.SeedSequence([seed, row] if isinstance(seed, int) else seed[row])
        generator = torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))
        drawn.append(torch.randn(model.latent_shape, generator=generator))
    return torch.stack(drawn)


def _stimuli(
    model: VersatileDiffusion,
    image_tokens: Tensor,
    text_tokens: Tensor,
    second: Tensor | None,
    start_images: np.ndarray | None,
    seed: Seeds,
    rows: slice,
) -> Stimuli:
    noise = noise_for(model, seed, range(rows.start, min(rows.stop, len(image_tokens))))
    start = None if start_images is None else model.encode(start_images)
    return Stimuli(image_tokens[rows], text_tokens[rows], noise.to(model.device), start, second)


def _start(model: VersatileDiffusion, stimuli: Stimuli, settings: Guidance) -> tuple[Any, Tensor, Tensor]:
    """The scheduler, the timesteps that are left, and the latents to begin with."""
    stepper = make_scheduler(model, settings.scheduler)
    stepper.set_timesteps(settings.steps, device=model.device)
    if stimuli.start is None:
        return stepper, stepper.timesteps, stimuli.noise * stepper.init_noise_sigma
    left_out = settings.steps - round(settings.steps * settings.strength)
    times = stepper.timesteps[left_out:]
    if len(times) == 0:
        return stepper, times, stimuli.start
    if hasattr(stepper, "set_begin_index"):
        stepper.set_begin_index(left_out)
    return stepper, times, stepper.add_noise(stimuli.start, stimuli.noise, times[:1].expand(len(stimuli.start)))


def _check(
    settings: Guidance,
    image_tokens: Tensor,
    text_tokens: Tensor,
    second: Tensor | None,
    start_images: np.ndarray | None,
    seed: Seeds,
    batch_size: int,
) -> None:
    if len(image_tokens) != len(text_tokens) or len(image_tokens) == 0:
        raise ValueError(
            f"image and text tokens must have a row for each picture, got {len(image_tokens)} and {len(text_tokens)}."
        )
    counts = {
        "second image tokens": second,
        "start images": start_images,
        "seeds": None if isinstance(seed, int) else seed,
    }
    for name, given in counts.items():
        if given is not None and len(given) != len(image_tokens):
            raise ValueError(f"one of the {name} for each of {len(image_tokens)} pictures is needed, got {len(given)}.")
    for name, value in {"strength": settings.strength, "second_share": settings.second_share}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}.")
    if settings.strength < 1 and start_images is None:
        raise ValueError(
            f"strength {settings.strength} needs start images; hand in start_images or leave strength at 1."
        )
    if settings.steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {settings.steps} and {batch_size}.")
