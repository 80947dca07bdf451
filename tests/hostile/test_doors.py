"""Notebook parameters, folders and kernels, and optional packages: refused or made right before anything runs."""

from __future__ import annotations

import builtins
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import jupyter_client.kernelspec
import numpy as np
import pytest

from brainram_lib.__main__ import main
from brainram_lib.profiles import PAPER
from brainram_lib.setup import environment, notebook_engine, notebooks, paper_needs
from brainram_lib.setup.environment import guarded
from brainram_lib.setup.notebook_engine import MissingKernelError, ThisPython
from brainram_lib.setup.notebooks import (
    NotebookError,
    ParameterError,
    accepted,
    check_parameters,
    literals_in,
    parameters_of,
    parse_parameters,
    run_notebook,
)
from brainram_lib.setup.paper_needs import Needs, is_whole, paper_report
from brainram_lib.stage1 import mamba

DECLARED = {
    **{"profile": "mini", "subject": 1, "seed": 0, "runs": None, "nsd_root": None, "corpus_root": None},
    **{"stimulus": 0, "k": 4, "plant": False, "rate": 0.5, "systems": ["ridge"]},
}
CELL = "\n".join(f"{name} = {value!r}" for name, value in DECLARED.items())
NAMES = "n.ipynb"


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": ["parameters"] if n == 0 else []}}
        | {"source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate(sources or (CELL,))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}))
    return path


@pytest.fixture
def no_kernel(monkeypatch):
    """papermill must not be reached; instead it says with what it would have been."""
    import papermill

    reached = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *given, **named: reached.append((given, named)))
    return reached


# --- parameters as they are typed ---


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("runs", "2024", "2024"),
        ("runs", "02", "02"),
        ("runs", "1e5", "1e5"),
        ("runs", "True", "True"),
        ("runs", "[a]", "[a]"),
        ("runs", "my {x} folder", "my {x} folder"),
        ("runs", "None", None),
        ("runs", "null", None),
        ("nsd_root", "7", "7"),
        ("corpus_root", "()", "()"),
        ("subject", "02", 2),
        ("subject", " 5 ", 5),
        ("seed", "0007", 7),
        ("plant", "true", True),
        ("plant", "False", False),
        ("rate", "1", 1),
        ("rate", "1e-3", 1e-3),
        ("systems", "['ridge', 'brainram']", ["ridge", "brainram"]),
        ("profile", "2", "2"),
    ],
)
def test_what_can_be_meant_one_way_is_taken_so(name, typed, meant):
    found = parse_parameters([(name, typed)], DECLARED, NAMES)[name]
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("subject", "2.0"),
        ("subject", "two"),
        ("subject", "true"),
        ("subject", "0"),
        ("subject", "9"),
        ("subject", "-1"),
        ("subject", "²"),
        ("seed", "-1"),
        ("seed", "4294967296"),
        ("seed", "1e3"),
        ("seed", "{[]: 1}"),
        ("seed", "(" * 5000),
        ("stimulus", "-1"),
        ("k", "0"),
        ("plant", "yes"),
        ("plant", "1"),
        ("rate", "1e999"),
        ("rate", "nan"),
        ("systems", "ridge"),
        ("systems", "[1e999]"),
        ("runs", ""),
        ("runs", " "),
        ("runs", "nul\0"),
        ("runs", "half \ud83d"),
        ("profile", "half \udcff"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(name, typed):
    with pytest.raises(ParameterError, match=f"'{name}' of {NAMES} must .*was provided") as caught:
        parse_parameters([(name, typed)], DECLARED, NAMES)
    assert len(str(caught.value)) < 500


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(ParameterError, match="'subject' of n.ipynb was given 2 times"):
        parse_parameters([("subject", "1"), ("subject", "2")], DECLARED, NAMES)


def test_a_quoted_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", os.path.join(os.sep, "somewhere"))
    found = parse_parameters([("runs", "~/results"), ("nsd_root", "~")], DECLARED, NAMES)
    assert found == {
        "runs": os.path.join(os.sep, "somewhere", "results"),
        "nsd_root": os.path.join(os.sep, "somewhere"),
    }
    with pytest.raises(ParameterError, match="write the folder in full"):
        parse_parameters([("runs", "~nobody-of-this-name/r")], DECLARED, NAMES)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"runs": 2024}, {"runs": "2024"}),
        ({"runs": Path("a/b")}, {"runs": "a/b"}),
        ({"runs": None}, {"runs": None}),
        ({"subject": np.int64(2), "rate": np.float32(0.5)}, {"subject": 2, "rate": 0.5}),
    ],
)
def test_values_from_python_become_what_papermill_writes(given, made):
    found = accepted(DECLARED, given)
    assert found == made and [type(value) for value in found.values()] == [type(value) for value in made.values()]


