"""Scores against the number of training images."""

from __future__ import annotations

import pytest

from brainram_lib.evaluation.catalogue import metrics
from brainram_lib.evaluation.records import Record
from brainram_lib.view.scaling import scaling_figure

METRICS = metrics(["image_mse", "image_retrieval"])


def scores(mse, found):
    values = {"image_mse": mse, "image_retrieval": found}
    return {name: Record("ridge", name, one, one * 0.9, one * 1.1, 300, 1, 0) for name, one in values.items()}


POINTS = {
    "ridge": {3200: scores(0.002, 0.5), 1600: scores(0.003, 0.4), 8859: scores(0.001, 0.7)},
    "BrainRAM-plus": {1600: scores(0.002, 0.6)},
}


def test_a_line_a_system_and_a_panel_a_metric(tmp_path):
    figure = scaling_figure(POINTS, METRICS, "Sizes")
    first, second = figure.axes
    assert [container.get_label() for container in second.containers] == list(POINTS)
    ridge = second.containers[0].lines[0]
    assert list(ridge.get_ydata()) == pytest.approx([40, 50, 70]) and first.get_title() == "Image tokens MSE ↓"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(POINTS)
    figure.savefig(tmp_path / "sizes.png")
    assert [label.get_text() for label in second.get_xticklabels()] == ["1,600", "3,200", "8,859"]


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="'ridge' at 5 images must have image_mse"):
        scaling_figure({"ridge": {5: {}}}, METRICS, "Sizes")
    with pytest.raises(ValueError, match="Got 0 and 2"):
        scaling_figure({}, METRICS, "Sizes")
