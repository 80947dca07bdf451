"""Checkpoints of a training: weights, optimizer and history in one safetensors file, written whole, no pickle.

A training that is interrupted and resumed reaches bit-identical weights: every epoch draws its randomness from a seed
of its own, so nothing else has to be remembered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from brainram_lib.core.devices import seeded
from brainram_lib.core.files import write_whole

Row = dict[str, float]


@dataclass
class Progress:
    """How far a training has come: epochs done and one row of losses for each."""

    epoch: int = 0
    history: list[Row] = field(default_factory=list)


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write everything needed to resume a training."""
    state = optimizer.state_dict()
    tensors = {f"model/{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, values in state["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value).contiguous() for name, value in values.items()}
    notes = {"epoch": progress.epoch, "history": progress.history, "groups": state["param_groups"]}
    with write_whole(path) as partial:
        save_file(tensors, partial, metadata={"progress": json.dumps(notes)})


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load a checkpoint's state into `model` and `optimizer`, whichever device they are on or it was written on.

    A missing file means a training that has not begun.
    """
    if not path.exists():
        return Progress()
    weights: dict[str, torch.Tensor] = {}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    with safe_open(path, "pt") as stored:
        notes = json.loads(stored.metadata()["progress"])
        for name in stored.keys():  # noqa: SIM118 - safe_open is no mapping
            kind, rest = name.split("/", 1)
            if kind == "model":
                weights[rest] = stored.get_tensor(name)
            else:
                index, moment = rest.split("/", 1)
                moments.setdefault(int(index), {})[moment] = stored.get_tensor(name)
    model.load_state_dict(weights)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in moments.items():
        # stored contiguously; an optimizer needs its moments in the parameter's own memory format (perhaps channels
        # last) and on its device; its step count stays on the CPU
        values |= {
            name: torch.empty_like(parameters[index]).copy_(value) for name, value in values.items() if value.ndim
        }
    optimizer.load_state_dict({"state": moments, "param_groups": notes["groups"]})
    return Progress(notes["epoch"], notes["history"])


@contextmanager
def epoch_randomness(seed: int, epoch: int) -> Iterator[torch.Generator]:
    """All randomness of one epoch, dropout included, from (seed, epoch); the global state is restored afterwards."""
    with seeded(seed * 100_003 + epoch):
        yield torch.Generator().manual_seed(seed * 100_003 + epoch)
