"""Stages that sample for long: interrupted between two chunks they go on, and give what one call gives."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.core.store import Store
from brainram_lib.generation.generator import Generator
from brainram_lib.peers.mindeye import MindEye
from brainram_lib.pipeline import pictures
from brainram_lib.pipeline import prior as priors
from brainram_lib.pipeline.peers import mindeye
from brainram_lib.pipeline.peers import pictures as peer_pictures
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI, changed
from brainram_lib.stage1.prior import Prior
from brainram_lib.systems import system_of
from brainram_lib.systems.finding import finding
from brainram_lib.world.world import WorldSettings

WORLD = WorldSettings(name="tiny", subjects=(1,), voxels=(60,), sessions=3, trials_per_session=40, images=40, shared=10)
SMALL = {"data__sessions": 3, "split__validation": 6, "generation__steps": 2, "corpus__pairs": 40}
SIZES = {"hidden": 8, "blocks": 1, "projector_hidden": 8, "prior_depth": 1, "times": 4, "epochs": 1, "batch": 8}
SMALL |= {f"peers__mindeye__{name}": size for name, size in SIZES.items()}
SMALL |= {"method": "brainram", "stage1__epochs": 1, "stage1__batch": 8, "sampling__steps": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run():
    return run_of(changed(MINI, **SMALL), 1, 0, world=WORLD)


@pytest.fixture(autouse=True)
def chunks(monkeypatch):
    """Chunks of four, of ten test stimuli."""
    for module, name in ((pictures, "CHUNK"), (peer_pictures, "CHUNK")):
        monkeypatch.setattr(module, name, 4)
    for module in (priors, mindeye):
        monkeypatch.setattr(module, "SAMPLE_CHUNK", 4)


STAGES = {
    "ridge's images": (lambda run: system_of("ridge").images(run), Generator, "generate"),
    "images from start images": (
        lambda run: system_of("brain-diffuser-best").images(run),
        Generator,
        "generate",
    ),
    "samples of the prior": (lambda run: run.estimates("text"), Prior, "sample"),
    "MindEye's samples": (
        lambda run: finding(system_of("mindeye")).images(run).found.outputs,
        MindEye,
        "sample",
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_an_interrupted_stage_goes_on_and_gives_the_same(run, store, tmp_path, monkeypatch, name):
    stage_of, owner, method = STAGES[name]
    stage = stage_of(run)
    for needed in stage.inputs.values():
        store.result(needed)
    calls, plain = [], getattr(owner, method)

    def counted(self, *given, **named):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(name)
        return plain(self, *given, **named)

    monkeypatch.setattr(owner, method, counted)
    stop = None
    stage.make(tmp_path / "whole", store)
    every = len(calls)
    calls.clear()
    stop = every - 1
    with pytest.raises(KeyboardInterrupt):
        stage.make(tmp_path / "interrupted", store)
    calls.clear()
    stop = None
    stage.make(tmp_path / "interrupted", store)
    assert 0 < len(calls) < every
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "interrupted").iterdir())
    for one in names:
        np.testing.assert_array_equal(np.load(tmp_path / "interrupted" / one), np.load(tmp_path / "whole" / one))


def test_the_chunk_does_not_change_what_is_generated(run, store, tmp_path, monkeypatch):
    stage = system_of("ridge").images(run)
    for chunk in (4, 64):
        monkeypatch.setattr(pictures, "CHUNK", chunk)
        stage.make(tmp_path / str(chunk), store)
    small, large = (np.load(tmp_path / one / "samples.npy").astype(int) for one in ("4", "64"))
    # batches of other sizes round otherwise
    assert small.shape == large.shape and np.abs(small - large).max() <= 1
