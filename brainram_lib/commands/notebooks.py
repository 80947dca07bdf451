"""`python -m brainram_lib notebook` and `site`: notebooks without a browser, and the documentation made of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brainram_lib.commands.options import Arguments, command

EXECUTED = "runs/notebooks at the top of the checkout"


def notebook_run(chosen: Arguments) -> None:
    """Execute notebooks in the order given, with parameters, and keep the executed copies."""
    from brainram_lib.setup.notebooks import parameters_of, parse_parameters, run_notebook

    parsed = [parse_parameters(chosen.parameters, parameters_of(path), path.name) for path in chosen.notebooks]
    copies = [_executed(chosen.out) / path.name for path in chosen.notebooks]
    for path, copy, parameters in zip(chosen.notebooks, copies, parsed, strict=True):
        run_notebook(path, copy, parameters)
    print(f"Executed: {', '.join(map(str, copies))}")


def notebook_times(chosen: Arguments) -> None:
    """Read how long executed notebooks took, and keep it in a small JSON that the documents are compared with."""
    from brainram_lib.setup.times import FILE, write_times

    out = chosen.out or FILE
    print("\n".join([*write_times(_executed(chosen.folder), out), f"Written: {out}"]))


def site(chosen: Arguments) -> None:
    """Build the documentation site from README, docs, notebooks and docstrings; `make docs` sets up what it needs."""
    from brainram_lib.setup.site.build import build

    print(f"Open {build(chosen.out, _executed(chosen.executed)) / 'index.html'}")


def _executed(folder: Path | None) -> Path:
    """The folder of executed notebooks: by default at the top of the checkout, wherever the command is typed."""
    from brainram_lib.core.store import default_runs

    return folder or default_runs() / "notebooks"


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    notebook = commands.add_parser("notebook", help="notebooks without a browser").add_subparsers(required=True)
    _add_notebook_run(command(notebook, "run", notebook_run))
    timed = command(notebook, "times", notebook_times)
    timed.add_argument("folder", type=Path, nargs="?", help=f"default: {EXECUTED}")
    timed.add_argument("--out", type=Path, metavar="FILE", help="default: results/times.json")
    built = command(commands, "site", site)
    built.add_argument("--out", type=Path, default=Path("site"), metavar="FOLDER", help="default: site")
    built.add_argument(
        "--executed", type=Path, metavar="FOLDER", help=f"executed copies of notebooks; default: {EXECUTED}"
    )  # fmt: skip


def _add_notebook_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, help=f"folder of the executed copies; default: {EXECUTED}")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter"
    )
