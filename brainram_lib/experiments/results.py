"""Records of an experiment: read, joined, written, and shown as a table. Nothing is loaded that computes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from brainram_lib.core.files import write_json
from brainram_lib.core.store import library
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.tables import ScoreTable, lead_table, score_table
from brainram_lib.experiments.experiment import Experiment, ExperimentError

RESULTS = Path(__file__).resolve().parents[2] / "results"
# Columns behind those of the image metrics; those that records lack are left out.
_BEHIND = (catalogue.PROBE[0], *catalogue.ESTIMATES, *catalogue.IDENTIFICATION)


@dataclass(frozen=True)
class RowRecord:
    """One score of one row: whose it is, and its 95 % interval over images."""

    experiment: str
    row: str
    system: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    subject: int
    seed: int

    @classmethod
    def of(cls, experiment: str, row: str, record: Record) -> RowRecord:
        """A record of a row."""
        return cls(experiment, row, **asdict(record))

    def as_record(self) -> Record:
        """The same under the row's name, as tables take it."""
        system = self.system if " over " in self.system else self.row
        return Record(system, self.metric, self.value, self.low, self.high, self.n, self.subject, self.seed)

    @property
    def place(self) -> str:
        """What its row's key stands under."""
        return f"{self.row}/{self.subject}/{self.seed}"


@dataclass(frozen=True)
class Results:
    """All records of an experiment.

    Attributes:
        experiment: its name. title: of its table. profile: its name.
        records: scores. differences: of each row over the reference, image by image.
        keys: {row/subject/seed: key of the scores}, so that records of other settings are not joined with these.
        simulated: whether they are of the embedded world.
        command: that made them. library: version and commit of what made them. made: when.
        said: notes that were measured, such as near-duplicates in the corpus.
    """

    experiment: str
    title: str
    profile: str
    records: tuple[RowRecord, ...]
    differences: tuple[RowRecord, ...]
    keys: dict[str, str]
    simulated: bool
    command: str
    library: dict[str, Any] = field(default_factory=dict)
    made: str = ""
    said: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        found: Iterable[RowRecord],
        differences: Iterable[RowRecord],
        keys: dict[str, str],
        **of: Any,
    ) -> Results:
        """What was just measured."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        names = experiment.name, experiment.title
        parts = tuple(found), tuple(differences), keys
        return cls(*names, of.pop("profile"), *parts, **of, library=library(), made=now)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            ExperimentError: it is not there, or holds something else.
        """
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            for name in ("records", "differences"):
                said[name] = tuple(RowRecord(**row) for row in said[name])
            said["said"] = tuple(said.get("said", ()))
            return cls(**said)
        except FileNotFoundError as problem:
            raise ExperimentError(f"there are no records at '{path}'. Run the experiment first.") from problem
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise ExperimentError(
                f"'{path}' does not hold the records of an experiment ({str(problem)[:200]}). Delete it and run again."
            ) from problem

    def write(self, path: Path) -> None:
        """Write them as JSON, whole."""
        write_json(path, self)

    def joined(self, earlier: Results) -> Results:
        """With the records of rows, subjects and seeds that were made before and not now, if of the same settings."""
        if earlier.experiment != self.experiment:
            return self
        kept = {place: key for place, key in earlier.keys.items() if place not in self.keys}
        keep = [one for one in earlier.records if one.place in kept]
        differ = [one for one in earlier.differences if one.place in kept]
        parts = {"records": (*self.records, *keep), "differences": (*self.differences, *differ)}
        said = tuple(dict.fromkeys((*self.said, *(earlier.said if kept else ()))))
        return Results(**{**vars(self), **parts, "keys": {**kept, **self.keys}, "said": said})


def where(experiment: str, profile: str, runs: Path, folder: Path | None = None) -> Path:
    """The file of records: in `folder`, else the newest of the user's own and the committed ones.

    Raises:
        ExperimentError: none is there.
    """
    places = [folder] if folder else [runs / "experiments" / profile, RESULTS / profile]
    found = [place / f"{experiment}.json" for place in places if (place / f"{experiment}.json").is_file()]
    if not found:
        looked = ", ".join(f"'{place}'" for place in places)
        raise ExperimentError(f"there are no records of '{experiment}' in {looked}. Run the experiment first.")
    return found[0]


def tables(experiment: Experiment, results: Results) -> list[ScoreTable]:
    """The measured rows with the paper's beside them, and the difference of each from the reference."""
    rows = [row.name for row in experiment.rows]
    titles = {row.name: row.title for row in experiment.rows}
    labels = Labels(titles, frozenset(row.name for row in experiment.rows if row.bound))
    of = _of(results)
    shown = [one.as_record() for one in results.records if one.row in titles]
    title = f"{experiment.title}, {of}"
    columns = _columns(shown, results.simulated)
    made = [
        score_table(
            over_runs(shown),
            columns,
            title,
            embedded=results.simulated,
            labels=labels,
            paper_table=experiment.paper_table,
            rows=rows,
            notes=(*_notes(results), *results.said, *experiment.notes),
        )
    ]
    if results.differences and experiment.reference:
        against = [one.as_record() for one in results.differences if one.row in titles]
        title = f"Difference from {titles[experiment.reference]}, {of}"
        made.append(lead_table(over_runs(against), columns, title, embedded=results.simulated, labels=labels))
    return made


def over_runs(records: Sequence[Record]) -> list[Record]:
    """Records of one run as they are; of several subjects or seeds, their mean with Student's interval over runs."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for one in records:
        groups.setdefault((one.system, one.metric), []).append(one)
    return [group[0] if len(group) == 1 else _mean(group) for group in groups.values()]


def _mean(group: Sequence[Record]) -> Record:
    values = np.array([one.value for one in group])
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean, first = float(values.mean()), group[0]
    return Record(first.system, first.metric, mean, mean - half, mean + half, first.n, 0, 0)


def _columns(records: Sequence[Record], simulated: bool) -> list[Metric]:
    present = {one.metric for one in records}
    return [metric for metric in _known(simulated) if metric.name in present]


def column(name: str, simulated: bool) -> Metric:
    """The column of a metric; on the embedded world one whose network has a stand-in carries the stand-in's title."""
    return next(metric for metric in _known(simulated) if metric.name == name)


def _known(simulated: bool) -> tuple[Metric, ...]:
    return (*(catalogue.MINI if simulated else catalogue.PAPER), *_BEHIND)


def _of(results: Results) -> str:
    pairs = [(one.subject, one.seed) for one in results.records]
    subjects, seeds = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    words = [
        f"{name}{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
        for name, found in (("subject", subjects), ("seed", seeds))
    ]
    return ", ".join(words)


def _notes(results: Results) -> list[str]:
    runs = {(one.subject, one.seed) for one in results.records}
    notes = []
    if len(runs) > 1:
        notes.append(f"Mean over {len(runs)} runs (subjects and seeds); in brackets Student's 95 % interval over runs.")
    made = f"Made by `{results.command}` on {results.made[:10]}" if results.command else f"Made on {results.made[:10]}"
    version, commit = results.library.get("version"), results.library.get("commit")
    today = library()["version"]
    older = f"; this is version {today}" if version != today else ""
    return [*notes, f"{made}, version {version}, commit {commit}{older}."]
