"""One table for one subject and seed, as notebooks use it: made where it is missing, shown beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas
from jaxtyping import UInt8

from brainram_lib.core.store import Store, default_runs
from brainram_lib.evaluation.tables import ScoreTable
from brainram_lib.experiments import claims
from brainram_lib.experiments.collected import collect
from brainram_lib.experiments.experiment import ExperimentError, find, load
from brainram_lib.experiments.jobs import Job, Places, profile_of_row, system_of_row
from brainram_lib.experiments.plan import known_times, plan, said
from brainram_lib.experiments.results import Results
from brainram_lib.experiments.runner import check
from brainram_lib.experiments.shown import saved, tables
from brainram_lib.profiles import profile_of
from brainram_lib.workbench import Workbench


class _Whole(pandas.DataFrame):
    """Shown in a notebook with all of its text: pandas cuts a cell after 50 characters."""

    def _repr_html_(self) -> str | None:
        with pandas.option_context("display.max_colwidth", None):
            return super()._repr_html_()


def saved_claims(name: str, profile: str = "mini", runs: str | Path | None = None) -> ScoreTable:
    """Whether each of the paper's comparisons comes out here, from the saved records of an experiment."""
    try:
        return claims.claim_table(*saved(name, profile, default_runs() if runs is None else Path(str(runs))))
    except ExperimentError as problem:
        return ScoreTable(f"Claims of '{name}'", (), (str(problem),))


class TableRun:
    """An experiment for one subject and one seed.

    Args:
        name: of the experiment, or its file.
        profile: the one that its rows change. subject, seed: of the run.
        runs, nsd_root, corpus_root: as for `Workbench`.
        rows: names of some of its rows; None: all.

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
        rows: Sequence[str] | None = None,
    ) -> None:
        self._file = find(str(name))
        self.experiment = load(self._file).of([subject], [seed], rows, profile)
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
        return _Whole(pandas.DataFrame(lines).set_index("row"))

    def plan(self) -> str:
        """What is missing for each row, and how long similar stages took; nothing is made."""
        store = Store(self.places.runs or default_runs())
        times = known_times(profile_of(self.experiment.profile).name, store)
        return said(plan(self.experiment, self.places, store, times))

    @cached_property
    def results(self) -> Results:
        """The records of this subject and seed; what is missing is made."""
        return collect(self.experiment, self.places)

    def tables(self) -> list[ScoreTable]:
        """Scores beside the paper's, each row's difference from the reference on the same images, and its test."""
        return tables(self.experiment, self.results)

    def claims(self) -> ScoreTable:
        """Whether each of the paper's comparisons comes out here."""
        return claims.claim_table(self.experiment, self.results)

    def workbench(self, row: str) -> Workbench:
        """The run of one row."""
        return Job(self.experiment.row(row), self.subject, self.seed).workbench(self.experiment, self.places)

    def images(self, count: int) -> dict[str, UInt8[np.ndarray, "count height width 3"]]:
        """The first test stimuli, unselected, and what each row reconstructs or retrieves of them, {title: images}."""
        first = self.workbench(self.experiment.rows[0].name)
        shown = {"stimulus": first.stimuli("test")[:count]}
        for row in self.experiment.rows:
            system = system_of_row(self.experiment, row)
            shown[row.title] = self.workbench(row.name).reconstructions(system)[:count]
        return shown

    def committed(self) -> list[ScoreTable]:
        """The tables and claims over subjects and seeds, from saved records; empty where none are there."""
        try:
            every, found = saved(str(self._file), self.experiment.profile, self.places.runs or default_runs())
        except ExperimentError:
            return []
        return [*tables(every, found), claims.claim_table(every, found)]

    @property
    def title(self) -> str:
        """The profile's own title."""
        return profile_of_row(self.experiment, self.experiment.rows[0]).title
