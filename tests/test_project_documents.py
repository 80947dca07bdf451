"""What the documents promise exists: make targets, commands and notebook parameters; no path of one machine.

Links, anchors and pictures: test_site_pages.py.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from brainram_lib.__main__ import _parser
from brainram_lib.setup.notebooks import parameters_of, parse_parameters
from brainram_lib.setup.site.sources import pages
from brainram_lib.workbench import Workbench

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / path for path in pages(ROOT)]
# Put together here, so that this file does not hold them.
MACHINE_PATHS = re.compile("|".join(f"(?<![\\w.~-])/{name}/" for name in ("work", "tmp", "root", r"home/[a-z]+")))
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".json", ".csv", ".lock", ".txt", ".cfg", ".css", ".js", ".sh", ""}

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def commands(text: str) -> list[str]:
    """Every line of the text's shell blocks, and every command in backticks, without comments."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines + re.findall(r"`([^`\n]+)`", text) if line and not line.startswith("#")]


def words_after(command: str, program: str) -> list[str] | None:
    """The arguments given to `program` in a command, or None when the command does not call it."""
    where = re.search(rf"(?:^|[\s/]){re.escape(program)}(?:\s|$)", command)
    return shlex.split(command[where.end() :], comments=True) if where else None


@each_document
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(path.read_text()):
        words = words_after(command, "make") if command.startswith("make") else None
        named = [word for word in words or () if "=" not in word and not word.startswith("-")]
        assert set(named) <= targets, command


def test_readme_shows_the_main_commands():
    text = "\n".join(commands((ROOT / "README.md").read_text()))
    for command in ("make demo", "make test", "make lab", "papermill 03_train_ram.ipynb out.ipynb -p subject 2"):
        assert command in text


@each_document
def test_command_lines_parse(path, capsys):
    for command in commands(path.read_text()):
        words = words_after(command, "-m brainram_lib")
        if words and "--help" not in words:
            try:
                _parser().parse_args(words)
            except SystemExit:
                pytest.fail(f"{command}\n{capsys.readouterr().err}")


@each_document
def test_papermill_lines_name_notebooks_and_their_parameters(path):
    for command in commands(path.read_text()):
        words = words_after(command, "papermill")
        if words and words[0].endswith(".ipynb"):
            notebook = ROOT / "notebooks" / Path(words[0]).name
            pairs = [words[n + 1 : n + 3] for n, word in enumerate(words) if word == "-p"]
            assert parse_parameters(pairs, parameters_of(notebook), notebook.name).keys() == {key for key, _ in pairs}


def test_readme_shows_python_that_the_workbench_has():
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    compile(block, "README.md", "exec")
    used = set(re.findall(r"\bwb\.(\w+)", block))
    assert used and all(hasattr(Workbench, name) for name in used), used


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    return [ROOT / name for name in listing.stdout.splitlines()]


def test_no_tracked_file_names_a_path_of_one_machine():
    texts = [path for path in tracked() if path.suffix in TEXT and path.is_file()]
    found = {str(path.relative_to(ROOT)): MACHINE_PATHS.search(path.read_text(errors="ignore")) for path in texts}
    assert [f"{name}: {match[0]}" for name, match in found.items() if match] == []


def test_changelog_and_citation_name_the_version():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_readme_and_citation_file_cite_the_same_paper():
    readme = (ROOT / "README.md").read_text()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    authors = [f"{one['family-names']}, {one['given-names']}" for one in cited["authors"]]
    assert f"author = {{{' and '.join(authors)}}}" in readme and readme.count(cited["doi"]) == 2
    assert cited["title"] in readme and cited["title"] in readme.replace("{BrainRAM}", "BrainRAM").split("bibtex")[1]
