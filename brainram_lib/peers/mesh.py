"""Convolution on the cortical mesh, in the manner of Gu et al.: from the surface to one global embedding.

Gu, Jamison, Kuceyeski & Sabuncu, Decoding natural image stimuli from fMRI data with a surface-based convolutional
network (MIDL 2023, arXiv 2212.02409). Written anew; its code has no licence and was not read.

A vertex of fsaverage5 has six neighbours (twelve have five). A convolution sees a vertex and its ring, in an order that
is the same everywhere: by direction on the sphere, starting at 'up'. FreeSurfer numbers vertices so that the first
10 * 4^k + 2 are the mesh of level k, and every other vertex is the middle of an edge of the level below: the coarser
mesh follows from the finer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from brainram_lib.core.checkpoints import Row
from brainram_lib.core.devices import accelerator, seeded
from brainram_lib.core.loop import CONSTANT, Plan, train
from brainram_lib.peers.embedding import EmbeddingModel, EmbeddingTask
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import MeshSettings

RING = 7


@dataclass(frozen=True)
class Level:
    """The active vertices of one level of the mesh.

    Attributes:
        rings: for each, itself and its neighbours as rows of this level; the number of rows means 'inactive'.
        pooled: for each vertex of the next, coarser level, itself and its neighbours as rows of this one.
    """

    rings: Int[np.ndarray, "vertices ring"]
    pooled: Int[np.ndarray, "coarse ring"]


def edges_of(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "edges 2"]:
    """Every edge once, the smaller vertex first."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, 1), axis=0)


def coarser_edges(edges: Int[np.ndarray, "edges 2"], count: int) -> Int[np.ndarray, "coarse 2"]:
    """The edges of the mesh one level coarser, which the first `count` vertices make; the smaller vertex first.

    Raises:
        ValueError: a vertex beyond them is not the middle of one edge, so the mesh is numbered differently.
    """
    outer = edges[(edges[:, 0] < count) & (edges[:, 1] >= count)]
    middles, times = np.unique(outer[:, 1], return_counts=True)
    if (times != 2).any() or len(middles) != edges.max() + 1 - count:
        raise ValueError(
            f"the mesh must be a subdivided one whose first {count} vertices are the coarser mesh, as FreeSurfer's "
            "are. Give fsaverage5's faces."
        )
    return np.sort(outer[np.argsort(outer[:, 1], kind="stable"), 0].reshape(-1, 2), axis=1)


def rings_of(
    edges: Int[np.ndarray, "edges 2"], sphere: Float[np.ndarray, "vertices 3"]
) -> Int[np.ndarray, "vertices ring"]:
    """Each vertex, then its neighbours by direction, starting at 'up'; -1 fills a ring of five.

    Args:
        sphere: positions of the vertices on the sphere.
    """
    directions = sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    rings = np.full((len(sphere), RING), -1)
    rings[:, 0] = np.arange(len(sphere))
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    ends = np.searchsorted(both[:, 0], np.arange(len(sphere) + 1))
    for vertex in range(len(sphere)):
        around = both[ends[vertex] : ends[vertex + 1], 1]
        here = directions[vertex]
        east = np.cross([0.0, 0.0, 1.0], here)
        # at the poles 'up' has no direction: any will do
        east = np.array([1.0, 0.0, 0.0]) if np.linalg.norm(east) < 1e-9 else east / np.linalg.norm(east)
        away = directions[around] - here
        angle = np.arctan2(away @ east, away @ np.cross(here, east)) % (2 * np.pi)
        rings[vertex, 1 : 1 + len(around)] = around[np.argsort(angle, kind="stable")]
    return rings


def levels_of(
    faces: Int[np.ndarray, "faces 3"],
    sphere: Float[np.ndarray, "vertices 3"],
    active: Bool[np.ndarray, " vertices"],
    levels: int,
) -> list[Level]:
    """One hemisphere's levels, from the finest; a coarse vertex is active where any of its ring is."""
    edges, found = edges_of(faces), []
    for _ in range(levels):
        count = (len(sphere) - 2) // 4 + 2
        rings = rings_of(edges, sphere)
        known = active[rings] & (rings >= 0)
        coarse = known[:count].any(1)
        rows = np.where(known, (np.cumsum(active) - 1)[rings], active.sum())
        found.append(Level(rows[active], rows[:count][coarse]))
        edges, sphere, active = coarser_edges(edges, count), sphere[:count], coarse
    return found


