"""Kernels that are foreign, missing, gone or without the library."""

from __future__ import annotations

import importlib.util
import json
import sys

import jupyter_client.kernelspec
import pytest
from hostile_notebooks import CELL, NAMES, write_notebook

from brainram_lib.setup import environment, notebook_engine
from brainram_lib.setup.notebook_engine import MissingKernelError, ThisPython
from brainram_lib.setup.notebooks import NotebookError, run_notebook


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


def test_the_engine_starts_this_python():
    assert ThisPython().kernel_spec.argv[0] == sys.executable and notebook_engine.require_kernel() is None
