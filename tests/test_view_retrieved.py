import numpy as np
import pytest

from brainram_lib import figures
from brainram_lib.view.retrieved import retrieved_figure, retrieved_said
from brainram_lib.workbench import Workbench

RANDOM = np.random.default_rng(0)
STIMULI = RANDOM.integers(0, 256, (5, 12, 12, 3), np.uint8)
FOUND = {name: RANDOM.integers(0, 256, (5, 4, 16, 16, 3), np.uint8) for name in ("ridge", "BrainRAM-plus")}


def test_the_figure_shows_each_stimulus_and_what_each_system_found_in_order(tmp_path):
    figure = retrieved_figure(STIMULI, FOUND, "Retrieved")
    (axes,) = figure.axes
    shown = [np.asarray(image.get_array()) for image in axes.images]
    assert len(shown) == 5 * (1 + 4 + 4)
    np.testing.assert_array_equal(shown[:5], STIMULI)
    np.testing.assert_array_equal(shown[5:25], FOUND["ridge"].reshape(-1, 16, 16, 3))
    lines = [image.get_extent()[3] for image in axes.images]
    assert lines[2] == lines[5 + 8] == lines[25 + 8], "a stimulus and what was found for it stand on one line"
    lefts = [image.get_extent()[0] for image in axes.images]
    assert lefts[0] < lefts[5] < lefts[6] < lefts[8] < lefts[25]
    assert {text.get_text() for text in axes.texts} == {"Retrieved", "stimulus", "ridge", "BrainRAM-plus"}
    figure.savefig(tmp_path / "retrieved.png")


def test_images_of_other_stimuli_are_refused():
    with pytest.raises(ValueError, match="the same 5 stimuli for every system. Got {'ridge': 4}"):
        retrieved_figure(STIMULI, {"ridge": FOUND["ridge"][:4]})
    with pytest.raises(ValueError, match="Got {}"):
        retrieved_figure(STIMULI, {})


def test_the_sentence_says_whose_images_are_closer():
    one = RANDOM.uniform(0.2, 0.4, (40, 4))
    said = retrieved_said({"ridge": one, "BrainRAM-plus": one + 0.1}, 5)
    assert f"all 40 test stimuli: ridge {one.mean():.3f}, BrainRAM-plus {one.mean() + 0.1:.3f}" in said
    assert (
        "BrainRAM-plus minus ridge: +0.100 [+0.100, +0.100]. Of the 5 shown, BrainRAM-plus's are closer for 5." in said
    )
    assert "Of the 3 shown, BrainRAM-plus's are closer for 0." in retrieved_said({"r": one, "BrainRAM-plus": one}, 3)


def test_figure_5_is_left_out_with_the_reason_while_mindeye_was_not_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", {"retrieved": figures.retrieved})
    assert figures.draw_all(Workbench(runs=tmp_path / "runs"), tmp_path) == []
    said = capsys.readouterr()
    assert "'retrieved.png' was not drawn. MindEye's retrieved images are not there: `python -m" in said.out + said.err
    assert not list(tmp_path.iterdir())


def test_the_compared_systems_are_left_out_with_the_command_that_makes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", {"compared": figures.compared})
    assert figures.draw_all(Workbench(runs=tmp_path / "runs"), tmp_path) == []
    said = capsys.readouterr()
    assert "experiment run table1 --rows gu mind-reader takagi" in " ".join((said.out + said.err).split())
