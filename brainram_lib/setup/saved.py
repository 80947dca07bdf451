"""`python -m brainram_lib runs`: what is in the folder of saved results, and what is no longer needed."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainram_lib.core.files import StoreError
from brainram_lib.core.locks import STALE, Holder, read_holder
from brainram_lib.core.store import Store, default_runs

DAY = 86_400
# Stages that are of interest in themselves: what they were made from is needed as long as they exist.
ENDS = (
    *("image-scores", "estimate-scores", "submitted-scores", "attribution", "neighbour-attribution"),
    *("near-duplicates", "trial-scores", "brain-agreement", "calibration", "kind-scores"),
)


@dataclass(frozen=True)
class Entry:
    """One finished result: where it is, what it is, how large and how old, and which stages were made from it."""

    folder: Path
    stage: str
    key: str
    settings: dict[str, Any]
    size: int
    days: float
    inputs: tuple[str, ...]
    used_by: tuple[str, ...] = ()


def entries(root: Path) -> list[Entry]:
    """Everything that is saved under a folder of results."""
    found = [_entry(folder, record) for folder, record in Store(root).records()]
    users: dict[str, set[str]] = {}
    for one in found:
        for key in one.inputs:
            users.setdefault(key, set()).add(one.stage)
    return [Entry(**{**vars(one), "used_by": tuple(sorted(users.get(one.key, ())))}) for one in found]


def _entry(folder: Path, record: dict[str, Any]) -> Entry:
    made = (folder / "result.json").stat().st_mtime
    inputs = tuple(record.get("inputs", {}).values())
    stage, settings = record.get("stage", "damaged"), dict(_flat(record.get("settings", {})))
    return Entry(folder, stage, folder.name, settings, _size(folder), (time.time() - made) / DAY, inputs)


def _in_words(settings: dict[str, Any], differing: set[str], limit: int = 110) -> str:
    """The settings of a stage on one line, starting with those that differ between its saved results."""
    order = sorted(settings, key=lambda name: (name not in differing, name))
    words = ", ".join(f"{name.removeprefix('settings.')} {settings[name]}" for name in order)
    return words if len(words) <= limit else f"{words[: limit - 3]}..."


def _differing(saved: list[Entry]) -> dict[str, set[str]]:
    """{stage: settings that are not the same in all its results}."""
    found: dict[str, set[str]] = {}
    for stage in {one.stage for one in saved}:
        every = [one.settings for one in saved if one.stage == stage]
        names = {name for one in every for name in one}
        found[stage] = {name for name in names if len({str(one.get(name)) for one in every}) > 1}
    return found


def _flat(settings: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def unneeded(root: Path, older_than: float | None = None) -> list[Path]:
    """Results that no score was made from, what interrupted runs left, and embedded corpora that no result mentions.

    Args:
        root: the folder of the results.
        older_than: days after which scores, and what only they need, count as no longer needed; None: never.
    """
    saved = entries(root)
    by_key = {one.key: one for one in saved}
    ends = [one for one in saved if one.stage.startswith(ENDS) and (older_than is None or one.days < older_than)]
    needed: set[str] = set()
    stack = list(ends)
    while stack:
        one = stack.pop()
        if one.key not in needed:
            needed.add(one.key)
            stack += [by_key[key] for key in one.inputs if key in by_key]
    mentioned = " ".join(json.dumps(record) for _, record in Store(root).records())
    return [*(one.folder for one in saved if one.key not in needed), *_leftovers(root), *_corpora(root, mentioned)]


def _corpora(root: Path, mentioned: str) -> Iterator[Path]:
    """Embedded corpora that no result mentions, with their tokens. A user's own corpora are left alone."""
    made = [path for kind in ("embedded", "training") for path in (root / "corpora").glob(f"{kind}-*")]
    for corpus in made:
        key = corpus.name.split("-", 1)[1]
        if key not in mentioned:
            yield from (path for path in (root / "corpora").glob(f"*-{key}*") if path.is_dir())


def _leftovers(root: Path) -> Iterator[Path]:
    """Partial folders that no living process holds."""
    for partial in root.rglob(".*.partial"):
        holder = read_holder(partial.with_name(f"{partial.name.removesuffix('.partial')}.lock"))
        if holder is None or holder.gone:
            yield partial


def at_work(root: Path) -> Holder | None:
    """Who is making a result under a folder now: a live process, or one elsewhere that keeps its lock fresh."""
    for lock in root.rglob(".*.lock"):
        holder = read_holder(lock)
        if holder is not None and not holder.gone and (holder.alive or time.time() - _touched(lock) < STALE):
            return holder
    return None


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def list_command(chosen: argparse.Namespace) -> None:
    """List what is saved: stage, settings, size, age, and what was made from it."""
    root = chosen.runs or default_runs()
    saved = entries(root)
    differing = _differing(saved)
    for one in sorted(saved, key=lambda entry: (str(entry.folder.parent), entry.days)):
        used = f"used by {', '.join(one.used_by)}" if one.used_by else "used by nothing"
        words = _in_words(one.settings, differing[one.stage])
        place = one.folder.relative_to(root).as_posix()
        print(f"{place}  {_bytes(one.size)}, {one.days:.1f} days  [{words}]  {used}")
    print(f"{len(saved)} results in '{root}', {_bytes(sum(one.size for one in saved))}.")


def prune_command(chosen: argparse.Namespace) -> None:
    """Remove results that no score was made from, and what interrupted runs left, after asking.

    Raises:
        StoreError: results are being made there, so what they are made from is needed although no score says so yet.
    """
    root = chosen.runs or default_runs()
    if (holder := at_work(root)) is not None:
        raise StoreError(
            f"{holder} is making results in '{root}', and what it makes them from would be removed. Wait until it "
            "has ended."
        )
    folders = unneeded(root, chosen.older_than)
    for folder in folders:
        print(f"{folder.relative_to(root).as_posix()}  {_bytes(_size(folder))}")
    if not folders:
        print(f"Nothing in '{root}' is without use.")
        return
    total = _bytes(sum(_size(folder) for folder in folders))
    if not chosen.yes and input(f"Remove these {len(folders)} folders, {total}? [y/N] ").strip().lower() != "y":
        print("Nothing was removed.")
        return
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"Removed {len(folders)} folders, {total}.")


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def add_to(commands: Any) -> None:
    """Add `runs` and `runs prune` to the parser."""
    parser = commands.add_parser("runs", help=list_command.__doc__, description=list_command.__doc__)
    parser.set_defaults(handler=list_command)
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")
    inner = parser.add_subparsers(metavar="COMMAND")
    prune = inner.add_parser("prune", help=prune_command.__doc__, description=prune_command.__doc__)
    prune.set_defaults(handler=prune_command)
    # a default here would replace what was given before 'prune'
    place = {"type": Path, "metavar": "FOLDER", "default": argparse.SUPPRESS}
    prune.add_argument("--runs", **place, help="where results are saved; default: runs/")
    prune.add_argument("--older-than", type=float, metavar="DAYS", help="scores older than this are not needed either")
    prune.add_argument("--yes", action="store_true", help="do not ask")
