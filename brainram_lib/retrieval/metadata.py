"""The tables of a corpus, cell by cell: a web corpus has billions of rows, which never become Python lists.

A parquet file is read one column of one row group at a time; an arrow file is memory-mapped. What was read last stays
cached, up to KEPT_BYTES.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from brainram_lib.retrieval.layout import CorpusError, cause, short

KEPT_BYTES = 512 * 2**20
ROWS = 1 << 18
_AGAIN = "It is damaged or no such table: write this shard again."


class Metadata:
    """The rows of all files in `paths`, in that order.

    Raises:
        CorpusError: a file that cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        shapes = [_groups(path) for path in self.paths]
        self.names = [names for names, _ in shapes]
        self.lengths = [int(sum(lengths)) for _, lengths in shapes]
        self._groups = [np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) for _, lengths in shapes]
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        self._kept: OrderedDict[tuple[int, int, str], pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def cell(self, row: int, name: str) -> Any:
        """One cell; None where the file has no such column.

        Raises:
            CorpusError: the file is damaged there, or the column holds lists.
        """
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if name not in self.names[number]:
            return None
        row = int(row - self._starts[number])
        group = int(np.searchsorted(self._groups[number], row, side="right")) - 1
        return _python(self._column(number, group, name)[row - int(self._groups[number][group])])

    def text(self, row: int, name: str) -> str | None:
        """One cell as text; None where it is null, NaN or absent."""
        return as_text(self.cell(row, name))

    def require(self, row: int, name: str, remedy: str) -> None:
        """Check that the file of a row has a column.

        Raises:
            CorpusError: it has none; the message ends with `remedy`.
        """
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if name not in self.names[number]:
            raise CorpusError(
                f"'{self.paths[number]}' has no column '{name}'; it has {short(self.names[number])}. {remedy}"
            )

    def batches(self, *names: str) -> Iterator[tuple[int, list[pa.Array]]]:
        """(first row, these columns as text) of ROWS rows at a time; a missing column is null."""
        for number, bounds in enumerate(self._groups):
            for group, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
                for at in range(start, stop, ROWS):
                    rows = at - start, min(ROWS, stop - at)
                    yield int(self._starts[number]) + at, [self._texts(number, group, name, *rows) for name in names]

    def _texts(self, number: int, group: int, name: str, start: int, count: int) -> pa.Array:
        """Cells of a column as strings, null where `as_text` gives None."""
        if name not in self.names[number]:
            return pa.nulls(count, pa.string())
        cells = self._column(number, group, name).slice(start, count)
        if pa.types.is_integer(cells.type):
            cells = cells.cast(pa.string())
        if not pa.types.is_string(cells.type):
            return pa.array([as_text(_python(cell)) for cell in cells], pa.string())
        return pa.concat_arrays(cells.chunks) if cells.num_chunks else pa.nulls(0, pa.string())

    def _column(self, number: int, group: int, name: str) -> pa.ChunkedArray:
        place = number, group, name
        if place not in self._kept:
            self._kept[place] = _single(_read(self.paths[number], group, name), self.paths[number], name)
            while len(self._kept) > 1 and sum(column.nbytes for column in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]


def as_text(value: Any) -> str | None:
    """A cell as text, whatever type the writing tool gave its column: 7 and 7.0 are '7', null, NaN and NA are None."""
    if pd.isna(value) is True:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _python(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        # a caption that was cut within a character
        return cell.as_buffer().to_pybytes().decode("utf-8", "replace")


def _groups(path: Path) -> tuple[list[str], list[int]]:
    """Names of the columns and number of rows of every row group."""
    try:
        if path.suffix == ".arrow":
            table = _mapped(path)
            return table.column_names, [table.num_rows]
        described = pq.read_metadata(path)
        names = described.schema.to_arrow_schema().names
        return names, [described.row_group(group).num_rows for group in range(described.num_row_groups)]
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise CorpusError(cause(problem, path, _AGAIN)) from problem


def _read(path: Path, group: int, name: str) -> pa.ChunkedArray:
    try:
        if path.suffix == ".arrow":
            return _mapped(path)[name]
        with pq.ParquetFile(path, memory_map=True) as stored:
            return stored.read_row_group(group, columns=[name])[name]
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise CorpusError(cause(problem, path, _AGAIN)) from problem


def _single(cells: pa.ChunkedArray, path: Path, name: str) -> pa.ChunkedArray:
    """The cells themselves, if each is one value.

    Raises:
        CorpusError: they are lists or records, as in tables with all captions of an image in one cell.
    """
    if pa.types.is_nested(cells.type):
        raise CorpusError(
            f"the column '{name}' of '{path}' must hold one text a row. It holds {short(cells.type)}. Keep one of "
            "each, and write this shard again."
        )
    return cells


def _mapped(path: Path) -> pa.Table:
    """An arrow file, or the stream format that other tools write under this extension."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()
