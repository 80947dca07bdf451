"""What the documents promise exists: links, make targets, commands and notebook parameters; no path of one machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from brainram_lib.__main__ import _parser
from brainram_lib.setup.notebooks import parameters_of, parse_parameters

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/audits.md",
        "docs/paper.md",
        "docs/method.md",
        "docs/results.md",
        "docs/log.md",
        "docs/speed.md",
        "docs/scoring.md",
        "docs/gpu.md",
        *(f"docs/guides/{page.name}" for page in sorted((ROOT / "docs/guides").glob("*.md"))),
    )
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
# Put together here, so that this file does not hold them.
MACHINE_PATHS = re.compile("|".join(f"(?<![\\w.~-])/{name}/" for name in ("work", "tmp", "root", r"home/[a-z]+")))
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".json", ".csv", ".lock", ".txt", ".cfg", ".css", ".js", ".sh", ""}

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+\s+(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """The links of a Markdown text that lead to no file below `folder` and to no heading."""
    broken = []
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = folder / name if name else None
        if page is not None and not page.exists():
            broken.append(target)
        elif anchor and anchor not in anchors(page.read_text() if page else text):
            broken.append(target)
    return broken


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
def test_links_resolve(path):
    assert broken_links(path.read_text(), path.parent) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# One heading\n")
    text = '[a](there.md) [b](gone.md) ![c](there.md#one-heading) [d](there.md#other) <img src="gone.png"> [e](https://e.org)'
    assert broken_links(text, tmp_path) == ["gone.md", "there.md#other", "gone.png"]


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


def test_changelog_names_the_version():
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
