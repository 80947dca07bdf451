"""What can be wrong with a user's own data; every message says what was expected, what was found and what to do."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 3


class StudyError(ValueError):
    """The folder's files contradict each other or lack something; the message names the file."""


def some_of(names: Iterable[object]) -> str:
    """The first names, in quotes, and the total number if there are more."""
    listed = list(names)
    words = ", ".join(f"'{name}'" for name in listed[:SHOWN])
    return words if len(listed) <= SHOWN else f"{words}, ... ({len(listed)} in all)"
