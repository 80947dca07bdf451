"""Neighbours that can be decoded: in a corpus from the web, some pictures are missing or broken."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int, Int64

from brainram_lib.retrieval.index import Excluded, Neighbours
from brainram_lib.retrieval.layout import short
from brainram_lib.retrieval.neighbours import first_seen

FindExcept = Callable[[Excluded], Neighbours]
# items that are needed -> those of them that cannot be encoded, and why
Prepare = Callable[[Int[np.ndarray, "*rows"]], Mapping[int, str]]
# If none of the first items can be used, the pictures are not there, and going on would try the whole corpus.
TRIED = 256
# The same holds if nearly none of many items can be used: ROUNDS would not suffice.
MANY_TRIED, HOPELESS = 2048, 0.95
# If half of a corpus is broken, 1,000 stimuli with 32 neighbours each need some 15 rounds; if 85 % is, 60.
ROUNDS = 60
REASONS = 3


class NothingReadable(ValueError):
    """So many of the items found cannot be used that the search was given up; the message counts them and says why."""


def find_readable(find: FindExcept, prepare: Prepare) -> Neighbours:
    """The neighbours (n, S, K) that `find` gives when every item that `prepare` refuses is excluded.

    A stimulus whose neighbours are refused gets the next ones, until all can be encoded; a warning tells how many items
    were refused and why the first one was. An item is excluded only for the stimuli that found it, so a search over a
    large corpus never has to skip everything that is broken in it.

    Raises:
        NothingReadable: none of the first TRIED items can be used, or too few are left, or ROUNDS searches were not
            enough.
        ValueError: see `VectorIndex.search`.
    """
    found, excluded = find(None), None
    first = first_seen(found.ids.ravel())[:TRIED]
    refused, tried = dict(prepare(first)), set(first.tolist())
    if _hopeless(refused, tried):
        raise _given_up(refused, tried, "The search stopped there")
    for _ in range(ROUNDS):
        refused |= (failed := prepare(found.ids))
        tried.update(np.unique(found.ids).tolist())
        if not failed:
            break
        if _hopeless(refused, tried):
            raise _given_up(refused, tried, "The search stopped there")
        excluded = _with_refused(excluded, found, refused)
        try:
            found = find(excluded)
        except ValueError as problem:
            raise _given_up(refused, tried, f"No others are left ({short(problem, 200)})") from problem
    else:
        raise _given_up(refused, tried, f"After {ROUNDS} searches some stimuli still lack neighbours")
    if refused:
        item, reason = next(iter(refused.items()))
        warnings.warn(
            f"{len(refused)} items of the corpus were found but cannot be used, and the next ones stand in their "
            f"place. Item {item}: {reason}.",
            stacklevel=2,
        )
    return found


def _hopeless(refused: Mapping[int, str], tried: set[int]) -> bool:
    few = len(tried) >= MANY_TRIED and len(refused) > HOPELESS * len(tried)
    return few or (len(tried) >= TRIED and len(refused) == len(tried))


def _with_refused(
    excluded: list[Int64[np.ndarray, " _m"]] | None, found: Neighbours, refused: Mapping[int, str]
) -> list[Int64[np.ndarray, " _m"]]:
    """For each stimulus, the items to exclude: those from before, and those it found that were refused."""
    known = np.array(sorted(refused), np.int64)
    before = [np.empty(0, np.int64)] * len(found.ids) if excluded is None else excluded
    return [np.union1d(old, np.intersect1d(ids, known)) for old, ids in zip(before, found.ids, strict=True)]


def _given_up(refused: Mapping[int, str], tried: set[int], what: str) -> NothingReadable:
    first = [(f"item {item}", reason) for item, reason in list(refused.items())[:REASONS]]
    reasons = "; ".join(short(text if text.startswith(item) else f"{item}: {text}", 160) for item, text in first)
    return NothingReadable(
        f"{len(refused)} of the {len(tried)} items found cannot be used. {what}. The first: {reasons}. See that the "
        "corpus's pictures are there and can be opened (its folder 'images', with img2dataset's tars or files), then "
        "run this again."
    )
