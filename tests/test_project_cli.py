"""The command line: help for every command, one sentence for an error, scores as tables and records."""

from __future__ import annotations

import json
import sys
from argparse import SUPPRESS, _SubParsersAction
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from brainram_lib.__main__ import _parser, main
from brainram_lib.evaluation.records import Record
from brainram_lib.systems import systems

ROOT = Path(__file__).parent.parent
COMMANDS = [
    ["world", "make"], ["world", "sprites"], ["world", "train-clip"], ["world", "train-autoencoder"],
    ["world", "train-decoder"], ["world", "train-generator"], ["nsd", "check"],
    ["data", "check"], ["data", "example"], ["corpus", "pack"],
    ["prepare"], ["prior"], ["ram"], ["reconstruct"], ["scores"], ["audit"], ["doctor"], ["notebook", "run"],
    ["notebook", "times"], ["site"],
]  # fmt: skip


def workbench_that(
    raises: BaseException | None = None, records: Sequence[Record] = (), tables: Sequence[object] = ()
) -> ModuleType:
    """A stand-in for brainram_lib.workbench whose Workbench raises, or has these records and tables."""

    class Workbench:
        def __init__(self, **settings: object) -> None:
            if raises is not None:
                raise raises

        def records(self) -> list[Record]:
            return list(records)

        def score_tables(self) -> Sequence[object]:
            return tables

    module = ModuleType("brainram_lib.workbench")
    module.Workbench = Workbench
    return module


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out.count(".") >= 1


def overridden(parser, outer=()):
    """Options of nested parsers whose own default replaces what was given to a parser around them."""
    mine = {one.dest: one for one in parser._actions if one.option_strings and one.dest != "help"}
    found = [f"{parser.prog} {name}" for name, one in mine.items() if name in outer and one.default != SUPPRESS]
    for action in (one for one in parser._actions if isinstance(one, _SubParsersAction)):
        for inner in action.choices.values():
            found += overridden(inner, {*outer, *mine})
    return found


def test_no_nested_command_forgets_an_option_that_stands_before_it():
    assert overridden(_parser()) == []


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        *((("world", "train-prior"), one) for one in ("--profile", "--subject", "--nsd-root", "--corpus-root")),
        (("doctor",), "--seed"),
    ],
)
def test_an_option_that_a_command_would_ignore_is_refused(command, unused, capsys):
    with pytest.raises(SystemExit) as stopped:
        # parsed and not called: where the option is taken, hours of training would begin
        _parser(command).parse_args([*command, unused, "1"])
    assert stopped.value.code == 2 and f"unrecognized arguments: {unused} 1" in capsys.readouterr().err


def test_training_a_priors_start_takes_what_it_uses(monkeypatch):
    from brainram_lib.recipes import prior

    called = []
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that())
    monkeypatch.setattr(sys.modules["brainram_lib.workbench"], "Workbench", lambda *at, **how: (at, how))
    monkeypatch.setattr(prior, "train", lambda *how: called.append(how))
    assert main(["world", "train-prior", "--modality", "text", "--runs", "here", "--seed", "3", "--steps", "2"]) == 0
    [(modality, workbench, _, budget, seed)] = called
    assert (modality, workbench, budget.steps, seed) == ("text", (("mini",), {"runs": Path("here")}), 2, 3)


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
    record = Record("ridge", "clip", 0.5, 0.4, 0.6, 30, 1, 0)
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that(records=[record]))
    assert main(["scores", "--profile", "mini", "--subject", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [asdict(record)]


@pytest.mark.parametrize(("flags", "printed"), [([], "text\n\ntext\n"), (["--markdown"], "marked\n\nmarked\n")])
def test_scores_are_printed_as_tables(monkeypatch, capsys, flags, printed):
    one = SimpleNamespace(text=lambda: "text\n", markdown=lambda: "marked\n")
    monkeypatch.setitem(sys.modules, "brainram_lib.workbench", workbench_that(tables=(one, one)))
    assert main(["scores", *flags]) == 0
    assert capsys.readouterr().out == printed


def test_the_systems_that_can_be_reconstructed_are_the_registered_ones(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["reconstruct", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(system.name for system in systems()) in shown.replace("- ", "-")
    assert main(["reconstruct", "--system", "dream", "--runs", str(tmp_path)]) == 1
    assert "'system' must be one of brainram, " in capsys.readouterr().err


def test_notebook_parameters_are_checked_before_any_notebook_runs(tmp_path, capsys):
    assert main(["notebook", "run", str(tmp_path / "gone.ipynb")]) == 1
    assert "There is no notebook" in capsys.readouterr().err


def test_executed_notebooks_are_at_the_top_of_the_checkout_wherever_the_command_is_typed(tmp_path, monkeypatch):
    """README's command is typed in notebooks/: copies below it would be taken for notebooks of the project."""
    written = []
    monkeypatch.setattr("brainram_lib.setup.notebooks.run_notebook", lambda path, out, parameters: written.append(out))
    monkeypatch.setattr("brainram_lib.core.store.default_runs", lambda: tmp_path / "runs")
    monkeypatch.chdir(ROOT / "notebooks")
    assert main(["notebook", "run", "04_browse_retrieval.ipynb"]) == 0
    assert main(["notebook", "run", "04_browse_retrieval.ipynb", "--out", str(tmp_path / "own")]) == 0
    assert written == [tmp_path / folder / "04_browse_retrieval.ipynb" for folder in ("runs/notebooks", "own")]
