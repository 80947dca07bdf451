"""Writes files as in NSD: same names, axes, types, scales and 1-based counts. Every file whole or not at all.

The functions take arrays and know nothing of simulated brains; `world.py` says what goes in. Source of the formats:
NSD's data manual (Allen et al., 2022) and nsdcode.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int16, UInt8
from scipy.io import savemat

from brainram_lib.core.files import write_whole
from brainram_lib.nsd.layout import CAPTION_SPLITS, HEMISPHERES, NsdLayout

RUNS_PER_SESSION = 12
INVALID = 9999
_SUBJECTS, _REPETITIONS = 8, 3
_WRITTEN = "rows_written"


def _write_bytes(path: Path, content: bytes) -> None:
    with write_whole(path) as partial:
        partial.write_bytes(content)


def write_volume(path: Path, volume: np.ndarray, affine: Float[np.ndarray, "4 4"]) -> None:
    """A .nii.gz in the array's own type, without scaling."""
    _write_bytes(path, gzip.compress(nib.Nifti1Image(volume, affine).to_bytes(), 4, mtime=0))


def write_surface_values(path: Path, values: np.ndarray) -> None:
    """A .mgz of per-vertex values, (vertices, 1, 1) or (vertices, 1, 1, columns)."""
    data = values.reshape(len(values), 1, 1, *values.shape[1:])
    _write_bytes(path, gzip.compress(nib.MGHImage(data, np.eye(4)).to_bytes(), 4, mtime=0))


# The experiment


def session_pattern(n_sessions: int, trials_per_session: int) -> UInt8[np.ndarray, "sessions runs slots"]:
    """`stimpattern`: 1 where a slot of a run shows a picture; runs are filled evenly, a sixth of slots is blank."""
    per_run = np.diff(np.linspace(0, trials_per_session, RUNS_PER_SESSION + 1).astype(int))
    pattern = np.zeros((n_sessions, RUNS_PER_SESSION, int(np.ceil(per_run.max() * 1.2))), np.uint8)
    for run, count in enumerate(per_run):
        pattern[:, run, :count] = 1
    return pattern


def write_expdesign(
    path: Path,
    ordering: Int[np.ndarray, " trials"],
    subject_images: Int[np.ndarray, "8 images"],
    shared: Int[np.ndarray, " shared"],
    pattern: UInt8[np.ndarray, "sessions runs slots"],
) -> None:
    """nsd_expdesign.mat. `ordering` counts a subject's images from 0, `subject_images` and `shared` are 0-based
    nsdIds; the file holds all of them 1-based, as doubles, as MATLAB writes them."""
    fields = {
        "masterordering": ordering[None] + 1.0,
        "subjectim": subject_images + 1.0,
        "sharedix": shared[None] + 1.0,
        "stimpattern": pattern.astype(np.float64),
    }
    with write_whole(path) as partial:
        savemat(partial, fields, appendmat=False, do_compression=True)


def write_stim_info(
    path: Path,
    coco_ids: Int[np.ndarray, " n"],
    coco_splits: Sequence[str],
    n_shared: int,
    trials: Mapping[int, Int[np.ndarray, " trials"]],
) -> None:
    """nsd_stim_info_merged.csv.

    Args:
        coco_ids, coco_splits: per nsdId. n_shared: how many nsdIds, the first ones, are shared.
        trials: subject -> the nsdId of each of its trials; other subjects' columns stay 0.
    """
    count = len(coco_ids)
    table: dict[str, object] = {
        "cocoId": coco_ids,
        "cocoSplit": coco_splits,
        "cropBox": ["(0.0, 0.0, 0.0, 0.0)"] * count,
        "loss": np.zeros(count),
        "nsdId": np.arange(count),
        "flagged": np.zeros(count, bool),
        "BOLD5000": np.zeros(count, bool),
        "shared1000": np.arange(count) < n_shared,
    }
    repetitions = {subject: repetition_trials(ids, count) for subject, ids in trials.items()}
    nothing = np.zeros((count, _REPETITIONS), int)
    for subject in range(1, _SUBJECTS + 1):
        table[f"subject{subject}"] = (repetitions.get(subject, nothing)[:, 0] > 0).astype(int)
    for subject in range(1, _SUBJECTS + 1):
        for repetition in range(_REPETITIONS):
            table[f"subject{subject}_rep{repetition}"] = repetitions.get(subject, nothing)[:, repetition]
    with write_whole(path) as partial:
        pd.DataFrame(table).to_csv(partial)


