"""A user's tables: what each trial shows, and captions. CSV, JSON, or arrays beside the betas."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from brainram_lib.core import tables
from brainram_lib.study.errors import StudyError, some_of
from brainram_lib.study.names import name_of

SPLITS = ("train", "test")
STIMULUS, SESSION, SPLIT, CAPTION = "stimulus", "session", "split", "caption"


@dataclass(frozen=True)
class TrialTable:
    """What each row of the betas is.

    Attributes:
        stimulus: its name. session: as the user numbers them. split: 'train' or 'test', or None where no table says.
        file: where it was read from, for messages.
    """

    stimulus: Shaped[np.ndarray, " trials"]
    session: Int[np.ndarray, " trials"]
    split: Shaped[np.ndarray, " trials"] | None
    file: Path

    def __len__(self) -> int:
        return len(self.stimulus)


def trial_table(path: Path, columns: Any, default_session: Int[np.ndarray, " trials"] | None = None) -> TrialTable:
    """Check the columns of a table of trials.

    Args:
        path: where they were read from.
        columns: column -> values, from a table or from arrays.
        default_session: used if there is no such column; None: one session.

    Raises:
        StudyError: no column 'stimulus', an empty cell, a session that is not a whole number, or a split other than
            'train' and 'test'.
    """
    if STIMULUS not in columns:
        raise StudyError(f"'{path}' must have '{STIMULUS}', the name of what each trial shows. {_has(columns)}")
    names = np.array([name_of(one) for one in columns[STIMULUS]], object)
    if (empty := np.flatnonzero(names == "")).size:
        raise StudyError(f"'{path}' names no stimulus in row {empty[0]} (rows are counted from 0). Fill it in.")
    session = np.zeros(len(names), np.int64) if default_session is None else default_session
    if SESSION in columns:
        session = _whole(path, columns[SESSION])
    split = np.array([str(one).strip() for one in columns[SPLIT]], object) if SPLIT in columns else None
    if split is not None and (other := sorted(set(split) - set(SPLITS))):
        raise StudyError(f"'{SPLIT}' in '{path}' must be 'train' or 'test'. '{other[0]}' stands there.")
    lengths = {len(one) for one in (names, session, *(() if split is None else (split,)))}
    if len(lengths) > 1:
        raise StudyError(f"the columns of '{path}' have different lengths, {sorted(lengths)}.")
    return TrialTable(names, session, split, path)


def read_csv(path: Path) -> pd.DataFrame:
    """A table with a header, all cells text.

    Raises:
        StudyError: it is not there, is not a table, or has a row with more or fewer cells than the header.
    """
    try:
        return tables.read_csv(path, skip_spaces=True)
    except tables.TableError as problem:
        raise StudyError(str(problem)) from problem
    except FileNotFoundError as problem:
        raise StudyError(f"there is no table '{path}'. data.toml names it.") from problem
    except (OSError, ValueError) as problem:
        raise StudyError(f"'{path}' cannot be read as a table with commas ({str(problem)[:200]}).") from problem


def read_captions(path: Path) -> dict[str, list[str]]:
    """Name of a stimulus -> its captions; empty ones do not count.

    A CSV has the columns 'stimulus' and 'caption', one row per caption; a JSON object has a caption or a list of
    captions for each name.

    Raises:
        StudyError: it is neither.
    """
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(path)
    else:
        table = read_csv(path)
        if missing := {STIMULUS, CAPTION} - set(table.columns):
            raise StudyError(
                f"'{path}' must have '{STIMULUS}' and '{CAPTION}'; it lacks {some_of(missing)}. {_has(table)}"
            )
        pairs = list(zip(table[STIMULUS], table[CAPTION], strict=True))
    found: dict[str, list[str]] = {}
    for name, caption in pairs:
        if caption.strip():
            found.setdefault(name_of(name), []).append(caption.strip())
    return found


def _json_pairs(path: Path) -> list[tuple[str, str]]:
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as problem:
        raise StudyError(f"there are no captions '{path}'. data.toml names them.") from problem
    except (OSError, ValueError) as problem:
        raise StudyError(f"'{path}' cannot be read as JSON ({str(problem)[:200]}).") from problem
    entries = said.items() if isinstance(said, dict) else [("", None)]
    found = {name: [one] if isinstance(one, str) else one for name, one in entries}
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in found.values()):
        raise StudyError(f"'{path}' must be an object: name of a stimulus -> a caption, or a list of captions.")
    return [(name, caption) for name, captions in found.items() for caption in captions]


def _whole(path: Path, values: Iterable[Any]) -> Int[np.ndarray, " trials"]:
    try:
        return np.array([int(str(one)) for one in values], np.int64)
    except ValueError as problem:
        raise StudyError(f"'{SESSION}' in '{path}' must hold whole numbers ({problem}).") from problem


def _has(columns: Any) -> str:
    return f"It has {some_of(columns)}. Names are case-sensitive, and columns are separated by commas."
