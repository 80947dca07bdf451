"""The Mamba block (selective state space model), in plain PyTorch, over the token axis (paper, section 3.2).

Parameters carry the names and shapes of `mamba_ssm.Mamba`, so its weights load here and ours load there; on a GPU
with mamba-ssm's compiled part installed the scan runs through its kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def selective_scan_reference(
    u: Float[Tensor, "batch channels length"],
    delta: Float[Tensor, "batch channels length"],
    a: Float[Tensor, "channels state"],
    b: Float[Tensor, "batch state length"],
    c: Float[Tensor, "batch state length"],
    d: Float[Tensor, " channels"],
) -> Float[Tensor, "batch channels length"]:
    """The recurrence as written: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t;  y_t = C_t h_t + D u_t."""
    batch, channels, length = u.shape
    outputs = torch.zeros_like(u)
    for row in range(batch):
        hidden = torch.zeros(channels, a.shape[1], dtype=u.dtype)
        for t in range(length):
            decay = torch.exp(delta[row, :, t, None] * a)
            hidden = decay * hidden + delta[row, :, t, None] * b[row, :, t] * u[row, :, t, None]
            outputs[row, :, t] = hidden @ c[row, :, t] + d * u[row, :, t]
    return outputs


def selective_scan(
    u: Float[Tensor, "batch channels length"],
    delta: Float[Tensor, "batch channels length"],
    a: Float[Tensor, "channels state"],
    b: Float[Tensor, "batch state length"],
    c: Float[Tensor, "batch state length"],
    d: Float[Tensor, " channels"],
) -> Float[Tensor, "batch channels length"]:
    """The same recurrence for a whole batch, step by step, with its gradient written out.

    With autograd, decays, drives and their gradients are (batch, channels, state, length) tensors that pass through
    memory a dozen times; a single step of them fits in the cache.
    """
    return _Scan.apply(u, delta, a, b, c) + d[:, None] * u


class _Scan(torch.autograd.Function):
    """y_t = C_t h_t, keeping all h_t for the gradient. Decays exp(delta_t A) are recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        u, delta, b, c = (rows.permute(2, 0, 1).contiguous() for rows in (u, delta, b, c))
        length, batch, channels = u.shape
        learns = any(ctx.needs_input_grad)
        states = u.new_empty(length if learns else 1, batch, channels, a.shape[1])
        hidden, outputs = torch.zeros_like(states[0]), torch.empty_like(u)
        for t in range(length):
            decay = torch.mul(delta[t, ..., None], a).exp_()
            drive = (delta[t] * u[t])[..., None] * b[t, :, None]
            hidden = torch.addcmul(drive, decay, hidden, out=states[t if learns else 0])
            outputs[t] = torch.bmm(hidden, c[t, ..., None])[..., 0]
        ctx.save_for_backward(u, delta, a, b, c, states)
        return outputs.permute(1, 2, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_outputs: Tensor) -> tuple[Tensor, ...]:
        u, delta, a, b, c, states = ctx.saved_tensors
        to_outputs = to_outputs.permute(2, 0, 1).contiguous()
        to_u, to_delta, to_a, to_b, to_c = (torch.zeros_like(rows) for rows in (u, delta, a, b, c))
        to_hidden = torch.zeros_like(states[0])
        for t in reversed(range(len(u))):
            to_hidden.addcmul_(to_outputs[t, ..., None], c[t, :, None])
            to_c[t] = torch.bmm(to_outputs[t, :, None], states[t])[:, 0]
            to_b[t] = torch.bmm((delta[t] * u[t])[:, None], to_hidden)[:, 0]
            to_drive = torch.bmm(to_hidden, b[t, ..., None])[..., 0]
            to_u[t] = to_drive * delta[t]
            to_delta[t] = to_drive * u[t]
            if t:
                to_hidden.mul_(torch.mul(delta[t, ..., None], a).exp_())
                to_exponent = to_hidden * states[t - 1]
                to_delta[t] += torch.einsum("ben,en->be", to_exponent, a)
                to_a += torch.einsum("ben,be->en", to_exponent, delta[t])
        return to_u.permute(1, 2, 0), to_delta.permute(1, 2, 0), to_a, to_b.permute(1, 2, 0), to_c.permute(1, 2, 0)


