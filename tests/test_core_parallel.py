"""Two processes train as one: the same losses and weights at the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from given_stages import SmallRun
from safetensors.torch import load_file

from brainram_lib.core import parallel
from brainram_lib.core.store import Store

# Each of the two processes makes both trainings; the first says how many there are and what it made.
TWO = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from test_core_parallel import without_dropout
from brainram_lib.core import parallel
from brainram_lib.core.store import Store
store = Store(sys.argv[1])
for stage in without_dropout():
    store.result(stage)
if parallel.first():
    print("processes:", parallel.count(), "made:", *store.made)
"""


def without_dropout():
    """Stage I and Stage II of the small run: masks would be drawn in each process."""
    small = SmallRun()
    projector = replace(small.prior.settings.projector, dropout=0.0, voxel_dropout=0.0)
    prior = replace(small.prior, settings=replace(small.prior.settings, projector=projector, batch=7))
    estimates = replace(small.fusion.estimates, prior=prior)
    found = replace(small.fusion.found, image=estimates) if small.fusion.found.image is not None else small.fusion.found
    settings = replace(small.fusion.settings, dropout=0.0)
    return prior, replace(small.fusion, estimates=estimates, found=found, settings=settings)


@pytest.fixture(scope="module")
def two(tmp_path_factory, root):
    runs = tmp_path_factory.mktemp("two")
    script = runs / "two.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [*launch, "--standalone", str(script), str(runs), str(root / "tests")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert said.returncode == 0, said.stderr[-2000:]
    return Store(runs), said.stdout


def test_two_processes_reach_the_weights_of_one(two, tmp_path):
    together, said = two
    assert "processes: 2" in said, "the launcher must have started two"
    alone = Store(tmp_path)
    for stage, name in zip(without_dropout(), ("prior", "fusion"), strict=True):
        weights = [load_file(store.result(stage).folder / f"{name}.safetensors") for store in (together, alone)]
        for key, weight in weights[1].items():
            torch.testing.assert_close(weights[0][key], weight, atol=2e-4, rtol=2e-3, msg=key)
        histories = [json.loads((s.result(stage).folder / "history.json").read_text()) for s in (together, alone)]
        for row, other in zip(*histories, strict=True):
            assert row == pytest.approx(other, rel=2e-3, abs=2e-4)


def test_every_stage_is_made_once_by_two_processes(two):
    made = two[1].split("made:")[1].split()
    assert len(made) == len(set(made)) and {"prior-image", "fusion-image"} <= set(made)


def test_one_process_computes_as_it_is():
    rows = torch.randn(5, 3)
    assert parallel.count() == 1 and parallel.first() and parallel.agreed("x") == "x"
    assert torch.equal(parallel.sharded(lambda x, none: 2 * x, rows, None), 2 * rows)
