"""The notebook runner: parameters refused by name, readable failures, bars in the terminal, Ctrl-C."""

from __future__ import annotations

import ast
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest

from brainram_lib.setup.notebook_engine import TerminalBars
from brainram_lib.setup.notebooks import (
    NotebookError,
    ParameterError,
    check,
    check_parameters,
    literals_in,
    parameters_of,
    parse_parameters,
    run_notebook,
)

PARAMETERS = "subject = 1  # one of 1, 2\nrate = 0.5\nprofile = 'mini'\nruns = None\nsystems = ['ridge']"
CHECK = "from brainram_lib.setup.notebooks import check_parameters\ncheck_parameters(In)"


def write_notebook(path: Path, *sources: str, tags: tuple[str, ...] = ("parameters",)) -> Path:
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": list(tags) if n == 0 else []}}
        | {"source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}))
    return path


def outputs_of(path: Path) -> str:
    return json.dumps([cell.get("outputs") for cell in json.loads(path.read_text())["cells"]])


# --- what is declared, what is refused ---


def test_literals_are_read_without_running():
    assert literals_in("a = 1\nb: float = -2.5\nc = a + 1\nd = e = 3\nprint(a)\nf = {'k': [1, None]}") == {
        "a": 1,
        "b": -2.5,
        "f": {"k": [1, None]},
    }
    assert literals_in("%matplotlib inline\na = 1") == {}


def test_an_unknown_parameter_is_refused_by_name():
    with pytest.raises(
        ParameterError, match=r"'sbject' is not a parameter of n.ipynb. Did you mean 'subject'\?.*\(1\)"
    ):
        check({"subject": 1, "profile": "mini"}, {"sbject": 2}, "n.ipynb")


@pytest.mark.parametrize(
    ("name", "value"), [("subject", "two"), ("subject", 1.5), ("subject", True), ("rate", "1e-3"), ("profile", 2)]
)
def test_a_value_of_another_kind_is_refused(name, value):
    with pytest.raises(ParameterError, match=f"'{name}' of this notebook must be of type .*was provided"):
        check(literals_in(PARAMETERS), {name: value})


def test_values_of_the_right_kind_pass():
    check(literals_in(PARAMETERS), {"subject": 2, "rate": 1, "runs": "elsewhere", "systems": ["ridge", "brainram"]})


def test_typed_values_take_the_kind_of_their_default():
    declared = {"subject": 1, "profile": "mini", "rate": 0.5, "plant": False, "runs": None}
    pairs = [("subject", "2"), ("profile", "02"), ("rate", "1e-3"), ("plant", "true"), ("runs", "some/folder")]
    expected = {"subject": 2, "profile": "02", "rate": 1e-3, "plant": True, "runs": "some/folder"}
    assert parse_parameters(pairs, declared, "n.ipynb") == expected


def test_cells_before_the_injected_one_declare():
    check_parameters(["", PARAMETERS, "# Parameters\nsubject = 2\n", CHECK])
    check_parameters(["", PARAMETERS, CHECK])
    with pytest.raises(ParameterError, match="'subjects' is not a parameter of this notebook"):
        check_parameters(["", PARAMETERS, "# Parameters\nsubjects = 2\n", CHECK])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("subject = 3\nprofile = 'mini'", r"'subject' of this notebook must be one of \(1, 2, 5, 7\)"),
        ("seed = -1", "'seed' of this notebook must be between 0 and"),
        ("profile = 'minni'", "'profile' of this notebook: .*minni"),
        ("runs = '/proc/self/nothing'", "Results of this notebook cannot be written to runs"),
    ],
)
def test_what_stands_at_the_end_is_checked_typed_by_hand_or_injected(cell, words):
    for cells in (
        [PARAMETERS + "\nseed = 0", cell, CHECK],
        [PARAMETERS + "\nseed = 0", f"# Parameters\n{cell}", CHECK],
    ):
        with pytest.raises((ParameterError, NotebookError), match=words):
            check_parameters(["", *cells])
    # a value that was put right since is not held against anybody
    check_parameters(["", PARAMETERS + "\nseed = 0", cell, "subject, seed = 1, 0", PARAMETERS + "\nseed = 0", CHECK])


