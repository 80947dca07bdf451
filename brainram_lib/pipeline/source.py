"""Where betas, stimuli and captions come from: NSD's files, or the embedded world, which writes its own.

`own_data` holds a third source, data of the user's own.

A source says where the files are and marks what a stage reads of them, so that a result is named by what its inputs
hold and never by where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int, UInt8

from brainram_lib.core.locks import NotWritableError, held
from brainram_lib.core.marks import content_mark, fingerprint
from brainram_lib.nsd.captions import Captions
from brainram_lib.nsd.layout import CAPTION_SPLITS, NsdLayout
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.repetitions import read_repetitions
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.nsd.synthetic.layout import SyntheticLayout
from brainram_lib.world.synthetic import RECIPE
from brainram_lib.world.synthetic_session import write_synthetic
from brainram_lib.world.world import SETTINGS_FILE, WorldSettings, make_world, read_settings, scene_for_nsd_id

BETAS, STIMULI, CAPTIONS, SYNTHETIC = "betas", "stimuli", "captions", "synthetic"


@runtime_checkable
class Source(Protocol):
    """One data set.

    Attributes:
        name: of the folder that its results lie in.
        simulated: whether its tables must say that they are of the embedded world.
        on_cortex: whether its voxels can be drawn on a cortical surface.
        reported: whether the papers' rows may be shown beside its own.
    """

    name: ClassVar[str]
    simulated: ClassVar[bool]
    on_cortex: ClassVar[bool]
    reported: ClassVar[bool]

    def layout(self, runs: Path, subject: int) -> NsdLayout:
        """Where its files are, in NSD's layout; a generated world is written first.

        Raises:
            ValueError: they are in no such layout.
        """

    def synthetic(self, runs: Path, subject: int) -> NsdLayout:
        """The same, with NSD-synthetic among the files if the source can have it."""

    def mark(self, what: str, subject: int, data: DataSettings) -> str:
        """The mark of the files that 'betas', 'stimuli', 'captions' or 'synthetic' of a subject are read from."""

    def labels(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[frozenset[str]] | None:
        """The categories that each stimulus shows, where they are known."""

    def prepare(self, runs: Path, subject: int, data: DataSettings, folder: Path, average: bool = True) -> None:
        """Write a subject's betas, normalised and split, one row per image or (`average=False`) per trial."""

    def stimuli(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """The pictures of some stimuli."""

    def captions(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[list[str]]:
        """Their captions."""

    def repetitions(
        self, runs: Path, subject: int, prepared: PreparedSubject
    ) -> tuple[Int[np.ndarray, " images"], Float32[np.ndarray, "images repetitions voxels"]]:
        """The trials of every test image that has three, of the prepared voxels, z-scored per session."""


class InNsdLayout:
    """What sources with files in NSD's layout share."""

    on_cortex: ClassVar[bool] = True
    reported: ClassVar[bool] = True

    def layout(self, runs: Path, subject: int) -> NsdLayout:
        """See `Source`."""
        raise NotImplementedError

    def prepare(self, runs: Path, subject: int, data: DataSettings, folder: Path, average: bool = True) -> None:
        """See `nsd.prepare`."""
        how = {"version": data.beta_version, "roi": data.roi, "normalisation": data.normalisation, "average": average}
        prepare_subject(self.layout(runs, subject), subject, folder, sessions=data.sessions, **how)

    def stimuli(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """Rows of the stimulus file."""
        return read_stimuli(self.layout(runs, subject), nsd_ids)

    def captions(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[list[str]]:
        """COCO's."""
        return Captions(self.layout(runs, subject)).of_all(nsd_ids)

    def repetitions(
        self, runs: Path, subject: int, prepared: PreparedSubject
    ) -> tuple[Int[np.ndarray, " images"], Float32[np.ndarray, "images repetitions voxels"]]:
        """See `nsd.repetitions`."""
        return read_repetitions(self.layout(runs, subject), prepared)


def files_read(layout: NsdLayout, what: str, subject: int, data: DataSettings) -> list[Path]:
    """The files that decide what is read.

    Raises:
        ValueError: `what` is not 'betas', 'stimuli', 'captions' or 'synthetic'.
        LayoutError: NSD-synthetic was not prepared in this version of betas.
    """
    if what == STIMULI:
        return [layout.stimuli]
    if what == CAPTIONS:
        return [layout.stim_info, *(layout.captions(split) for split in CAPTION_SPLITS)]
    if what == SYNTHETIC:
        return _synthetic_files(SyntheticLayout(layout), subject, data)
    if what != BETAS:
        names = f"{BETAS}, {STIMULI}, {CAPTIONS}, {SYNTHETIC}"
        raise ValueError(f"'what' must be one of {names}. '{what}' was provided.")
    sessions = range(1, data.sessions + 1)
    hdf5 = [layout.betas_session(subject, session, data.beta_version) for session in sessions]
    # NIfTI counts where there is no HDF5, as the reader chooses
    betas = [
        path if path.exists() else layout.betas_session(subject, session, data.beta_version, ext="nii.gz")
        for session, path in zip(sessions, hdf5, strict=True)
    ]
    return [
        *betas,
        *layout.roi_folder(subject).glob("*.nii.gz"),
        *layout.ctab(subject, data.roi).parent.glob("*.ctab"),
        layout.expdesign,
        layout.responses(subject),
        layout.ncsnr(subject, data.beta_version),
    ]


def _synthetic_files(layout: SyntheticLayout, subject: int, data: DataSettings) -> list[Path]:
    (hdf5,), (nifti,) = (layout.betas(subject, data.beta_version, ext=ext) for ext in ("hdf5", "nii.gz"))
    betas = hdf5 if hdf5.exists() else nifti
    return [betas, layout.expdesign, layout.information, layout.stimuli, layout.colour_stimuli(subject)]


@dataclass(frozen=True)
class NsdFiles(InNsdLayout):
    """The Natural Scenes Dataset in a folder of the user's: the one that holds `nsddata`."""

    root: Path
    name: ClassVar[str] = "nsd"
    simulated: ClassVar[bool] = False

    def layout(self, runs: Path, subject: int) -> NsdLayout:
        """See `Source`."""
        return NsdLayout(self.root)

    def synthetic(self, runs: Path, subject: int) -> NsdLayout:
        """See `Source`: what the user has."""
        return self.layout(runs, subject)

    def mark(self, what: str, subject: int, data: DataSettings) -> str:
        """The content of the files."""
        layout = NsdLayout(self.root)
        return content_mark(files_read(layout, what, subject, data), self.root)

    def labels(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[frozenset[str]] | None:
        """Unknown."""
        return None


@dataclass(frozen=True)
class EmbeddedWorld(InNsdLayout):
    """Drawn scenes and simulated brains, written in NSD's layout on first use; or such a world in a folder.

    Attributes:
        settings: how large it is.
        root: a folder that holds such a world already; it is read and never written.
    """

    settings: WorldSettings = field(default_factory=WorldSettings)
    root: Path | None = None
    name: ClassVar[str] = "embedded-world"
    simulated: ClassVar[bool] = True

    def layout(self, runs: Path, subject: int) -> NsdLayout:
        """See `Source`."""
        if self.root is not None:
            return NsdLayout(self.root)
        root = runs.absolute() / self.name / "files" / fingerprint(self.settings)
        if not (root / SETTINGS_FILE).exists():
            # another process, or this one, may have removed it since
            _written.cache_clear()
        return _written(root, self.settings, subject)

    def synthetic(self, runs: Path, subject: int) -> NsdLayout:
        """See `Source`: a generated world gets its session on first use, and a given one has it or not."""
        layout = self.layout(runs, subject)
        if self.root is None:
            _synthetic_written(layout.root, subject)
        return layout

    def mark(self, what: str, subject: int, data: DataSettings) -> str:
        """The settings of a generated world; the content of a given one."""
        if self.root is None:
            return fingerprint([self.settings, RECIPE] if what == SYNTHETIC else self.settings)
        return NsdFiles(self.root).mark(what, subject, data)

    def labels(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[frozenset[str]] | None:
        """What its scenes were drawn from."""
        world = read_settings(self.layout(runs, subject).root)
        return [frozenset(scene_for_nsd_id(world, int(nsd_id)).categories) for nsd_id in nsd_ids]


@cache
def _written(root: Path, settings: WorldSettings, subject: int) -> NsdLayout:
    """The world's files for one subject, written by one process at a time."""
    try:
        with held(root.with_name(f".{root.name}.lock"), "the embedded world"):
            return make_world(root, settings, [subject])
    except NotWritableError:
        # another user's results can be read, if not written
        if (root / SETTINGS_FILE).exists():
            return NsdLayout(root)
        raise


def _synthetic_written(root: Path, subject: int) -> None:
    """The session's files, written by one process at a time; where nothing can be written, the reader says so."""
    try:
        with held(root.with_name(f".{root.name}.lock"), "the embedded world's NSD-synthetic"):
            write_synthetic(root, subject)
    except NotWritableError:
        return
