"""One table for one subject and seed, as notebooks use it: made where it is missing, shown beside the paper's rows."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas
from jaxtyping import UInt8

from brainram_lib.core.store import default_runs
from brainram_lib.evaluation.tables import ScoreTable
from brainram_lib.experiments import claims
from brainram_lib.experiments.experiment import ExperimentError, find, load
from brainram_lib.experiments.results import Results, tables, where
from brainram_lib.experiments.runner import Job, Places, check, collect, profile_of_row
from brainram_lib.profiles import profile_of
from brainram_lib.workbench import Workbench


class TableRun:
    """An experiment for one subject and one seed.

    Args:
        name: of the experiment, or its file.
        profile: its rows change this one. subject, seed: whose.
        runs, nsd_root, corpus_root: as for `Workbench`.

    Raises:
        ExperimentError: the experiment cannot be run as its file says.
    """

    def __init__(
        self,
        name: str,
        profile: str = "mini",
        subject: int = 1,
        seed: int = 0,
        runs: str | Path | None = None,
        nsd_root: str | Path | None = None,
        corpus_root: str | Path | None = None,
    ) -> None:
        self._file = find(str(name))
        self.experiment = load(self._file).of([subject], [seed], profile=profile)
        self.places = Places(*(None if place is None else Path(place) for place in (runs, nsd_root, corpus_root)))
        self.subject, self.seed = subject, seed
        check(self.experiment, self.places)

    def rows(self) -> pandas.DataFrame:
        """What each row has or lacks, and the settings that it changes."""
        common = self.experiment.changes
        lines = [
            {
                "row": row.title,
                "what": row.what,
                "changes": ", ".join(f"{k} = {v}" for k, v in row.changes.items() if common.get(k) != v),
            }
            for row in self.experiment.rows
        ]
        return pandas.DataFrame(lines).set_index("row")

    @cached_property
    def results(self) -> Results:
        """The records of this subject and seed; what is missing is made."""
        return collect(self.experiment, self.places)

    def tables(self) -> list[ScoreTable]:
        """Scores beside the paper's, and each row's difference from the reference on the same images."""
        return tables(self.experiment, self.results)

    def claims(self) -> pandas.DataFrame:
        """Whether each of the paper's differences comes out here."""
        return claims.claim_table(claims.claims(self.experiment, self.results))

    def verdict(self) -> str:
        """The claims counted, in a sentence."""
        return claims.said(claims.claims(self.experiment, self.results))

    def workbench(self, row: str) -> Workbench:
        """The run of one row."""
        return Job(self.experiment.row(row), self.subject, self.seed).workbench(self.experiment, self.places)

    def images(self, count: int) -> dict[str, UInt8[np.ndarray, "count height width 3"]]:
        """The first test stimuli, unselected, and what each row reconstructs of them, {title: images}."""
        first = self.workbench(self.experiment.rows[0].name)
        shown = {"stimulus": first.stimuli("test")[:count]}
        for row in self.experiment.rows:
            shown[row.title] = self.workbench(row.name).reconstructions(row.system)[:count]
        return shown

    def committed(self) -> list[ScoreTable]:
        """The tables over subjects and seeds, from saved records; empty where none are there."""
        every = load(self._file)
        try:
            file = where(every.name, profile_of(self.experiment.profile).name, self.places.runs or default_runs())
            return tables(every, Results.read(file))
        except ExperimentError:
            return []

    @property
    def title(self) -> str:
        """The profile's own title."""
        return profile_of_row(self.experiment, self.experiment.rows[0]).title
