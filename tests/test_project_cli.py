"""The command line: help for every command, one sentence for an error, scores as tables and records."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from brainram_lib.__main__ import main

COMMANDS = [
    ["world", "make"], ["world", "sprites"], ["world", "train-clip"], ["world", "train-autoencoder"],
    ["world", "train-decoder"], ["world", "train-generator"], ["nsd", "check"],
    ["prepare"], ["prior"], ["ram"], ["reconstruct"], ["scores"], ["doctor"], ["notebook", "run"],
]  # fmt: skip


def workbench_that(raises: BaseException | None = None, records: list[dict] | None = None) -> ModuleType:
    """A stand-in for brainram_lib.workbench whose Workbench raises, or has these scores."""

    class Workbench:
        def __init__(self, **settings: object) -> None:
            if raises is not None:
                raise raises

        def scores(self) -> list[dict]:
            return records or []

    module = ModuleType("brainram_lib.workbench")
    module.Workbench = Workbench
    return module


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out.count(".") >= 1


@pytest.mark.parametrize("problem", [ValueError("'subject' must be one of [1, 2]. '9' was provided."), OSError("full")])
def test_an_error_is_one_sentence(problem, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that(problem))
    assert main(["scores"]) == 1
    assert capsys.readouterr().err == f"brainram_lib: {problem}\n"
    with pytest.raises(type(problem)):
        main(["--traceback", "scores"])


def test_ctrl_c_says_what_is_kept(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that(KeyboardInterrupt()))
    assert main(["ram"]) == 130
    assert "Finished stages are kept" in capsys.readouterr().err


def test_scores_are_printed_as_records(monkeypatch, capsys):
    monkeypatch.setitem(
        sys.modules, "brainram_lib.workbench", workbench_that(records=[{"system": "ridge", "value": 0.5}])
    )
    assert main(["scores", "--profile", "mini", "--subject", "1", "--json"]) == 0
    assert '"system": "ridge"' in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "printed"), [([], "text\n\ntext\n"), (["--markdown"], "marked\n\nmarked\n")])
def test_scores_are_printed_as_tables(monkeypatch, capsys, flags, printed):
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that())
    one = SimpleNamespace(text=lambda: "text\n", markdown=lambda: "marked\n")
    monkeypatch.setattr("brainram_lib.scoring.score_tables", lambda workbench: (one, one))
    assert main(["scores", *flags]) == 0
    assert capsys.readouterr().out == printed


def test_notebook_parameters_are_checked_before_any_notebook_runs(tmp_path, capsys):
    assert main(["notebook", "run", str(tmp_path / "gone.ipynb")]) == 1
    assert "There is no notebook" in capsys.readouterr().err
