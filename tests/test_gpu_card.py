"""The command for the day a GPU is at hand: every stage at the smallest sizes, what is kept, what goes on."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import pytest
import torch

from brainram_lib.__main__ import main
from brainram_lib.recipes import curriculum, generator
from brainram_lib.setup.gpu import command, equality, run, speed, suites
from brainram_lib.setup.gpu.record import DONE, FAILED, PAUSED, Record, Row, host, write_table
from brainram_lib.setup.gpu.sizes import FULL, SMALL

CPU = torch.device("cpu")


@pytest.fixture
def smallest(monkeypatch):
    """Even fewer scenes, and no processes."""
    for module in (curriculum, generator):
        monkeypatch.setattr(module, "HELD_OUT", 6)
    sizes = replace(SMALL, scenes=14, steps=4, report=2, minutes=0.005, seconds=0.02)
    monkeypatch.setattr(run, "SMALL", sizes)
    asked = []
    monkeypatch.setattr(suites, "_finished", lambda command, *_, **__: asked.append(command[2:4]) or True)
    return asked


def test_every_stage_runs_at_the_smallest_sizes_and_a_training_goes_on(tmp_path, smallest, monkeypatch, capsys):
    monkeypatch.setattr(
        suites, "_tested", lambda names, *_: {one: {**dict.fromkeys(suites.COUNTS, 1), "names": []} for one in names}
    )
    out, work = tmp_path / "out", tmp_path / "work"
    first = {one.stage: one for one in run.run(out, work, True, ["train-generator"], limit=0)}
    assert (
        first["train-generator"].state == PAUSED
        and "recogniser of latents: step 1" in first["train-generator"].kept["at"]
    )
    assert main(["gpu", "--small", "--out", str(out), "--work", str(work)]) == 0
    records = [Record.load(out, name, True) for name in run.STAGES]
    assert {one.stage: one.state for one in records} == dict.fromkeys(run.STAGES, DONE)
    trained = next(one for one in records if one.stage == "train-generator")
    assert trained.calls == 2 and trained.kept["before"].keys() == trained.kept["after"].keys()
    assert {"recipe", "scenes", "steps", "seed", "peak_rate", "batch_factor"} <= trained.kept.keys()
    for name in ("mini_generator/vae/config.json", "mini_prior/image.safetensors", "mini_prior/text.safetensors"):
        assert (out / "weights" / name).is_file()
    assert all(path.stat().st_size < 16 * 2**20 for path in out.rglob("*") if path.is_file())
    printed = capsys.readouterr().out
    assert "Small sizes" in printed and f"torch {torch.__version__.split('+')[0]}" in printed
    assert "Stage I, image, bfloat16, plain scan" in printed and "images a second" in printed
    # nothing is done again
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    run.run(out, work, True)
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert ["brainram_lib", "rehearsal"] in smallest


def test_a_stage_that_fails_says_why_and_keeps_no_other_from_running(tmp_path, smallest, monkeypatch, capsys):
    def breaks(call, record):
        record.rows.append(Row("half", 1.0, "s"))
        raise RuntimeError("the card is on fire | now")

    monkeypatch.setattr(run, "STAGES", {"card": breaks, "steps": lambda call, record: setattr(record, "state", DONE)})
    records = run.run(tmp_path, tmp_path, True)
    assert [one.state for one in records] == [FAILED, DONE]
    assert records[0].problem == "RuntimeError: the card is on fire | now" and records[0].rows[0].what == "half"
    table = (tmp_path / "gpu.md").read_text()
    assert "the card is on fire / now" in table and "| card | half | 1 | s |  |" in table
    assert "the card is on fire" in capsys.readouterr().err
    monkeypatch.setitem(run.STAGES, "card", lambda call, record: setattr(record, "state", DONE))
    again = run.run(tmp_path, tmp_path, True)
    assert again[0].state == DONE and again[0].calls == 2 and again[0].problem == ""


def test_what_cannot_be_asked_for_is_named(tmp_path):
    with pytest.raises(ValueError, match="'only' must be of card, train-generator, .* 'dance' was provided"):
        run.run(tmp_path, tmp_path, True, ["dance"])
    Record("card", True, DONE).save(tmp_path)
    with pytest.raises(ValueError, match="was measured at small sizes. Name another folder with --out"):
        Record.load(tmp_path, "card", False)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="torch finds no GPU here.* with --small"):
            run.run(tmp_path / "full", tmp_path, False)
        assert main(["gpu", "--out", str(tmp_path / "full")]) == 1
    assert tuple(run.STAGES) == command.STAGES


def test_a_record_is_read_back(tmp_path):
    record = Record("card", True, PAUSED, [Row("a", 1.5, "s", "b"), Row("c", None, "")], {"n": 3}, host=host())
    record.save(tmp_path)
    assert Record.load(tmp_path, "card", True) == Record(
        **{**vars(record), "host": json.loads(json.dumps(record.host))}
    )
    text = write_table(tmp_path, [record]).read_text()
    assert text.count("commit") == 1 and "| card | c | – |  |  |" in text and "driver" in text


def test_equality_tells_what_is_outside():
    rows = [Row("a", 0.1, "", "OUTSIDE 0.002"), Row("b", 0.0, "", "within 0.05"), Row("c", float("nan"), "", "within")]
    assert equality.outside(rows) == ["a", "c"]
    nan = torch.full((2,), torch.nan)
    assert equality._row("x", torch.ones(2), nan, 0.1).note.startswith("OUTSIDE")
    near = equality._row("x", torch.ones(2), torch.full((2,), 1.05), 0.1)
    assert near.note == "within 0.1" and near.value == pytest.approx(0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_the_card_computes_what_the_cpu_computes():
    assert equality.outside(equality.equality_rows(SMALL, torch.device("cuda"))) == []


def test_a_rate_counts_calls_after_warming_up(monkeypatch):
    clock, calls = iter(range(100)), []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    found = speed.rate(lambda: calls.append(1), CPU, 3)
    assert len(calls) == speed.WARM_UP + 4 and 0 < found <= 1


def test_what_does_not_fit_is_said(monkeypatch):
    def too_large():
        raise torch.OutOfMemoryError("tried to allocate 90 GiB")

    (row,) = speed._step_rows("Stage II", too_large, SMALL, CPU, 1.0)
    assert row.value is None and "does not fit: tried to allocate 90 GiB" in row.note


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three test files."""
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow"]\n')
    texts = {
        "test_a.py": "def test_good(): pass\ndef test_bad(): assert 0\n",
        "test_b.py": "import pytest\ndef test_skipped(): pytest.skip('no')\n",
        "deep/test_c.py": "class TestIt:\n    def test_good(self): pass\n",
    }
    for name, text in texts.items():
        (tmp_path / "tests" / name).write_text(text)
    monkeypatch.setattr(suites, "ROOT", tmp_path)
    return tmp_path


