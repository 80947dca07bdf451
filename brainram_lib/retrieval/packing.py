"""A corpus from a folder of pictures and a table of captions, in the format that `retrieval.corpus` reads.

What cannot be used is counted, and listed with its reason in img2dataset's tables beside the tars.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from brainram_lib.core import tables
from brainram_lib.core.files import write_json
from brainram_lib.core.marks import fingerprint
from brainram_lib.retrieval.images import MAX_BYTES, ImageRefused, decode
from brainram_lib.retrieval.layout import SAMPLE_DIGITS, CorpusError, CorpusLayout, cause, short
from brainram_lib.retrieval.metadata import as_text
from brainram_lib.retrieval.writing import SUCCESS, CorpusItem, NothingDecoded, PooledEncoder, write_shard

FILE, CAPTION, URL = "file", "caption", "url"
CLAIM = "packed.json"


@dataclass(frozen=True)
class Row:
    """One picture of the folder: its file name relative to the folder, its caption, and its URL if known."""

    file: str
    caption: str
    url: str


@dataclass(frozen=True)
class Listing:
    """The rows of a table that become items.

    Attributes:
        without_caption, repeated: how many rows were left out because they have no caption, or repeat a file.
    """

    rows: tuple[Row, ...]
    without_caption: int
    repeated: int


@dataclass(frozen=True)
class Packed:
    """What became of a listing: pairs in the corpus, and pictures that could not be used."""

    pairs: int
    refused: int


def read_listing(path: Path) -> Listing:
    """Read a table: CSV or parquet with the columns 'file' (relative to the folder) and 'caption', 'url' if known.

    Raises:
        CorpusError: it cannot be read, has a row with more or fewer cells than its header, lacks a column, has a column
            of lists, or has no row with a caption.
    """
    table = _table(path)
    if missing := [name for name in (FILE, CAPTION) if name not in table.columns]:
        raise CorpusError(
            f"'{path}' must have the columns '{FILE}' and '{CAPTION}'; it lacks '{missing[0]}' and has "
            f"{short(list(table.columns))}. Columns of a CSV are separated by commas."
        )
    for name in {FILE, CAPTION, URL}.intersection(table.columns):
        _require_single(path, name, table[name])
    urls = table[URL] if URL in table.columns else [""] * len(table)
    rows: dict[str, Row] = {}
    silent = again = 0
    for file, caption, url in zip(table[FILE], table[CAPTION], urls, strict=True):
        file, caption, url = (((as_text(cell) or "").strip()) for cell in (file, caption, url))
        if not file or not caption:
            silent += 1
        elif (name := os.path.normpath(file)) in rows:
            again += 1
        else:
            rows[name] = Row(name, caption, url)
    if not rows:
        raise CorpusError(f"'{path}' has no row with a file and a caption.")
    return Listing(tuple(rows.values()), silent, again)


def pack(
    folder: Path, listing: Listing, out: Path, encoder: PooledEncoder, image_size: int, shard_size: int = 1000
) -> Packed:
    """Write a corpus shard by shard; shards that are complete are kept, so the same call resumes where it stopped.

    Pictures of complete shards that could not be used are tried again: see `_gains`.

    Raises:
        CorpusError: there is no such folder, the shard size is too large for the keys, `out` holds another corpus, or
            no picture can be used.
        StoreError: the disk is full.
    """
    if not 1 <= shard_size <= 10**SAMPLE_DIGITS:
        raise CorpusError(f"'shard_size' must lie between 1 and {10**SAMPLE_DIGITS}. {shard_size} was provided.")
    if not folder.is_dir():
        raise CorpusError(f"there is no folder '{folder}' of pictures.")
    layout = CorpusLayout(out)
    _claim(layout, {"table": fingerprint(listing.rows), "encoder": encoder.fingerprint, "shard_size": shard_size})
    done = set(layout.shards())
    with tqdm(total=len(listing.rows), desc="pack", unit="picture") as bar:
        for shard, start in enumerate(range(0, len(listing.rows), shard_size)):
            rows = listing.rows[start : start + shard_size]
            if shard in done and _gains(layout, shard, folder, rows, image_size):
                # embeddings of the new shard do not fit the table of the old one
                layout.metadata(shard).unlink()
                done.remove(shard)
            if shard not in done:
                _write(layout, shard, folder, rows, encoder, image_size)
            bar.update(len(rows))
    pairs = sum(pd.read_parquet(path, columns=["key"]).shape[0] for path in layout.found_metadata().values())
    if not pairs:
        raise CorpusError(
            f"none of the {len(listing.rows)} pictures of '{folder}' can be used: {_why(folder, listing)}."
        )
    return Packed(pairs, len(listing.rows) - pairs)


def _write(
    layout: CorpusLayout, shard: int, folder: Path, rows: Sequence[Row], encoder: PooledEncoder, image_size: int
) -> None:
    try:
        write_shard(layout, shard, [item_of(folder, row) for row in rows], encoder, image_size)
    except NothingDecoded:
        # counted at the end, as other shards may hold pictures
        return


def _gains(layout: CorpusLayout, shard: int, folder: Path, rows: Sequence[Row], image_size: int) -> bool:
    """Whether some picture of a complete shard that was missing or broken is now usable, and no other one has gone.

    Raises:
        CorpusError: the shard's table of statuses is damaged.
    """
    record = layout.download_record(shard)
    if not record.exists():
        return False
    try:
        status = pd.read_parquet(record, columns=["status"])["status"].tolist()
    except Exception as problem:  # pandas and pyarrow raise many kinds at damaged bytes
        again = f"Delete '{layout.metadata(shard)}', and the same command writes this shard again."
        raise CorpusError(cause(problem, record, again)) from problem
    used = {row.file for row, state in zip(rows, status, strict=True) if state == SUCCESS}
    arrived = any(_usable(folder, row, image_size) for row in rows if row.file not in used)
    return arrived and all((folder / name).is_file() for name in used)


def _usable(folder: Path, row: Row, image_size: int) -> bool:
    item = item_of(folder, row)
    try:
        return item.problem is None and decode(item.image, image_size) is not None
    except ImageRefused:
        return False


def item_of(folder: Path, row: Row) -> CorpusItem:
    """The picture file of a row as found, or why there is none. Names from the table may not lead out of the folder."""
    if "\0" in row.file or os.path.isabs(row.file) or row.file.split(os.sep)[0] == os.pardir:
        return CorpusItem(b"", row.caption, row.url, f"its name '{short(row.file)}' leads out of the folder")
    path = folder / row.file
    try:
        if path.stat().st_size > MAX_BYTES:
            return CorpusItem(b"", row.caption, row.url, f"the file has more than the {MAX_BYTES} bytes allowed")
        return CorpusItem(path.read_bytes(), row.caption, row.url)
    except OSError as problem:
        return CorpusItem(b"", row.caption, row.url, f"'{short(row.file)}' cannot be read ({problem.strerror})")


def _why(folder: Path, listing: Listing) -> str:
    first = item_of(folder, listing.rows[0])
    return first.problem or f"'{listing.rows[0].file}' is no JPEG, PNG or WebP"


def _table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return tables.read_csv(path)
    except tables.TableError as problem:
        raise CorpusError(str(problem)) from problem
    except FileNotFoundError as problem:
        raise CorpusError(f"there is no table '{path}'.") from problem
    except Exception as problem:  # pandas and pyarrow raise many kinds at damaged bytes
        raise CorpusError(
            f"'{path}' cannot be read as a table ({short(problem)}). Save it as CSV in UTF-8."
        ) from problem


def _require_single(path: Path, name: str, cells: pd.Series) -> None:
    """Check that no cell is a list, as in tables with all captions of an image in one row."""
    bad = next((row for row, cell in enumerate(cells) if pd.api.types.is_list_like(cell)), None)
    if bad is not None:
        raise CorpusError(
            f"the column '{name}' of '{path}' must hold one text a row. Row {bad} (counted from 0) holds "
            f"{short(list(cells.iloc[bad]))}. Keep one of each, e.g. table['{name}'] = table['{name}'].str[0]: an item "
            "has one caption."
        )


def _claim(layout: CorpusLayout, settings: dict[str, object]) -> None:
    """Write down in an empty folder what is packed there; a folder that holds something else is left as it is."""
    path = layout.folder / CLAIM
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if changed := sorted(name for name in settings if found.get(name) != settings[name]):
            raise CorpusError(
                f"'{layout.folder}' was packed with another {' and another '.join(changed)}. Choose another folder, or "
                "delete this one."
            )
    elif layout.shards():
        raise CorpusError(f"'{layout.folder}' holds a corpus that another tool wrote. Choose another folder.")
    else:
        write_json(path, settings)