def repetition_trials(nsd_ids: Int[np.ndarray, " trials"], count: int) -> Int[np.ndarray, "count 3"]:
    """For each nsdId the 1-based trials of its first three presentations, 0 = not shown."""
    found = np.zeros((count, _REPETITIONS), int)
    seen = np.zeros(count, int)
    for trial, nsd_id in enumerate(nsd_ids, start=1):
        if seen[nsd_id] < _REPETITIONS:
            found[nsd_id, seen[nsd_id]] = trial
        seen[nsd_id] += 1
    return found


def stimuli_written(path: Path) -> set[int]:
    """The first row of each block that the stimulus file already holds."""
    if not path.exists():
        return set()
    with h5py.File(path) as file:
        return set(np.asarray(file["imgBrick"].attrs[_WRITTEN]).tolist())


def write_stimuli(path: Path, count: int, blocks: Mapping[int, UInt8[np.ndarray, "n height width 3"]]) -> None:
    """Add blocks of pictures (first row -> pictures) to nsd_stimuli.hdf5, whose `imgBrick` has `count` rows.

    One chunk is one picture, so rows that were never written take no space. Blocks that are already there stay.
    """
    size = next(iter(blocks.values())).shape[1:]
    written = stimuli_written(path)
    with write_whole(path) as partial:
        if path.exists():
            shutil.copyfile(path, partial)
        with h5py.File(partial, "a") as file:
            if "imgBrick" not in file:
                file.create_dataset("imgBrick", (count, *size), np.uint8, chunks=(1, *size))
            for start, pictures in blocks.items():
                file["imgBrick"][start : start + len(pictures)] = pictures
            file["imgBrick"].attrs[_WRITTEN] = sorted(written | set(blocks))


def write_captions(
    layout: NsdLayout, coco_ids: Int[np.ndarray, " n"], coco_splits: Sequence[str], captions: Sequence[Sequence[str]]
) -> None:
    """annotations/captions_{train,val}2017.json in COCO's form."""
    for split in CAPTION_SPLITS:
        rows = [row for row, own in enumerate(coco_splits) if own == split]
        images = [{"id": int(coco_ids[row]), "file_name": f"{coco_ids[row]:012d}.jpg"} for row in rows]
        pairs = [(int(coco_ids[row]), caption) for row in rows for caption in captions[row]]
        annotations = [{"image_id": k, "id": n, "caption": text} for n, (k, text) in enumerate(pairs, start=1)]
        content = {"info": {"description": "captions of the embedded world, in COCO's form"}, "licenses": []}
        content |= {"images": images, "annotations": annotations}
        _write_bytes(layout.captions(split), json.dumps(content).encode())


# One subject's betas


def write_betas_hdf5(
    path: Path,
    betas: Int16[np.ndarray, "trials voxels"],
    index: Int[np.ndarray, "voxels 3"],
    shape: tuple[int, int, int],
) -> None:
    """betas_sessionNN.hdf5: `/betas`, int16 (percent signal change x 300), (trials, Z, Y, X), one chunk a voxel.

    `index` holds 0-based (x, y, z). Only the chunks of these voxels are written; everywhere else the file reads 0.
    """
    columns = np.ascontiguousarray(betas.T.astype("<i2", copy=False))
    with write_whole(path) as partial, h5py.File(partial, "w") as file:
        full = (len(betas), *shape[::-1])
        data = file.create_dataset("betas", full, "<i2", chunks=(len(betas), 1, 1, 1))
        for (x, y, z), column in zip(index.tolist(), columns, strict=True):
            data.id.write_direct_chunk((0, z, y, x), column)


def write_betas_nifti(
    path: Path,
    betas: Int16[np.ndarray, "trials voxels"],
    index: Int[np.ndarray, "voxels 3"],
    shape: tuple[int, int, int],
    affine: Float[np.ndarray, "4 4"],
) -> None:
    """betas_sessionNN.nii.gz: int16 (x 300), (X, Y, Z, trials), no scaling in the header."""
    volume = np.zeros((*shape, len(betas)), np.int16)
    volume[tuple(index.T)] = betas.T
    write_volume(path, volume, affine)


def zscored(betas: np.ndarray, session: Int[np.ndarray, " trials"]) -> Float[np.ndarray, "trials voxels"]:
    """Betas z-scored per voxel within each session; NaN where a voxel is constant in a session."""
    out = betas.astype(np.float32)
    for number in np.unique(session):
        rows = session == number
        with np.errstate(divide="ignore", invalid="ignore"):
            out[rows] = (out[rows] - out[rows].mean(0)) / out[rows].std(0, ddof=1)
    return out


