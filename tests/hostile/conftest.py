"""Whole files of NSD to be damaged, and notebooks that start no kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile_nsd import VERTICES, write_surface
from nsd_files import SHAPE, write_captions, write_stimuli, write_tree, write_volume

from brainram_lib.nsd.layout import LAYERS, NsdLayout
from brainram_lib.nsd.prepare import prepare_subject


@pytest.fixture
def no_kernel(monkeypatch):
    """papermill must not be reached; instead it says with what it would have been, and copies without running."""
    import papermill

    reached = []

    def copied(source, copy, **named):
        reached.append(((source, copy), named))
        # papermill fills in braces
        Path(copy.format()).write_text(Path(source.format()).read_text())

    monkeypatch.setattr(papermill, "execute_notebook", copied)
    return reached


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A tree with every kind of file, and a prepared subject beside it."""
    root = tmp_path_factory.mktemp("whole")
    layout = write_tree(root / "nsd").layout
    write_captions(layout)
    write_stimuli(layout)
    write_volume(layout.mean_beta(1, 1), np.ones(SHAPE, np.float32))
    write_volume(layout.mean_beta(1, 2), np.ones(SHAPE, np.float32))
    for hemi in ("lh", "rh"):
        for layer in LAYERS:
            write_surface(layout.volume_to_layer(1, hemi, layer), np.full((VERTICES, 1, 3), 2, np.float32))
        write_surface(layout.white_to_fsaverage(1, hemi), np.arange(1, VERTICES + 1, dtype=np.float32)[:, None, None])
        name = layout.betas_session(1, 1, space="fsaverage", ext="mgh", hemi=hemi)
        write_surface(name, np.ones((VERTICES, 1, 1, 12), np.float32))
    layout.ctab(1, "streams").parent.mkdir(parents=True, exist_ok=True)
    layout.ctab(1, "streams").write_text("0 Unknown\n1 early\n")
    prepare_subject(layout, 1, root / "prepared", sessions=2)
    return root


@pytest.fixture
def layout(whole, tmp_path) -> NsdLayout:
    """A copy of the whole tree, to be damaged."""
    shutil.copytree(whole, tmp_path / "here")
    return NsdLayout(tmp_path / "here" / "nsd")
