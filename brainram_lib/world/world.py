"""The embedded world on disk: stimuli, design, captions and simulated brains under one root, as NSD has them.

Numbering: nsdIds 0 to shared - 1 are the shared pictures (the test set), then each subject's own pictures in a block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int16, UInt8
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json
from brainram_lib.nsd.layout import CAPTION_SPLITS, HEMISPHERES, LAYERS, NsdLayout
from brainram_lib.world import nsd_writer as writer
from brainram_lib.world.brains import BETA_SCALE, Scanner, brain_of
from brainram_lib.world.captions import captions_of
from brainram_lib.world.cortex import (
    ROI_LABELS,
    VERTICES,
    VoxelSheet,
    cortex_voxels,
    hemisphere,
    to_voxels,
    voxel_sheet,
)
from brainram_lib.world.scenes import Scene, render, scene_of, stream

SETTINGS_FILE = "world.json"
DEPTHS = dict(zip(LAYERS, (0.25, 0.5, 0.75), strict=True))
REPETITIONS = 3
# three voxels do not work (`brains.make_scanner`), and a subject with fewer than half of its voxels working is refused
LEAST_VOXELS = 6


class WorldError(ValueError):
    """The embedded world cannot be made as asked; the message says why."""


@dataclass(frozen=True)
class WorldSettings:
    """How large the embedded world is. The defaults are the profile `mini`.

    Attributes:
        subjects, voxels: NSD's subject numbers, and the nsdgeneral voxels of each.
        sessions, trials_per_session: every picture is shown three times, so their product is 3 x images.
        images: pictures per subject, the first `shared` of them common to all subjects.
        seed: for the design and the brains. The pictures are always the same.
        reliability: multiplies every voxel's ncsnr.
        nifti: write betas as .nii.gz too.
        recipe: version of the simulation itself, raised whenever it changes, so that an older world is not taken for a
            new one.
    """

    name: str = "mini"
    subjects: tuple[int, ...] = (1, 2, 5, 7)
    voxels: tuple[int, ...] = (1500, 1400, 1300, 1200)
    sessions: int = 14
    trials_per_session: int = 750
    images: int = 3500
    shared: int = 300
    seed: int = 0
    reliability: float = 1.0
    nifti: bool = False
    recipe: int = 3

    def __post_init__(self) -> None:
        if len(self.subjects) != len(self.voxels):
            raise WorldError(f"one number of voxels per subject: {len(self.subjects)} subjects, {self.voxels} voxels.")
        if min(self.voxels, default=LEAST_VOXELS) < LEAST_VOXELS:
            raise WorldError(f"'voxels' must be {LEAST_VOXELS} or more of each subject. {self.voxels} was provided.")
        if self.sessions * self.trials_per_session != REPETITIONS * self.images:
            raise WorldError(
                f"{self.sessions} sessions of {self.trials_per_session} trials must show {self.images} images "
                f"{REPETITIONS} times each ({REPETITIONS * self.images} trials). Change one of the three numbers."
            )
        if not 0 < self.shared < self.images:
            raise WorldError(f"shared must lie between 1 and images - 1 = {self.images - 1}. {self.shared} was given.")

    @classmethod
    def with_sessions(cls, sessions: int) -> WorldSettings:
        """The smallest world with this many sessions: the default one, or a longer one in which subjects see more.

        A longer world keeps the shared images, and its subjects' first images are those of the default one.
        """
        standard = cls()
        if sessions <= standard.sessions:
            return standard
        return replace(standard, sessions=sessions, images=sessions * standard.trials_per_session // REPETITIONS)

    @property
    def own(self) -> int:
        """Pictures that only one subject sees."""
        return self.images - self.shared

    @property
    def n_stimuli(self) -> int:
        """Rows of the stimulus file."""
        return self.shared + self.own * len(self.subjects)

    def position(self, subject: int) -> int:
        """The index of a subject in `subjects`.

        Raises:
            WorldError: the world has no such subject.
        """
        if subject not in self.subjects:
            raise WorldError(f"subject must be one of {self.subjects}. {subject!r} was provided.")
        return self.subjects.index(subject)

    def own_start(self, subject: int) -> int:
        """nsdId of the first picture that only this subject sees."""
        return self.shared + self.own * self.position(subject)

    def source(self, nsd_id: int) -> tuple[str, int]:
        """Scene set and index of a 0-based nsdId.

        Raises:
            WorldError: there is no such stimulus.
        """
        if not 0 <= nsd_id < self.n_stimuli:
            raise WorldError(f"nsdId must be 0 to {self.n_stimuli - 1}. {nsd_id} was provided.")
        if nsd_id < self.shared:
            return "shared", int(nsd_id)
        block, index = divmod(int(nsd_id) - self.shared, self.own)
        return f"subject{self.subjects[block]}", index


def scene_for_nsd_id(settings: WorldSettings, nsd_id: int) -> Scene:
    """What the picture `nsd_id` shows."""
    return scene_of(*settings.source(nsd_id))


@dataclass(frozen=True)
class Experiment:
    """Which picture every trial shows.

    Attributes:
        ordering: per trial the picture among the subject's own `images`, from 0; the same for all subjects.
        subject_images: (8, images) 0-based nsdIds; subjects that the world lacks repeat the first one's.
        session: per trial, from 1.
    """

    ordering: Int[np.ndarray, " trials"]
    subject_images: Int[np.ndarray, "8 images"]
    session: Int[np.ndarray, " trials"]

    def nsd_ids(self, subject: int) -> Int[np.ndarray, " trials"]:
        """The 0-based nsdId of each trial of a subject."""
        return self.subject_images[subject - 1][self.ordering]


def make_experiment(settings: WorldSettings) -> Experiment:
    """Draw the design: every image three times, repetitions from minutes to months apart, as in NSD."""
    rng = stream("design", settings.seed)
    first = rng.random(settings.images)
    near = rng.random((2, settings.images)) < 0.4
    gaps = np.where(near, rng.exponential(0.02, near.shape), rng.random(near.shape))
    when = np.stack([first, *(first + gaps)]) % 1
    ordering = np.tile(np.arange(settings.images), REPETITIONS)[np.argsort(when.ravel(), kind="stable")]
    session = np.repeat(np.arange(1, settings.sessions + 1), settings.trials_per_session)
    rows = [_images_of(settings, s if s in settings.subjects else settings.subjects[0]) for s in range(1, 9)]
    return Experiment(ordering, np.stack(rows), session)


def _images_of(settings: WorldSettings, subject: int) -> Int[np.ndarray, " images"]:
    own = settings.own_start(subject) + np.arange(settings.own)
    return np.concatenate([np.arange(settings.shared), own])


def coco_numbers(settings: WorldSettings) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """A unique COCO id and a split per nsdId; they refer to no real COCO picture."""
    rng = stream("coco", settings.n_stimuli)
    ids = rng.permutation(10 * settings.n_stimuli)[: settings.n_stimuli] + 1
    splits = np.where(rng.random(settings.n_stimuli) < 0.95, *CAPTION_SPLITS)
    return ids, splits.tolist()


def make_world(root: Path, settings: WorldSettings, subjects: Sequence[int]) -> NsdLayout:
    """Write what is missing from the world for `subjects` under `root`, and return its layout.

    A second call continues where the first one stopped; existing files stay.

    Raises:
        WorldError: `root` holds a world with other settings, or the world has no such subject.
    """
    for subject in subjects:
        settings.position(subject)
    _claim(root, settings)
    layout = NsdLayout(root)
    experiment = make_experiment(settings)
    _write_experiment(layout, settings, experiment)
    for subject in subjects:
        SubjectWriter(layout, settings, experiment, subject).write()
    return layout


def read_settings(root: Path) -> WorldSettings:
    """The settings of the world under `root`.

    Raises:
        FileNotFoundError: there is no embedded world.
    """
    path = root / SETTINGS_FILE
    if not path.exists():
        raise FileNotFoundError(f"'{root}' holds no embedded world: '{SETTINGS_FILE}' is missing. Make it first.")
    found = json.loads(path.read_text())
    known = {field.name for field in fields(WorldSettings)}
    return WorldSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in known})


def _claim(root: Path, settings: WorldSettings) -> None:
    """Write the settings into `root`, or compare them with those already there."""
    path = root / SETTINGS_FILE
    wanted = json.loads(json.dumps(asdict(settings)))
    if not path.exists():
        write_json(path, wanted)
        return
    found = json.loads(path.read_text())
    differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if differing:
        changes = ", ".join(f"{key}: {found.get(key)} there, {wanted.get(key)} asked for" for key in differing)
        raise WorldError(f"'{root}' holds a world with other settings ({changes}). Name another root, or delete it.")


def _write_experiment(layout: NsdLayout, settings: WorldSettings, experiment: Experiment) -> None:
    ids, splits = coco_numbers(settings)
    if not layout.expdesign.exists():
        pattern = writer.session_pattern(settings.sessions, settings.trials_per_session)
        writer.write_expdesign(
            layout.expdesign, experiment.ordering, experiment.subject_images, np.arange(settings.shared), pattern
        )
    if not layout.stim_info.exists():
        trials = {subject: experiment.nsd_ids(subject) for subject in settings.subjects}
        writer.write_stim_info(layout.stim_info, ids, splits, settings.shared, trials)
    if not all(layout.captions(split).exists() for split in CAPTION_SPLITS):
        rows = tqdm(range(settings.n_stimuli), desc="captions", unit="picture")
        captions = [captions_of(scene_for_nsd_id(settings, int(row)), *settings.source(row)) for row in rows]
        writer.write_captions(layout, ids, splits, captions)


class SubjectWriter:
    """Writes all files of one subject that are not there yet."""

    def __init__(self, layout: NsdLayout, settings: WorldSettings, experiment: Experiment, subject: int) -> None:
        self.layout, self.settings, self.experiment, self.subject = layout, settings, experiment, subject
        self.images = experiment.subject_images[subject - 1]

    def write(self) -> None:
        """Stimuli, anatomy and behaviour first, which are quick; then the betas and what is computed from them."""
        self._write_stimuli()
        self._write_anatomy()
        self._write_behaviour()
        if any(not path.exists() for path in self._functional_files()):
            self._write_functional()

    @cached_property
    def sheet(self) -> VoxelSheet:
        """The subject's voxels."""
        return voxel_sheet(self.subject, self.settings.voxels[self.settings.position(self.subject)])

    @cached_property
    def pictures(self) -> UInt8[np.ndarray, "images height width 3"]:
        """The subject's pictures, in the order of `images`."""
        rows = tqdm(self.images, desc=f"subject {self.subject}: draw the stimuli", unit="picture")
        return np.stack([render(scene_for_nsd_id(self.settings, int(row))) for row in rows])

    def _write_stimuli(self) -> None:
        shared, start = self.settings.shared, self.settings.own_start(self.subject)
        missing = {0, start} - writer.stimuli_written(self.layout.stimuli)
        if missing:
            blocks = {0: self.pictures[:shared], start: self.pictures[shared:]}
            wanted = {row: block for row, block in blocks.items() if row in missing}
            writer.write_stimuli(self.layout.stimuli, self.settings.n_stimuli, wanted)

    def _write_anatomy(self) -> None:
        """Masks, regions in the volume and on the surface, and transforms; the last file written marks them all."""
        layout, subject, sheet = self.layout, self.subject, self.sheet
        if layout.brainmask(subject).exists():
            return
        cortex = {hemi: self._cortex_mask(k, hemi) for k, hemi in enumerate(HEMISPHERES)}
        for name in ROI_LABELS:
            self._write_region(name, cortex)
        native = np.arange(VERTICES)
        for hemi in HEMISPHERES:
            points = {layer: to_voxels(sheet.affine, hemisphere(hemi).at_depth(d)) for layer, d in DEPTHS.items()}
            writer.write_transforms(layout, subject, hemi, points, native)
        brain = cortex["lh"] | cortex["rh"]
        noise = stream("anatomy", subject).normal(1000, 60, sheet.shape)
        writer.write_volume(layout.mean(subject), np.where(brain, noise, 0).astype(np.float32), sheet.affine)
        writer.write_volume(layout.brainmask(subject), brain.astype(np.uint8), sheet.affine)

    def _cortex_mask(self, side: int, hemi: str) -> Bool[np.ndarray, "x y z"]:
        """The cortex of one hemisphere: voxels in its grey matter, without the other's nsdgeneral voxels."""
        mask = np.zeros(self.sheet.shape, bool)
        mask[tuple(cortex_voxels(hemi, self.sheet).T)] = True
        mask[tuple(self.sheet.index.T)] = self.sheet.hemi == side
        return mask

    def _write_region(self, name: str, cortex: dict[str, np.ndarray]) -> None:
        """-1 outside the (hemisphere's) cortex, 0 unlabelled, labels from 1; the same on the surface, with names."""
        layout, subject, sheet = self.layout, self.subject, self.sheet
        labels = sheet.volume(sheet.labels[name])
        masks = {None: cortex["lh"] | cortex["rh"], **cortex}
        for hemi, mask in masks.items():
            values = np.where(mask, labels, -1).astype(np.int16)
            writer.write_volume(layout.roi(subject, name, hemi), values, sheet.affine)
        for owner in (subject, "fsaverage"):
            writer.write_ctab(layout.ctab(owner, name), ROI_LABELS[name])
            for hemi in HEMISPHERES:
                writer.write_surface_values(
                    layout.surface_label(owner, hemi, name), hemisphere(hemi).labels[name].astype(np.int32)
                )

    def _write_behaviour(self) -> None:
        path, experiment = self.layout.responses(self.subject), self.experiment
        if not path.exists():
            ids, rng = experiment.nsd_ids(self.subject), stream("behaviour", self.settings.seed, self.subject)
            table = writer.response_table(self.subject, experiment.ordering, ids, experiment.session, rng)
            writer.write_responses(path, table)

    def _session_files(self, session: int) -> dict[str, Path]:
        layout, subject = self.layout, self.subject
        files = {
            "hdf5": layout.betas_session(subject, session),
            "valid": layout.valid_session(subject, session),
            "mean": layout.mean_beta(subject, session),
            "r2": layout.r2_session(subject, session),
        }
        return files | ({"nifti": layout.betas_session(subject, session, ext="nii.gz")} if self.settings.nifti else {})

    def _functional_files(self) -> list[Path]:
        sessions = range(1, self.settings.sessions + 1)
        files = [path for session in sessions for path in self._session_files(session).values()]
        return [*files, *(self.layout.ncsnr(self.subject, split=split) for split in (None, 1, 2))]

    def _write_functional(self) -> None:
        settings, subject = self.settings, self.subject
        responder, scanner = brain_of(self.sheet, subject, settings.seed, settings.sessions, settings.reliability)
        scenes = [scene_for_nsd_id(settings, int(row)) for row in self.images]
        signal = responder.signal(self.pictures, scenes, f"subject {subject}")
        sessions = tqdm(range(1, settings.sessions + 1), desc=f"subject {subject}: scan", unit="session")
        betas = np.concatenate([self._write_session(scanner, signal, session) for session in sessions])
        z = writer.zscored(betas, self.experiment.session)
        half = self.experiment.ordering % 2
        for split, rows in ((None, np.ones(len(z), bool)), (1, half == 0), (2, half == 1)):
            values = writer.ncsnr_of(z[rows], self.experiment.ordering[rows])
            writer.write_volume(self.layout.ncsnr(subject, split=split), self.sheet.volume(values), self.sheet.affine)

    def _write_session(self, scanner: Scanner, signal: np.ndarray, session: int) -> Int16[np.ndarray, "trials voxels"]:
        sheet, files = self.sheet, self._session_files(session)
        shown = signal[self.experiment.ordering[self.experiment.session == session]]
        betas = scanner.measure(shown, session)
        percent = betas.astype(np.float32) / BETA_SCALE
        with np.errstate(divide="ignore", invalid="ignore"):
            shared = ((percent - percent.mean(0)) * (shown - shown.mean(0))).mean(0)
            correlation = shared / percent.std(0) / shown.std(0)
        writers: dict[str, Callable[[Path], None]] = {
            "hdf5": lambda path: writer.write_betas_hdf5(path, betas, sheet.index, sheet.shape),
            "nifti": lambda path: writer.write_betas_nifti(path, betas, sheet.index, sheet.shape, sheet.affine),
            "valid": lambda path: writer.write_volume(path, self._valid(betas), sheet.affine),
            "mean": lambda path: writer.write_volume(path, sheet.volume(percent.mean(0)), sheet.affine),
            "r2": lambda path: writer.write_volume(
                path, sheet.volume(np.nan_to_num(100 * correlation**2).astype(np.float32)), sheet.affine
            ),
        }
        for kind, path in files.items():
            if not path.exists():
                writers[kind](path)
        return betas

    def _valid(self, betas: Int16[np.ndarray, "trials voxels"]) -> UInt8[np.ndarray, "x y z"]:
        """1 in the cortex, except in voxels that are 0 in every trial."""
        cortex = np.zeros(self.sheet.shape, np.uint8)
        for hemi in HEMISPHERES:
            cortex[tuple(cortex_voxels(hemi, self.sheet).T)] = 1
        cortex[tuple(self.sheet.index.T)] = (betas != 0).any(0)
        return cortex