def joined(sides: list[list[Level]]) -> list[Level]:
    """Both hemispheres as one mesh: the right one's rows follow the left one's."""
    return [Level(*(_stacked(parts, one) for one in ("rings", "pooled"))) for parts in zip(*sides, strict=True)]


def _stacked(parts: tuple[Level, ...], name: str) -> Int[np.ndarray, "rows ring"]:
    counts = [len(part.rings) for part in parts]
    shifted = []
    for start, count, part in zip(np.cumsum([0, *counts[:-1]]), counts, parts, strict=True):
        rows = getattr(part, name)
        shifted.append(np.where(rows == count, sum(counts), rows + start))
    return np.concatenate(shifted)


def gathered(
    x: Float[Tensor, "batch vertices channels"], rings: Int64[Tensor, "rows ring"]
) -> Float[Tensor, "batch rows ring channels"]:
    """The values at each ring's vertices; 0 where one is inactive."""
    return torch.nn.functional.pad(x, (0, 0, 0, 1))[:, rings]


class MeshConvolution(nn.Module):
    """A linear map of each vertex's ring, with a norm over its channels and a GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.map, self.norm = nn.Linear(RING * inputs, outputs), nn.LayerNorm(outputs)

    def forward(
        self, x: Float[Tensor, "batch vertices inputs"], rings: Int64[Tensor, "vertices ring"]
    ) -> Float[Tensor, "batch vertices outputs"]:
        """One convolution."""
        return nn.functional.gelu(self.norm(self.map(gathered(x, rings).flatten(2))))


class MeshNetwork(EmbeddingModel):
    """betas -> vertices -> at each level two convolutions, then the mean over rings; a linear map to the embedding.

    Args:
        voxel: the voxel of each active vertex of the finest level.
        levels: of the mesh, from the finest.
    """

    def __init__(
        self, settings: MeshSettings, voxel: Int[np.ndarray, " vertices"], levels: list[Level], width: int
    ) -> None:
        super().__init__()
        self.settings, self.count = settings, len(levels)
        # the mesh is given to the constructor, and so neither saved with the weights nor read from them
        self.register_buffer("voxel", torch.from_numpy(voxel), persistent=False)
        convolutions, channels, inputs = [], settings.channels, 1
        for number, level in enumerate(levels):
            self.register_buffer(f"rings{number}", torch.from_numpy(level.rings), persistent=False)
            self.register_buffer(f"pooled{number}", torch.from_numpy(level.pooled), persistent=False)
            pair = MeshConvolution(inputs, channels), MeshConvolution(channels, channels)
            convolutions.append(nn.ModuleList(pair))
            inputs, channels = channels, 2 * channels
        self.convolutions = nn.ModuleList(convolutions)
        last = len(levels[-1].pooled) * inputs
        self.leave = nn.Sequential(nn.Flatten(), nn.Dropout(settings.dropout), nn.Linear(last, width))

    def forward(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch width"]:
        """The embedding, not normalised."""
        x = betas[:, self.voxel, None]
        for number, (first, second) in enumerate(self.convolutions):
            rings = getattr(self, f"rings{number}")
            x = first(x, rings)
            x = x + second(x, rings)
            x = gathered(x, getattr(self, f"pooled{number}")).mean(2)
        return self.leave(x)

    def load(self, path: Path) -> MeshNetwork:
        """Read weights; returns self in evaluation mode."""
        self.load_state_dict(load_file(path))
        return self.eval()


def squared(
    estimates: Float[Tensor, "batch width"], targets: Float[Tensor, "batch width"]
) -> tuple[Float[Tensor, ""], Row]:
    """The squared distance to the target, whose norm is 1."""
    loss = (estimates - targets).square().sum(-1).mean()
    return loss, {"loss": loss.item()}


def train_mesh(
    settings: MeshSettings,
    surface: tuple[Int[np.ndarray, " vertices"], list[Level]],
    training: Pairs,
    validation: Pairs,
    folder: Path,
    seed: int,
) -> tuple[MeshNetwork, list[Row]]:
    """Train on a GPU where there is one; the model in evaluation mode, and one row of losses per epoch.

    Args:
        surface: the voxel of each active vertex, and the levels of the mesh.
    """
    with seeded(seed):
        model = MeshNetwork(settings, *surface, training.targets.shape[1])
    task = EmbeddingTask(model.to(accelerator()), training, validation, squared)
    plan = Plan(
        *(settings.epochs, task.steps, settings.rate, settings.weight_decay),
        schedule=CONSTANT,
        precision=settings.precision,
    )
    return model, train(task, plan, folder, seed, "Gu et al.")
