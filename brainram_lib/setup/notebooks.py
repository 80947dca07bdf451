"""Running notebooks with papermill, strictly: a parameter that the notebook does not declare is refused by name.

papermill itself only logs a misspelt parameter and goes on with the default. Two doors are therefore closed here:
`run_notebook`, which the command line uses, refuses before it starts a kernel; and `check_parameters(In)`, a line in
every notebook, refuses inside, for a person who types `papermill` themselves.

Both read the declared names and defaults out of the one cell tagged `parameters`, which holds literals only.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARAMETERS_TAG = "parameters"
# papermill writes this line on top of the cell that it injects.
INJECTED = "# Parameters"


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not declare, or a value of another kind than its default."""


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the error and the executed copy that shows where."""


def literals_in(source: str) -> dict[str, Any]:
    """The names to which a cell's top level assigns a literal, with their values; other statements are passed over.

    A cell with magics or half-written code declares nothing.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return {}
    found = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
            try:
                found[targets[0].id] = ast.literal_eval(value)
            except ValueError:
                continue
    return found


def parameters_of(path: Path) -> dict[str, Any]:
    """The parameters that the notebook at `path` declares, with their defaults.

    Raises:
        FileNotFoundError: there is no notebook at `path`.
        ParameterError: the file is not a notebook, or has not exactly one cell tagged `parameters`.
    """
    return literals_in(_parameters_cell(Path(path)))


def check(declared: Mapping[str, Any], given: Mapping[str, Any], name: str = "this notebook") -> None:
    """Refuse the first of the `given` parameters that is not `declared`, or whose kind is not that of its default.

    A default of None takes any value; an int is taken where the default is a float.

    Raises:
        ParameterError: says which name or value, what is allowed, and the nearest name if one is near.
    """
    for key, value in given.items():
        if key not in declared:
            near = difflib.get_close_matches(key, declared, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            allowed = ", ".join(f"{k} ({v!r})" for k, v in declared.items()) or "none"
            raise ParameterError(f"'{key}' is not a parameter of {name}.{hint} Its parameters and defaults: {allowed}.")
        if not _fits(declared[key], value):
            kind = type(declared[key]).__name__
            raise ParameterError(
                f"'{key}' of {name} must be of type {kind}, as its default {declared[key]!r}. {value!r} was provided."
            )


def check_parameters(inputs: Sequence[str]) -> None:
    """Refuse parameters that papermill injected but the notebook does not declare; called as `check_parameters(In)`.

    `In` is IPython's list of the cells run so far. What the injected cell assigns must have been assigned by a cell
    before it, the `parameters` cell. Without an injected cell there is nothing to refuse.

    Raises:
        ParameterError: see `check`.
    """
    declared: dict[str, Any] = {}
    for source in inputs:
        if source.startswith(INJECTED):
            check(declared, literals_in(source))
        else:
            declared |= literals_in(source)


def parse_parameters(pairs: Sequence[Sequence[str]], declared: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parameters as typed at the command line, read as the kinds of their defaults: `subject 2` becomes an int.

    Raises:
        ParameterError: an unknown name, or a text that is not of its default's kind.
    """
    typed = {key: _typed(text, declared.get(key)) for key, text in pairs}
    check(declared, typed, name)
    return typed


def run_notebook(path: Path, out: Path, parameters: Mapping[str, Any] | None = None, progress: bool = True) -> None:
    """Execute the notebook at `path` with `parameters`, in its own folder, and leave the executed copy at `out`.

    Progress bars of the notebook's cells are shown in the terminal too, under a bar over the cells.

    Raises:
        FileNotFoundError, ParameterError: before anything runs.
        NotebookError: a cell raised, or the kernel died; `out` shows how far it came.
        KeyboardInterrupt: after the kernel has been stopped; `out` shows how far it came.
    """
    path, out, parameters = Path(path), Path(out).absolute(), dict(parameters or {})
    check(parameters_of(path), parameters, path.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Here, because importing papermill takes seconds that a notebook's check_parameters does not need to wait.
    from papermill import execute_notebook

    from brainram_lib.setup.notebook_engine import ENGINE

    with _readable_failure(path, out):
        execute_notebook(
            path.absolute(),
            out,
            parameters=parameters,
            cwd=path.absolute().parent,
            kernel_name="python3",
            engine_name=ENGINE,
            progress_bar={"desc": path.name} if progress else False,
        )


@contextmanager
def _readable_failure(path: Path, out: Path) -> Iterator[None]:
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError

    try:
        yield
    except PapermillExecutionError as problem:
        if problem.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from problem
        raise NotebookError(
            f"{path.name} stopped in cell {problem.exec_count}: {problem.ename}: {problem.evalue} "
            f"Open '{out}' for the place."
        ) from problem
    except DeadKernelError as problem:
        raise NotebookError(
            f"The Python process of {path.name} died; most often memory was short. Results of finished stages are "
            f"kept: close other programs and run the same command again. '{out}' shows how far it came."
        ) from problem


def _cells(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no notebook '{path}'. Name one of those in notebooks/.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as problem:
        raise ParameterError(
            f"'{path}' cannot be read as a notebook ({problem}). Restore it, e.g. with git."
        ) from problem


def _parameters_cell(path: Path) -> str:
    tagged = [cell for cell in _cells(path) if PARAMETERS_TAG in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"'{path}' must have exactly one cell tagged '{PARAMETERS_TAG}'; it has {len(tagged)}.")
    return "".join(tagged[0]["source"])


def _fits(default: Any, value: Any) -> bool:
    if default is None or value is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, list | tuple if isinstance(default, list | tuple) else type(default))


def _typed(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    spelt = {"true": "True", "false": "False", "none": "None", "null": "None"}.get(text.lower(), text)
    try:
        return ast.literal_eval(spelt)
    except (ValueError, SyntaxError):
        return text
