"""Stimuli of kinds that no model was trained on, above their reconstructions, kinds side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray

from brainram_lib.view.gallery import gallery

WIDE = 10


def new_stimuli_figure(
    rows: Mapping[str, UInt8[ndarray, "n height width 3"]], kinds: Sequence[str], title: str | None = None
) -> Figure:
    """One row per system, the stimuli on top; each kind is named under the first of its columns.

    Pictures of one kind are side by side and never run over the end of a band.

    Args:
        rows: {label: pictures}, the same stimuli in the same order. kinds: the kind of each.

    Raises:
        ValueError: as `gallery`; or there is not one kind per picture, or pictures of one kind are not adjacent.
    """
    counts = {len(pictures) for pictures in rows.values()}
    if counts != {len(kinds)}:
        raise ValueError(f"'kinds' must name the kind of each picture. {len(kinds)} kinds and {counts} pictures came.")
    starts = [place for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
    if len(starts) != len(set(kinds)):
        raise ValueError(f"pictures of one kind must stand together. {list(kinds)} came.")
    each = max(end - start for start, end in zip(starts, [*starts[1:], len(kinds)], strict=True))
    captions = [kind if place in starts else "" for place, kind in enumerate(kinds)]
    return gallery(rows, columns=len(kinds), wrap=max(1, WIDE // each) * each, captions=captions, title=title)
