"""A tiny folder of betas, pictures and captions without NSD's layout, with every dimension different."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

STIMULI, SESSIONS, VOXELS, SIDE, TEST = 9, 3, 11, 8, 4
NAMES = [f"s{k}" for k in range(STIMULI)]
DATA = """title = "Tiny"
pictures = "pictures"
captions = "captions.csv"
size = 8
[split]
test = 4
seed = 3
[subjects.1]
betas = "betas.npy"
trials = "trials.csv"
rois = "rois.npz"
"""


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_study(folder: Path, seed: int = 0) -> Path:
    """Every stimulus is shown once in each session, in another order; the first voxels make the region V1."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    for k, name in enumerate(NAMES):
        pixels = rng.integers(0, 256, (10 + k, 13, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")
    order = np.concatenate([rng.permutation(STIMULI) for _ in range(SESSIONS)])
    session = np.repeat(np.arange(1, SESSIONS + 1), STIMULI)
    np.save(folder / "betas.npy", rng.normal(2, 3, (len(order), VOXELS)).astype(np.float32))
    rows = [[NAMES[k], int(one)] for k, one in zip(order, session, strict=True)]
    write_csv(folder / "trials.csv", ["stimulus", "session"], rows)
    captions = [[f"{name}.png", f"caption {n} of {name}"] for name in NAMES for n in range(2)]
    write_csv(folder / "captions.csv", ["stimulus", "caption"], captions)
    np.savez(folder / "rois.npz", V1=np.arange(VOXELS) < 5)
    (folder / "data.toml").write_text(DATA)
    return folder
