"""An experiment: rows of a table, each a system under changes to a profile. Read from TOML and checked before work.

name = "table4"
title = "Table 4: ways to fuse an estimate with its neighbours"
profile = "mini"
subjects = [1]
seeds = [0]
reference = "ram"              # the row that the others are compared with, image by image
[changes]                      # to every row
generation__neighbour_share = 0.0
[[row]]
name = "average"
title = "Average"
system = "brainram"
reported = "Average"           # the paper's row beside it
[row.changes]
stage2__fusion = "average"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
_KEYS = {"name", "title", "paper_table", "profile", "subjects", "seeds", "reference", "changes", "notes", "row"}
_ROW_KEYS = {"name", "title", "system", "reported", "method", "without", "changes", "what", "bound"}


class ExperimentError(ValueError):
    """An experiment file says what cannot be; the message names file and entry, and what may stand there."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as records call it. title: as the table prints it.
        system: a registered system.
        changes: to the profile, `stage2__fusion = "average"`; those of the experiment are in them.
        method: 'brainram' or 'brainram-plus', what the profile becomes before the changes; None: what it is.
        without: additions of 'brainram-plus' that this row lacks (`brainram_lib.additions`).
        reported: the paper's row that stands beside it, as `reported.csv` calls it, or None.
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
class Experiment:
    """A table: its rows, and for whom they are run.

    Attributes:
        paper_table: '1' to '4', whose printed rows stand beside the measured ones, or None.
        reference: the row that the others are compared with on the same images, or None.
        notes: printed below the table.
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
        """The same with other subjects, seeds or profile, or with some of its rows."""
        chosen = self.rows if rows is None else tuple(self.row(name) for name in rows)
        return replace(
            self,
            subjects=tuple(subjects or self.subjects),
            seeds=tuple(self.seeds if seeds is None else seeds),
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
        ExperimentError: it is no TOML, lacks an entry, has one too many, or a row twice.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ExperimentError(f"'{path}' cannot be read as TOML: {problem}") from problem
    _only(said, _KEYS, f"'{path}'")
    rows = said.get("row") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        raise ExperimentError(f"'{path}' must have at least one [[row]].")
    common = _typed(said, "changes", dict, path, {})
    made = tuple(_row(row, common, path) for row in rows)
    names = [row.name for row in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ExperimentError(f"'{path}': row '{twice[0]}' stands {names.count(twice[0])} times. Rename or remove one.")
    reference = said.get("reference")
    if reference is not None and reference not in names:
        raise ExperimentError(f"'{path}': 'reference' must be one of {names}. '{reference}' was provided.")
    return Experiment(
        _typed(said, "name", str, path, path.stem),
        _typed(said, "title", str, path),
        _typed(said, "profile", str, path, "mini"),
        _numbers(said, "subjects", path, (1,)),
        _numbers(said, "seeds", path, (0,)),
        made,
        said.get("paper_table"),
        reference,
        tuple(_typed(said, "notes", list, path, [])),
        common,
    )


def _row(said: Mapping[str, Any], common: Mapping[str, Any], path: Path) -> Row:
    where = f"row '{said.get('name', '?')}' of '{path}'"
    _only(said, _ROW_KEYS, where)
    name, system = (_typed(said, key, str, where) for key in ("name", "system"))
    changes = {**common, **_typed(said, "changes", dict, where, {})}
    title, what = _typed(said, "title", str, where, name), _typed(said, "what", str, where, "")
    bound, without = _typed(said, "bound", bool, where, False), tuple(_typed(said, "without", list, where, []))
    return Row(name, title, system, changes, said.get("reported"), what, bound, said.get("method"), without)


def _only(said: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(said) - known):
        raise ExperimentError(f"{where}: '{unknown[0]}' is no entry. It may have {', '.join(sorted(known))}.")


def _typed(said: Mapping[str, Any], key: str, kind: type, where: object, default: Any = None) -> Any:
    value = said.get(key, default)
    if not isinstance(value, kind):
        raise ExperimentError(f"{where}: '{key}' must be a {kind.__name__}. {value!r} was provided.")
    return value


def _numbers(said: Mapping[str, Any], key: str, path: Path, default: tuple[int, ...]) -> tuple[int, ...]:
    value = said.get(key, list(default))
    good = (
        isinstance(value, list) and value and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    )
    if not good or len(set(value)) != len(value):
        raise ExperimentError(f"'{path}': '{key}' must be a list of different whole numbers. {value!r} was provided.")
    return tuple(value)
