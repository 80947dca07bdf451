"""A rehearsal from the first file to the report: the small one whole, the runner on stand-ins, the full one slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import nbformat
import pytest

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.setup.rehearsal import run, watch
from brainram_lib.setup.rehearsal.report import write_report
from brainram_lib.setup.rehearsal.sizes import FULL, SMALL
from brainram_lib.systems import systems
from brainram_lib.workbench import Workbench

Usage = namedtuple("Usage", "total used free")


def test_a_small_rehearsal_reaches_the_scores(tmp_path, monkeypatch):
    """The same files, profile and stages as the full one, in this process and without kernels."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for step in ("subject", "weights", "corpus"):
        run.write_step(tmp_path, SMALL, step)
    workbench = Workbench(
        str(tmp_path / run.PROFILE), runs=tmp_path / "runs", nsd_root=tmp_path / "nsd", corpus_root=tmp_path / "corpus"
    )
    assert workbench.profile.name == "rehearsal" and not workbench.run.source.simulated
    assert len(workbench.stimuli("test")) == len(workbench.captions("test")) == 2
    assert workbench.betas()["train"].shape == (16, 230)
    records = workbench.records()
    assert {one.system for one in records} == {*(system.name for system in systems("brainram")), "chance"}
    assert workbench.samples().shape == (2, 4, 64, 64, 3)
    assert workbench.browser_data().modalities == MODALITIES
    report = write_report(tmp_path, {"sizes": "small", "machine": run.machine(), "steps": []}).read_text()
    assert "| generated | " in report and "samples uint8 (2, 4, 64, 64, 3)" in report
    assert "No score of a rehearsal means anything" in report


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A rehearsal of two steps that write down that they ran; the second fails while `fail` is there."""
    log, fail = tmp_path / "log", tmp_path / "fail"
    say = f"open({str(log)!r}, 'a').write({{0!r}})"
    stop = f"import os, sys; sys.exit(3 if os.path.exists({str(fail)!r}) else 0)"
    steps = {
        "first": [
            sys.executable,
            "-c",
            say.format("1") + "; import time; held = bytearray(300 * 2**20); time.sleep(1.5)",
        ],
        "second": [sys.executable, "-c", say.format("2") + "; " + stop],
    }
    monkeypatch.setattr(run, "_steps", lambda *_: steps)
    monkeypatch.setattr(run, "_spine", lambda: [])
    return tmp_path


def test_a_failed_step_is_named_and_the_rehearsal_goes_on_from_it(stand_in):
    root = stand_in / "out"
    (stand_in / "fail").touch()
    with pytest.raises(run.RehearsalError, match="step 'second' failed with status 3"):
        run.rehearse(root, SMALL)
    (stand_in / "fail").unlink()
    report = run.rehearse(root, SMALL)
    assert (stand_in / "log").read_text() == "122", "the first step is not done again"
    rows = json.loads((root / run.RECORD).read_text())["steps"]
    assert [(row["step"], row["done"], row["attempts"]) for row in rows] == [("first", True, 1), ("second", True, 2)]
    assert 0.29 < rows[0]["peak_memory_gib"] < 1 and rows[1]["peak_memory_gib"] < rows[0]["peak_memory_gib"]
    assert "| second (begun 2 times; the last) |" in report.read_text()


def test_a_step_that_was_interrupted_interrupts(stand_in, monkeypatch):
    monkeypatch.setattr(run, "_steps", lambda *_: {"one": [sys.executable, "-c", "import sys; sys.exit(130)"]})
    with pytest.raises(KeyboardInterrupt):
        run.rehearse(stand_in / "out", SMALL)


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "machine", lambda: {"memory_gib": FULL.memory})
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: Usage(0, 0, 5 * 2**30))
    with pytest.raises(run.RehearsalError, match="'full' needs 20 GiB.* 0.0 are there already and 5.0 are free"):
        run.rehearse(tmp_path / "out", FULL)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_little_memory_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "machine", lambda: {"memory_gib": 7.4})
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: Usage(0, 0, 5 * 2**30))
    with pytest.raises(run.RehearsalError, match="holds up to 16 GiB; this machine has 7.4. --sizes small needs 2"):
        run.rehearse(tmp_path / "out", FULL)
    assert not (tmp_path / "out").exists(), "memory cannot be made, so nothing else is asked for"


def test_a_folder_of_other_sizes_is_left_alone(stand_in):
    run.rehearse(stand_in / "out", SMALL)
    with pytest.raises(run.RehearsalError, match="holds a rehearsal of the sizes 'small'; 'full' was asked for"):
        run.rehearse(stand_in / "out", FULL)


def test_steps_name_only_parameters_that_a_notebook_has(tmp_path):
    steps = run._steps(tmp_path, SMALL, run._spine())
    assert list(steps)[:3] == ["write subject", "write weights", "write corpus"] and len(steps) == 8
    assert "corpus_root" not in steps["01_load_nsd.ipynb"] and "corpus_root" in steps["02_train_priors.ipynb"]


def test_a_missing_checkout_and_an_unknown_step_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    with pytest.raises(run.RehearsalError, match="notebooks 01 to 05 are not in"):
        run._spine()
    with pytest.raises(ValueError, match="'step' must be one of subject, weights, corpus. 'all' was provided"):
        run.write_step(tmp_path, SMALL, "all")


def test_the_memory_of_a_grandchild_is_seen():
    """A step's notebook runs in a kernel, which the step's own process starts."""
    kernel = "import time; held = bytearray(200 * 2**20); time.sleep(1.5)"
    step = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {kernel!r}])"]
    with subprocess.Popen(step) as process:
        seen = watch.Watch(process.pid)
        process.wait()
    seen.stop()
    assert 200 / 1024 < seen.memory < 300 / 1024
    assert not seen._thread.is_alive()


def test_gpu_memory_is_asked_of_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 3072\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    seen = watch.Watch(os.getpid())
    while seen.gpu is None:
        time.sleep(0.05)
    seen.stop()
    assert seen.gpu == 3.0


def test_a_machine_without_a_gpu_has_no_such_number(monkeypatch):
    monkeypatch.setattr(watch.shutil, "which", lambda _: None)
    seen = watch.Watch(os.getpid())
    seen.stop()
    assert seen.gpu is None


@pytest.mark.slow
def test_a_small_rehearsal_through_the_notebooks(tmp_path):
    report = run.rehearse(tmp_path, SMALL).read_text()
    for path in run._spine():
        cells = nbformat.read(tmp_path / "notebooks" / path.name, as_version=4).cells
        assert all(cell.execution_count for cell in cells if cell.cell_type == "code" and cell.source)
        assert f"| {path.name} | " in report


@pytest.mark.slow
def test_a_full_rehearsal_fits_into_24_gib(tmp_path):
    """About 20 GiB of disk and an hour or two on a CPU."""
    if shutil.disk_usage(tmp_path).free < FULL.disk * 2**30:
        pytest.skip(f"the disk of '{tmp_path}' has less than the {FULL.disk:.0f} GiB that a full rehearsal needs")
    run.rehearse(tmp_path, FULL)
    rows = json.loads((tmp_path / run.RECORD).read_text())["steps"]
    assert all(row["done"] for row in rows) and max(row["peak_memory_gib"] for row in rows) < 24
