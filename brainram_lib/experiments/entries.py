"""Entries of an experiment file, checked: only known ones, each of its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class ExperimentError(ValueError):
    """An experiment file has an invalid entry; the message names file and entry, and what is allowed there."""


def only(said: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse an entry that is not known."""
    if unknown := sorted(set(said) - known):
        raise ExperimentError(f"{where}: '{unknown[0]}' is no entry. It may have {', '.join(sorted(known))}.")


def typed(said: Mapping[str, Any], key: str, kind: type, where: object, default: Any = None) -> Any:
    """An entry of a type, or its default."""
    value = said.get(key, default)
    if not isinstance(value, kind):
        raise ExperimentError(f"{where}: '{key}' must be a {kind.__name__}. {value!r} was provided.")
    return value


def numbers(said: Mapping[str, Any], key: str, path: Path, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list of distinct whole numbers."""
    value = said.get(key, list(default))
    good = (
        isinstance(value, list) and value and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    )
    if not good or len(set(value)) != len(value):
        raise ExperimentError(f"'{path}': '{key}' must be a list of different whole numbers. {value!r} was provided.")
    return tuple(value)


def one_of(said: Mapping[str, Any], key: str, path: Path, allowed: Sequence[str]) -> str:
    """One of the allowed words; the first of them if not given."""
    value = said.get(key, allowed[0])
    if value not in allowed:
        raise ExperimentError(f"'{path}': '{key}' must be one of {', '.join(allowed)}. {value!r} was provided.")
    return value


def some_of(said: Mapping[str, Any], key: str, path: Path, allowed: Sequence[str]) -> tuple[str, ...]:
    """A list of allowed words; empty if not given."""
    values = typed(said, key, list, f"'{path}'", [])
    if unknown := [value for value in values if value not in allowed]:
        raise ExperimentError(f"'{path}': '{key}' must be of {', '.join(allowed)}. {unknown[0]!r} was provided.")
    return tuple(values)