@pytest.mark.parametrize(
    "given", [["subject", "3"], ["seed", "-1"], ["runs", "/proc/self/nothing"]], ids=lambda given: given[0]
)
def test_the_command_refuses_before_anything_slow_is_imported(given, tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS + "\nseed = 0", CHECK)
    slow = "import sys; from brainram_lib.__main__ import main; main(sys.argv[1:]); print(sorted(sys.modules))"
    command = ["notebook", "run", str(path), "--out", str(tmp_path / "out"), "-p", *given]
    done = subprocess.run([sys.executable, "-c", slow, *command], capture_output=True, text=True, check=True)
    assert f"'{given[0]}'" in done.stderr or f"{given[0]} =" in done.stderr
    assert not {"torch", "papermill", "matplotlib", "sklearn"} & set(ast.literal_eval(done.stdout))


def test_a_notebook_without_its_tag_or_file_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="exactly one cell tagged 'parameters'; it has 0"):
        parameters_of(write_notebook(tmp_path / "n.ipynb", PARAMETERS, tags=()))
    with pytest.raises(FileNotFoundError, match="There is no notebook"):
        parameters_of(tmp_path / "gone.ipynb")
    (tmp_path / "cut.ipynb").write_text('{"cells": [')
    with pytest.raises(ParameterError, match="cannot be read as a notebook"):
        parameters_of(tmp_path / "cut.ipynb")


# --- running ---


def test_a_notebook_runs_with_parameters_in_its_own_folder(tmp_path, capfd):
    bar = "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='Stage I'): pass"
    show = "from pathlib import Path\nprint(subject, Path.cwd().name)"
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS, CHECK, bar, show)
    run_notebook(path, tmp_path / "out" / "n.ipynb", {"subject": 2})
    assert f"2 {tmp_path.name}" in outputs_of(tmp_path / "out" / "n.ipynb")
    shown = capfd.readouterr().err
    assert "Stage I: 100%" in shown and "n.ipynb: 100%" in shown


def test_papermill_alone_refuses_inside_the_notebook(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS, CHECK, "print('went on')")
    with pytest.raises(papermill.PapermillExecutionError, match=r"Did you mean 'subject'\?"):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", {"sbject": 2}, cwd=tmp_path, progress_bar=False)
    assert "went on" not in outputs_of(tmp_path / "out.ipynb")


def test_an_error_in_a_cell_is_named_with_the_copy_that_shows_it(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS, "raise ValueError('no such subject 9.')")
    with pytest.raises(NotebookError, match=r"n.ipynb stopped in cell 2: ValueError: no such subject 9. Open '.*out"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False)


def test_a_killed_kernel_is_said_to_be_one(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookError, match="process of n.ipynb died; most often memory was short"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False)


def test_ctrl_c_ends_the_kernel_and_says_what_is_kept(tmp_path):
    endless = "import os, pathlib, time\npathlib.Path('started').write_text(str(os.getpid()))\ntime.sleep(600)"
    path = write_notebook(tmp_path / "n.ipynb", PARAMETERS, endless)
    command = [sys.executable, "-m", "brainram_lib", "notebook", "run", str(path), "--out", str(tmp_path / "out")]
    # a shell starts background jobs deaf to Ctrl-C, and children inherit that: these tests may run in one
    hears = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hears)
    wait_for(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
    running.send_signal(signal.SIGINT)
    assert "Finished stages are kept" in running.communicate(timeout=300)[1]
    assert running.returncode == 130
    wait_for(lambda: not alive(int((tmp_path / "started").read_text())))


def wait_for(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_notebook_bar_has_a_twin_in_the_terminal(capsys):
    bars, states = TerminalBars(), {"left": {}, "bar": {"max": 7, "value": 0}, "right": {}}
    states["box"] = {"children": ["IPY_MODEL_left", "IPY_MODEL_bar", "IPY_MODEL_right"]}
    for comm, state in [
        ("box", {}),
        ("bar", {"value": 3}),
        ("left", {"value": "Stage&nbsp;II, {text}:  43%"}),
        ("right", {"value": " 3/7 [00:01&lt;00:02]"}),
        ("bar", {"value": 7, "bar_style": "success"}),
    ]:
        states[comm] |= state
        bars.update(comm, states)
    shown = capsys.readouterr().err
    assert "Stage\xa0II, {text}:  43%|" in shown and "| 3/7 [00:01<00:02]" in shown.replace("  3/7", " 3/7")