def ncsnr_of(z: Float[np.ndarray, "trials voxels"], image: Int[np.ndarray, " trials"]) -> Float[np.ndarray, " voxels"]:
    """NSD's noise-ceiling signal-to-noise ratio of z-scored betas, from the images that were shown three times.

    v = sqrt(mean over images of the variance over the three); ncsnr = sqrt(max(0, 1 - v^2)) / v; 0 where it is not
    defined (NSD keeps such voxels out of its volumes).
    """
    order = np.argsort(image, kind="stable")
    _, first, counts = np.unique(image[order], return_index=True, return_counts=True)
    rows = order[first[counts == _REPETITIONS][:, None] + np.arange(_REPETITIONS)]
    noise = np.sqrt(np.mean([z[r].var(0, ddof=1) for r in rows], axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.sqrt(np.maximum(0, 1 - noise**2)) / noise, nan=0.0, posinf=0.0).astype(np.float32)


# One subject's regions, behaviour and transforms


def write_ctab(path: Path, names: Sequence[str]) -> None:
    """{roi}.mgz.ctab: a line `int name` for each label, 0 Unknown first."""
    _write_bytes(path, "".join(f"{k} {name}\n" for k, name in enumerate(("Unknown", *names))).encode())


def write_responses(path: Path, table: pd.DataFrame) -> None:
    """behav/responses.tsv from `response_table`."""
    with write_whole(path) as partial:
        table.to_csv(partial, sep="\t", index=False)


def response_table(
    subject: int,
    image: Int[np.ndarray, " trials"],
    nsd_ids: Int[np.ndarray, " trials"],
    session: Int[np.ndarray, " trials"],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """NSD's behaviour table: a continuous recognition task (has this picture been shown before?), one row a trial.

    `image` counts the subject's images from 0 (10KID counts from 1), `nsd_ids` are 0-based (73KID counts from 1).
    Answers are drawn: 85 % of new and 78 % of old pictures are recognised as such.
    """
    table = pd.DataFrame({"SUBJECT": subject, "SESSION": session, "73KID": nsd_ids + 1, "10KID": image + 1})
    trial = table.groupby("SESSION").cumcount()
    table.insert(2, "RUN", trial * RUNS_PER_SESSION // table.groupby("SESSION")["10KID"].transform("size") + 1)
    table.insert(3, "TRIAL", table.groupby(["SESSION", "RUN"]).cumcount() + 1)
    table["TIME"] = 738000 + session * 7 + trial * 4 / 86400
    place = pd.Series(np.arange(len(image)))
    table["ISOLD"] = old = (table.groupby("10KID").cumcount() > 0).astype(int)
    table["ISCORRECT"] = correct = (rng.random(len(image)) < np.where(old, 0.78, 0.85)).astype(int)
    table["RT"] = np.round(rng.lognormal(6.7, 0.3, len(image)), 1)
    table["CHANGEMIND"] = (rng.random(len(image)) < 0.02).astype(int)
    table["MEMORYRECENT"] = place.groupby(image).diff() - 1
    table["MEMORYFIRST"] = (place - place.groupby(image).transform("first") - 1).where(old == 1)
    table["ISOLDCURRENT"] = current = (table.groupby(["SESSION", "10KID"]).cumcount() > 0).astype(int)
    answered_old = np.where(correct, old, 1 - old)
    table["ISCORRECTCURRENT"] = (answered_old == current).astype(int)
    table["TOTAL1"], table["TOTAL2"] = 1 - answered_old, answered_old
    table["BUTTON"], table["MISSINGDATA"] = 1 + answered_old, 0
    return table


def write_transforms(
    layout: NsdLayout,
    subject: int,
    hemi: str,
    layers: Mapping[str, Float[np.ndarray, "vertices 3"]],
    to_fsaverage: Int[np.ndarray, " fsaverage_vertices"],
) -> None:
    """{hemi}.func1pt8-to-<layer>.mgz and {hemi}.white-to-fsaverage.mgz; arguments are 0-based, files count from 1.

    Coordinates that are not finite become 9999 (invalid).
    """
    if hemi not in HEMISPHERES:
        raise ValueError(f"hemi must be one of {HEMISPHERES}. '{hemi}' was provided.")
    for layer, points in layers.items():
        coordinates = np.where(np.isfinite(points), points + 1, INVALID).astype(np.float32)
        write_surface_values(layout.volume_to_layer(subject, hemi, layer), coordinates)
    write_surface_values(layout.white_to_fsaverage(subject, hemi), (to_fsaverage + 1).astype(np.int32))
