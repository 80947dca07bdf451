"""Several processes as one: each computes its share of every batch, and all see the whole of it.

`accelerate launch` or `torchrun` starts them, and accelerate joins them (gloo on CPUs, NCCL on GPUs). Losses are
computed over whole batches in every process, so contrastive terms compare with the same examples as in one process, and
gradients are averaged: losses and weights are those of one process up to rounding, except for dropout, whose masks each
process draws for itself.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch import Tensor, nn


def count() -> int:
    """How many processes work together: 1 unless a launcher started more."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


@cache
def _joined() -> PartialState:
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    # a process group that is still open when Python exits occasionally aborts the process with SIGABRT
    atexit.register(state.destroy_process_group)
    return state


def wait() -> None:
    """Wait until all processes have reached this call."""
    if count() > 1:
        _joined().wait_for_everyone()


def agreed(value: Any) -> Any:
    """The first process's value, in every process: for decisions on which all must act alike."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    _joined()
    return broadcast_object_list([value])[0]


def sharded(function: Callable[..., Tensor], *rows: Tensor | None) -> Tensor:
    """`function` applied to a batch row by row; each process computes its share and gets all results, with gradients.

    Args:
        function: takes tensors with the batch axis first (or None), and works row by row.
        rows: its inputs.
    """
    processes = count()
    if processes == 1:
        return function(*rows)
    import torch

    from brainram_lib.core.gathered import gathered

    state = _joined()
    shares = [None if one is None else one.tensor_split(processes)[state.process_index] for one in rows]
    made = function(*shares)
    sizes = [len(part) for part in torch.arange(len(rows[0])).tensor_split(processes)]
    # processes exchange blocks of one size
    padding = made.new_zeros((max(sizes) - len(made), *made.shape[1:]))
    blocks = gathered(torch.cat([made, padding])).chunk(processes)
    return torch.cat([block[:size] for block, size in zip(blocks, sizes, strict=True)])


def average_gradients(model: nn.Module) -> None:
    """Call before a step. Each process's gradient is that of its own rows, times the number of processes."""
    if count() == 1:
        return
    import torch

    for weight in model.parameters():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        torch.distributed.all_reduce(weight.grad)
        weight.grad /= count()