@cache
def fused_scan() -> Callable[..., Tensor] | None:
    """mamba-ssm's kernel with the signature of `selective_scan`, or None where it is not installed or does not import.

    Newer mamba-ssm imports without its compiled part, so that part is imported explicitly.
    """
    found = _import_fused_scan()
    return None if isinstance(found, BaseException) else found


def why_no_fused_scan() -> str:
    """What the import of mamba-ssm's kernel raised, in one line; empty where it imports."""
    found = _import_fused_scan()
    if not isinstance(found, BaseException):
        return ""
    lines = str(found).strip().splitlines()
    return f"{type(found).__name__}: {lines[0][:160] if lines else 'no message'}"


def _import_fused_scan() -> Callable[..., Tensor] | BaseException:
    """The kernel, or what its import raised.

    A package that was built for another torch or driver, or partly removed, fails at import with whatever its modules
    raise: ImportError, OSError of a library, RuntimeError of triton, AttributeError of a renamed torch function.
    """
    try:
        import selective_scan_cuda  # noqa: F401  the compiled part
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (Exception, SystemExit) as problem:
        return problem
    if not callable(selective_scan_fn):
        return ImportError(f"mamba_ssm's selective_scan_fn is {selective_scan_fn!r}, not a function")
    return selective_scan_fn


def scan_for(device: str) -> Callable[..., Tensor]:
    """The scan for a type of device: the kernel on 'cuda' where there is one, else plain PyTorch."""
    return (fused_scan() if device == "cuda" else None) or selective_scan


def _in_single(scan: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> Tensor:
    """A scan in float32 even under bfloat16 autocast: its sums run over the length, and kernels need a single dtype."""
    device = parts[0].device.type
    with torch.autocast(device if device == "cuda" else "cpu", enabled=False):
        return scan(*(part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts))


class Mamba(nn.Module):
    """One Mamba mixer: (batch, length, width) -> (batch, length, width), causal along the length.

    Args:
        width: the model's width (mamba-ssm's d_model).
        state: size of the hidden state of each channel (d_state).
        kernel: width of the causal convolution (d_conv).
        expand: inner width over outer width.
    """

    def __init__(self, width: int, state: int = 16, kernel: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner, rank = expand * width, math.ceil(width / 16)
        self.rank, self.state = rank, state
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._start_step_sizes()

    def _start_step_sizes(self, smallest: float = 1e-3, largest: float = 0.1) -> None:
        """Step sizes start log-uniform in [smallest, largest], through the inverse of softplus."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        steps = torch.exp(torch.empty_like(self.dt_proj.bias).uniform_(math.log(smallest), math.log(largest)))
        with torch.no_grad():
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
        """Mix along the length."""
        length = x.shape[1]
        u, gate = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)
        u = functional.silu(self.conv1d(u)[..., :length])
        step, b, c = self.x_proj(u.transpose(1, 2)).split([self.rank, self.state, self.state], dim=-1)
        delta = functional.softplus(self.dt_proj(step)).transpose(1, 2)
        parts = u, delta, -torch.exp(self.A_log), b.transpose(1, 2), c.transpose(1, 2), self.D
        y = _in_single(scan_for(x.device.type), parts)
        return self.out_proj((y * functional.silu(gate)).transpose(1, 2))


class MambaBlock(nn.Module):
    """A residual Mamba block: x + dropout(Mamba(RMSNorm(x)))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.mixer = Mamba(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
        """Refine every token from those before it."""
        return x + self.dropout(self.mixer(self.norm(x)))
