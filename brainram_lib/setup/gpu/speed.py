"""How fast the card is: its matrix products, a step of Stage I and of Stage II, and images of Versatile Diffusion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brainram_lib.core.devices import in_bfloat16
from brainram_lib.core.measure import peak_memory
from brainram_lib.generation.sampling import Guidance, Stimuli, denoise, noise_for
from brainram_lib.generation.versatile_diffusion import NotFiniteError, VersatileDiffusion
from brainram_lib.setup.gpu.record import Row
from brainram_lib.setup.gpu.sizes import GpuSizes
from brainram_lib.stage1 import mamba
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples, stage1_loss
from brainram_lib.stage2.fusions import build
from brainram_lib.stage2.training import fusion_loss

TERA, WARM_UP, REPEATS = 1e12, 2, 8
PRECISIONS = ("float32", "bfloat16")
Step = Callable[[], object]


def waited(device: torch.device) -> None:
    """Until the card has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Step, device: torch.device, seconds: float) -> float:
    """Calls a second, after two that warm up."""
    for _ in range(WARM_UP):
        step()
    waited(device)
    started, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - started < seconds:
        step()
        waited(device)
        calls += 1
    return calls / (time.perf_counter() - started)


def matrix_peak(side: int, device: torch.device, precision: str, seconds: float) -> float:
    """Operations a second of products of two side x side matrices, 2 side^3 each: what a network is compared with."""
    a, b = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))

    def step() -> None:
        for _ in range(REPEATS):
            a @ b

    return REPEATS * 2 * side**3 * rate(step, device, seconds)


def peak_rows(sizes: GpuSizes, device: torch.device) -> list[Row]:
    """The card's own peak in both precisions."""
    peaks = {one: matrix_peak(sizes.matrix, device, one, sizes.seconds / 10) for one in PRECISIONS}
    return [
        Row(f"matrix product, {one}", peak / TERA, "TFLOP/s", f"side {sizes.matrix}") for one, peak in peaks.items()
    ]


def step_rows(sizes: GpuSizes, device: torch.device) -> Iterator[list[Row]]:
    """Steps a second, memory and share of the peak: both stages, both modalities, both precisions, both scans."""
    peaks = {one: matrix_peak(sizes.matrix, device, one, sizes.seconds / 10) for one in PRECISIONS}
    kernel = device.type == "cuda" and mamba.fused_scan() is not None
    if not kernel:
        why = mamba.why_no_fused_scan() or "no GPU"
        yield [Row("mamba-ssm's kernel", None, "", f"not measured: {why}")]
    for modality, shape in sizes.shapes.items():
        for precision in PRECISIONS:
            for scan in ("mamba-ssm", "plain scan") if kernel else ("plain scan",):
                # `scan_for` asks this function for the kernel
                hidden = mock.patch.object(mamba, "fused_scan", lambda: None) if scan == "plain scan" else nullcontext()
                with hidden:
                    what = f"Stage I, {modality}, {precision}, {scan}"
                    yield _step_rows(what, _stage1(sizes, shape, device, precision), sizes, device, peaks[precision])
            what = f"Stage II, {modality}, {precision}"
            yield _step_rows(what, _stage2(sizes, shape, device, precision), sizes, device, peaks[precision])


def _step_rows(
    what: str, made: Callable[[], tuple[Step, int]], sizes: GpuSizes, device: torch.device, peak: float
) -> list[Row]:
    """Rate, memory and share of one kind of step; one that does not fit says so."""
    try:
        with peak_memory() as most:
            step, batch = made()
            with FlopCounterMode(display=False) as counted:
                step()
            found = rate(step, device, sizes.seconds)
    except torch.OutOfMemoryError as problem:
        return [Row(what, None, "steps/s", f"does not fit: {str(problem)[:120]}")]
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    share = counted.get_total_flops() * found / peak
    held = most.memory if most.gpu is None else most.gpu
    place = "of the process" if most.gpu is None else "of the card"
    return [
        Row(what, found, "steps/s", f"batch {batch}"),
        Row(f"{what}, memory", held, "GiB", f"most {place}"),
        Row(f"{what}, of the peak", share, "", "counted: matrix products, attention and convolutions outside kernels"),
    ]


