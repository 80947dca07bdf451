"""Running notebooks with papermill, strictly: a parameter that the notebook does not declare is refused by name.

papermill itself only logs a misspelt parameter and goes on with the default. This is therefore caught in two places:
`run_notebook`, which the command line uses, refuses before it starts a kernel; and `check_parameters(In)`, a line in
every notebook, refuses inside it, for anyone who runs `papermill` themselves.

Both check names, kinds and ranges, whether the profile has the subject, and whether the folder of results can be
written, before anything slow is imported. `run_notebook` also converts values whose meaning is unambiguous
(`accepted`).

Both read the declared names and defaults out of the one cell tagged `parameters`, which holds literals only.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainram_lib.nsd.errors import NsdError, reading, shortened

PARAMETERS_TAG = "parameters"
# papermill writes this line at the top of the cell that it injects.
INJECTED = "# Parameters"
HERE = "this notebook"
PATHS = frozenset({"runs", "nsd_root", "corpus_root", "checkpoint"})
"""Parameters that name a folder: text, whatever it looks like."""
RANGES = {"seed": (0, 2**32 - 1), "stimulus": (0, math.inf), "k": (1, math.inf)}
"""The smallest and the largest value of parameters that are numbers; numpy's seeds have 32 bits.

Which subjects there are the profile says: data of the user's own have any."""


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not declare, or a value of a different kind from its default."""


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the error and the executed copy that shows where."""


def literals_in(source: str) -> dict[str, Any]:
    """The names to which a cell's top level assigns a literal, with their values; other statements are passed over.

    A cell with magics or half-written code declares nothing.
    """
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    found = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and value is not None:
            try:
                found[targets[0].id] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
    return found


def parameters_of(path: Path) -> dict[str, Any]:
    """The parameters that the notebook at `path` declares, with their defaults.

    Raises:
        FileNotFoundError: there is no notebook at `path`.
        ParameterError: the file is not a notebook, or does not have exactly one cell tagged `parameters`.
    """
    return literals_in(_parameters_cell(Path(path)))


def check(declared: Mapping[str, Any], given: Mapping[str, Any], name: str = HERE) -> None:
    """Refuse the first of the `given` parameters that is not `declared`, or whose kind is not that of its default.

    A default of None takes any value, or text if the parameter names a folder (`PATHS`); an int is taken where the
    default is a float. Numbers must lie in their range (`RANGES`).

    Raises:
        ParameterError: says which name or value, what is allowed, and the closest name if there is one.
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
                f"'{key}' of {name} must be of type {kind}, as its default {declared[key]!r}. {_told(value)} was "
                "provided."
            )
        _check_value(key, value, name)


def _check_value(key: str, value: Any, name: str) -> None:
    if key in PATHS and value is not None:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ParameterError(
                f"'{key}' of {name} must name a folder, as text. {_told(value)} was provided; with papermill itself, "
                f"write `-r {key} ...`, which leaves text as it is."
            )
        if value.startswith("~"):
            raise ParameterError(
                f"'{key}' of {name} must not begin with '~', which only a shell replaces. {_told(value)} was provided; "
                "write the folder in full."
            )
    if key in RANGES and isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = RANGES[key]
        if not low <= value <= high:
            bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
            raise ParameterError(f"'{key}' of {name} must be {bounds}. {_told(value)} was provided.")
    if not _injectable(value):
        raise ParameterError(
            f"'{key}' of {name} must be text, a finite number, true, false, none, or a list of these. {_told(value)} "
            "was provided."
        )


def _injectable(value: Any) -> bool:
    """Whether papermill can write the value into a cell unchanged."""
    if isinstance(value, (list, tuple)):
        return all(map(_injectable, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _injectable(item) for key, item in value.items())
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _told(value: Any) -> str:
    return shortened(repr(value), 120)


def accepted(declared: Mapping[str, Any], given: Mapping[str, Any], name: str = HERE) -> dict[str, Any]:
    """The `given` parameters as they are injected: folders as text with `~` replaced, numpy's numbers as Python's.

    Raises:
        ParameterError: as `check`, or the home folder of a `~user` is not known.
    """
    made = {key: _folder(value) if key in PATHS else _plain(value) for key, value in given.items()}
    check(declared, made, name)
    return made


def _folder(value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return os.path.expanduser(str(value)) if number or isinstance(value, (str, os.PathLike)) else value


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def check_parameters(inputs: Sequence[str]) -> None:
    """Refuse invalid parameters before anything is computed; called as `check_parameters(In)`.

    `In` is IPython's list of the cells run so far. What an injected cell assigns must have been assigned before it, by
    the `parameters` cell. The final values, typed by hand or injected, must lie in their ranges, the profile must have
    the subject, and the folder of results must be writable.

    Raises:
        ParameterError: see `check`; a subject or profile that is not known.
        NotebookError: results cannot be written.
    """
    values: dict[str, Any] = {}
    for source in inputs:
        found = literals_in(source)
        if source.startswith(INJECTED):
            check(values, found)
        values |= found
    for key in values.keys() & (PATHS | RANGES.keys()):
        _check_value(key, values[key], HERE)
    _require_subject(Path.cwd(), HERE, values)
    _require_results(Path.cwd(), HERE, values.get("runs"))


def parse_parameters(pairs: Sequence[Sequence[str]], declared: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parameters as typed at the command line, read as the kinds of their defaults: `subject 2` becomes an int.

    Raises:
        ParameterError: an unknown name, or a text that cannot be read as its default's kind.
    """
    names = [key for key, _ in pairs]
    twice = sorted({key for key in names if names.count(key) > 1})
    if twice:
        raise ParameterError(f"'{twice[0]}' of {name} was given {names.count(twice[0])} times; give it once.")
    return accepted(declared, {key: _typed(key, text, declared.get(key)) for key, text in pairs}, name)


