"""An experiment: rows of a table, each a system with changes to a profile. Read from TOML and checked before any work.

name = "table4"
title = "Table 4: ways to fuse an estimate with its neighbours"
profile = "mini"
subjects = [1]
seeds = [0]
reference = "ram"              # the row that the others are compared with, image by image
metrics = ["pixcorr", "ssim"]  # the scores that count here; all that are measured if not given
images = "reconstructed"       # which images are scored; "retrieved": those of the corpus that estimates find (Table 2)
[changes]                      # to every row
generation__neighbour_share = 0.0
[[row]]
name = "average"
title = "Average"
system = "brainram"
reported = "Average"           # the paper's row beside it
[row.changes]
stage2__fusion = "average"
[[claim]]                      # a comparison that the paper makes
row = "ram"
over = "average"
said = "section 5.3: RAM surpasses all other fusion methods"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.reported import TABLES, reported
from brainram_lib.experiments.entries import ExperimentError, numbers, one_of, only, some_of, typed

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
RECONSTRUCTED, RETRIEVED = "reconstructed", "retrieved"
_KEYS = {"name", "title", "paper_table", "profile", "subjects", "seeds", "reference", "changes", "notes"}
_KEYS |= {"metrics", "images"}
_PARTS = {"row", "claim"}
_ROW_KEYS = {"name", "title", "system", "reported", "method", "without", "changes", "what", "bound"}
_CLAIM_KEYS = {"row", "over", "said"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as records call it. title: as the table prints it.
        system: a registered system.
        changes: to the profile, `stage2__fusion = "average"`; those of the experiment are included.
        method: 'brainram' or 'brainram-plus', what the profile is turned into before the changes; None: left as it is.
        without: additions of 'brainram-plus' that this row lacks (`brainram_lib.additions`).
        reported: the paper's row that is shown beside it, as `reported.csv` calls it, or None.
        what: what this row has or lacks, in plain words.
        bound: it does not compete for the best value.
    """

    name: str
    title: str
    system: str
    changes: Mapping[str, Any]
    reported: str | None = None
    what: str = ""
    bound: bool = False
    method: str | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claimed:
    """A comparison that the paper makes: `row` against `over`, and in what words; its numbers are in `reported.csv`."""

    row: str
    over: str
    said: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table: its rows, and the subjects and seeds that they are run for.

    Attributes:
        paper_table: '1' to '4', whose printed rows are shown beside the measured ones, or None.
        reference: the row that the others are compared with on the same images, or None.
        notes: printed below the table.
        claims: the comparisons of `experiment claims`.
        metrics: names of `evaluation.catalogue`: the scores that are recorded, shown and tested; none: all.
        images: which images of a row are scored: those 'reconstructed', or those of the corpus 'retrieved' by it.
    """

    name: str
    title: str
    profile: str
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    paper_table: str | None = None
    reference: str | None = None
    notes: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[Claimed, ...] = ()
    metrics: tuple[str, ...] = ()
    images: str = RECONSTRUCTED

    @property
    def estimates_alone(self) -> bool:
        """Whether only token metrics are recorded, so that no image is generated."""
        return bool(self.metrics) and catalogue.OF_TOKENS.issuperset(self.metrics)

    def row(self, name: str) -> Row:
        """The row of this name.

        Raises:
            ExperimentError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ExperimentError(f"'row' must be one of {[row.name for row in self.rows]}. '{name}' was provided.")

    def of(
        self,
        subjects: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        rows: Sequence[str] | None = None,
        profile: str | None = None,
    ) -> Experiment:
        """The same with other subjects, seeds or profile, or with some of its rows, each once."""
        chosen = self.rows if rows is None else tuple(self.row(name) for name in dict.fromkeys(rows))
        return replace(
            self,
            subjects=tuple(dict.fromkeys(subjects or self.subjects)),
            seeds=tuple(dict.fromkeys(self.seeds if seeds is None else seeds)),
            rows=chosen,
            profile=profile or self.profile,
        )


def listed(folder: Path = FOLDER) -> list[Path]:
    """The experiment files of a folder."""
    return sorted(folder.glob("*.toml"))


def find(name: str) -> Path:
    """The file of an experiment: a path, or a name in experiments/.

    Raises:
        ExperimentError: neither is there.
    """
    for path in (Path(name), FOLDER / f"{name}.toml"):
        if path.is_file():
            return path
    raise ExperimentError(
        f"'experiment' must be a TOML file or one of {[path.stem for path in listed()]}. '{name}' was provided."
    )


