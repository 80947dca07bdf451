"""Data of the user's own as a source: a folder that `study` reads, without NSD's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int, UInt8

from brainram_lib.core.marks import content_mark, fingerprint, relative_name
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.repetitions import single_trials
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.pipeline.source import BETAS, CAPTIONS, STIMULI, SYNTHETIC
from brainram_lib.study.check import require
from brainram_lib.study.errors import StudyError
from brainram_lib.study.prepare import prepare, readers
from brainram_lib.study.study import Study


@dataclass(frozen=True)
class OwnData:
    """A folder with `data.toml`. It is opened once for each object of this class.

    Of `DataSettings` only the normalisation counts; sessions, version and region are those of the files.
    """

    root: Path
    name: ClassVar[str] = "own-data"
    simulated: ClassVar[bool] = False
    on_cortex: ClassVar[bool] = False
    reported: ClassVar[bool] = False
    _opened: list[Study] = field(default_factory=list, compare=False, repr=False)

    @property
    def study(self) -> Study:
        """The opened folder."""
        if not self._opened:
            self._opened.append(Study(self.root))
        return self._opened[0]

    def require(self, subject: int, data: DataSettings, validation: int) -> None:
        """See `study.check.require`: what can be said before work starts."""
        self.study.files(subject)
        require(self.study, subject, data.normalisation, validation)

    def layout(self, runs: Path, subject: int) -> NsdLayout:
        """There is none.

        Raises:
            StudyError: always.
        """
        raise StudyError(
            f"the data in '{self.root}' are not in NSD's layout: they have no volumes and no cortical surface, and "
            "notebook 01, which shows NSD's, is not for them. `python -m brainram_lib data check` says what they hold."
        )

    def synthetic(self, runs: Path, subject: int) -> NsdLayout:
        """There is none.

        Raises:
            NsdError: always.
        """
        raise NsdError(f"NSD-synthetic is of NSD's subjects, and the data are those in '{self.root}'.")

    def mark(self, what: str, subject: int, data: DataSettings) -> str:
        """Of the files' content, the numbering of the stimuli and the split."""
        if what == SYNTHETIC:
            self.synthetic(Path(), subject)
        study = self.study
        files, table = study.files(subject), study.table(subject)
        shown = sorted(set(table.stimulus))
        numbered = [[name, study.numbers.get(name)] for name in shown]
        if what == STIMULI:
            pictures = study.pictures
            read = [pictures.files[name] for name in shown] if pictures.files else [pictures.source]
            return fingerprint([content_mark(read, self.root), numbered, pictures.size])
        if what == CAPTIONS:
            return fingerprint([content_mark([study.description.captions], self.root), numbered])
        if what != BETAS:
            raise ValueError(f"'what' must be one of {BETAS}, {STIMULI}, {CAPTIONS}. '{what}' was provided.")
        read = [path for path in (*files.betas, files.trials, files.rois) if path is not None]
        # rows follow one another as the files do; one file has no order, and its earlier results keep their keys
        ordered = [[relative_name(path, self.root) for path in files.betas]] if len(files.betas) > 1 else []
        return fingerprint([content_mark(read, self.root), numbered, sorted(study.test(subject)), *ordered])

    def labels(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[frozenset[str]] | None:
        """Unknown."""
        return None

    def prepare(self, runs: Path, subject: int, data: DataSettings, folder: Path, average: bool = True) -> None:
        """See `study.prepare`."""
        prepare(self.study, subject, folder, data.normalisation, average)

    def stimuli(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """The pictures of some stimuli."""
        return self.study.stimuli(nsd_ids)

    def captions(self, runs: Path, subject: int, nsd_ids: Sequence[int]) -> list[list[str]]:
        """Their captions."""
        return self.study.captions_of(nsd_ids)

    def repetitions(
        self, runs: Path, subject: int, prepared: PreparedSubject
    ) -> tuple[Int[np.ndarray, " images"], Float32[np.ndarray, "images repetitions voxels"]]:
        """The trials of every test stimulus that has three.

        Raises:
            NsdError: none has.
        """
        trials = self.study.trials(subject)
        reading = readers(self.study, subject, trials, prepared.voxel_index)
        sessions = ((trials.of_session(session), read()) for session, read in reading.items())
        return single_trials(trials, sessions, len(prepared.voxel_index), "test")
