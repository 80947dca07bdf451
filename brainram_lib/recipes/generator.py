"""The mini generator's denoiser: Versatile Diffusion's dual-guided U-Net at a small size, trained on scenes.

Remade by `python -m brainram_lib world train-generator`, after the mini CLIP and the autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from brainram_lib import world
from brainram_lib.core.devices import accelerator, in_bfloat16
from brainram_lib.recipes.autoencoder import LATENT_CHANNELS, to_signed
from brainram_lib.recipes.clip import MATERIAL_SET
from brainram_lib.recipes.curriculum import HELD_OUT, PHASES, Batch, Material, Phase, drawn_batch, route
from brainram_lib.recipes.degrade import Spectrum
from brainram_lib.recipes.material import (
    CaptionsOfSet,
    categories_of_set,
    covers_of_set,
    object_counts,
    render_set,
)
from brainram_lib.recipes.recall import Recall
from brainram_lib.recipes.recogniser import BUDGET as RECOGNISER
from brainram_lib.recipes.recogniser import Recogniser, train_recogniser
from brainram_lib.recipes.training import Budget, run

ASSETS = Path(world.__file__).parent / "assets" / "mini_generator"
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
# Examples for the whitening of the tokens.
WHITENED = 12_000
Encode = Callable[[object], Tensor]


def encoded(
    path: Path, items: Sequence | CaptionsOfSet | np.ndarray, encode: Encode, describe: str
) -> Float[np.ndarray, "n ..."]:
    """`encode` applied to all items in chunks, kept in `path` as float16; computed once for a given number of items."""
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
    text_tokens = encoded(work / "text_tokens.npy", CaptionsOfSet(MATERIAL_SET, scenes), texts, "text tokens")
    return image_tokens, text_tokens


@torch.no_grad()
def latents_of(vae: AutoencoderKL, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n c h w"]:
    """Scaled latents of pictures."""
    parts = [vae.encode(part.to(vae.device)).latent_dist.mode().cpu() for part in to_signed(images).split(100)]
    return torch.cat(parts) * vae.config.scaling_factor


def noise_times(batch: int, random: torch.Generator, count: int = 1000) -> Int64[Tensor, " batch"]:
    """Diffusion times of one training step, t = count (1 - u^2) with u uniform: more of the noisy ones.

    There the tokens decide; a little noise can be removed without them, and sampling spends few steps on it.
    """
    uniform = torch.rand(batch, generator=random, device=random.device)
    return (count * (1 - uniform.square())).long().clamp(max=count - 1)


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
        noise = torch.randn(latents.shape, generator=random, device=random.device)
        kept = schedule.alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
        return cls(schedule.add_noise(latents, noise, t), schedule.get_velocity(latents, noise, t), kept, t)

    def to(self, device: torch.device) -> Diffused:
        """The same on a device."""
        return Diffused(*(part.to(device) for part in (self.noisy, self.velocity, self.kept, self.t)))

    def clean(self, velocity: Tensor) -> Tensor:
        """x_0 that a predicted velocity implies: sqrt(a_t) x_t - sqrt(1 - a_t) v."""
        return self.kept.sqrt() * self.noisy - (1 - self.kept).sqrt() * velocity


def phase_loss(
    phase: Phase, batch: Batch, diffused: Diffused, predicted: Tensor, recogniser: Recogniser
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What a step minimises, and the squared error in it alone.

    The squared error is that of v = sqrt(a_t) eps - sqrt(1 - a_t) x_0; a position weighs 1 + (object_weight - 1) cover,
    cover the share of it that objects fill. Added to it is `recognised` times the distance between what the recogniser
    sees in the implied x_0 and in the true one.
    """
    error = (batch.weight[:, None] * (predicted - diffused.velocity).square()).mean() / batch.weight.mean()
    if not phase.recognised:
        return error, error
    made, true = (
        part.contiguous(memory_format=torch.channels_last) for part in (diffused.clean(predicted), batch.latents)
    )
    with in_bfloat16(made.device):
        distance = recogniser.distance(made, true)
    return error + phase.recognised * distance, error


