"""Optional packages that do not import, weights that are not whole, and a doctor who goes on."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import ModuleType

import pytest

from brainram_lib.profiles import PAPER
from brainram_lib.setup import environment, paper_needs
from brainram_lib.setup.environment import guarded
from brainram_lib.setup.paper_needs import Needs, is_whole, paper_report
from brainram_lib.stage1 import mamba

IMPORT_FAULTS = {
    "absent": ModuleNotFoundError("No module named 'selective_scan_cuda'"),
    "symbol": ImportError("selective_scan_cuda.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"),
    "driver": RuntimeError("0 active drivers ([]). There should only be one."),
    "toolkit": OSError("libcudart.so.11.0: cannot open shared object file"),
    "renamed": AttributeError("module torch has no attribute amp_foo"),
    "type": TypeError("metaclass conflict"),
    "assertion": AssertionError(),
    "syntax": SyntaxError("invalid syntax"),
    "exit": SystemExit(1),
    "long": ValueError("x" * 100_000),
}


@pytest.fixture
def broken_mamba(request, monkeypatch):
    real = builtins.__import__

    def failing(name: str, *arguments: object, **settings: object) -> object:
        if name == "selective_scan_cuda":
            raise IMPORT_FAULTS[request.param]
        return real(name, *arguments, **settings)

    mamba.fused_scan.cache_clear()
    monkeypatch.setattr(builtins, "__import__", failing)
    yield request.param
    mamba.fused_scan.cache_clear()


@pytest.mark.parametrize("broken_mamba", IMPORT_FAULTS, indirect=True)
def test_a_mamba_ssm_that_does_not_import_counts_as_absent(broken_mamba):
    assert mamba.scan_for("cuda") is mamba.selective_scan
    [(well, sentence)] = paper_needs._kernel()
    assert well and "optional" in sentence and len(sentence) < 500
    fault = IMPORT_FAULTS[broken_mamba]
    if broken_mamba == "absent":
        assert "is not installed" in sentence
    else:
        assert f"does not import ({type(fault).__name__}: {str(fault)[:40]}" in sentence


def test_a_kernel_that_is_no_function_counts_as_absent(monkeypatch):
    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = None
    for name in ("selective_scan_cuda", "mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    assert "not a function" in mamba.why_no_fused_scan()


@pytest.mark.parametrize("problem", [KeyError("x"), OSError("disk"), AttributeError("y" * 9000), AssertionError()])
def test_a_part_of_the_doctors_that_raises_is_a_line(problem):
    def part():
        yield True, "first"
        raise problem

    lines = list(guarded("The part", part))
    assert lines[0] == (True, "first") and lines[1][0] is False
    assert lines[1][1].startswith(f"The part could not be checked ({type(problem).__name__}") and len(lines[1][1]) < 450


def test_the_doctor_of_the_paper_goes_on_when_parts_raise(monkeypatch):
    def failing(*_: object) -> None:
        raise AttributeError("gone")

    parts = ("_packages", "_machine", "_kernel", "_encoder", "_generator", "_metric_networks", "_nsd", "_corpus")
    for name in parts:
        monkeypatch.setattr(paper_needs, name, failing)
    lines = list(paper_report(PAPER, Needs()))
    assert len(lines) == 1 + len(parts) and all("could not be checked" in sentence for _, sentence in lines[1:])


@pytest.mark.parametrize("problem", [ImportError("a"), OSError("b"), AttributeError("c"), RuntimeError("d")])
def test_a_torch_that_does_not_import_is_a_line(monkeypatch, problem):
    real = builtins.__import__

    def failing(name: str, *arguments: object, **settings: object) -> object:
        if name == "torchvision":
            raise problem
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", failing)
    [(well, sentence)] = environment._report_accelerator()
    assert not well and f"do not import together ({type(problem).__name__}: {problem})" in sentence


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, (4).to_bytes(8, "little") + b"[1] ", b"\2" + bytes(7) + b"{}"])
def test_weights_without_a_table_are_not_whole(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    lines = list(paper_needs._whole_files(tmp_path, (path.name,)))
    if content.endswith(b"{}"):
        assert is_whole(path) and not lines
    else:
        [(well, sentence)] = lines
        assert not well and "etch it again" in sentence


def test_weights_that_may_not_be_read_are_not_called_cut_short(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    path.write_bytes(b"PK")
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    [(well, sentence)] = paper_needs._whole_files(tmp_path, (path.name,))
    assert not well and "may not be read" in sentence and "cut short" not in sentence
