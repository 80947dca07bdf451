"""A decoder of one's own, in one file: scored, drawn and named like the others."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import pytest
from tiny_run import again

from brainram_lib.__main__ import main
from brainram_lib.systems import system, system_of
from brainram_lib.systems.scores import image_metrics, labels
from brainram_lib.view.gallery import score_plot

TOY = '''
"""A decoder that estimates the mean of the training images' tokens."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainram_lib.core.files import write_array
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import Targets
from brainram_lib.systems.system import DECODER, System, register


@dataclass(frozen=True)
class MeanTokens(Stage):
    targets: Targets

    def make(self, folder: Path, store: Store) -> None:
        tokens = store.result(self.targets)
        mean = np.asarray(tokens.array("train"), np.float32).mean(0, keepdims=True)
        write_array(folder / "test.npy", np.repeat(mean, len(tokens.array("test")), 0))


def tokens(run):
    return {modality: MeanTokens(run.targets(modality)) for modality in MODALITIES}


def images(run):
    return run.generated(tokens(run), label="generate, toy")


register(System("toy", "Mean tokens", "tests", DECODER, 35, tokens, images))
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy decoder, known while the test runs."""
    monkeypatch.setattr(system, "_REGISTRY", dict(system._REGISTRY))
    assert len(TOY.strip().splitlines()) <= 40
    (tmp_path / "toy_decoder.py").write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_decoder", tmp_path / "toy_decoder.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_decoder", module)
    spec.loader.exec_module(module)
    return system_of("toy")


def test_a_decoder_of_one_file_stands_in_records_tables_plots_and_on_the_command_line(finished, runs, toy, capsys):
    other = again(runs)
    records = other.records()
    new = {"mean-tokens", "generated", "image-scores", "estimate-scores"}
    assert set(other.store.made) == new, "of the other systems nothing is made again"
    own = {one.metric for one in records if one.system == "toy"}
    assert own == {one.metric for one in records if one.system == "ridge"}
    images, _, estimates = other.score_tables()
    for table in (images, estimates):
        rows = list(table.sections[0].cells.index)
        assert rows.index("Mean tokens") == rows.index("Ridge") + 1
    figure = score_plot(records, image_metrics(other.run)[:1], labels=labels())
    assert "Mean tokens" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert other.samples("toy").shape == other.samples("ridge").shape
    with pytest.raises(SystemExit):
        main(["reconstruct", "--help"])
    assert "toy" in capsys.readouterr().out


def test_a_system_with_nothing_to_score_or_of_another_kind_is_refused(toy):
    with pytest.raises(ValueError, match="'toy' has neither tokens nor images"):
        system.register(replace(toy, tokens=None, images=None))
    with pytest.raises(ValueError, match="'kind' of 'toy' must be decoder, shown or bound. 'ghost' was given"):
        system.register(replace(toy, kind="ghost"))
