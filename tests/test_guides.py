"""The guides as they are typed: their blocks run in an empty folder, on the smallest sizes.

A block ```` ```toml title="NAME" ```` or ```` ```python title="NAME" ```` is written to NAME; other Python runs, and so
does a shell block without a title. A shell block whose title begins with 'checked' or 'not run' is taken apart by bash
with stand-ins for the programs, and what they would have been given is checked; 'refused' must fail with a sentence.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from test_project_documents import ROOT
from tiny_run import TINY

from brainram_lib import profiles
from brainram_lib.__main__ import _parser, main
from brainram_lib.pipeline import run as run_module
from brainram_lib.profiles import changed
from brainram_lib.setup.notebooks import parameters_of, parse_parameters
from brainram_lib.setup.site.markdown import broken
from brainram_lib.study.errors import StudyError
from brainram_lib.systems import system
from brainram_lib.world.world import WorldSettings

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
MOST_WORDS = 400
# what a test makes smaller than the page does
SMALLER = {
    "range(300)": "range(40)",
    "data example mydata": "data example mydata --stimuli 20 --voxels 40",
    "split__validation = 20": "split__validation = 4",
}
SIZES = {
    **{"data__sessions": 3, "split__validation": 4, "sampling__samples": 1, "corpus__pairs": 40},
    **{"stage1__free_share": 0.0, "stage1__start": "", "stage1__network__width": 16, "stage1__network__depth": 1},
    **{"stage1__network__heads": 2, "stage1__projector__hidden": 16},
}
SMALLEST = changed(TINY, **SIZES)
WORLD = WorldSettings(
    **{"name": "guides", "subjects": (1, 2), "voxels": (40, 30), "sessions": 3, "trials_per_session": 24},
    **{"images": 24, "shared": 6},
)
# systems that stand in the guides' tables here: those that leads and notes are made of
FEW = ("brainram-plus", "brainram-plus-no-ram", "ridge", "ceiling")
# what a guide's commands must have printed
PRINTED = {
    "your-data": ("test stimuli shown 3 times, averaged", "Table 1, subject 1"),
    "your-corpus": ("'corpus' holds 40 pairs", "Near-duplicates in the corpus"),
    "your-decoder": ("closest-betas (n, height", "Table 1, subject 1", "Closest betas: held-out clusters"),
    "batch": ("Difference from Ridge", "| Ridge, 1,500 training images |"),
}
STANDINS = ("python", "papermill", "make", "ssh", "tmux", "rsync", "sbatch", "cd")
each_guide = pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results that the guides share."""
    return tmp_path_factory.mktemp("guides")


@pytest.fixture
def small(runs, tmp_path, monkeypatch):
    """An empty folder, `mini` and its world at the smallest sizes, and few systems."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(profiles.PROFILES, "mini", SMALLEST)
    monkeypatch.setattr(run_module.WorldSettings, "with_sessions", lambda sessions: WORLD)
    monkeypatch.setattr(system, "_REGISTRY", {one.name: one for one in system.systems() if one.name in FEW})
    for module in ("workbench", "experiments.command", "experiments.runner", "experiments.processes"):
        monkeypatch.setattr(f"brainram_lib.{module}.default_runs", lambda: runs)
    return tmp_path


def smaller(text: str) -> str:
    for long, short in SMALLER.items():
        text = text.replace(long, short)
    return text


def run_shell(text: str) -> None:
    """Each line, a command of this library in this process and all else by bash."""
    for line in filter(None, map(str.strip, text.splitlines())):
        words = shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "brainram_lib"]:
            assert main(["--traceback", *words[3:]]) == 0, line
        else:
            subprocess.run(["bash", "-c", line], check=True, timeout=60)


def calls(text: str, folder: Path) -> list[list[str]]:
    """What a block would call: bash runs it with stand-ins that write down what they are given."""
    log = folder / "calls"
    record = "\n".join(
        f'{name}() {{ printf "%s\\037" {name} "$@" >>"$LOG"; printf "\\n" >>"$LOG"; }}' for name in STANDINS
    )
    bash = ["bash", "-eu", "-c", f"{record}\n{text}"]
    subprocess.run(
        bash, check=True, timeout=60, cwd=folder, env={"PATH": "/usr/bin:/bin", "LOG": str(log), "PWD": "/x"}
    )
    return [line.split("\037")[:-1] for line in log.read_text().splitlines()]


def check_call(words: list[str]) -> str:
    """The program, after its options were checked, where this project has a say in them."""
    name, *given = words
    if name == "python":
        assert given[:2] == ["-m", "brainram_lib"]
        _parser().parse_args(given[2:])
    elif name == "papermill":
        notebook = ROOT / "notebooks" / Path(given[0]).name
        pairs = [given[n + 1 : n + 3] for n, word in enumerate(given) if word == "-p"]
        assert pairs and parse_parameters(pairs, parameters_of(notebook), notebook.name)
    elif name == "sbatch":
        check_call(shlex.split(given[given.index("--wrap") + 1]))
    elif name == "make":
        assert re.search(rf"^{given[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return name


@each_guide
def test_the_blocks_of_a_guide_run(path, small, capsys):
    scope: dict[str, object] = {"__name__": "guide"}
    for language, title, text in BLOCK.findall(path.read_text()):
        if language in ("toml", "python") and title:
            (small / title).write_text(smaller(text))
        elif language == "python":
            exec(compile(smaller(text), path.name, "exec"), scope)
        elif title == "refused":
            assert main(shlex.split(text)[3:]) == 1 and capsys.readouterr().err.startswith("brainram_lib: ")
        elif title:
            assert [check_call(words) for words in calls(text, small)]
        else:
            run_shell(smaller(text))
    printed = capsys.readouterr().out
    assert [words for words in PRINTED.get(path.stem, ()) if words not in printed] == []


@each_guide
def test_a_guide_is_short_and_its_links_resolve(path):
    text = path.read_text()
    assert len(text.split()) <= MOST_WORDS and broken(text, path.parent) == []


def test_blocks_that_would_fail_are_found(small):
    with pytest.raises(SystemExit):
        check_call(["python", "-m", "brainram_lib", "scores", "--wrong"])
    with pytest.raises(ValueError, match="'sujet' is not a parameter"):
        check_call(["papermill", "03_train_ram.ipynb", "out.ipynb", "-p", "sujet", "2"])
    assert calls("for k in 1 2; do\n  python -m x $k\ndone", small) == [
        ["python", "-m", "x", "1"],
        ["python", "-m", "x", "2"],
    ]
    with pytest.raises(StudyError, match="there is no 'gone/data.toml'"):
        run_shell("python -m brainram_lib data check gone")
