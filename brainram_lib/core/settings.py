"""Settings that are checked when they are made, whether by a notebook, the command line, a file or Python."""

from __future__ import annotations

import math
import numbers
import types
from dataclasses import MISSING, Field, field, fields
from typing import Any, Union, get_args, get_origin, get_type_hints


def number(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    one_of: tuple[Any, ...] | None = None,
    keyed: bool = True,
    neutral: Any = None,
) -> Any:
    """A field of a `Settings` class with its range.

    Args:
        default: its value where none is given.
        low, high: the smallest and the largest value; for a list, of each item.
        above: it must be larger than this.
        one_of: the values it may have.
        keyed: False where it cannot change a result, e.g. how many pictures are made at a time.
        neutral: the value, if any, that gives the same results as before the setting existed. At this value the setting
            does not enter keys, so adding a setting later invalidates no saved results.
    """
    bounds = {"low": low, "high": high, "above": above, "one_of": one_of, "keyed": keyed, "neutral": neutral}
    return field(default=default, metadata=bounds)


class Settings:
    """Base of frozen dataclasses: every field is checked against its type and range when an object is made.

    Raises:
        ValueError: names the field, what it must be, and what was provided.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for one in fields(self):
            _check(type(self).__name__, one, hints[one.name], getattr(self, one.name))


def _check(owner: str, one: Field, hint: Any, value: Any) -> None:
    must = _range_in_words(one.metadata)
    if not _fits(value, hint) or not _in_range(value, one.metadata):
        raise ValueError(f"'{one.name}' of {owner} must be {_in_words(hint)}{must}. {value!r} was provided.")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(_fits(item, one) for item, one in zip(value, inner, strict=True))
    if hint is type(None):
        return value is None
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint)


def _in_range(value: Any, bounds: Any) -> bool:
    if bounds.get("one_of") is not None:
        return value in bounds["one_of"]
    if isinstance(value, tuple):
        return all(_in_range(item, bounds) for item in value)
    if value is None or isinstance(value, (str, bool)):
        return True
    low, high, above = (bounds.get(name) for name in ("low", "high", "above"))
    return (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)


def _in_words(hint: Any) -> str:
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", type(None): "None"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_in_words(one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list"
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _range_in_words(bounds: Any) -> str:
    if bounds.get("one_of") is not None:
        return f", one of {', '.join(map(str, bounds['one_of']))}"
    words = {"low": "at least", "high": "at most", "above": "above"}
    said = [f"{text} {bounds[name]:g}" for name, text in words.items() if bounds.get(name) is not None]
    return f", {' and '.join(said)}" if said else ""