def test_tests_are_counted_file_by_file_and_go_on(checkout, monkeypatch):
    record, sizes, work = Record("tests", True), replace(SMALL, tests=None), checkout / "work"
    suites.run_tests(sizes, record, work, time.time() + 5)
    assert record.state == PAUSED and record.kept["files"] == {}
    suites.run_tests(sizes, record, work, time.time() + 600)
    assert record.state == DONE and len(record.kept["files"]) == 3
    assert [(row.what, row.value) for row in record.rows[:4]] == [
        ("tests passed", 2),
        ("tests failed", 1),
        ("tests skipped", 1),
        ("files", 3),
    ]
    assert record.rows[4].note == "test_a.py: test_bad"
    cut = Record("tests", True)
    monkeypatch.setattr(suites, "_tested", lambda names, *_: None)
    for together in (1, None):
        suites.run_tests(sizes, cut, work, time.time() + 600)
        assert cut.kept.get("together") == 1 and (cut.state == DONE) == (together is None)


def test_a_process_is_stopped_at_its_deadline(monkeypatch):
    monkeypatch.setattr(suites, "GRACE", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    started = time.time()
    assert not suites._finished([sys.executable, "-c", stubborn], 1.0)
    assert time.time() - started < 10
    assert suites._finished([sys.executable, "-c", "raise SystemExit(1)"], 300)
    with pytest.raises(RuntimeError, match="ended with status 7"):
        suites._finished([sys.executable, "-c", "raise SystemExit(7)"], 300)


def test_true_sizes_are_the_papers():
    assert FULL.voxels == 15_724 and dict(FULL.shapes) == {"image": (257, 768), "text": (77, 768)}
    assert (FULL.profile.stage1.batch, FULL.profile.stage2.batch, FULL.profile.generation.steps) == (32, 256, 20)
    assert (FULL.stimuli, FULL.samples) == (100, 4) and not FULL.small and SMALL.small
