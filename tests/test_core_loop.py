"""The one training loop: killed at any moment and resumed, it reaches the weights of one that was not."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from given_stages import SmallRun, weights_of
from torch import nn

from brainram_lib.core import loop
from brainram_lib.core.files import StoreError
from brainram_lib.core.loop import CHECKPOINT, ONE_CYCLE, Plan, train
from brainram_lib.core.store import Store
from brainram_lib.stage2.fusions import FUSIONS

TRAINED = [name for name, fusion in FUSIONS.items() if fusion.trained]
EPOCHS = 6
# Makes trainings, each in a process forked from this one, so that what they import is imported once. The process says
# its number and when each epoch has ended, with a checkpoint after every epoch; this one, when the process is gone.
LAUNCHER = """
import json, os, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests")
from test_core_loop import stage_of
from brainram_lib.core import loop
from brainram_lib.core.store import Store
loop.CHECKPOINT_SECONDS = 0
save = loop.save_checkpoint
def saying(*arguments):
    save(*arguments)
    print("saved", flush=True)
loop.save_checkpoint = saying
for line in sys.stdin:
    root, name = json.loads(line)
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        Store(root).result(stage_of(name))
        print("ended", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def stage_of(name):
    """A training of EPOCHS epochs: of the prior, or of a fusion."""
    if name == "prior":
        prior = SmallRun().prior
        return replace(prior, settings=replace(prior.settings, epochs=EPOCHS))
    return SmallRun(fusion=name, epochs=EPOCHS).fusion


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the other process: sums over two threads are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def launcher(root):
    """Where the trainings that are killed are made."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        yield process
        process.stdin.close()


def killed_after(launcher, root, name, saved, delay):
    """Start the training, kill it `delay` seconds after this many checkpoints, and wait until it is gone."""
    launcher.stdin.write(json.dumps([str(root), name]) + "\n")
    launcher.stdin.flush()
    training = int(launcher.stdout.readline())
    while saved:
        line = launcher.stdout.readline()
        assert line == "saved\n", f"{saved} more checkpoints were awaited, and it said '{line}'"
        saved -= 1
    time.sleep(delay)
    os.kill(training, signal.SIGKILL)
    while (line := launcher.stdout.readline()) != "gone\n":
        assert line, "the launcher ended"


@pytest.mark.parametrize("name", ["prior", *TRAINED])
def test_a_training_that_was_killed_ends_bit_identical(tmp_path, whole, launcher, monkeypatch, name):
    stage, file = stage_of(name), "prior" if name == "prior" else "fusion"
    expected, history = weights_of(whole, stage, file), whole.result(stage).json("history")
    # what comes before the training is made, so that the training is killed
    for needed in stage.inputs.values():
        Store(tmp_path).result(needed)
    moments = random.Random(name)
    for saved in (1, moments.randint(2, 3)) if name == "prior" else (moments.randint(1, 3),):
        killed_after(launcher, tmp_path, name, saved, moments.uniform(0, 0.02))
    store = Store(tmp_path)
    assert store.find(stage) is None, "it was killed before its end"
    partial = store.folder(stage).with_name(f".{stage.key}.partial")
    assert (partial / CHECKPOINT).exists()
    epochs = []
    real = loop._epoch
    monkeypatch.setattr(loop, "_epoch", lambda *arguments: epochs.append(arguments[3]) or real(*arguments))
    again = weights_of(store, stage, file)
    assert 0 < epochs[0] and epochs[-1] == EPOCHS - 1, "it went on and did not begin anew"
    assert (
        all(torch.equal(weight, again[name]) for name, weight in expected.items()) and again.keys() == expected.keys()
    )
    assert store.result(stage).json("history") == history and len(history) == EPOCHS
    assert not (store.result(stage).folder / CHECKPOINT).exists()


def test_weights_that_cannot_be_written_cost_no_training(tmp_path, whole, monkeypatch):
    """A full disk at the end: the next call writes what was trained."""
    from brainram_lib.pipeline import ram

    stage, real = stage_of(TRAINED[0]), ram.write_weights
    expected = weights_of(whole, stage, "fusion")

    def full(path, network):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(ram, "write_weights", full)
    with pytest.raises(StoreError, match="no room on the disk"):
        Store(tmp_path).result(stage)
    monkeypatch.setattr(ram, "write_weights", real)
    monkeypatch.setattr(loop, "_epoch", lambda *_: pytest.fail("trained again"))
    again = weights_of(Store(tmp_path), stage, "fusion")
    assert all(torch.equal(weight, again[name]) for name, weight in expected.items())
    assert not (Store(tmp_path).folder(stage) / CHECKPOINT).exists()


@pytest.mark.parametrize("epoch", range(4))
def test_a_training_stopped_in_any_epoch_ends_bit_identical(tmp_path, monkeypatch, epoch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    expected, rows = fitted(tmp_path / "whole")
    task = Line()
    real = task.loss

    def stops(batch, random):
        if len(task.calls) == epoch:
            raise KeyboardInterrupt
        return real(batch, random)

    task.loss = stops
    with pytest.raises(KeyboardInterrupt):
        train(task, PLAN, tmp_path / "cut", 3, "cut")
    resumed, again = fitted(tmp_path / "cut")
    assert again == rows
    assert all(torch.equal(one, other) for one, other in zip(expected.parameters(), resumed.parameters(), strict=True))


PLAN = Plan(epochs=4, steps=3, rate=0.01, weight_decay=0.1, schedule=ONE_CYCLE, clip=1.0)


class Line:
    """y = x W with dropout; batches in a random order, as the loop's tasks have them."""

    def __init__(self, rows=21, size=7):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.2))
        self.x = torch.randn(rows, 5)
        self.y = self.x @ torch.randn(5, 2)
        self.size, self.calls, self.scale = size, [], 1.0

    def batches(self, random):
        return list(torch.randperm(len(self.x), generator=random).split(self.size))

    def loss(self, batch, random):
        loss = self.scale * (self.model(self.x[batch]) - self.y[batch]).square().mean()
        return loss, {"loss": loss.item()}

    def validate(self, epoch, last):
        self.calls.append((epoch, last))
        assert not self.model.training
        return {"val": float(epoch)}

    def said(self, row):
        return f"{row['loss']:.1f}"


