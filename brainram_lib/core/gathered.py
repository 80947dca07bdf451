"""Rows of all processes, gathered in each of them with gradients (`core.parallel`)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def gathered(rows: Float[Tensor, "rows ..."]) -> Float[Tensor, "all_rows ..."]:
    """The rows of all processes, concatenated; each process has the same number."""
    return _Gathered.apply(rows)


class _Gathered(torch.autograd.Function):
    """Every process computes a loss over all rows, so a row's gradient is the sum of the gradients from all of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        blocks = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(blocks, rows.contiguous())
        return torch.cat(blocks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_all: Tensor) -> Tensor:
        to_all = to_all.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(to_all)
        return to_all.chunk(distributed.get_world_size())[distributed.get_rank()]
