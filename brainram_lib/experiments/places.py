"""'row/subject/seed': the name of one run of one row in records."""

from __future__ import annotations

from collections.abc import Sequence


def place_of(row: str, subject: int, seed: int) -> str:
    """Of a row, a subject and a seed."""
    return f"{row}/{subject}/{seed}"


def row_of(place: str) -> str:
    """Its row."""
    return place.rsplit("/", 2)[0]


def run_of(place: str) -> tuple[int, int]:
    """Its subject and seed."""
    _, subject, seed = place.rsplit("/", 2)
    return int(subject), int(seed)


def in_words(places: Sequence[str]) -> str:
    """Several, by subject and seed: "'ram' of subject 1, seed 0", "4 rows of subject 1, seed 0"."""
    rows: dict[tuple[int, int], list[str]] = {}
    for place in places:
        rows.setdefault(run_of(place), []).append(row_of(place))
    few = {run: f"'{names[0]}'" if len(names) == 1 else f"{len(names)} rows" for run, names in rows.items()}
    return "; ".join(f"{what} of subject {subject}, seed {seed}" for (subject, seed), what in few.items())