@pytest.mark.parametrize("given", [{"runs": True}, {"runs": ["a"]}, {"systems": [{1, 2}]}, {"rate": float("inf")}])
def test_values_from_python_that_no_cell_can_hold_are_refused(given):
    with pytest.raises(ParameterError, match="was provided"):
        accepted(DECLARED, given)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("runs = 2024", "with papermill itself, write `-r runs ...`"),
        ('runs = "~/results"', "which only a shell replaces"),
        ("subject = 11", "must be between 1 and 8"),
        ("seed = -1", "must be between 0 and"),
    ],
)
def test_papermills_own_door_refuses_the_same(line, words):
    with pytest.raises(ParameterError, match=words):
        check_parameters(["", CELL, f"# Parameters\n{line}\n"])


@pytest.mark.parametrize(
    "source", ["x = {[]: 1}", "x = 'a' + 1", "x = 1\0", "x = " + "(" * 5000, "x = " + "-" * 9000 + "1"]
)
def test_cells_that_cannot_be_read_declare_nothing(source):
    assert literals_in(source) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"cells": [1]}', '{"cells": {"a": 1}}', '{"cells": [{"metadata": null}]}', "\x1f\x8b"],
)
def test_files_that_are_no_notebook_are_named(tmp_path, text):
    (tmp_path / NAMES).write_text(text, encoding="latin-1")
    with pytest.raises(ParameterError, match="n.ipynb' (cannot be read as a notebook|must have exactly one cell)"):
        parameters_of(tmp_path / NAMES)


# --- folders, profiles and subjects, before a kernel is started ---


@pytest.mark.parametrize("subject", [3, 8])
def test_a_subject_that_the_profile_lacks_is_refused(tmp_path, no_kernel, subject):
    with pytest.raises(
        ParameterError, match=r"'subject' of n.ipynb must be one of \(1, 2, 5, 7\) in the profile 'mini'"
    ):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb", {"subject": subject})
    assert not no_kernel


@pytest.mark.parametrize(("profile", "words"), [("maxi", "'maxi' was provided"), ("gone.json", "no profile file")])
def test_a_profile_that_is_not_there_is_refused(tmp_path, no_kernel, profile, words):
    with pytest.raises(ParameterError, match=f"'profile' of n.ipynb: .*{words}"):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb", {"profile": profile})
    assert not no_kernel


def test_a_profiles_file_lies_beside_the_notebook(tmp_path, no_kernel):
    path = write_notebook(tmp_path / NAMES)
    (tmp_path / "own.json").write_text('{"base": "mini"}')
    run_notebook(path, tmp_path / "out.ipynb", {"profile": "own.json"})
    assert no_kernel


def test_braces_in_paths_and_values_stay_as_they_are(tmp_path, no_kernel):
    path = write_notebook(tmp_path / "my röpo {x}" / NAMES)
    out = tmp_path / "{subject} }{" / "out.ipynb"
    run_notebook(path, out, {"runs": str(tmp_path / "{runs}")})
    (source, copy), settings = no_kernel[0]
    assert source.format() == str(path) and copy.format() == str(out)
    assert settings["parameters"] == {"runs": str(tmp_path / "{runs}")}


def test_a_folder_with_braces_is_run_and_written(tmp_path):
    path = write_notebook(tmp_path / "a {x}" / NAMES, "runs = None", "print(runs)")
    run_notebook(path, tmp_path / "b {y}" / NAMES, {"runs": str(tmp_path / "{r}")}, progress=False)
    assert "{r}" in (tmp_path / "b {y}" / NAMES).read_text()


def unwritable(monkeypatch, folder: Path) -> None:
    """Root may write everywhere, so the system's answer is given for it."""
    real = notebooks.tempfile.TemporaryFile

    def refused(dir: Path) -> object:
        if Path(dir) == folder:
            raise PermissionError(13, "Permission denied", str(dir))
        return real(dir=dir)

    monkeypatch.setattr(notebooks.tempfile, "TemporaryFile", refused)


@pytest.mark.parametrize("kind", ["a file in the way", "no right", "a folder of that name", "the notebook itself"])
def test_a_copy_that_cannot_be_written_is_refused(tmp_path, no_kernel, monkeypatch, kind):
    path, out = write_notebook(tmp_path / NAMES), tmp_path / "out" / NAMES
    if kind == "a file in the way":
        (tmp_path / "out").touch()
    elif kind == "no right":
        unwritable(monkeypatch, tmp_path / "out")
    elif kind == "a folder of that name":
        out.mkdir(parents=True)
    else:
        out = path
    with pytest.raises(NotebookError, match="(cannot be written: .*|replace the notebook itself). Name another --out"):
        run_notebook(path, out)
    assert not no_kernel


