"""Where networks compute: on a GPU where there is one. What is random is drawn on the CPU, as everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def accelerator() -> torch.device:
    """The device that trains and samples: 'cuda' where torch finds a GPU, else 'cpu'."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global randomness from `seed` inside the block, on every device; its state is put back afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
