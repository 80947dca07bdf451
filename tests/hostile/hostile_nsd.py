"""Every place where a file of NSD is opened, what reads it, and files as another program saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nsd_files import AFFINE, SHAPE

from brainram_lib.nsd import rois
from brainram_lib.nsd.behaviour import read_responses
from brainram_lib.nsd.betas import read_hdf5, read_mgh, read_nifti
from brainram_lib.nsd.captions import count_captioned, read_stim_info
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.errors import MESSAGE_LENGTH, NsdError
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.repetitions import mean_beta
from brainram_lib.nsd.stimuli import count_stimuli, read_stimuli
from brainram_lib.nsd.surfaces import layer_coordinates, native_to_fsaverage

MASK = np.ones(SHAPE, bool)
GARBAGE = np.random.default_rng(0).bytes(4000)
VERTICES = 9


def write_surface(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(values, np.eye(4)), path)


def prepared(layout: NsdLayout) -> PreparedSubject:
    return PreparedSubject.load(layout.root.parent / "prepared")


def surface_betas(layout: NsdLayout) -> tuple[Path, ...]:
    return tuple(layout.betas_session(1, 1, space="fsaverage", ext="mgh", hemi=hemi) for hemi in ("lh", "rh"))


# Every place where a file is opened: the file, and what reads it.
READERS: dict[str, tuple[Callable[[NsdLayout], Path], Callable[[NsdLayout], object]]] = {
    "design": (lambda on: on.expdesign, Design.read),
    "stimulus table": (lambda on: on.stim_info, read_stim_info),
    "captions": (lambda on: on.captions("val2017"), lambda on: count_captioned(on, "val2017")),
    "behaviour": (lambda on: on.responses(1), lambda on: read_responses(on, 1)),
    "betas, HDF5": (lambda on: on.betas_session(1, 1), lambda on: read_hdf5(on.betas_session(1, 1), MASK)),
    "betas, NIfTI": (
        lambda on: on.betas_session(1, 1, ext="nii.gz"),
        lambda on: read_nifti(on.betas_session(1, 1, ext="nii.gz"), MASK),
    ),
    "betas, surface": (
        lambda on: surface_betas(on)[1],
        lambda on: read_mgh(surface_betas(on), np.ones(2 * VERTICES, bool)),
    ),
    "stimuli": (lambda on: on.stimuli, lambda on: read_stimuli(on, [1, 150])),
    "number of stimuli": (lambda on: on.stimuli, count_stimuli),
    "mask": (lambda on: on.roi(1, "nsdgeneral"), lambda on: rois.read_mask(on, 1, "nsdgeneral")),
    "labels": (lambda on: on.ctab(1, "streams"), lambda on: rois.label_names(on, 1, "streams")),
    "ncsnr": (lambda on: on.ncsnr(1), lambda on: prepare_subject(on, 1, on.root / "out", sessions=1)),
    "mean betas": (lambda on: on.mean_beta(1, 2), lambda on: mean_beta(on, prepared(on))),
    "depth": (lambda on: on.volume_to_layer(1, "lh", "layerB1"), lambda on: layer_coordinates(on, 1, "lh", "layerB1")),
    "fsaverage": (lambda on: on.white_to_fsaverage(1, "lh"), lambda on: native_to_fsaverage(on, 1, "lh")),
    "record": (lambda on: on.root.parent / "prepared/prepared.json", prepared),
    "array": (lambda on: on.root.parent / "prepared/betas_test.npy", prepared),
}


def refused(layout: NsdLayout, name: str) -> NsdError:
    with pytest.raises(NsdError) as caught:
        READERS[name][1](layout)
    message = str(caught.value)
    assert READERS[name][0](layout).name in message and len(message) <= MESSAGE_LENGTH
    return caught.value


def changed_volume(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> None:
    values = np.asarray(nib.load(path).dataobj)
    nib.save(nib.Nifti1Image(change(values), affine), path)
