"""Means, differences, intervals and tests of an experiment, from the saved scores of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from brainram_lib.evaluation.intervals import Interval
from brainram_lib.evaluation.joint import contributions, joint_intervals
from brainram_lib.evaluation.permutation import draws_for, sign_flip_p
from brainram_lib.evaluation.records import Difference, Record
from brainram_lib.experiments.entries import ExperimentError
from brainram_lib.experiments.per_image import Cube, PerImage

Name = tuple[str, str]


@dataclass(frozen=True)
class _Batch:
    """Scores or differences that the same runs have, so that they are drawn and flipped together."""

    names: list[Name]
    runs: list[tuple[int, int]]
    values: Float[np.ndarray, "k runs images"]

    @property
    def subjects(self) -> Int[np.ndarray, " runs"]:
        return np.array([subject for subject, _ in self.runs])

    @property
    def of(self) -> tuple[int, int]:
        """Subject and seed of a record; 0 and 0 where it is over several runs."""
        return self.runs[0] if len(self.runs) == 1 else (0, 0)

    def images(self) -> list[int]:
        return np.isfinite(self.values).any(1).sum(-1).tolist()

    def intervals(self, population: bool) -> list[Interval]:
        if population and len(np.unique(self.subjects)) < 2:
            raise ExperimentError(
                f"intervals for other subjects need records of two subjects or more. '{self.names[0][0]}' has "
                f"subject {self.subjects[0]} alone."
            )
        return joint_intervals(self.values, self.subjects, population)


def scores(images: PerImage, population: bool = False) -> list[Record]:
    """The mean of every row and metric over subjects, seeds and images; see `evaluation.joint`."""
    cube = images.cube
    found = {
        (row, metric): cube.values[r, :, m] for r, row in enumerate(cube.rows) for m, metric in enumerate(cube.metrics)
    }
    records = {}
    for batch in _batches(cube, found):
        for name, interval, n in zip(batch.names, batch.intervals(population), batch.images(), strict=True):
            records[name] = Record(*name, *interval, n, *batch.of)
    return [records[name] for name in found if name in records]


def differences(images: PerImage, pairs: Sequence[tuple[str, str]], population: bool = False) -> list[Difference]:
    """How much each row of a pair scores above the other, over the runs that have both: `evaluation.permutation`."""
    cube = images.cube
    at = {row: place for place, row in enumerate(cube.rows)}
    found = {
        (f"{one} over {other}", metric): cube.values[at[one], :, m] - cube.values[at[other], :, m]
        for one, other in pairs
        if one in at and other in at
        for m, metric in enumerate(cube.metrics)
    }
    records = {}
    for batch in _batches(cube, found):
        tests = sign_flip_p(contributions(batch.values, batch.subjects), draws_for(len(found)))
        means = _subject_means(batch)
        parts = zip(batch.names, batch.intervals(population), batch.images(), tests.tolist(), means.T, strict=True)
        for name, interval, n, p, own in parts:
            agreeing = int((np.sign(own) == np.sign(interval.value)).sum())
            records[name] = Difference(*name, *interval, n, *batch.of, p=p, agreeing=agreeing, subjects=len(own))
    return [records[name] for name in found if name in records]


def _batches(cube: Cube, found: Mapping[Name, Float[np.ndarray, "runs images"]]) -> list[_Batch]:
    groups: dict[bytes, list[Name]] = {}
    for name, values in found.items():
        groups.setdefault(np.isfinite(values).any(-1).tobytes(), []).append(name)
    made = []
    for pattern, names in groups.items():
        there = np.frombuffer(pattern, bool)
        if there.any():
            values = np.stack([found[name][there] for name in names])
            values = values[:, :, np.isfinite(values).any((0, 1))]
            made.append(_Batch(names, [run for run, has in zip(cube.runs, there, strict=True) if has], values))
    return made


def _subject_means(batch: _Batch) -> Float[np.ndarray, "subjects k"]:
    means, subjects = np.nanmean(batch.values, axis=-1), batch.subjects
    return np.stack([means[:, subjects == one].mean(1) for one in np.unique(subjects)])
