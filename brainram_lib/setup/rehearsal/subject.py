"""An NSD subject of the true size with random contents: every file that the notebooks open, and only those.

Design, behaviour, stimulus table and captions are of all 73,000 images; betas are of a few sessions; of the stimulus
file's rows only those in use are filled. Files that are there are kept, so that an interrupted writing goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from tqdm.auto import tqdm

from brainram_lib.nsd.design import Design
from brainram_lib.nsd.layout import CAPTION_SPLITS, HEMISPHERES, LAYERS, NsdLayout
from brainram_lib.nsd.noise import REPETITIONS
from brainram_lib.nsd.rois import REGION_FILES
from brainram_lib.setup.rehearsal.pictures import random_captions, random_picture
from brainram_lib.setup.rehearsal.sizes import Sizes
from brainram_lib.world import nsd_writer as writer
from brainram_lib.world.cortex import hemisphere
from brainram_lib.world.full_size import FullSize, affine_of, masks_of, write_hdf5, write_masks
from brainram_lib.world.world import coco_numbers, make_experiment

SUBJECT = 1
# How far from the centre the three depths lie, where the brain's rim is 1: inside the ribbon that nsdgeneral is cut of.
_DEPTHS = dict(zip(LAYERS, (0.97, 0.93, 0.89), strict=True))
_RIM = 0.9
# Training images whose rows of the stimulus file are filled, beside all test images.
_FILLED = 32


def write_subject(root: Path, sizes: Sizes) -> NsdLayout:
    """Write what is missing of the subject under `root`."""
    layout = NsdLayout(root)
    _write_experiment(layout, sizes)
    _write_stimuli(layout, sizes)
    _write_anatomy(layout, sizes)
    for session in range(1, sizes.sessions + 1):
        path = layout.betas_session(SUBJECT, session)
        _unless_there(path, lambda path, session=session: write_hdf5(path, sizes.volume, session))
    return layout


def _unless_there(path: Path, write: Callable[[Path], None]) -> None:
    if not path.exists():
        write(path)


def _write_experiment(layout: NsdLayout, sizes: Sizes) -> None:
    settings, experiment = sizes.experiment, make_experiment(sizes.experiment)
    ids, splits = coco_numbers(settings)
    pattern = writer.session_pattern(settings.sessions, settings.trials_per_session)
    shared, nsd_ids = np.arange(settings.shared), experiment.nsd_ids(SUBJECT)
    _unless_there(
        layout.expdesign,
        lambda path: writer.write_expdesign(path, experiment.ordering, experiment.subject_images, shared, pattern),
    )
    trials = {subject: experiment.nsd_ids(subject) for subject in settings.subjects}
    _unless_there(layout.stim_info, lambda path: writer.write_stim_info(path, ids, splits, settings.shared, trials))
    random = np.random.default_rng(SUBJECT)
    _unless_there(
        layout.responses(SUBJECT),
        lambda path: writer.write_responses(
            path, writer.response_table(SUBJECT, experiment.ordering, nsd_ids, experiment.session, random)
        ),
    )
    if not all(layout.captions(split).exists() for split in CAPTION_SPLITS):
        rows = tqdm(range(settings.n_stimuli), desc="captions", unit="picture")
        writer.write_captions(layout, ids, splits, [random_captions(row, purpose=1) for row in rows])


def _write_stimuli(layout: NsdLayout, sizes: Sizes) -> None:
    if layout.stimuli.exists():
        return
    trials = Design.read(layout).trials(SUBJECT, sizes.sessions)
    _check_repetitions(trials.nsd_id[trials.is_test])
    used = np.concatenate([trials.test_ids, trials.train_ids[:_FILLED]]).tolist()
    blocks = {row: random_picture(row, sizes.picture, 1)[None] for row in tqdm(used, desc="stimuli", unit="picture")}
    writer.write_stimuli(layout.stimuli, sizes.experiment.n_stimuli, blocks)


def _check_repetitions(shown: Int[np.ndarray, " trials"], needed: int = 9) -> None:
    """Notebook 01 looks at the ninth test image that has three trials."""
    whole = int((np.unique(shown, return_counts=True)[1] == REPETITIONS).sum())
    if whole < needed:
        raise ValueError(
            f"{whole} test images have {REPETITIONS} trials in the sessions with betas; notebook 01 needs {needed}. "
            "Give the sizes more sessions."
        )


# Regions, maps and transforms


def _write_anatomy(layout: NsdLayout, sizes: Sizes) -> None:
    """Masks last: their presence marks the rest as written."""
    if layout.roi(SUBJECT, "nsdgeneral").exists():
        return
    volume = sizes.volume
    brain, general = masks_of(volume)
    random = np.random.default_rng(7)
    for name in REGION_FILES:
        _write_region(layout, name, volume)
    for side, hemi in enumerate(HEMISPHERES):
        native, fsaverage = sizes.vertices
        points = {layer: _vertices(hemi, depth, volume, native) for layer, depth in _DEPTHS.items()}
        writer.write_transforms(layout, SUBJECT, hemi, points, np.arange(fsaverage) % (native - side))
    maps = {layout.mean(SUBJECT): (1000, 60), layout.ncsnr(SUBJECT): (0.4, 0.1)}
    maps |= {layout.mean_beta(SUBJECT, session): (1, 0.5) for session in range(1, sizes.sessions + 1)}
    for path, (mean, spread) in maps.items():
        values = np.where(brain, np.abs(random.normal(mean, spread, volume.shape)), 0).astype(np.float32)
        writer.write_volume(path, values, affine_of(volume))
    write_masks(layout, SUBJECT, volume)


def _write_region(layout: NsdLayout, name: str, size: FullSize) -> None:
    """Labels in bands of the nsdgeneral voxels; -1 outside the (hemisphere's) brain, 0 without a label."""
    brain, general = masks_of(size)
    names = REGION_FILES[name]
    labels = np.zeros(size.shape, np.int16)
    # one band more than labels, so that some voxels have none; nsdgeneral itself has no such band
    bands = len(names) + (name != "nsdgeneral")
    labels[general] = np.arange(general.sum()) * bands // general.sum() + 1
    labels[labels > len(names)] = 0
    left = np.arange(size.shape[0])[:, None, None] < size.shape[0] / 2
    for hemi, side in ((None, True), ("lh", left), ("rh", ~left)):
        if name != "nsdgeneral" or hemi is not None:
            values = np.where(brain & side, labels, -1).astype(np.int16)
            writer.write_volume(layout.roi(SUBJECT, name, hemi), values, affine_of(size))
    writer.write_ctab(layout.ctab(SUBJECT, name), names)


def _vertices(hemi: str, depth: float, size: FullSize, count: int) -> Float[np.ndarray, "count 3"]:
    """Voxel coordinates of a native hemisphere: fsaverage5's vertices, seen from the centre, on the brain's ellipsoid.

    The first are fsaverage5's own, so that maps have their shape; the others repeat them to the true number.
    """
    middle = hemisphere(hemi).at_depth(0.5)
    centred = middle - [0, -18, 15]
    unit = centred / np.abs(centred).max(0)
    on_rim = unit / np.linalg.norm(unit, axis=1, keepdims=True) * depth * _RIM
    voxels = (on_rim + 1) / 2 * (np.array(size.shape) - 1)
    return voxels[np.arange(count) % len(voxels)]