def _stage1(
    sizes: GpuSizes, shape: tuple[int, int], device: torch.device, precision: str
) -> Callable[[], tuple[Step, int]]:
    """A step of eq. 6 on random betas and tokens."""

    def made() -> tuple[Step, int]:
        settings, random = sizes.profile.stage1, torch.Generator().manual_seed(0)
        prior = Prior(settings, sizes.voxels, *shape).to(device).train()
        drawn = [torch.randn(settings.batch, *one, generator=random) for one in ((sizes.voxels,), shape)]
        batch = Examples(drawn[0].to(device), None, drawn[1].to(device))
        return _learning(prior, lambda: stage1_loss(prior, batch, random)[0], device, precision), settings.batch

    return made


def _stage2(
    sizes: GpuSizes, shape: tuple[int, int], device: torch.device, precision: str
) -> Callable[[], tuple[Step, int]]:
    """A step of eq. 12 on random tokens."""

    def made() -> tuple[Step, int]:
        settings, k = sizes.profile.stage2, sizes.profile.retrieval.neighbours
        fusion, random = build(settings, k, *shape).to(device).train(), torch.Generator().manual_seed(0)
        shapes = (shape, (k, *shape), shape)
        p, c, goal = (torch.randn(settings.batch, *one, generator=random).to(device) for one in shapes)
        return _learning(fusion, lambda: fusion_loss(fusion, settings, p, c, None, goal)[0], device, precision), len(p)

    return made


def _learning(network: nn.Module, loss: Callable[[], Tensor], device: torch.device, precision: str) -> Step:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        with in_bfloat16(device) if precision == "bfloat16" else nullcontext():
            found = loss()
        found.backward()
        optimizer.step()

    return step


def generation_rows(sizes: GpuSizes, device: torch.device, until: float) -> list[Row]:
    """Images a second of Versatile Diffusion with random weights; as many of the stimuli's as `until` allows."""
    settings, half = sizes.profile.generation, torch.float16 if device.type == "cuda" else torch.float32
    model = VersatileDiffusion.random(*sizes.shapes.values(), unet_config=sizes.unet, vae_config=sizes.vae)
    model.to(device, half)
    random, count = torch.Generator().manual_seed(0), sizes.stimuli * sizes.samples
    nulls = [torch.randn(1, *shape, generator=random) for shape in sizes.shapes.values()]
    guidance = Guidance(*nulls, settings.text_mix, settings.guidance_scale, settings.steps, settings.scheduler, 1.0)
    spent, made, broken = {"denoise": 0.0, "decode": 0.0}, 0, 0
    with peak_memory() as most:
        # the first batch warms up
        for first in range(-settings.batch, count, settings.batch):
            if made and time.time() > until:
                break
            size = settings.batch if first < 0 else min(settings.batch, count - first)
            tokens = [torch.randn(size, *shape, generator=random) for shape in sizes.shapes.values()]
            noise = noise_for(model, first + settings.batch, range(size)).to(device)
            latents, denoised = _timed(lambda t=tokens, n=noise: denoise(model, Stimuli(*t, n, None), guidance), device)
            _, decoded = _timed(lambda x=latents: _decoded(model, x), device)
            broken += int(not torch.isfinite(latents).all())
            if first >= 0:
                made += size
                spent = {"denoise": spent["denoise"] + denoised, "decode": spent["decode"] + decoded}
    side = 2 ** (len(sizes.vae["block_out_channels"]) - 1) * model.latent_shape[-1]
    how = f"{side} x {side}, {settings.steps} steps of {settings.scheduler}, {half}, batch {settings.batch}"
    not_finite = f"; {broken} batches of random weights were not finite" if broken else ""
    held = most.memory if most.gpu is None else most.gpu
    return [
        Row("images", made, "", f"of {sizes.samples} samples of {sizes.stimuli} stimuli{not_finite}"),
        Row("images a second", made / sum(spent.values()), "1/s", how),
        Row("of it decoding", spent["decode"] / sum(spent.values()), "", "share of the time"),
        Row("memory", held, "GiB", "most of the process" if most.gpu is None else "most of the card"),
    ]


def _decoded(model: VersatileDiffusion, latents: Tensor) -> None:
    """Decoding takes its time whether or not random weights overflow."""
    try:
        model.decode(latents)
    except NotFiniteError:
        pass


def _timed(work: Callable[[], Tensor | None], device: torch.device) -> tuple[Tensor | None, float]:
    started = time.perf_counter()
    found = work()
    waited(device)
    return found, time.perf_counter() - started
