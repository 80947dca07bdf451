"""Generation: batched with one pass for guidance, beside the published scripts' loop, in one run.

    python benchmarks/bench_generation.py [--model FOLDER] [--pictures 8] [--steps 20] [--repeats 3] [--threads 1]

The loop takes one stimulus at a time and two passes for guidance. Both use the same network, steps and noise, and must
give the same latents within 1e-3. They take turns, and the figure is the median of their ratios, so that a busy machine
slows both alike. Without --model the network is random, of the embedded world's size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.generation.sampling import Guidance, Stimuli, denoise, denoise_reference, noise_for
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion, load_generator

MINI_TOKENS = {"image_tokens": (65, 128), "text_tokens": (24, 128)}
MINI_UNET = {
    "in_channels": 6,
    "out_channels": 6,
    "sample_size": 16,
    "block_out_channels": (64, 96),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
MINI_AUTOENCODER = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 6,
    "norm_num_groups": 8,
}
TEXT_MIX, SCALE = 0.4, 3.5
AGREEMENT = 1e-3


def timed(run: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    """What `run` gives, and the wall time of one call, s."""
    started = time.perf_counter()
    latents = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return latents, time.perf_counter() - started


def routes(
    model: VersatileDiffusion, pictures: int, steps: int, scheduler: str
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The batched way and the loop, on the same random tokens and noise."""
    generator = torch.Generator().manual_seed(0)
    image, text = (random_tokens(model, kind, pictures + 1, generator) for kind in ("image", "text"))
    null_image, null_text = image[-1:], text[-1:]
    noise = noise_for(model, 0, range(pictures)).to(model.device)
    settings = Guidance(null_image, null_text, TEXT_MIX, SCALE, steps, scheduler, 1.0)

    def batched() -> Tensor:
        return denoise(model, Stimuli(image[:-1], text[:-1], noise, None), settings)

    def loop() -> Tensor:
        rows = [slice(row, row + 1) for row in range(pictures)]
        numbers = (TEXT_MIX, SCALE, steps, scheduler)
        return torch.cat(
            [
                denoise_reference(model, (image[row], text[row]), (null_image, null_text), noise[row], numbers)
                for row in rows
            ]
        )

    return batched, loop


def random_tokens(model: VersatileDiffusion, kind: str, count: int, generator: torch.Generator) -> Tensor:
    """Random tokens of the length or, where the network whitens, of the covariance that it was trained with.

    Other tokens would be blown up by whitening, and the network, far from what it knows, would enlarge every rounding.
    """
    tokens, width = getattr(model.unet.config, f"{kind}_tokens")
    drawn = torch.randn(count, tokens, width, generator=generator)
    if model.unet.config.whitened_tokens:
        return model.unet.whitening[kind].restored(drawn)
    return drawn / width**0.5


def compare(model: VersatileDiffusion, pictures: int, steps: int, scheduler: str, repeats: int) -> None:
    """Print pictures per second both ways, the median ratio and the largest difference."""
    batched, loop = routes(model, pictures, steps, scheduler)
    warm, _ = routes(model, pictures, 1, scheduler)
    warm()
    fast, slow, difference = [], [], 0.0
    for _ in tqdm(range(repeats), desc="rounds"):
        ours, seconds = timed(batched, model.device)
        theirs, seconds_loop = timed(loop, model.device)
        fast.append(seconds)
        slow.append(seconds_loop)
        difference = max(difference, (ours - theirs).abs().max().item())
    ratio = statistics.median(second / first for first, second in zip(fast, slow, strict=True))
    print(f"{pictures} pictures, {steps} steps of {scheduler}, {model.device}, {model.dtype}")
    print(f"batched {pictures / statistics.median(fast):.2f} pictures/s, loop {pictures / statistics.median(slow):.2f}")
    print(f"median ratio {ratio:.2f}, largest difference of latents {difference:.1e}")
    if model.dtype == torch.float32 and difference > AGREEMENT:
        raise SystemExit(f"the two ways differ by {difference:.1e}; at most {AGREEMENT} was expected.")


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a generator's folder")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scheduler", default="ddim")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = (
        load_generator(given.model)
        if given.model
        else VersatileDiffusion.random(**MINI_TOKENS, unet_config=MINI_UNET, vae_config=MINI_AUTOENCODER)
    )
    compare(model, given.pictures, given.steps, given.scheduler, given.repeats)


if __name__ == "__main__":
    main()
