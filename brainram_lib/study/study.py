"""One folder of a user's own betas, pictures and captions, as the stages read it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from brainram_lib.nsd.design import Trials
from brainram_lib.study.betas import Betas, open_betas, read_rois
from brainram_lib.study.description import FILE, SubjectFiles, read_description
from brainram_lib.study.errors import StudyError, some_of
from brainram_lib.study.names import numbers_of
from brainram_lib.study.pictures import Pictures, open_pictures
from brainram_lib.study.split import stimuli_that_test
from brainram_lib.study.tables import TrialTable, read_captions, read_csv, trial_table


class Study:
    """A user's own betas, pictures and captions.

    Stimuli have names in tables and files; in arrays they have numbers (`names.numbers_of`), in place of nsdIds. Files
    are opened when they are needed, and stay open.

    Args:
        folder: the folder that holds `data.toml`.

    Raises:
        StudyError: `data.toml` is missing or wrong.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.description = read_description(self.folder)
        self._betas: dict[int, Betas] = {}
        self._tables: dict[int, TrialTable] = {}

    @property
    def subjects(self) -> tuple[int, ...]:
        """The subjects' numbers."""
        return tuple(sorted(self.description.subjects))

    @cached_property
    def pictures(self) -> Pictures:
        """All pictures."""
        return open_pictures(self.description.pictures, self.description.size)

    @cached_property
    def captions(self) -> dict[str, list[str]]:
        """Name of a stimulus -> its captions."""
        return read_captions(self.description.captions)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Name of a stimulus -> its number."""
        return numbers_of(self.pictures.names)

    @cached_property
    def names(self) -> dict[int, str]:
        """Number of a stimulus -> its name."""
        return {number: name for name, number in self.numbers.items()}

    def files(self, subject: int) -> SubjectFiles:
        """A subject's files.

        Raises:
            StudyError: there is no such subject.
        """
        if subject not in self.description.subjects:
            raise StudyError(
                f"'subject' must be one of {list(self.subjects)} in '{self.folder / FILE}'. {subject} came."
            )
        return self.description.subjects[subject]

    def betas(self, subject: int) -> Betas:
        """A subject's betas as they are in the files."""
        if subject not in self._betas:
            self._betas[subject] = open_betas(self.files(subject).betas)
        return self._betas[subject]

    def table(self, subject: int) -> TrialTable:
        """What each trial of a subject shows.

        Raises:
            StudyError: there is no such table, or the number of its rows, or of values in an array beside the betas, is
                not the number of trials.
        """
        if subject not in self._tables:
            self._tables[subject] = self._read_table(subject)
        return self._tables[subject]

    def trials(self, subject: int) -> Trials:
        """The trials as stages take them: stimulus numbers, sessions, splits.

        Raises:
            StudyError: a trial shows a stimulus without a picture, or the split is wrong (`split.stimuli_that_test`).
        """
        table = self.table(subject)
        if unknown := sorted(set(table.stimulus) - self.pictures.names):
            raise StudyError(
                f"'{table.file}' names stimuli without a picture in '{self.pictures.source}': {some_of(unknown)}."
            )
        test = self.test(subject)
        number = np.array([self.numbers[name] for name in table.stimulus], np.int64)
        order = np.argsort(number, kind="stable")
        counts = np.unique(number, return_counts=True)[1]
        repetition = np.empty(len(number), np.int64)
        repetition[order] = np.concatenate([np.arange(count) for count in counts])
        is_test = np.array([name in test for name in table.stimulus])
        return Trials(number, np.asarray(table.session), np.arange(len(number)), repetition, is_test)

    def test(self, subject: int) -> frozenset[str]:
        """Names of the test stimuli that a subject saw."""
        drawn = isinstance(self.description.test, int)
        tables = {one: self.table(one) for one in (self.subjects if drawn else (subject,))}
        return stimuli_that_test(self.description, subject, tables, self.pictures.names)

    def regions(self, subject: int) -> dict[str, np.ndarray]:
        """Masks over the voxels by name; none where the subject has none."""
        path = self.files(subject).rois
        return {} if path is None else read_rois(path, self.betas(subject).shape[1])

    def stimuli(self, numbers: Iterable[int]) -> UInt8[np.ndarray, "n side side 3"]:
        """The pictures of some stimuli."""
        return self.pictures.read([self.names[int(number)] for number in numbers])

    def captions_of(self, numbers: Iterable[int]) -> list[list[str]]:
        """The captions of some stimuli."""
        return [self.captions[self.names[int(number)]] for number in numbers]

    def _read_table(self, subject: int) -> TrialTable:
        files, betas = self.files(subject), self.betas(subject)
        default = betas.file_of_trial
        if files.trials is not None:
            table = read_csv(files.trials)
            default = default if len(default) == len(table) else None
            found = trial_table(files.trials, table, default)
        elif (columns := betas.columns) is not None:
            found = trial_table(files.betas[0], columns, default)
        else:
            raise StudyError(
                f"[subjects.{subject}] of '{self.folder / FILE}' must name 'trials', a CSV with the column 'stimulus' "
                "and one row for every row of the betas; or .npz files hold 'stimulus' beside 'betas'."
            )
        if len(found) != betas.shape[0]:
            raise StudyError(
                f"'{found.file}' has {len(found)} trials, and the betas of subject {subject} have {betas.shape[0]} "
                f"rows ({some_of(path.name for path in files.betas)}). They must be the same trials in the same order."
            )
        return found
