"""The site's sources: the checkout's pages copied to a folder of their own, as they are, with what they link to.

Nothing is written for the site alone but the lists of pages and the reference. Executed notebooks stand in the place of
the committed ones, which have no outputs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainram_lib.setup.site.markdown import links, whole_intervals
from brainram_lib.setup.site.notebooks import ROOT, executed_copy, page
from brainram_lib.setup.site.reference import write_reference
from brainram_lib.setup.times import in_words, saved_times, times_in

NOTEBOOKS = "docs/notebooks.md"
# Pages of docs/ that are named in no group are guides.
GROUPS: dict[str, tuple[str, ...]] = {
    "Begin": ("docs/quickstart", "docs/notebooks", "docs/glossary", "docs/troubleshooting"),
    "Guides": (),
    "Method and results": (
        "docs/method",
        "docs/results",
        "docs/audits",
        "docs/audit-results",
        "docs/scoring",
        "docs/repeating",
        "docs/log",
    ),
    "Real data and speed": ("docs/paper", "docs/gpu", "docs/rehearsal", "docs/speed"),
    "Library": ("api/index", "CONTRIBUTING", "CHANGELOG"),
}
_SECTION = re.compile(r"^## (?P<name>\d\d_\w+)$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown pages, relative to the checkout."""
    top = [Path(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (root / name).is_file()]
    return top + [path.relative_to(root) for path in sorted((root / "docs").rglob("*.md"))]


def notebooks(root: Path = ROOT) -> list[Path]:
    """The committed notebooks, relative to the checkout."""
    return [path.relative_to(root) for path in sorted((root / "notebooks").glob("[!.]*.ipynb")) if _kept(path)]


def _kept(path: Path) -> bool:
    return not path.name.startswith("out")


def write_sources(folder: Path, executed: Path, root: Path = ROOT) -> list[str]:
    """Write the sources into `folder`; a sentence for each notebook that is shown without outputs.

    Args:
        folder: empty, or not there.
        executed: executed copies of notebooks, by the notebooks' names.
        root: the checkout.
    """
    times = _times(executed)
    said = []
    for path in notebooks(root):
        plain = json.loads((root / path).read_text(encoding="utf-8"))
        copy, why = executed_copy(plain, executed / path.name)
        said += [f"{path.name} is shown without outputs: {why}."] if copy is None else []
        words = in_words(times[path.stem]) if path.stem in times else ""
        _write(folder / path, json.dumps(page(copy or plain, path, copy is not None, words)))
    for path in pages(root):
        text = (root / path).read_text(encoding="utf-8")
        _copy_linked(text, (root / path).parent, root, folder)
        _write(folder / _place(path), _prepared(text, path, root, times))
    write_reference(folder / "api", root / "brainram_lib")
    return said


def _times(executed: Path) -> dict[str, dict[str, Any]]:
    """Times of the copies that are shown, and committed ones for the others."""
    return {**saved_times(), **times_in(executed)[0]}


def _place(path: Path) -> Path:
    """The page of the README is the site's first."""
    return Path("index.md") if path == Path("README.md") else path


def _prepared(text: str, path: Path, root: Path, times: Mapping[str, Mapping[str, Any]]) -> str:
    text = whole_intervals(re.sub(r"(\]\((?:\.\./)?)README\.md", r"\1index.md", text))
    if path == Path("README.md"):
        text += "".join(_contents(root))
    if path == Path(NOTEBOOKS):
        text = _SECTION.sub(lambda match: match[0].rstrip() + _measured(times.get(match["name"])), text)
        text += _toctree("", [f"../{one.with_suffix('')}" for one in notebooks(root)])
    return text


def _measured(times: Mapping[str, Any] | None) -> str:
    return f"\n\n*Time: {in_words(times)}*\n\n" if times else "\n\n"


def _contents(root: Path) -> Iterator[str]:
    found = [str(path.with_suffix("")) for path in pages(root) if path != Path("README.md")]
    named = {name for names in GROUPS.values() for name in names}
    for title, names in GROUPS.items():
        here = [name for name in names if name in found or name.startswith("api/")]
        here += [name for name in found if name not in named] if title == "Guides" else []
        if here:
            yield _toctree(title, here)


def _toctree(caption: str, names: list[str]) -> str:
    options = [f":caption: {caption}"] if caption else []
    return "\n".join(["", "", "```{toctree}", ":hidden:", ":maxdepth: 2", *options, "", *names, "```", ""])


def _copy_linked(text: str, folder: Path, root: Path, out: Path) -> None:
    for link in links(text):
        path = (folder / link.file).resolve()
        inside = path.is_file() and path.is_relative_to(root.resolve())
        if not link.remote and link.file and inside and path.suffix not in (".md", ".ipynb"):
            place = out / path.relative_to(root.resolve())
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