def train_phase(
    checkpoint: Path, unet: nn.Module, material: Material, phase: Phase, budget: Budget, recogniser: Recogniser
) -> None:
    """Train the denoiser through one phase, resuming from `checkpoint` if it was interrupted."""
    schedule, device = DDPMScheduler(**SCHEDULER), next(unet.parameters()).device
    # a GPU would wait for a CPU's draws; the route alone is read by Python, so it is drawn on the CPU
    on_gpu = device.type == "cuda"
    random = torch.Generator(device if on_gpu else "cpu")
    routes = torch.Generator() if on_gpu else random
    number = [one.name for one in PHASES].index(phase.name)
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    part, average = budget.part(phase.share, phase.rate), None
    for step, bar in run(part, unet, optimizer, checkpoint, f"mini generator, {phase.name}"):
        # a step's draws depend on its number alone: a resumed training sees new ones, not its first again
        random.manual_seed(1_000_000 * number + step)
        if on_gpu:
            routes.manual_seed(1_000_000 * number + step)
        text_share = route(phase, routes)
        batch = drawn_batch(material, phase, bar.n / bar.total, text_share, random)
        batch, diffused = batch.to(device), Diffused.of(batch.latents, schedule, random).to(device)
        with in_bfloat16(device), _attention(device):
            predicted = unet(diffused.noisy, diffused.t, batch.image, batch.text, text_share)
        loss, error = phase_loss(phase, batch, diffused, predicted.float(), recogniser)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        error = error.detach()
        average = error if average is None else average.lerp(error, 0.01)
        if step % 50 == 0:
            bar.set_postfix_str(f"step {step}, squared error {average.item():.4f}")


def _attention(device: torch.device) -> AbstractContextManager:
    """Plain attention on a CPU: for so few positions the backward pass of the fused kernel takes a third of a step."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def train(
    work: Path,
    *,
    scenes: int,
    budget: Budget,
    seed: int = 0,
    assets: Path = ASSETS,
    recognised: Budget = RECOGNISER,
    batch_factor: int = 1,
) -> None:
    """Train the denoiser on the first `scenes` of the models' set and write the generator to `assets`.

    The shipped mini CLIP and autoencoder must be there. On a GPU where there is one. `recognised`: the budget of the
    recogniser for the last phase. `batch_factor`: how many times larger batches are than the phases say, for a GPU that
    a small batch leaves idle.

    Raises:
        Paused: `budget.until` has come; the same call goes on.
    """
    # world/ is a layer below the packages that use its models; only the recipe imports from above the classes it trains
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.generation.dual_unet import DualGuidedUNet
    from brainram_lib.generation.versatile_diffusion import VersatileDiffusion

    torch.manual_seed(seed)
    device, encoder = accelerator(), ClipTokens.mini()
    encoder.model.to(device)
    vae = AutoencoderKL.from_pretrained(ASSETS / "vae", local_files_only=True).eval().to(device)
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
    shown = object_counts(MATERIAL_SET, scenes, work / "objects.npy")
    single = torch.from_numpy(np.flatnonzero(shown[:-HELD_OUT] == 1))
    material = Material(latents, covers, images, texts, nulls, tuple(spectra), recall, single)
    if device.type == "cuda":
        material = material.to(device)
    labels = categories_of_set(MATERIAL_SET, scenes, work / "categories.npy")
    recognised = replace(recognised, until=budget.until)
    recogniser = train_recogniser(work / "recogniser.safetensors", latents[:-HELD_OUT], labels[:-HELD_OUT], recognised)
    unet.to(device, memory_format=torch.channels_last)
    for phase in PHASES:
        larger = replace(phase, batch=batch_factor * phase.batch)
        train_phase(work / f"denoiser_{phase.name}.safetensors", unet, material, larger, budget, recogniser)
    VersatileDiffusion(unet.eval(), vae, SCHEDULER).save(assets, torch.float16)