def fitted(folder, plan=PLAN, **settings):
    task = Line(**settings)
    history = train(task, plan, folder, 3, "line")
    return task.model, history


def test_the_history_has_a_row_an_epoch_and_the_last_is_told(tmp_path):
    task = Line()
    history = train(task, PLAN, tmp_path, 3, "line")
    assert [set(row) for row in history] == [{"loss", "val"}] * PLAN.epochs
    assert task.calls == [(0, False), (1, False), (2, False), (3, True)] and history[-1]["loss"] < history[0]["loss"]
    assert list(tmp_path.iterdir()) == [], "no checkpoint stays"


def test_a_training_does_not_depend_on_the_randomness_around_it(tmp_path):
    first, _ = fitted(tmp_path)
    before = torch.get_rng_state()
    task = Line()
    torch.manual_seed(77)
    train(task, PLAN, tmp_path, 3, "line")
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), task.model.parameters(), strict=True))
    assert not torch.equal(torch.get_rng_state(), before)


def test_accumulated_batches_are_one_step_of_their_mean(tmp_path):
    """7 rows three times, averaged, are 21 rows once: the loss is a mean and nothing is dropped."""

    def still(size, accumulate, steps):
        task = Line(size=size)
        task.model[1].p = 0.0
        train(task, Plan(2, steps, 0.01, 0.0, accumulate=accumulate), tmp_path, 3, "line")
        return list(task.model.parameters())

    whole, parts, one_by_one = still(21, 1, 1), still(7, 3, 3), still(7, 1, 3)
    for one, other, third in zip(whole, parts, one_by_one, strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.allclose(one, third, atol=1e-4)


def test_what_is_left_of_an_epoch_is_a_step_of_its_own(tmp_path, monkeypatch):
    steps = []
    real = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *rest: steps.append(1) or real(self, *rest))
    fitted(tmp_path, Plan(2, 3, 0.01, 0.0, accumulate=2))
    assert len(steps) == 2 * 2, "of three batches, two together and one alone"


def test_gradients_are_clipped_before_the_step(tmp_path, monkeypatch):
    norms = []
    real = nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *given: norms.append(given[1]) or real(*given))
    fitted(tmp_path)
    assert norms == [1.0] * PLAN.epochs * PLAN.steps
    fitted(tmp_path, replace(PLAN, clip=None))
    assert len(norms) == PLAN.epochs * PLAN.steps


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_with_epoch_and_rate(tmp_path, scale):
    task = Line()
    real = task.validate

    def spoil(*when):
        task.scale = scale
        return real(*when)

    task.validate = spoil
    with pytest.raises(ValueError, match=r"the loss of epoch 1 is not finite \(loss\): .* the rate 0.01 is too high"):
        train(task, replace(PLAN, schedule="constant"), tmp_path, 3, "line")


def test_a_constant_rate_stays_and_one_cycle_ends_near_zero():
    steps = range(PLAN.epochs * PLAN.steps)
    assert {replace(PLAN, schedule="constant").rate_at(step) for step in steps} == {0.01}
    rates = [PLAN.rate_at(step) for step in steps]
    assert rates[0] == pytest.approx(0.01 / 25) and max(rates) <= 0.01 and rates[-1] < 0.001


def test_checkpoints_are_written_when_enough_would_be_lost(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda *given: saved.append(given[3].epoch))
    fitted(tmp_path)
    assert saved == []
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    fitted(tmp_path)
    assert saved == [1, 2, 3, 4]
