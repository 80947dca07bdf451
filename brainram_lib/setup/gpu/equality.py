"""Does the card compute what the CPU computes? Tokens, priors, fusions, the generator; in float32 and bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brainram_lib.additions import METHODS
from brainram_lib.core.devices import in_bfloat16, seeded
from brainram_lib.encoders import ClipTokens
from brainram_lib.generation.sampling import Guidance, Stimuli, denoise, noise_for
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion
from brainram_lib.pipeline.weights import GeneratorWeights
from brainram_lib.profiles import MINI, with_method
from brainram_lib.recipes.report import Scenes
from brainram_lib.setup.gpu.record import Row
from brainram_lib.setup.gpu.sizes import GpuSizes
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage2.fusions import build
from brainram_lib.stage2.settings import EVIDENCE_FUSIONS

# Of the largest value, how far two devices may lie apart.
LIMITS = {"float32": 2e-3, "bfloat16": 5e-2}
VOXELS, NEIGHBOURS, STEPS = 300, 4, 4
Work = Callable[[torch.device], Tensor]


def equality_rows(sizes: GpuSizes, device: torch.device) -> list[Row]:
    """One row for each piece of work and precision: the largest difference over the largest value."""
    scenes, encoder = Scenes.of(sizes.equal), ClipTokens.mini()
    tokens = {"image": encoder.image_tokens(scenes.pictures), "text": encoder.text_tokens(scenes.captions)}
    pieces: dict[str, Work] = {
        "mini CLIP, image tokens": lambda at: _encoded(encoder, at, lambda: encoder.image_tokens(scenes.pictures)),
        "mini CLIP, text tokens": lambda at: _encoded(encoder, at, lambda: encoder.text_tokens(scenes.captions)),
        "mini generator, latents": _generated(tokens),
    }
    for method in METHODS:
        pieces |= _networks(method, tokens["image"])
    rows = []
    for name, work in pieces.items():
        there = work(torch.device("cpu"))
        for precision in LIMITS:
            with in_bfloat16(device) if precision == "bfloat16" else _no_tf32():
                found = work(device)
            rows.append(_row(f"{name}, {precision}", there, found, LIMITS[precision]))
    return rows


def _no_tf32() -> AbstractContextManager:
    """Convolutions in full single precision, as on the CPU; by default a card rounds their inputs to 10 bits."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _row(what: str, there: Float[Tensor, ...], here: Float[Tensor, ...], limit: float) -> Row:
    there, here = there.float().cpu(), here.float().cpu()
    apart = float((there - here).abs().max() / there.abs().max())
    # written so that NaN is outside
    return Row(what, apart, "of the largest", f"{'within' if apart <= limit else 'OUTSIDE'} {limit}")


def _encoded(encoder: ClipTokens, device: torch.device, encode: Callable[[], Tensor]) -> Tensor:
    encoder.model.to(device)
    try:
        return encode()
    finally:
        encoder.model.cpu()


def _networks(method: str, tokens: Float[Tensor, "n tokens width"]) -> dict[str, Work]:
    """A prior's sample and mean and, where it asks for no evidence, a fusion's p + q, of random weights."""
    profile = with_method(MINI, method)
    with seeded(0):
        prior = Prior(profile.stage1, VOXELS, *tokens.shape[1:]).eval()
        fusion = build(profile.stage2, NEIGHBOURS, *tokens.shape[1:]).eval()
        betas, c = torch.randn(len(tokens), VOXELS), torch.randn(len(tokens), NEIGHBOURS, *tokens.shape[1:])
        _filled(prior), _filled(fusion)
    linear = tokens if profile.stage1.projector.linear_path else None
    found: dict[str, Work] = {
        f"{method}, prior, mean": lambda at: prior.to(at).predict(betas, linear),
        f"{method}, prior, {STEPS} steps": lambda at: prior.to(at).sample(betas, linear, 0, STEPS),
    }
    if profile.stage2.fusion not in EVIDENCE_FUSIONS:

        @torch.no_grad()
        def refined(at: torch.device) -> Tensor:
            return tokens.to(at) + fusion.to(at)(tokens.to(at), c.to(at))[0]

        found[f"{method}, fusion, p + q"] = refined
    return found


def _filled(module: nn.Module) -> None:
    """Values where a fresh network has zeros, so that every path counts."""
    for weight in module.parameters():
        if not weight.detach().any():
            nn.init.normal_(weight, std=0.02)


def _generated(tokens: dict[str, Tensor]) -> Work:
    folder = GeneratorWeights(MINI.generation.checkpoint).folder
    model = VersatileDiffusion.load(folder)
    nulls = [torch.zeros_like(tokens[modality][:1]) for modality in ("image", "text")]
    settings = Guidance(*nulls, MINI.generation.text_mix, MINI.generation.guidance_scale, STEPS, "ddim", 1.0)

    def work(at: torch.device) -> Tensor:
        noise = noise_for(model.to(at), 0, range(len(tokens["image"]))).to(at)
        return denoise(model, Stimuli(tokens["image"], tokens["text"], noise, None), settings)

    return work


def outside(rows: list[Row]) -> list[str]:
    """What differs by more than its limit."""
    return [row.what for row in rows if row.note.startswith("OUTSIDE") or not np.isfinite(row.value)]
