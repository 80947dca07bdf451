"""A small folder of betas, pictures and captions to try things on: drawn scenes and a simulated brain."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from brainram_lib.core.files import write_array, write_whole
from brainram_lib.nsd import betas, rois
from brainram_lib.nsd.captions import Captions
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.study.description import FILE
from brainram_lib.study.errors import StudyError
from brainram_lib.world.world import WorldSettings, make_world

REGIONS = ("V1", "V2", "V3", "hV4", "early", "ventral", "lateral", "parietal")
SESSIONS, SUBJECT = 3, 1
# one stimulus in this many is a test stimulus
TEST_SHARE = 5
DESCRIPTION = """title = "Example: drawn scenes, simulated betas"
pictures = "pictures"        # a folder; the files are called as the stimuli
captions = "captions.csv"    # stimulus, caption
size = 64                    # pixels, to which the pictures are brought

[split]                      # or a column 'split' in trials.csv
test = {test}
seed = 0

[subjects.1]
betas = "betas.npy"          # (trials, voxels)
trials = "trials.csv"        # stimulus, session: one row for every row of the betas
rois = "rois.npz"            # masks over the voxels by name; optional
"""


def write_example(folder: Path, stimuli: int = 200, voxels: int = 400) -> Path:
    """Write it, every stimulus shown three times, and return the path of its `data.toml`.

    Raises:
        StudyError: the folder holds something already, or too few stimuli for three sessions with a split.
        ValueError: fewer voxels than a simulated brain must have, or more than it can have.
    """
    if stimuli < 2 * TEST_SHARE:
        raise StudyError(f"'stimuli' must be {2 * TEST_SHARE} or more. {stimuli} was provided.")
    if folder.exists() and any(folder.iterdir()):
        raise StudyError(f"'{folder}' is not empty. Name another folder.")
    test = stimuli // TEST_SHARE
    settings = WorldSettings(
        **{"name": "example", "subjects": (SUBJECT,), "voxels": (voxels,), "sessions": SESSIONS},
        **{"trials_per_session": stimuli, "images": stimuli, "shared": test},
    )
    with TemporaryDirectory() as place:
        _copied(make_world(Path(place) / "world", settings, [SUBJECT]), folder)
    with write_whole(folder / FILE) as partial:
        partial.write_text(DESCRIPTION.format(test=test))
    return folder / FILE


def _copied(layout: NsdLayout, folder: Path) -> None:
    trials = Design.read(layout).trials(SUBJECT, SESSIONS)
    mask = rois.read_mask(layout, SUBJECT, "nsdgeneral")
    read = [betas.read_files(betas.session_files(layout, SUBJECT, one + 1), mask) for one in range(SESSIONS)]
    write_array(folder / "betas.npy", np.concatenate(read))
    names = {int(number): f"scene-{number:04d}" for number in np.unique(trials.nsd_id)}
    rows = [[names[int(number)], int(session)] for number, session in zip(trials.nsd_id, trials.session, strict=True)]
    _write_csv(folder / "trials.csv", ["stimulus", "session"], rows)
    captions = Captions(layout).of_all(names)
    said = [[name, text] for name, texts in zip(names.values(), captions, strict=True) for text in texts]
    _write_csv(folder / "captions.csv", ["stimulus", "caption"], said)
    masks = rois.masks_within(layout, SUBJECT, np.flatnonzero(mask), mask.shape)
    with write_whole(folder / "rois.npz") as partial:
        np.savez(partial, **{name: masks[name] for name in REGIONS if name in masks})
    (folder / "pictures").mkdir()
    for name, pixels in zip(names.values(), read_stimuli(layout, list(names)), strict=True):
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with write_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
