"""What each stage of the profile `paper` needs on one subject of NSD, counted from shapes; nothing is computed.

    python benchmarks/bench_sizes.py [--voxels 15724] [--rate 30]

Networks are built without memory (meta tensors) at their true sizes. A training step's memory is weights, gradients and
AdamW's two moments (16 bytes a weight), what autograd keeps of the forward pass and, in Stage II, the batch's tokens;
attention is counted with its matrix, which fused kernels do not keep. Operations are torch's own count of
multiplications and additions of matrix products and convolutions; a training step is taken as three forward passes.
Times are operations over `--rate`, the TFLOP/s that a card sustains: an assumption. Nothing here was measured on a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import open_clip
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from brainram_lib.generation.checkpoint import AUTOENCODER, IMAGE_UNET
from brainram_lib.generation.dual_unet import DualGuidedUNet
from brainram_lib.profiles import PAPER, Profile
from brainram_lib.stage1 import mamba
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage2.ram import Ram

GB, TERA, HOUR = 1e9, 1e12, 3600
TRAIN_IMAGES, TEST_IMAGES = 8_859, 982  # 37 sessions (paper, 4.2)
BYTES_OF_A_TRAINED_WEIGHT = 16
# BrainRAM with and without RAM generate from every sample of the prior, ridge as often; the ceiling generates once.
GENERATED_AS_SAMPLES, GENERATED_ONCE = 3, 1


@dataclass(frozen=True)
class Need:
    """One row: device memory in bytes, operations in all."""

    stage: str
    memory: float
    operations: float
    note: str


class KernelScan(torch.autograd.Function):
    """What mamba-ssm's kernel keeps: its inputs, and none of the hidden states."""

    @staticmethod
    def forward(ctx, *inputs: Tensor) -> Tensor:
        """The shape of the output; no number is wanted."""
        ctx.save_for_backward(*inputs)
        return torch.empty_like(inputs[0])


def counted(module: nn.Module, forward: Callable[[], object]) -> tuple[float, float]:
    """(operations, bytes kept for the backward pass) of one forward pass, the module's own weights left out."""
    own = {weight.untyped_storage()._cdata for weight in module.state_dict().values()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FlopCounterMode(display=False) as count:
        forward()
    return count.get_total_flops(), sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def weights_of(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(weight.numel() for weight in module.parameters())


def stage1(profile: Profile, modality: str, shape: tuple[int, int], voxels: int) -> list[Need]:
    """Training one prior, with the plain scan and with the kernel, and sampling from it."""
    settings, fit = profile.stage1, TRAIN_IMAGES - profile.split.validation
    prior, betas = Prior(settings, voxels, *shape), torch.empty(settings.batch, voxels)
    # one batch of betas as they are, one of mixed betas
    _, plain = counted(prior, lambda: prior.condition(betas, None))
    with mock.patch.object(mamba, "selective_scan", KernelScan.apply):
        projecting, kernel = counted(prior, lambda: prior.condition(betas, None))
    both = torch.empty(2 * settings.batch, *shape)
    times = torch.empty(len(both))
    denoising, network = counted(prior, lambda: prior.network(both, times, both))
    held = BYTES_OF_A_TRAINED_WEIGHT * weights_of(prior)
    operations = 3 * (2 * projecting + denoising) * (fit // settings.batch) * settings.epochs
    passes = (TRAIN_IMAGES + TEST_IMAGES) * profile.sampling.samples * profile.sampling.steps
    note = f"{weights_of(prior) / 1e6:.0f} M weights, batch {settings.batch}, {settings.epochs} epochs"
    return [
        Need(f"Stage I, {modality}, plain scan", held + 2 * plain + network, operations, note),
        Need(f"Stage I, {modality}, mamba-ssm", held + 2 * kernel + network, operations, note),
        Need(
            f"samples, {modality}",
            4 * weights_of(prior),
            denoising / len(both) * passes,
            f"{passes / 1e6:.1f} M passes",
        ),
    ]


def stage2(profile: Profile, modality: str, shape: tuple[int, int]) -> Need:
    """Training one RAM."""
    settings, k = profile.stage2, profile.retrieval.neighbours
    ram, p = Ram(settings, k, *shape), torch.empty(settings.batch, *shape)
    operations, kept = counted(ram, lambda: ram(p, torch.empty(settings.batch, k, *shape)))
    steps = -(-(TRAIN_IMAGES - profile.split.validation) // settings.batch)
    # p, its neighbours and the target come to the device in single precision
    batch = 4 * p.numel() * (k + 2)
    memory = BYTES_OF_A_TRAINED_WEIGHT * weights_of(ram) + kept + batch
    note = f"{weights_of(ram) / 1e6:.1f} M weights, batch {settings.batch}, {settings.epochs} epochs"
    return Need(f"Stage II, {modality}", memory, 3 * operations * steps * settings.epochs, note)


def generation(profile: Profile, shapes: dict[str, tuple[int, int]]) -> Need:
    """Generating the test images of every system in half precision, with guidance."""
    settings = profile.generation
    unet = DualGuidedUNet(IMAGE_UNET, image_tokens=shapes["image"], text_tokens=shapes["text"]).requires_grad_(False)
    vae = AutoencoderKL(**AUTOENCODER).requires_grad_(False)
    latents = torch.empty(1, IMAGE_UNET["in_channels"], *[IMAGE_UNET["sample_size"]] * 2)
    tokens = [torch.empty(1, *shapes[modality]) for modality in ("image", "text")]
    one, _ = counted(unet, lambda: unet(latents, torch.empty((), dtype=torch.int64), *tokens, settings.text_mix))
    decode, _ = counted(vae, lambda: vae.decode(latents))
    pictures = TEST_IMAGES * (GENERATED_AS_SAMPLES * profile.sampling.samples + GENERATED_ONCE)
    passes = settings.steps * (1 if settings.guidance_scale == 1 else 2)
    note = f"{pictures:,} pictures, {passes} passes of {one / TERA:.2f} TFLOP and one decoding of {decode / TERA:.2f}"
    memory = 2 * (weights_of(unet) + weights_of(vae))
    return Need("generation (weights alone)", memory, pictures * (passes * one + decode), note)


def needs(profile: Profile, voxels: int) -> list[Need]:
    """Every stage's row."""
    config = open_clip.get_model_config(profile.encoder)
    vision, width = config["vision_cfg"], config["embed_dim"]
    counts = {"image": 1 + (vision["image_size"] // vision["patch_size"]) ** 2}
    counts["text"] = config["text_cfg"]["context_length"]
    shapes = {modality: (count, width) for modality, count in counts.items()}
    rows = []
    with torch.device("meta"):
        for modality in tqdm(shapes, desc="count", unit="modality"):
            rows += [*stage1(profile, modality, shapes[modality], voxels), stage2(profile, modality, shapes[modality])]
        return [*rows, generation(profile, shapes)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=15_724, help="of nsdgeneral; default: subject 1's")
    parser.add_argument("--rate", type=float, default=30.0, help="TFLOP/s sustained, assumed; default: 30")
    given = parser.parse_args()
    print("| stage | device memory, GB | PFLOP | hours | from |\n|---|---|---|---|---|")
    for row in needs(PAPER, given.voxels):
        hours = row.operations / (given.rate * TERA) / HOUR
        petaflop = row.operations / 1e15
        print(f"| {row.stage} | {row.memory / GB:.1f} | {petaflop:.0f} | {hours:.1f} | {row.note} |")


if __name__ == "__main__":
    main()
