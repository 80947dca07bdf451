"""Convolution on the cortical mesh: rings, coarser meshes, which vertices count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nilearn import datasets, surface

from brainram_lib.peers.embedding import EmbeddingTask
from brainram_lib.peers.losses import unit
from brainram_lib.peers.mesh import (
    MeshConvolution,
    MeshNetwork,
    coarser_edges,
    edges_of,
    gathered,
    joined,
    levels_of,
    rings_of,
    squared,
    train_mesh,
)
from brainram_lib.peers.pairs import Pairs
from brainram_lib.peers.settings import MeshSettings

SETTINGS = MeshSettings(channels=2, levels=2, dropout=0.0, epochs=3, batch=5, rate=1e-2)
IMAGES, VOXELS, WIDTH = 13, 90, 4


@pytest.fixture(scope="module")
def sphere():
    """FreeSurfer's mesh of 642 vertices, from fsaverage5's: positions and faces."""
    mesh = surface.load_surf_mesh(datasets.fetch_surf_fsaverage("fsaverage5")["sphere_left"])
    points, edges = np.asarray(mesh.coordinates, float), edges_of(np.asarray(mesh.faces, int))
    for count in (2562, 642):
        edges = coarser_edges(edges, count)
    near = {tuple(edge) for edge in edges.tolist()}
    around = [sorted({b for a, b in near if a == v} | {a for a, b in near if b == v}) for v in range(642)]
    faces = [
        (v, a, b)
        for v in range(642)
        for i, a in enumerate(around[v])
        for b in around[v][i + 1 :]
        if v < a and (a, b) in near
    ]
    return points[:642], np.array(faces)


@pytest.fixture(scope="module")
def active(sphere):
    """A patch of the mesh."""
    return sphere[0][:, 0] > 60


def test_a_coarser_mesh_is_a_mesh(sphere):
    points, faces = sphere
    assert len(faces) == 1280 and len(edges_of(faces)) == 1920
    coarse = coarser_edges(edges_of(faces), 162)
    assert len(coarse) == 480 and (np.bincount(coarse.ravel()) >= 5).all()
    length = np.linalg.norm(points[coarse[:, 0]] - points[coarse[:, 1]], axis=1)
    assert length.max() < 2 * length.min()


def test_a_mesh_numbered_otherwise_is_named(sphere):
    shuffled = np.random.default_rng(0).permutation(642)[sphere[1]]
    with pytest.raises(ValueError, match="whose first 162 vertices are the coarser mesh"):
        coarser_edges(edges_of(shuffled), 162)


def test_rings_hold_the_neighbours_once_in_one_turn(sphere):
    points, faces = sphere
    rings = rings_of(edges_of(faces), points)
    known = rings >= 0
    assert np.array_equal(np.bincount(known.sum(1))[6:], [12, 630])
    near = {tuple(edge) for edge in edges_of(faces).tolist()}
    for vertex in (0, 5, 300, 641):
        around = rings[vertex, 1 : known[vertex].sum()]
        assert len(set(around)) == len(around)
        # neighbours that follow each other share a face
        assert all(tuple(sorted(pair)) in near for pair in zip(around, np.roll(around, -1), strict=True))


def test_inactive_vertices_count_as_nothing(sphere, active):
    level = levels_of(*sphere[::-1], active, 1)[0]
    assert len(level.rings) == active.sum() and level.rings.max() == active.sum()
    values = torch.randn(2, int(active.sum()), 3)
    whole = np.zeros((642, 3), np.float32)
    whole[active] = values[1]
    rings = rings_of(edges_of(sphere[1]), sphere[0])
    expected = np.where((rings >= 0)[..., None], whole[rings], 0)[active]
    np.testing.assert_array_equal(gathered(values, torch.from_numpy(level.rings))[1], expected)


def test_a_convolution_sees_a_ring_and_no_further(sphere, active):
    level = levels_of(*sphere[::-1], active, 1)[0]
    rings, convolution = torch.from_numpy(level.rings), MeshConvolution(1, 2)
    x = torch.randn(1, len(rings), 1)
    moved = x.clone()
    moved[0, 7] += 1
    changed = (convolution(x, rings) != convolution(moved, rings)).any(-1)[0]
    assert torch.equal(changed, (rings == 7).any(1))


def test_hemispheres_do_not_touch(sphere, active):
    sides = [levels_of(*sphere[::-1], part, 2) for part in (active, ~active)]
    for level, left, right in zip(joined(sides), *sides, strict=True):
        first, second = len(left.rings), len(right.rings)
        assert level.rings.shape == (first + second, 7)
        assert set(np.unique(level.rings[:first])) <= {*range(first), first + second}
        assert set(np.unique(level.rings[first:])) <= {*range(first, first + second), first + second}
        assert len(level.pooled) == len(left.pooled) + len(right.pooled)


def test_the_network_learns_an_embedding_and_comes_back_from_its_file(sphere, active, tmp_path):
    from safetensors.torch import save_file

    levels = joined([levels_of(*sphere[::-1], active, 2)])
    voxel = np.arange(len(levels[0].rings)) % VOXELS
    random = torch.Generator().manual_seed(0)
    betas = torch.randn(IMAGES, VOXELS, generator=random)
    pairs = Pairs(betas, unit(betas[:, :WIDTH]))
    model, history = train_mesh(SETTINGS, (voxel, levels), pairs, pairs, tmp_path, 0)
    assert history[-1]["loss"] < history[0]["loss"]
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    again = MeshNetwork(SETTINGS, voxel, levels, WIDTH).load(tmp_path / "weights.safetensors")
    torch.testing.assert_close(again.predict(betas), model.eval().predict(betas))
    task = EmbeddingTask(again, pairs, pairs, squared)
    assert task.validate(0, True)["val_cosine"] == pytest.approx(history[-1]["val_cosine"], abs=1e-5)
