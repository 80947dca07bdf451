"""What stimuli are called: names in tables and files, and the whole numbers that represent them in arrays."""

from __future__ import annotations

from collections.abc import Iterable

from brainram_lib.retrieval.images import PICTURES
from brainram_lib.study.errors import StudyError

# with more digits than this it is a name
_DIGITS = 9


def name_of(text: object) -> str:
    """A stimulus's name: 'cat.png' and 'cat' are the same."""
    name = str(text).strip()
    ending = next((one for one in PICTURES if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def numbers_of(names: Iterable[str]) -> dict[str, int]:
    """Name -> number: whole numbers keep theirs; other names are numbered from 0 in alphabetical order.

    Raises:
        StudyError: two names give one number, such as '7' and '07'.
    """
    ordered = sorted(names)
    if not all(name.isascii() and name.isdigit() and len(name) <= _DIGITS for name in ordered):
        return {name: number for number, name in enumerate(ordered)}
    known: dict[int, str] = {}
    for name in ordered:
        if int(name) in known:
            raise StudyError(f"the stimuli '{known[int(name)]}' and '{name}' are one number. Rename one of them.")
        known[int(name)] = name
    return {name: number for number, name in known.items()}
