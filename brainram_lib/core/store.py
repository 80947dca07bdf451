"""Saved results: every stage is a value, and its key says what it was made from.

A stage's key is a hash of its class, its VERSION and its fields; a field that is a stage enters by its own key. Nothing
has to be loaded to know a key, and locations are never part of one. A result lies in `<root>/<scope>/<stage>/<key>/`:
open formats, written whole, with `result.json` beside them.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from brainram_lib.core import parallel
from brainram_lib.core.files import PARTIAL, StoreError, disk_full_named, write_json
from brainram_lib.core.locks import held
from brainram_lib.core.marks import fingerprint, keyed
from brainram_lib.core.measure import Peak, Spent, peak_memory

RECORD = "result.json"
SHARED = "shared"
_VERSIONS = ("torch", "numpy", "open_clip_torch", "diffusers", "faiss-cpu")


@dataclass(frozen=True)
class Stage:
    """One step of the method as a value. Subclasses are frozen dataclasses.

    Fields that are stages are its inputs; fields with a `key` of their own (sources of data, weights) enter by that
    key; all others are settings, except those whose metadata say `keyed=False`. `VERSION` goes up whenever `make` would
    give other numbers from the same fields.
    """

    VERSION: ClassVar[int] = 1
    # whether processes that work together (`core.parallel`) make it together; only the first of them writes
    together: ClassVar[bool] = False

    def make(self, folder: Path, store: Store) -> None:
        """Write the result's files into `folder`, which may hold what an interrupted run left there."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Its name in folders and progress bars, such as 'prior-image'."""
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(self).__name__)
        modality = getattr(self, "modality", None)
        return words.removeprefix("-") + (f"-{modality}" if modality else "")

    @property
    def scope(self) -> str:
        """The folder that it shares with other results from the same data: that of its first input."""
        return next((stage.scope for stage in self.inputs.values()), SHARED)

    @property
    def inputs(self) -> dict[str, Stage]:
        """The stages that it is made from."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Stage)}

    @property
    def keyed_fields(self) -> dict[str, Any]:
        """Everything that its key depends on, apart from stages."""
        found = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.metadata.get("keyed", True) and not isinstance(value, Stage):
                found[one.name] = value.key if hasattr(value, "key") else keyed(value)
        return found

    @cached_property
    def described(self) -> dict[str, Any]:
        """What its key is a hash of."""
        inputs = {name: stage.key for name, stage in self.inputs.items()}
        # a subclass may inherit the name but make something else
        names = {"stage": self.name, "class": type(self).__name__, "version": self.VERSION}
        return {**names, "settings": self.keyed_fields, "inputs": inputs}

    @cached_property
    def key(self) -> str:
        """Twelve hexadecimal digits."""
        return fingerprint(self.described)


@dataclass(frozen=True)
class Result:
    """One finished result: its folder and the record that was saved in it."""

    folder: Path
    record: dict[str, Any]

    def array(self, name: str) -> np.ndarray:
        """The array `name`.npy, memory-mapped.

        Raises:
            StoreError: the file is missing or cut short.
        """
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as problem:
            raise StoreError(f"'{path}' cannot be read as an array ({problem}). {self._again}") from problem

    def json(self, name: str) -> Any:
        """The value in `name`.json.

        Raises:
            StoreError: the file is missing or not JSON.
        """
        path = self.folder / f"{name}.json"
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as problem:
            raise StoreError(f"'{path}' cannot be read as JSON ({problem}). {self._again}") from problem

    @property
    def _again(self) -> str:
        return f"Delete the folder '{self.folder}' and run the stage again."


class Store:
    """All results under one root, `runs/` unless the user says otherwise.

    Args:
        root: its folder; made when something is saved.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.made: list[str] = []
        self._opened: dict[str, Result] = {}
        self._alone = False

    def folder(self, stage: Stage) -> Path:
        """Where the result of a stage lies, or would lie."""
        return self.root / stage.scope / stage.name / stage.key

    def find(self, stage: Stage) -> Result | None:
        """The result of a stage if it is there."""
        folder = self.folder(stage)
        record = folder / RECORD
        if not record.is_file():
            return None
        try:
            return Result(folder, json.loads(record.read_text()))
        except ValueError as problem:
            raise StoreError(f"'{record}' is damaged ({problem}). Delete the folder '{folder}'.") from problem

    def begun(self, stage: Stage) -> bool:
        """Whether an interrupted run left something to resume from."""
        partial = self._partial(stage)
        return partial.is_dir() and any(not path.name.startswith(".") for path in partial.iterdir())

    def result(self, stage: Stage) -> Result:
        """The result of a stage: loaded, or made together with what it needs.

        `stage.make` writes into a partial folder that survives an interruption, so that a training can leave
        checkpoints there and resume; it becomes the result by one rename. If several processes want the same result,
        one makes it and the others wait.

        Raises:
            StoreError: the disk is full, or the result is damaged.
            LockLost: another process took over, because this one stalled for too long.
        """
        if stage.key in self._opened and parallel.count() == 1 and not self._opened[stage.key].folder.is_dir():
            # deleted since, as the messages about damaged files advise; processes that work together must act alike
            del self._opened[stage.key]
        if stage.key not in self._opened:
            # what is there must be seen alike by processes that work together
            there = self.find(stage) is not None if self._alone else parallel.agreed(self.find(stage) is not None)
            found = self.find(stage) if there else None
            self._opened[stage.key] = found or self._made(stage)
        return self._opened[stage.key]

    def _made(self, stage: Stage) -> Result:
        for needed in stage.inputs.values():
            self.result(needed)
        if self._alone or parallel.count() == 1:
            return self._made_here(stage)
        if parallel.first():
            result = self._made_here(stage)
        elif parallel.agreed(None) and stage.together:
            # the first process writes; a training is shared by all
            stage.make(self._partial(stage), self)
        parallel.wait()
        return result if parallel.first() else self.find(stage)

    def _partial(self, stage: Stage) -> Path:
        return self.folder(stage).with_name(f".{stage.key}.partial")

    def _made_here(self, stage: Stage) -> Result:
        final = self.folder(stage)
        partial = self._partial(stage)
        with held(final.with_name(f".{stage.key}.lock"), stage.name) as lock:
            found = self.find(stage)
            if found is None:
                partial.mkdir(parents=True, exist_ok=True)
            if not self._alone:
                parallel.agreed(found is None)
            if found is not None:
                return found
            # half-written files of a process that was killed; this one holds the lock
            for left in partial.rglob(f".*{PARTIAL}*"):
                left.unlink(missing_ok=True)
            spent = Spent(partial)
            with disk_full_named(f"the results of '{stage.name}'"):
                with spent.kept(), peak_memory() as peak, self._working(stage):
                    stage.make(partial, self)
                # measurements are complete only after their block
                write_json(partial / RECORD, {**stage.described, **spent.now(), **_circumstances(peak)})
            lock.require()
            # a folder without a record is what a failed deletion left
            shutil.rmtree(final, ignore_errors=True)
            partial.replace(final)
            self.made.append(stage.name)
        return Result(final, json.loads((final / RECORD).read_text()))

    @contextmanager
    def _working(self, stage: Stage) -> Iterator[None]:
        """While this process alone makes a stage, the other processes are not consulted."""
        before, self._alone = self._alone, self._alone or not stage.together
        try:
            yield
        finally:
            self._alone = before

    def records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every finished result under the root: its folder and its record."""
        for record in sorted(self.root.rglob(RECORD)):
            if not any(part.startswith(".") for part in record.relative_to(self.root).parts):
                try:
                    yield record.parent, json.loads(record.read_text())
                except ValueError:
                    yield record.parent, {}


def _circumstances(peak: Peak) -> dict[str, Any]:
    return {
        "peak_memory_gib": round(peak.memory, 2),
        "peak_gpu_gib": None if peak.gpu is None else round(peak.gpu, 2),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "library": library(),
    }


@cache
def library() -> dict[str, str | None]:
    """This library's version, and its commit where it runs from a checkout ('+' after it: uncommitted changes)."""
    top = Path(__file__).resolve().parents[2]
    try:
        number = version("brainram_lib")
    except PackageNotFoundError:
        number = "not installed"
    return {"version": number, "commit": _commit(top) if (top / ".git").exists() else None}


def _commit(top: Path) -> str | None:
    try:
        said = [
            subprocess.run(["git", "-C", str(top), *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return said[0].stdout.strip() + ("+" if said[1].stdout.strip() else "")


def default_runs() -> Path:
    """Where results are saved unless the user says otherwise: `runs` at the top of the checkout."""
    return Path(__file__).resolve().parents[2] / "runs"
