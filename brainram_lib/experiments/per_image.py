"""Scores of every image, saved beside an experiment's records: what intervals over runs and tests are computed from.

`NAME.images.parquet` has a line for every row, subject, seed and image, and a column for every metric. Shares are
saved as they are; other scores are rounded to steps of the next power of two below a tenth of the last digit that
tables print (six hundred-thousandths for three decimals), which halves the file and moves a mean over 300 images by
less than a hundredth of that digit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
from jaxtyping import Float, Int

from brainram_lib.core.files import write_whole
from brainram_lib.core.marks import file_mark
from brainram_lib.evaluation.catalogue import metric
from brainram_lib.evaluation.identification import drawn_images
from brainram_lib.experiments.entries import ExperimentError

PLACE = ["row", "subject", "seed"]
IMAGE = "nsd_id"
# A column with fewer distinct values than this is dictionary-encoded.
_FEW = 1024


class Cube(NamedTuple):
    """The same as one array: values[row, run, metric, image], NaN where there is none."""

    rows: list[str]
    runs: list[tuple[int, int]]
    metrics: list[str]
    values: Float[np.ndarray, "rows runs metrics images"]


@dataclass(frozen=True, eq=False)
class PerImage:
    """Scores of every image of an experiment; `lines` has the columns row, subject, seed, nsd_id and the metrics."""

    lines: pandas.DataFrame

    @classmethod
    def of(cls, parts: Sequence[pandas.DataFrame]) -> PerImage:
        """The lines of several runs; without runs, an empty one."""
        empty = pandas.DataFrame(columns=[*PLACE, IMAGE])
        return cls(pandas.concat(parts, ignore_index=True) if parts else empty)

    def __bool__(self) -> bool:
        return len(self.lines) > 0

    @property
    def metrics(self) -> list[str]:
        """The columns that are scores."""
        return [name for name in self.lines.columns if name not in (*PLACE, IMAGE)]

    @cached_property
    def cube(self) -> Cube:
        """All scores as one array."""
        row, rows = pandas.factorize(self.lines["row"])
        pairs = list(zip(self.lines["subject"].tolist(), self.lines["seed"].tolist(), strict=True))
        runs = sorted(set(pairs))
        run = np.array([runs.index(pair) for pair in pairs])
        images, image = np.unique(self.lines[IMAGE], return_inverse=True)
        values = np.full((len(rows), len(runs), len(images), len(self.metrics)), np.nan)
        values[row, run, image] = self.lines[self.metrics].to_numpy(np.float64)
        return Cube(list(rows), runs, self.metrics, np.moveaxis(values, 3, 2))

    def of_places(self, places: Collection[str]) -> PerImage:
        """The lines of these 'row/subject/seed'."""
        named = self.lines[PLACE].astype(str).agg("/".join, axis=1) if self else pandas.Series([], dtype=str)
        return PerImage(self.lines[named.isin(set(places)).to_numpy(bool)])

    def write(self, path: Path) -> str:
        """Write them as parquet, whole.

        Returns:
            The mark of the file's content.
        """
        few = [name for name in self.lines.columns if name in PLACE or self.lines[name].nunique() < _FEW]
        others = {name: "BYTE_STREAM_SPLIT" for name in self.metrics if name not in few}
        with write_whole(path) as partial:
            self.lines.to_parquet(
                partial, index=False, compression="zstd", use_dictionary=few, column_encoding=others or None
            )
        return str(file_mark(path))

    @classmethod
    def read(cls, path: Path) -> PerImage:
        """Read what `write` wrote.

        Raises:
            ExperimentError: the file holds something else.
        """
        try:
            lines = pandas.read_parquet(path)
        except (OSError, ValueError) as problem:
            raise ExperimentError(f"'{path}' cannot be read as parquet ({str(problem)[:200]}). Run again.") from problem
        if missing := [name for name in (*PLACE, IMAGE) if name not in lines.columns]:
            raise ExperimentError(f"'{path}' must have the columns {[*PLACE, IMAGE]}. '{missing[0]}' is missing.")
        return cls(lines)


def lines_of(
    row: str, subject: int, seed: int, nsd_ids: Int[np.ndarray, " n"], scores: Mapping[str, Float[np.ndarray, " _n"]]
) -> pandas.DataFrame:
    """One run's lines: `scores` are {metric: one value per image}, in the order of `nsd_ids`."""
    known = {name: _rounded(name, _of_all(name, one, len(nsd_ids))) for name, one in scores.items()}
    place = {"row": row, "subject": np.int64(subject), "seed": np.int64(seed)}
    return pandas.DataFrame({**place, IMAGE: np.asarray(nsd_ids, np.int32), **known})


def _of_all(name: str, values: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    """Values for all images: NaN for those that identification, which draws some of them, never drew."""
    if len(values) == count:
        return np.asarray(values, np.float64)
    drawn = drawn_images(count)
    if len(drawn) != len(values):
        raise ExperimentError(f"'{name}' has {len(values)} values of {count} images, and it is not known of which.")
    found = np.full(count, np.nan)
    found[drawn] = values
    return found


def _rounded(name: str, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    of = metric(name)
    if of.percent:
        return values.astype(np.float32)
    step = 2.0 ** -np.ceil((of.decimals + 1) * np.log2(10))
    return (np.round(values / step) * step).astype(np.float32)
