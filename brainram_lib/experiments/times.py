"""How long stages took, grouped by what they have in common, so that a plan can estimate the next ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from brainram_lib.core.marks import fingerprint
from brainram_lib.core.store import Stage, Store

Times = Mapping[str, float]


def kind(described: Mapping[str, Any]) -> str:
    """What a stage has in common with those of other subjects, seeds and data that take as long: name and sizes.

    Sizes are in its groups of settings; single values are seeds, marks and choices. More images take longer, but are
    not told apart.
    """
    groups = {name: value for name, value in described["settings"].items() if isinstance(value, dict)}
    return f"{described['stage']}-{fingerprint([described['class'], groups])}"


def times_of(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """CPU seconds of saved results by kind: the longest, because a resumed one counts only its last part."""
    found: dict[str, float] = {}
    for record in records:
        if {"stage", "class", "settings", "cpu_seconds"} <= record.keys():
            name = kind(record)
            found[name] = max(found.get(name, 0.0), float(record["cpu_seconds"]))
    return found


def joined(*of: Times) -> dict[str, float]:
    """Several merged, with the longest time of each kind."""
    names = {name for times in of for name in times}
    return {name: max(times.get(name, 0.0) for times in of) for name in sorted(names)}


def spent(store: Store, stages: Iterable[Stage]) -> dict[str, float]:
    """What saved stages and all that they were made from took."""
    found = (store.find(stage) for stage in _upstream(stages, set()))
    return times_of(result.record for result in found if result is not None)


def _upstream(stages: Iterable[Stage], seen: set[str]) -> Iterator[Stage]:
    for stage in stages:
        if stage.key not in seen:
            seen.add(stage.key)
            yield from _upstream(stage.inputs.values(), seen)
            yield stage


def in_words(seconds: float) -> str:
    """A duration to two figures: '40 s', '13 min', '2 h 20 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