def load(path: Path) -> Experiment:
    """Read an experiment file.

    Raises:
        ExperimentError: it is not TOML, lacks an entry, has an unknown one, or has a row twice.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ExperimentError(f"'{path}' cannot be read as TOML: {problem}") from problem
    only(said, _KEYS | _PARTS, f"'{path}'")
    rows = said.get("row") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        raise ExperimentError(f"'{path}' must have at least one [[row]].")
    common = typed(said, "changes", dict, path, {})
    made = tuple(_row(row, common, path) for row in rows)
    names = [row.name for row in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ExperimentError(f"'{path}': row '{twice[0]}' stands {names.count(twice[0])} times. Rename or remove one.")
    reference = said.get("reference")
    if reference is not None and reference not in names:
        raise ExperimentError(f"'{path}': 'reference' must be one of {names}. '{reference}' was provided.")
    paper_table = _paper_table(said, made, path)
    claims = tuple(_claim(one, made, path) for one in typed(said, "claim", list, path, []))
    return Experiment(
        typed(said, "name", str, path, path.stem),
        typed(said, "title", str, path),
        typed(said, "profile", str, path, "mini"),
        numbers(said, "subjects", path, (1,)),
        numbers(said, "seeds", path, (0,)),
        made,
        paper_table,
        reference,
        tuple(typed(said, "notes", list, path, [])),
        common,
        claims,
        some_of(said, "metrics", path, [metric.name for metric in catalogue.ALL]),
        one_of(said, "images", path, (RECONSTRUCTED, RETRIEVED)),
    )


def parted(experiments: Sequence[Experiment], rows: Sequence[str]) -> list[list[str]]:
    """Which of the given rows each experiment has.

    Raises:
        ExperimentError: a row that none has, or an experiment that has none of them.
    """
    own = [[row for row in rows if row in {one.name for one in experiment.rows}] for experiment in experiments]
    for name in rows:
        if not any(name in one for one in own):
            known = dict.fromkeys(row.name for experiment in experiments for row in experiment.rows)
            raise ExperimentError(f"'row' must be one of {list(known)}. '{name}' was provided.")
    for experiment, one in zip(experiments, own, strict=True):
        if not one:
            raise ExperimentError(f"'{experiment.name}' has none of the rows {', '.join(rows)}. Leave it out.")
    return own


def _row(said: Mapping[str, Any], common: Mapping[str, Any], path: Path) -> Row:
    where = f"row '{said.get('name', '?')}' of '{path}'"
    only(said, _ROW_KEYS, where)
    name, system = (typed(said, key, str, where) for key in ("name", "system"))
    changes = {**common, **typed(said, "changes", dict, where, {})}
    title, what = typed(said, "title", str, where, name), typed(said, "what", str, where, "")
    bound, without = typed(said, "bound", bool, where, False), tuple(typed(said, "without", list, where, []))
    printed, method = (typed(said, key, str, where, "") or None for key in ("reported", "method"))
    return Row(name, title, system, changes, printed, what, bound, method, without)


def _paper_table(said: Mapping[str, Any], rows: Sequence[Row], path: Path) -> str | None:
    """The paper's table, whose rows are what `reported` may name."""
    if not typed(said, "paper_table", str, f"'{path}'", ""):
        return None
    table = one_of(said, "paper_table", path, TABLES)
    known = list(dict.fromkeys(reported(table).system))
    if wrong := [row for row in rows if row.reported not in (None, *known)]:
        raise ExperimentError(
            f"row '{wrong[0].name}' of '{path}': 'reported' must be a row of the paper's table {table}, one of "
            f"{known}. '{wrong[0].reported}' was provided."
        )
    return table


def _claim(said: Mapping[str, Any], rows: Sequence[Row], path: Path) -> Claimed:
    where = f"a [[claim]] of '{path}'"
    only(said, _CLAIM_KEYS, where)
    found = Claimed(*(typed(said, key, str, where) for key in ("row", "over")), typed(said, "said", str, where, ""))
    reported = {row.name for row in rows if row.reported}
    if wrong := [name for name in (found.row, found.over) if name not in reported]:
        raise ExperimentError(
            f"{where}: 'row' and 'over' must be rows that are 'reported', one of {sorted(reported)}. '{wrong[0]}' was "
            "provided."
        )
    return found