def run_notebook(path: Path, out: Path, parameters: Mapping[str, Any] | None = None, progress: bool = True) -> None:
    """Execute the notebook at `path` with `parameters`, in its own folder, and leave the executed copy at `out`.

    The copy also says how long it took, on what machine, and which stages it made (`setup/times.py`).

    Progress bars of the notebook's cells are shown in the terminal too, under a bar over the cells.

    The kernel is a process of the Python that runs this, whatever Jupyter's kernel 'python3' belongs to.

    Raises:
        FileNotFoundError, ParameterError: before anything runs.
        NotebookError: before anything runs: `out`, or the folder of results, cannot be written, or this Python has no
            kernel. Then: a cell raised, or the kernel died; `out` shows how far it came.
        KeyboardInterrupt: after the kernel has been stopped; `out` shows how far it came.
    """
    path, out = Path(path), Path(out).absolute()
    declared = parameters_of(path)
    parameters = accepted(declared, parameters or {}, path.name)
    values, folder = {**declared, **parameters}, path.absolute().parent
    _require_subject(folder, path.name, values)
    _require_copy(path, out)
    _require_results(folder, path.name, values.get("runs"))
    # Here, because importing papermill takes seconds that a notebook's check_parameters does not need to wait.
    from papermill import execute_notebook

    from brainram_lib.setup.notebook_engine import ENGINE, require_kernel
    from brainram_lib.setup.times import note_run

    require_kernel()
    started = time.time()
    with _readable_failure(path, out):
        execute_notebook(
            _literal(path.absolute()),
            _literal(out),
            parameters=parameters,
            cwd=path.absolute().parent,
            kernel_name="python3",
            engine_name=ENGINE,
            progress_bar={"desc": path.name} if progress else False,
        )
        note_run(out, _results_of(path, parameters.get("runs")), started)


