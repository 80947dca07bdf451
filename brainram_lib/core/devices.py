"""Where networks run: on a GPU if there is one. Random numbers are drawn on the CPU, as everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def accelerator() -> torch.device:
    """The device that trains and samples: 'cuda' where torch finds a GPU, else 'cpu'."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # a launcher gives each of its processes a GPU
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def in_bfloat16(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16 inside the block, also on a CPU."""
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global randomness from `seed` inside the block, on every device; its state is restored afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
