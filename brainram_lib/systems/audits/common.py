"""What all audits share: what they are given, what they give, and scores of stages as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from brainram_lib.core.store import Stage, Store
from brainram_lib.evaluation import records
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.differences import lead_table
from brainram_lib.evaluation.labels import CHANCE, Labels
from brainram_lib.evaluation.records import Record, Values
from brainram_lib.evaluation.tables import ScoreTable, score_table
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import Tokens


@dataclass(frozen=True)
class Subject:
    """What an audit is given.

    Attributes:
        run: whose stages. store: where their results are.
        images: whether missing images are generated; if not, only tokens and existing images are audited.
        folds: how many of the five parts of the clusters are held out in turn.
        systems: those that are retrained without the held-out clusters.
    """

    run: Run
    store: Store
    images: bool = True
    folds: int = 1
    systems: tuple[str, ...] = ("ridge",)

    @property
    def of(self) -> dict[str, int]:
        """Subject and seed, as records hold them."""
        return {"subject": self.run.subject, "seed": self.run.seed}

    @property
    def words(self) -> str:
        """For titles: 'subject 1, seed 2'."""
        return f"subject {self.run.subject}" + (f", seed {self.run.seed}" if self.run.seed else "")


@dataclass
class Audit:
    """What an audit found: its tables, and all their numbers as records.

    Attributes:
        name: as the command line calls it.
        tables, records: in the order in which they were added.
        skipped: what could not be audited, and why.
    """

    name: str
    subject: Subject
    tables: list[ScoreTable] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add_scores(
        self,
        title: str,
        rows: Sequence[Record],
        columns: Sequence[Metric],
        titles: Mapping[str, str],
        bounds: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """A table of scores; `bounds` are the rows that do not compete."""
        kept = [row for row in rows if row.metric in {metric.name for metric in columns}]
        labels = Labels({**titles, CHANCE: "Chance"}, frozenset({*bounds, CHANCE}))
        title, embedded = f"{title}, {self.subject.words}", self.subject.run.source.simulated
        self.tables.append(score_table(kept, columns, title, embedded=embedded, labels=labels, notes=notes))
        self.records += kept

    def add_leads(
        self,
        title: str,
        rows: Sequence[Record],
        columns: Sequence[Metric],
        titles: Mapping[str, str],
        notes: Sequence[str] = (),
    ) -> None:
        """A table of differences, image by image."""
        kept = [row for row in rows if row.metric in {metric.name for metric in columns}]
        title, embedded = f"{title}, {self.subject.words}", self.subject.run.source.simulated
        self.tables.append(lead_table(kept, columns, title, embedded=embedded, labels=Labels(titles), notes=notes))
        self.records += kept


def token_values(subject: Subject, rows: Mapping[str, Tokens]) -> tuple[Values, dict[str, float]]:
    """Per-image scores of tokens by row and metric, and what chance gives."""
    return _values(subject, {name: subject.run.estimate_scores(tokens) for name, tokens in rows.items()})


def image_values(subject: Subject, rows: Mapping[str, Stage]) -> tuple[Values, dict[str, float]]:
    """Per-image scores of images by row and metric, and what chance gives."""
    return _values(subject, {name: subject.run.image_scores(made, f"score, {name}") for name, made in rows.items()})


def _values(subject: Subject, stages: Mapping[str, Stage]) -> tuple[Values, dict[str, float]]:
    values: Values = {}
    chances: dict[str, float] = {}
    for name, stage in stages.items():
        result = subject.store.result(stage)
        values[name] = {metric: np.array(one) for metric, one in result.json("values").items()}
        chances = result.json("chance") | chances
    return values, chances


def scored(subject: Subject, values: Values, chances: Mapping[str, float]) -> list[Record]:
    """One record per row and metric, and one of chance per metric."""
    rows = [one for name, scores in values.items() for one in records.records_of(name, scores, **subject.of)]
    counts = {metric: len(one) for scores in values.values() for metric, one in scores.items()}
    return rows + [records.known(CHANCE, name, value, n=counts[name], **subject.of) for name, value in chances.items()]


def leads_over(subject: Subject, values: Values, pairs: Sequence[tuple[str, str]]) -> list[Record]:
    """Paired differences '<one> over <other>', of the metrics that both have."""
    found: list[Record] = []
    for one, other in pairs:
        both = {metric: scores for metric, scores in values[one].items() if metric in values[other]}
        found += records.leads(one, other, {one: both, other: values[other]}, **subject.of)
    return found
