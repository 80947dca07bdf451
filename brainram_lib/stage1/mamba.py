"""The Mamba block (selective state space model), in plain PyTorch, over the token axis (paper, section 3.2).

Parameters carry the names and shapes of `mamba_ssm.Mamba`, so its weights load here and ours load there; on a GPU
with mamba-ssm's compiled part installed the scan runs through its kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def selective_scan_reference(
    u: Float[Tensor, "batch channels length"],
    delta: Float[Tensor, "batch channels length"],
    a: Float[Tensor, "channels state"],
    b: Float[Tensor, "batch state length"],
    c: Float[Tensor, "batch state length"],
    d: Float[Tensor, " channels"],
) -> Float[Tensor, "batch channels length"]:
    """The recurrence as it is written: h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t;  y_t = C_t h_t + D u_t."""
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
    """The same recurrence for a whole batch.

    Decays and drives are computed at once and taken apart by `unbind`, whose gradient is one stack; indexing a stored
    (batch, length, channels, state) tensor in the loop would allocate a tensor of that size at every step backwards.
    """
    decays = torch.exp(torch.einsum("bel,en->lben", delta, a)).unbind(0)
    drives = torch.einsum("bel,bnl,bel->lben", delta, b, u).unbind(0)
    readers = c.permute(2, 0, 1).unbind(0)
    hidden = torch.zeros_like(drives[0])
    outputs = []
    for decay, drive, reader in zip(decays, drives, readers, strict=True):
        hidden = decay * hidden + drive
        outputs.append(torch.einsum("ben,bn->be", hidden, reader))
    return torch.stack(outputs, dim=2) + d[:, None] * u


@cache
def fused_scan() -> Callable[..., Tensor] | None:
    """mamba-ssm's kernel with the signature of `selective_scan`, or None where it is not installed.

    Newer mamba-ssm imports without its compiled part, so that is asked for itself.
    """
    try:
        import selective_scan_cuda  # noqa: F401  the compiled part
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


def scan_for(device: str) -> Callable[..., Tensor]:
    """The scan for a type of device: the kernel on 'cuda' where there is one, else plain PyTorch."""
    return (fused_scan() if device == "cuda" else None) or selective_scan


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
        scan = scan_for(x.device.type)
        y = scan(u, delta, -torch.exp(self.A_log), b.transpose(1, 2), c.transpose(1, 2), self.D)
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