def _literal(path: Path) -> str:
    """papermill formats paths with the parameters, as `str.format` does: braces in a folder's name are doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _require_subject(folder: Path, name: str, values: Mapping[str, Any]) -> None:
    """The profile must exist and have the subject; a profile's file is relative to the notebook's folder."""
    from brainram_lib.profiles import profile_of

    profile, subject = values.get("profile"), values.get("subject")
    if not isinstance(profile, str):
        return
    place = str(folder / profile) if profile.endswith((".json", ".toml")) else profile
    try:
        found = profile_of(place)
    except (ValueError, OSError) as problem:
        raise ParameterError(f"'profile' of {name}: {shortened(problem, 400)}") from problem
    if isinstance(subject, int) and found.subjects and subject not in found.subjects:
        raise ParameterError(
            f"'subject' of {name} must be one of {tuple(found.subjects)} in the profile '{found.name}'. {subject} "
            "was provided."
        )


def _require_copy(path: Path, out: Path) -> None:
    if out.exists() and out.samefile(path):
        raise NotebookError(f"The executed copy of '{path}' would replace the notebook itself. Name another --out.")
    problem = _unwritable(out.parent, make=True)
    if out.is_dir():
        problem = "a folder of that name is there"
    if problem:
        raise NotebookError(
            f"The executed copy '{shortened(out, 200)}' cannot be written: {problem}. Name another --out."
        )


def _require_results(folder: Path, name: str, runs: str | None) -> None:
    """The results folder, relative to the notebook's, or its nearest existing parent, must be writable."""
    if runs is None:
        return
    folder = folder / runs
    if problem := _unwritable(folder, make=False):
        raise NotebookError(
            f"Results of {name} cannot be written to runs = '{shortened(folder, 200)}': {problem}. Name another folder."
        )


def _results_of(path: Path, runs: str | None) -> Path:
    # here, as above: a notebook's check_parameters needs nothing from the store
    from brainram_lib.core.store import default_runs

    return default_runs() if runs is None else path.absolute().parent / runs


def _unwritable(folder: Path, make: bool) -> str:
    """Why no file can be written there, in words; empty if one can. `make`: create the folder."""
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        while not os.path.lexists(folder):
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except (OSError, ValueError) as problem:
        return shortened(getattr(problem, "strerror", None) or problem, 120)


@contextmanager
def _readable_failure(path: Path, out: Path) -> Iterator[None]:
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError

    try:
        yield
    except PapermillExecutionError as problem:
        if problem.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from problem
        here = (
            " This Python does not find the library: run `pip install -e .` in the checkout."
            if problem.ename == "ModuleNotFoundError" and "brainram_lib" in problem.evalue
            else ""
        )
        raise NotebookError(
            f"{path.name} stopped in cell {problem.exec_count}: {problem.ename}: {shortened(problem.evalue, 600)} "
            f"Open '{out}' for the place.{here}"
        ) from problem
    except DeadKernelError as problem:
        raise NotebookError(
            f"The Python process of {path.name} died; most often memory was short. Results of finished stages are "
            f"kept: close other programs and run the same command again. '{out}' shows how far it came."
        ) from problem
    except RuntimeError as problem:
        # nbclient: 'Kernel died before replying to kernel_info', 'Kernel didn't respond in 60 seconds'
        raise NotebookError(
            f"The Jupyter kernel of {path.name} did not start: {shortened(problem, 200)}. It is "
            f"`{sys.executable} -m ipykernel_launcher`; try that, and install ipykernel anew if it fails."
        ) from problem
    except OSError as problem:
        raise NotebookError(
            f"{path.name} could not be run, or its copy '{shortened(out, 200)}' not be written: "
            f"{shortened(problem, 200)}."
        ) from problem


def _cells(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no notebook '{path}'. Name one of those in notebooks/.")
    try:
        with reading(path, damaged="cannot be read as a notebook", remedy="Restore it, e.g. with git."):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            return [{"tags": cell["metadata"].get("tags") or [], "source": "".join(cell["source"])} for cell in cells]
    except NsdError as problem:
        raise ParameterError(str(problem)) from problem


def _parameters_cell(path: Path) -> str:
    tagged = [cell["source"] for cell in _cells(path) if PARAMETERS_TAG in cell["tags"]]
    if len(tagged) != 1:
        raise ParameterError(f"'{path}' must have exactly one cell tagged '{PARAMETERS_TAG}'; it has {len(tagged)}.")
    return tagged[0]


def _fits(default: Any, value: Any) -> bool:
    if default is None or value is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, list | tuple if isinstance(default, list | tuple) else type(default))


def _typed(key: str, text: str, default: Any) -> Any:
    if key in PATHS:
        return None if text.lower() in ("none", "null") else text
    if isinstance(default, str):
        return text
    if isinstance(default, int) and not isinstance(default, bool) and text.strip().isdecimal():
        return int(text)  # '02' is a number to whoever types it, though not to Python
    spelt = {"true": "True", "false": "False", "none": "None", "null": "None"}.get(text.lower(), text)
    try:
        return ast.literal_eval(spelt)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
