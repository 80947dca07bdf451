"""Stages of Gu et al.: the voxel of every vertex of fsaverage5, and the mesh network trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Int

from brainram_lib.core.files import write_array
from brainram_lib.core.store import Stage, Store
from brainram_lib.nsd.layout import HEMISPHERES
from brainram_lib.nsd.surfaces import voxels_to_fsaverage5
from brainram_lib.peers.settings import MeshSettings
from brainram_lib.pipeline.data import Subject
from brainram_lib.pipeline.peers.mind_reader import Embeddings
from brainram_lib.pipeline.peers.mindeye import pairs_of, write_trained

if TYPE_CHECKING:
    from brainram_lib.peers.mesh import Level, MeshNetwork

NONE = -1
SIDES = {"lh": "left", "rh": "right"}


@dataclass(frozen=True)
class VertexVoxels(Stage):
    """The prepared voxel at every vertex of fsaverage5, (2, vertices), left hemisphere first; -1 where there is none.

    NSD's transform files say where a vertex lies in the volume; the voxel most common over its three depths is taken.
    The files are part of the data set and of no key.

    Attributes:
        subject: whose voxels.
    """

    subject: Subject

    def make(self, folder: Path, store: Store) -> None:
        """The voxels' numbers, carried as labels are."""
        prepared = self.subject.prepared(store)
        numbers = np.arange(len(prepared.voxel_index), dtype=float)
        where = prepared.voxel_index, prepared.volume_shape
        sides = voxels_to_fsaverage5(self.subject.layout(store), self.subject.subject, numbers, *where, "nearest")
        write_array(folder / "voxels.npy", np.nan_to_num(np.stack(sides), nan=NONE).astype(np.int64))

    def surface(self, store: Store, levels: int) -> tuple[Int[np.ndarray, " vertices"], list[Level]]:
        """The voxel of each active vertex, and the mesh that these vertices make."""
        from nilearn import datasets
        from nilearn import surface as meshes

        from brainram_lib.peers.mesh import joined, levels_of

        voxels, sides = np.array(store.result(self).array("voxels")), []
        files = datasets.fetch_surf_fsaverage("fsaverage5")
        for hemi, own in zip(HEMISPHERES, voxels, strict=True):
            mesh = meshes.load_surf_mesh(files[f"sphere_{SIDES[hemi]}"])
            sphere, faces = np.asarray(mesh.coordinates, float), np.asarray(mesh.faces, int)
            sides.append(levels_of(faces, sphere, own != NONE, levels))
        return voxels[voxels != NONE], joined(sides)


@dataclass(frozen=True)
class MeshTraining(Stage):
    """The mesh network from betas to the embedding of the image.

    Attributes:
        embeddings: to reach.
        surface: of the same subject.
        settings: sizes and training.
        validation: training images that are monitored, not trained on.
        seed: of weights and batches.
    """

    embeddings: Embeddings
    surface: VertexVoxels
    settings: MeshSettings
    validation: int
    seed: int
    together: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "gu"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.peers.mesh import train_mesh

        pairs = pairs_of(store, self.embeddings.targets.images, self.embeddings, None, self.validation)
        surface = self.surface.surface(store, self.settings.levels)
        write_trained(folder, lambda: train_mesh(self.settings, surface, *pairs, folder, self.seed))

    def load(self, store: Store) -> MeshNetwork:
        """The trained network, on a GPU where there is one."""
        from brainram_lib.core.devices import accelerator
        from brainram_lib.peers.mesh import MeshNetwork

        width = store.result(self.embeddings).array("train").shape[1]
        network = MeshNetwork(self.settings, *self.surface.surface(store, self.settings.levels), width)
        return network.load(store.result(self).folder / "weights.safetensors").to(accelerator())
