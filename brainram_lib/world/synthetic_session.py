"""Writes the embedded world's NSD-synthetic into NSD's layout: design, table of images, both stimulus files, betas.

The same simulated brain sees these pictures in one more session, measured with its own drift and noise, in the units of
the core sessions. The core sessions' files are not touched.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from scipy.io import savemat
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.synthetic.layout import SyntheticLayout
from brainram_lib.nsd.synthetic.stimuli import read_synthetic_stimuli
from brainram_lib.world import nsd_writer as writer
from brainram_lib.world.brains import brain_of, semantic_drive
from brainram_lib.world.cortex import VoxelSheet, voxel_sheet
from brainram_lib.world.scenes import render, stream
from brainram_lib.world.synthetic import RECIPE, SHARED, Stimulus, own_set, shared_set
from brainram_lib.world.world import WorldError, WorldSettings, make_experiment, read_settings, scene_for_nsd_id

MARK = "nsdsynthetic.json"
RUNS, PRESENTATIONS = 8, 2
# Width of NSD-synthetic's pictures over their height; the border left and right of the square is grey.
ASPECT, BORDER = 1360 / 714, 128


def per_kind(settings: WorldSettings) -> int:
    """Pictures of each class: a fifth of the number of test images, but at least two."""
    return max(2, settings.shared // 5)


def write_synthetic(root: Path, subject: int) -> NsdLayout:
    """Write whatever is missing from one subject's session into the world under `root`.

    Raises:
        WorldError: it holds a session of another recipe, or has no such subject.
        FileNotFoundError: there is no embedded world.
    """
    settings = read_settings(root)
    place = settings.position(subject)
    layout = NsdLayout(root)
    synthetic = SyntheticLayout(layout)
    _claim(root)
    (betas,) = synthetic.betas(subject)
    if betas.exists():
        return layout
    each = per_kind(settings)
    shown = [*shared_set(each), *own_set(each, subject)]
    order = trial_order(len(shown), settings.seed)
    if not (synthetic.expdesign.exists() and synthetic.information.exists()):
        _write_experiment(synthetic, shown, order)
    _write_pictures(synthetic.stimuli, [one.picture for _, one in shown[: each * len(SHARED)]])
    _write_pictures(synthetic.colour_stimuli(subject), [one.picture for _, one in shown[each * len(SHARED) :]])
    pictures = read_synthetic_stimuli(synthetic, subject, np.arange(len(shown)))
    sheet = voxel_sheet(subject, settings.voxels[place])
    signal = _signal(settings, subject, sheet, pictures, np.stack([one.drive for _, one in shown]))
    _, scanner = brain_of(sheet, subject, settings.seed, settings.sessions, settings.reliability)
    measured = scanner.measure(signal[order], settings.sessions + 1)
    writer.write_betas_hdf5(betas, measured, sheet.index, sheet.shape)
    return layout


def trial_order(images: int, seed: int) -> Int[np.ndarray, " trials"]:
    """Which image each trial shows: every image twice, never twice in a row, the same for all subjects."""
    rng = stream("nsdsynthetic/design", seed)
    first, second = (rng.permutation(images) for _ in range(PRESENTATIONS))
    if first[-1] == second[0]:
        second = np.roll(second, 1)
    return np.concatenate([first, second])


def stored(picture: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side width 3"]:
    """A picture as NSD-synthetic's files hold it: squared for a screen with linear luminance, grey at both sides."""
    side = len(picture)
    border = (round(side * ASPECT) - side) // 2
    wide = np.pad(picture, ((0, 0), (border, border), (0, 0)), constant_values=BORDER)
    return np.rint(np.square(wide / 255) * 255).astype(np.uint8)


def _claim(root: Path) -> None:
    path = root / MARK
    if not path.exists():
        write_json(path, {"recipe": RECIPE})
    found = json.loads(path.read_text()).get("recipe")
    if found != RECIPE:
        raise WorldError(
            f"'{root}' holds NSD-synthetic of recipe {found}, and this version writes recipe {RECIPE}. Delete the "
            f"folders called 'nsdsynthetic' in it and '{MARK}', or name another root."
        )


def _write_experiment(
    layout: SyntheticLayout, shown: list[tuple[str, Stimulus]], order: Int[np.ndarray, " trials"]
) -> None:
    """The design as MATLAB writes it, counted from 1 in doubles, and the table of images."""
    per_run = np.diff(np.linspace(0, len(order), RUNS + 1).astype(int))
    pattern = np.zeros((1, RUNS, int(np.ceil(per_run.max() * 1.15))))
    for run, count in enumerate(per_run):
        pattern[0, run, :count] = 1
    with write_whole(layout.expdesign) as partial:
        savemat(partial, {"masterordering": order[None] + 1.0, "stimpattern": pattern}, appendmat=False)
    kinds, names = [kind for kind, _ in shown], [one.name for _, one in shown]
    table = {"Image number": np.arange(len(shown)) + 1, "Image": [f"image_{k + 1:03d}" for k in range(len(shown))]}
    for what, values in (("Image subclass", names), ("Image class", kinds)):
        table |= {f"{what} number": pd.factorize(np.array(values, object))[0] + 1, what: values}
    with write_whole(layout.information) as partial:
        pd.DataFrame(table).to_csv(partial, index=False)


def _write_pictures(path: Path, pictures: list[UInt8[np.ndarray, "side side 3"]]) -> None:
    if not path.exists():
        with write_whole(path) as partial, h5py.File(partial, "w") as file:
            file.create_dataset("imgBrick", data=np.stack([stored(one) for one in pictures]))


def _signal(
    settings: WorldSettings,
    subject: int,
    sheet: VoxelSheet,
    pictures: UInt8[np.ndarray, "n side side 3"],
    drive: Float[np.ndarray, "n names"],
) -> Float[np.ndarray, "n voxels"]:
    """The voxels' signal, in units in which the pictures of the core sessions have mean 0 and standard deviation 1."""
    responder, _ = brain_of(sheet, subject, settings.seed, settings.sessions, settings.reliability)
    ids = make_experiment(settings).subject_images[subject - 1]
    scenes = [scene_for_nsd_id(settings, int(row)) for row in ids]
    core = np.stack([render(one) for one in tqdm(scenes, desc="draw the core stimuli", unit="picture")])
    standard = responder.standard(responder.all_parts(core, semantic_drive(scenes), "core stimuli"))
    return standard(responder.all_parts(pictures, drive, "new stimuli")).numpy()
