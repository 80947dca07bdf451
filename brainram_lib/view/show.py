"""A figure in a notebook, with the sentences that say what it shows: printed below it, and its alternative text."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from IPython.display import Image, display
from matplotlib.figure import Figure

DPI = 100
LINE = 92
"""Characters of a printed line: JupyterLab breaks one that is too long for its window within a word."""


def show(figures: Figure | Sequence[Figure], *sentences: str) -> None:
    """Display a figure as it was sized, with title and `sentences` as its alternative text, and print them below.

    If several figures belong together, the sentences are printed below the last. The text is kept in the output's
    metadata, as `alt` under `image/png`, which is where Jupyter expects a picture's alternative text.

    Raises:
        ValueError: no sentence, or an empty one.
    """
    if not sentences or not all(one.strip() for one in sentences):
        raise ValueError(f"a figure needs a sentence that says what it shows. {sentences!r} was provided.")
    for figure in [figures] if isinstance(figures, Figure) else figures:
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI)
        display(Image(data=stream.getvalue(), format="png", alt=alternative(figure, *sentences)))
    print(*(textwrap.fill(line, LINE) for said in sentences for line in said.splitlines()), sep="\n")


def alternative(figure: Figure, *sentences: str) -> str:
    """The alternative text of a figure: its title and the sentences, on one line."""
    title = (figure.get_suptitle() or figure.get_label()).rstrip(".")
    said = " ".join(" ".join(sentences).split())
    return f"{title}. {said}" if title else said
