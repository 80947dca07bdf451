"""A user's CSV tables, read so that every cell stays in its own column."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

ENCODING = "utf-8-sig"


class TableError(ValueError):
    """A row does not fit the header; the message names file and line."""


def read_csv(path: Path, skip_spaces: bool = False) -> pd.DataFrame:
    """A table with a header, all cells as unchanged text; blank lines do not count.

    Args:
        skip_spaces: whether spaces after a comma are dropped.

    Raises:
        TableError: a row has more or fewer cells than the header.
        OSError, ValueError: it cannot be opened or is no table.
    """
    _require_cells(path, skip_spaces)
    # without index_col, pandas takes the first of too many cells for an index and shifts the others
    how = {"dtype": str, "keep_default_na": False, "index_col": False}
    return pd.read_csv(path, encoding=ENCODING, skipinitialspace=skip_spaces, **how)


def _require_cells(path: Path, skip_spaces: bool) -> None:
    header: list[str] = []
    line, following = 0, 1
    with path.open(newline="", encoding=ENCODING) as stream:
        rows = csv.reader(stream, skipinitialspace=skip_spaces)
        try:
            for row in rows:
                # a cell in quotes may hold several lines
                line, following = following, rows.line_num + 1
                if len(row) < 2 and not "".join(row).strip():
                    continue
                header = header or row
                if len(row) != len(header):
                    raise TableError(
                        f"line {line} of '{path}' has {_counted(row)}, and its header has {_counted(header)} "
                        f"({', '.join(header)[:100]}). Put a cell that holds a comma in double quotes, and let every "
                        "row have as many commas as the header."
                    )
        except csv.Error as problem:
            raise TableError(
                f"line {following} of '{path}' cannot be read ({problem}). Is a double quote not closed?"
            ) from problem


def _counted(cells: list[str]) -> str:
    return "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
