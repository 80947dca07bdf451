"""Notebooks as they are committed: stripped, one `parameters` cell of literals, short cells that compute nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from brainram_lib.setup.notebooks import literals_in, parameters_of

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LONGEST_CELL = 15
SPINE = ("01_load_nsd", "02_train_priors", "03_train_ram", "04_browse_retrieval", "05_table1_reconstruction")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def statements(source: str) -> list[ast.stmt]:
    """The cell's statements; lines of IPython's own (`%`, `!`) are left out."""
    return ast.parse("\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))).body


def test_the_numbered_notebooks_are_there():
    assert {path.stem for path in NOTEBOOKS} >= set(SPINE)


@each_notebook
def test_committed_without_outputs(path):
    dirty = [cell["source"] for cell in code_cells(path) if cell["outputs"] or cell["execution_count"] is not None]
    assert dirty == [], "run `make format`"
    assert "widgets" not in json.loads(path.read_text())["metadata"]


@each_notebook
def test_runs_on_the_kernel_of_the_environment(path):
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


@each_notebook
def test_one_parameters_cell_of_literals(path):
    tagged = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    body = statements(source_of(tagged[0]))
    assert all(isinstance(statement, ast.Assign) for statement in body)
    assert len(literals_in(source_of(tagged[0]))) == len(body), (
        "papermill replaces literals only; derive in the next cell"
    )
    assert parameters_of(path).items() >= {"profile": "mini", "subject": 1}.items()


@each_notebook
def test_the_next_cell_refuses_unknown_parameters(path):
    cells = code_cells(path)
    tagged = next(n for n, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
    assert "check_parameters(In)" in source_of(cells[tagged + 1])


@each_notebook
def test_cells_are_short_and_define_nothing(path):
    for cell in code_cells(path):
        source = source_of(cell)
        assert len(source.splitlines()) <= LONGEST_CELL, source
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not any(isinstance(node, defined) for s in statements(source) for node in ast.walk(s)), source


@each_notebook
def test_says_why_before_it_computes(path):
    first = json.loads(path.read_text())["cells"][0]
    assert first["cell_type"] == "markdown" and source_of(first).startswith("# ")
