"""A figure in a notebook carries its alternative text, is as large as it was made, and is never without a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from brainram_lib.view import show as shown
from brainram_lib.view.show import alternative, show

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# What returns a figure; in a notebook it stands in `show`, or in a name that is shown.
DRAW = ("gallery(", "_plot(", "_map(", "_figure(", "loss_curves(", "histogram(")


@pytest.fixture
def displayed(monkeypatch):
    outputs = []
    monkeypatch.setattr(shown, "display", outputs.append)
    return outputs


def test_the_sentence_is_alternative_text_and_printed_below(displayed, capsys):
    figure = Figure(figsize=(3, 2))
    figure.suptitle("Errors")
    show(figure, "The first is\n 0.2.", "The second is 0.3.")
    (image,) = displayed
    data, metadata = image._repr_png_()
    assert metadata["alt"] == "Errors. The first is 0.2. The second is 0.3."
    assert image._data_and_metadata is not None and len(data) > 100
    assert capsys.readouterr().out == "The first is\n 0.2.\nThe second is 0.3.\n"


def test_figures_that_belong_together_have_one_sentence(displayed, capsys):
    show([Figure(), Figure()], "Both are empty.")
    assert len(displayed) == 2 and capsys.readouterr().out == "Both are empty.\n"
    assert alternative(Figure(), "No title.") == "No title."


def test_a_figure_without_a_sentence_is_refused(displayed):
    for said in ((), ("",), ("fine", " ")):
        with pytest.raises(ValueError, match="a figure needs a sentence that says what it shows"):
            show(Figure(), *said)
    assert displayed == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_draws_says_what_it_drew(path):
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and any(word in source for word in DRAW):
            assert "show(" in source or "_said(" in source, source
