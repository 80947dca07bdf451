"""A tiny NSD tree, written plainly from the layout's description, with every dimension different."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from scipy.io import savemat

from brainram_lib.nsd.layout import NsdLayout

SHAPE = (5, 7, 6)
TRIALS, SESSIONS, IMAGES, SHARED, STIMULI = 12, 4, 19, 4, 160
AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])


@dataclass
class Tree:
    """What was written: `raw` is int16 (sessions, trials, X, Y, Z); `images` 0-based nsdIds, one row a subject."""

    layout: NsdLayout
    raw: np.ndarray
    labels: np.ndarray
    ordering: np.ndarray
    images: np.ndarray


def write_volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(nib.Nifti1Image(values, AFFINE).to_bytes()))


def write_hdf5(path: Path, raw: np.ndarray, **storage: object) -> None:
    """`raw` is (trials, X, Y, Z); the file is (trials, Z, Y, X), one chunk a voxel unless `storage` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=raw.transpose(0, 3, 2, 1), **({"chunks": (len(raw), 1, 1, 1)} | storage))


def write_nifti(path: Path, raw: np.ndarray) -> None:
    write_volume(path, np.moveaxis(raw, 0, 3))


def write_design(layout: NsdLayout, ordering: np.ndarray, images: np.ndarray, shared: int, trials: list[int]) -> None:
    """`ordering` and `images` 0-based; session k has trials[k] trials, spread over runs of unequal length."""
    pattern = np.zeros((len(trials), 3, max(trials)))
    for session, count in enumerate(trials):
        for trial in range(count):
            pattern[session, trial % 3, trial // 3] = 1
    fields = {"masterordering": ordering[None] + 1.0, "subjectim": images + 1.0, "stimpattern": pattern}
    layout.expdesign.parent.mkdir(parents=True, exist_ok=True)
    savemat(layout.expdesign, fields | {"sharedix": images[:1, :shared] + 1.0})


def random_design(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = np.sort(rng.choice(STIMULI, SHARED, replace=False))
    own = rng.permutation(np.setdiff1d(np.arange(STIMULI), shared))[: 8 * (IMAGES - SHARED)].reshape(8, -1)
    ordering = rng.permutation(np.repeat(np.arange(IMAGES), 3))[: TRIALS * SESSIONS]
    return ordering, np.concatenate([np.tile(shared, (8, 1)), own], axis=1)


def write_tree(root: Path, subject: int = 1, seed: int = 0) -> Tree:
    layout, rng = NsdLayout(root), np.random.default_rng(seed + 1)
    ordering, images = random_design(seed)
    write_design(layout, ordering, images, SHARED, [TRIALS] * SESSIONS)
    raw = rng.integers(-3000, 3000, (SESSIONS, TRIALS, *SHAPE)).astype(np.int16)
    labels = rng.choice([-1, 0, 1, 2, 7], SHAPE).astype(np.int16)
    write_volume(layout.roi(subject, "nsdgeneral"), np.where(labels == 2, 1, np.minimum(labels, 1)).astype(np.int16))
    write_volume(layout.roi(subject, "prf-visualrois"), labels)
    left = np.arange(SHAPE[0])[:, None, None] < 2
    write_volume(layout.roi(subject, "prf-visualrois", "lh"), np.where(left, labels.clip(0), -1).astype(np.int16))
    write_volume(layout.roi(subject, "prf-visualrois", "rh"), np.where(left, -1, labels.clip(0)).astype(np.int16))
    write_volume(layout.ncsnr(subject), rng.random(SHAPE).astype(np.float32))
    for session in range(SESSIONS):
        write_hdf5(layout.betas_session(subject, session + 1), raw[session])
        write_nifti(layout.betas_session(subject, session + 1, ext="nii.gz"), raw[session])
    write_responses(layout, subject, images[subject - 1][ordering])
    return Tree(layout, raw, labels, ordering, images)


def write_responses(layout: NsdLayout, subject: int, nsd_ids: np.ndarray) -> None:
    path = layout.responses(subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{subject}\t{trial // TRIALS + 1}\t{nsd_id + 1}" for trial, nsd_id in enumerate(nsd_ids)]
    path.write_text("\n".join(["SUBJECT\tSESSION\t73KID", *rows]) + "\n")


def write_captions(layout: NsdLayout, without: int | None = None) -> None:
    """Captions 'k of image i' of COCO image 1000 + 7 i; every third image is of val2017; `without` has none."""
    layout.stim_info.parent.mkdir(parents=True, exist_ok=True)
    split = ["val2017" if nsd_id % 3 == 0 else "train2017" for nsd_id in range(STIMULI)]
    with layout.stim_info.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["", "cocoId", "cocoSplit", "nsdId"])
        table.writerows([k, 1000 + 7 * k, split[k], k] for k in reversed(range(STIMULI)))
    for name in ("train2017", "val2017"):
        here = [k for k in range(STIMULI) if split[k] == name and k != without]
        pairs = [{"image_id": 1000 + 7 * k, "caption": f" {n} of image {k}\n"} for n in range(5) for k in here]
        layout.captions(name).parent.mkdir(parents=True, exist_ok=True)
        layout.captions(name).write_text(json.dumps({"annotations": pairs}))


def write_stimuli(layout: NsdLayout) -> np.ndarray:
    images = np.random.default_rng(3).integers(0, 256, (STIMULI, 4, 5, 3)).astype(np.uint8)
    layout.stimuli.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(layout.stimuli, "w") as file:
        file["imgBrick"] = images
    return images
