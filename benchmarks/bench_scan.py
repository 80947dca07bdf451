"""The selective scan of a Mamba block, forward and backward: its gradient written out, beside autograd's, in one run.

    python benchmarks/bench_scan.py [--batch 64] [--channels 128] [--state 16] [--tokens 65] [--repeats 5] [--threads 1]

The alternative is the same recurrence, decays and drives computed at once for all tokens, its gradient left to
autograd. They take turns, and the figure is the median of their ratios. Outputs and gradients must agree within 1e-4.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus
from tqdm.auto import tqdm

from brainram_lib.stage1.mamba import selective_scan

AGREEMENT = 1e-4


def autograd_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t;  y_t = C_t h_t + D u_t, in plain operations."""
    decays = torch.exp(torch.einsum("bel,en->lben", delta, a)).unbind(0)
    drives = torch.einsum("bel,bnl,bel->lben", delta, b, u).unbind(0)
    hidden, outputs = torch.zeros_like(drives[0]), []
    for decay, drive, reader in zip(decays, drives, c.permute(2, 0, 1).unbind(0), strict=True):
        hidden = decay * hidden + drive
        outputs.append(torch.einsum("ben,bn->be", hidden, reader))
    return torch.stack(outputs, dim=2) + d[:, None] * u


def random_inputs(batch: int, channels: int, state: int, tokens: int) -> list[Tensor]:
    """u, delta, A, B, C, D with signs and sizes as in a Mamba block."""
    torch.manual_seed(0)
    u, delta = torch.randn(2, batch, channels, tokens)
    b, c = torch.randn(2, batch, state, tokens)
    a = -torch.arange(1.0, state + 1).repeat(channels, 1)
    inputs = [u, softplus(delta - 3), a, b, c, torch.ones(channels)]
    return [rows.detach().requires_grad_() for rows in inputs]


def timed(scan: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[list[Tensor], float]:
    """[output, gradients...] of the mean square of the output, and the wall time, s."""
    started = time.perf_counter()
    output = scan(*inputs)
    gradients = torch.autograd.grad(output.square().mean(), inputs)
    return [output.detach(), *gradients], time.perf_counter() - started


def main() -> None:
    """Compare, then print the median times and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (("batch", 64), ("channels", 128), ("state", 16), ("tokens", 65), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=size, help=f"default: {size}")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    inputs = random_inputs(given.batch, given.channels, given.state, given.tokens)
    for ours, theirs in zip(timed(selective_scan, inputs)[0], timed(autograd_scan, inputs)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=AGREEMENT, atol=AGREEMENT)
    pairs = [
        (timed(autograd_scan, inputs)[1], timed(selective_scan, inputs)[1])
        for _ in tqdm(range(given.repeats), desc="pairs")
    ]
    plain, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"forward and backward, (batch, channels, state, tokens) = "
        f"({given.batch}, {given.channels}, {given.state}, {given.tokens}), {given.threads} thread(s): autograd "
        f"{plain:.3f} s, written out {ours:.3f} s, {ratio:.1f} times faster (median of {given.repeats} ratios)"
    )


if __name__ == "__main__":
    main()
