"""Systems of the user's own: Python files outside the package that register them, named by a profile's `systems`."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from brainram_lib.core.marks import file_mark, fingerprint
from brainram_lib.core.store import Stage
from brainram_lib.systems.system import System, forget, register, system_of, systems

PACKAGE = "brainram_lib."
# file -> mark of its content when it was run, and the names that it registered
_RUN: dict[Path, tuple[str | None, tuple[str, ...]]] = {}


class SystemFileError(ValueError):
    """A file of systems cannot be used; the message names it, the line where there is one, and what to do."""


def load_systems(files: Sequence[str]) -> tuple[System, ...]:
    """Run files that register systems, each once until it changes; gives what they registered.

    Raises:
        SystemFileError: a file is missing, raises, registers nothing, or takes a name that is taken.
    """
    return tuple(system_of(name) for file in files for name in _names_of(Path(file)))


def _names_of(path: Path) -> tuple[str, ...]:
    path = path.expanduser().absolute()
    mark = file_mark(path) if path.is_file() else None
    if mark is None:
        raise SystemFileError(f"there is no file '{path}'. The profile's 'systems' names it, relative to the profile.")
    if path not in _RUN or _RUN[path][0] != mark:
        _RUN[path] = mark, _run(path, _RUN.get(path, (None, ()))[1])
    return _RUN[path][1]


def _run(path: Path, earlier: tuple[str, ...]) -> tuple[str, ...]:
    """Run a file and give the names that it registered; `earlier`: those of the file as it was before."""
    forget(earlier)
    before = {one.name: one for one in systems()}
    module = _executed(path)
    fresh = tuple(one.name for one in systems() if before.get(one.name) is not one)
    if taken := [name for name in fresh if name in before]:
        forget(fresh)
        for name in taken:
            register(before[name])
        raise SystemFileError(f"'{path}' registers the system '{taken[0]}', which is taken. Choose another name.")
    own = {name for name, one in vars(module).items() if isinstance(one, type) and one.__module__ == module.__name__}
    # classes of a file's earlier version, or of one that is no longer named, may still be about
    current = {_module_name(file) for file in _RUN} - {module.__name__}
    others = {one.__name__ for one in _below(Stage) if one.__module__.startswith(PACKAGE) or one.__module__ in current}
    if twice := sorted(own & others):
        forget(fresh)
        raise SystemFileError(
            f"'{path}' has a stage '{twice[0]}', as another stage is called: one's results could be taken for the "
            "other's. Choose another name."
        )
    if not fresh:
        raise SystemFileError(f"'{path}' registers no system. It must call `register(System(...))`.")
    return fresh


def _module_name(path: Path) -> str:
    return f"brainram_own_{path.stem}_{fingerprint(str(path))}"


def _executed(path: Path) -> ModuleType:
    # dataclasses look their module up by its name
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemFileError(f"'{path}' is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:  # whatever the user's code raises
        lines = [one.lineno for one in traceback.extract_tb(problem.__traceback__) if one.filename == str(path)]
        line = getattr(problem, "lineno", None) or (lines[-1] if lines else "?")
        raise SystemFileError(f"'{path}', line {line}: {type(problem).__name__}: {problem}") from problem
    return module


def _below(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)