@pytest.mark.parametrize("kind", ["a file in the way", "no right"])
def test_results_that_cannot_be_written_are_refused(tmp_path, no_kernel, monkeypatch, kind):
    path, runs = write_notebook(tmp_path / NAMES), tmp_path / "runs"
    if kind == "a file in the way":
        runs.touch()
    else:
        runs.mkdir()
        unwritable(monkeypatch, runs)
    with pytest.raises(NotebookError, match="Results of n.ipynb cannot be written to runs = "):
        run_notebook(path, tmp_path / "out.ipynb", {"runs": str(runs / "deeper")})
    assert not no_kernel


def test_the_command_says_one_sentence(tmp_path, capsys):
    path = write_notebook(tmp_path / NAMES)
    assert main(["notebook", "run", str(path), "--out", str(tmp_path / "o"), "-p", "seed", "-1"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "'seed' of n.ipynb must be between 0 and" in said


# --- kernels ---


def test_a_foreign_kernel_called_python3_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "share/kernels/python3"
    folder.mkdir(parents=True)
    gone = {"argv": [str(tmp_path / "gone/python"), "{connection_file}"], "display_name": "x", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(gone))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    assert jupyter_client.kernelspec.get_kernel_spec("python3").argv[0] == gone["argv"][0]
    [(well, sentence)] = environment._report_kernel()
    assert not well and "which is not there" in sentence and "ipykernel install" in sentence
    path = write_notebook(tmp_path / NAMES, "subject = 1", "import sys\nprint(sys.executable)")
    run_notebook(path, tmp_path / "out.ipynb", progress=False)
    assert sys.executable in (tmp_path / "out.ipynb").read_text()


def test_doctor_names_a_kernel_of_another_python(tmp_path, monkeypatch):
    other = tmp_path / "python"
    other.touch(mode=0o755)
    spec = jupyter_client.kernelspec.KernelSpec(argv=[str(other)], display_name="x", language="python")
    monkeypatch.setattr(jupyter_client.kernelspec.KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    [(well, sentence)] = environment._report_kernel()
    assert not well and f"belongs to '{other}', not to this Python" in sentence


def test_doctor_names_a_missing_kernel(monkeypatch):
    def absent(self: object, name: str) -> None:
        raise jupyter_client.kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(jupyter_client.kernelspec.KernelSpecManager, "get_kernel_spec", absent)
    [(well, sentence)] = environment._report_kernel()
    assert not well and "no Jupyter kernel 'python3'" in sentence and "-m ipykernel install" in sentence


def test_without_ipykernel_the_runner_says_what_to_install(tmp_path, monkeypatch, no_kernel):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ipykernel" else real(name, *a))
    with pytest.raises(MissingKernelError, match="no Jupyter kernel in this Python.*pip install ipykernel"):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb")
    assert not no_kernel


def test_a_kernel_whose_program_is_gone_is_named(tmp_path, monkeypatch):
    spec = jupyter_client.kernelspec.KernelSpec(argv=[str(tmp_path / "gone")], display_name="x", language="python")
    monkeypatch.setattr(ThisPython, "kernel_spec", property(lambda self: spec))
    with pytest.raises(NotebookError, match="n.ipynb could not be run.*No such file"):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb", progress=False)


@pytest.mark.parametrize("said", ["Kernel died before replying to kernel_info", "Kernel didn't respond in 60 seconds"])
def test_a_kernel_that_does_not_start_is_named(tmp_path, monkeypatch, said):
    import papermill

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(papermill, "execute_notebook", failing)
    with pytest.raises(NotebookError, match=f"kernel of n.ipynb did not start: {said}.*ipykernel_launcher"):
        run_notebook(write_notebook(tmp_path / NAMES), tmp_path / "out.ipynb")


def test_a_kernel_without_the_library_says_how_to_install_it(tmp_path):
    path = write_notebook(tmp_path / NAMES, CELL, "raise ModuleNotFoundError(\"No module named 'brainram_lib'\")")
    with pytest.raises(NotebookError, match="does not find the library: run `pip install -e .`"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False)


# --- optional packages, and a doctor who goes on ---

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


def test_the_engine_starts_this_python():
    assert ThisPython().kernel_spec.argv[0] == sys.executable and notebook_engine.require_kernel() is None
