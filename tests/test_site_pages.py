"""Pages as a reader meets them: every link, anchor and picture leads somewhere, and every picture is told in words."""

from __future__ import annotations

import json
import re

import pytest

from brainram_lib.setup.site.markdown import anchors, broken, links, unnamed_pictures
from brainram_lib.setup.site.notebooks import markdown_of
from brainram_lib.setup.site.sources import NOTEBOOKS, ROOT, notebooks, pages
from brainram_lib.setup.times import in_words, saved_times, short

PAGES = pages(ROOT)
# How a time stands beside a notebook's name: '35 s', '7 min', '6.5 min'.
TIME = re.compile(r"(?<![\w.,])(\d+(?:\.\d+)? (?:s|min))(?![\w])")

each_notebook = pytest.mark.parametrize("path", notebooks(ROOT), ids=lambda path: path.stem)


def text_of(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    return markdown_of(json.loads(text)) if path.suffix == ".ipynb" else text


@pytest.mark.parametrize("path", [*PAGES, *notebooks(ROOT)], ids=str)
def test_links_and_pictures_lead_somewhere(path):
    assert broken(text_of(path), (ROOT / path).parent) == []


@pytest.mark.parametrize("path", [*PAGES, *notebooks(ROOT)], ids=str)
def test_pictures_are_told_in_words(path):
    assert unnamed_pictures(text_of(path)) == []


def test_broken_links_and_unnamed_pictures_are_found(tmp_path):
    (tmp_path / "there.md").write_text("# One heading\n\n```sh\n# no heading\n```\n")
    (tmp_path / "there.png").write_bytes(b"")
    text = """[a](there.md) [b](gone.md) [c](there.md#one-heading) [d](there.md#no-heading) <a href="gone.html">e</a>
    [f](#nowhere) [g](https://example.org) ![one two three](there.png) ![](gone.png) <img src="there.png" alt="x">
    `[code](is no link)`  [![inner picture words](inner.png)](there.md)"""
    assert sorted(broken(text, tmp_path)) == [
        "#nowhere", "gone.html", "gone.md", "gone.png", "inner.png", "there.md#no-heading",
    ]  # fmt: skip
    assert unnamed_pictures(text) == ["gone.png", "there.png"]


def test_anchors_are_those_of_github():
    assert anchors("## Lite0 early, `Lite0` late\n### p + q, refined *estimate*\n") == {
        "lite0-early-lite0-late", "p--q-refined-estimate",
    }  # fmt: skip


@each_notebook
def test_every_notebook_has_a_place_with_a_picture(path):
    text = (ROOT / NOTEBOOKS).read_text()
    section = re.search(rf"^## {path.stem}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"describe {path.stem} in {NOTEBOOKS}: a picture, and what it shows"
    found = list(links(section[1]))
    assert any(link.picture for link in found)
    assert any((ROOT / "docs" / link.file).resolve() == ROOT / path for link in found)


def wrong_times(text, times):
    """(notebook, time) for every time that stands on a line with one notebook's name and was not measured."""
    wrong = []
    for line in text.splitlines():
        for name in set(re.findall(r"\b\d\d_[a-z0-9_]+", line)):
            measured = {short(entry["seconds"]) for entry in times.get(name, {}).values()}
            wrong += [(name, stated) for stated in TIME.findall(line) if stated not in measured]
    return wrong


# The log is of its days, and the rehearsal's log is of another profile.
@pytest.mark.parametrize("path", [path for path in PAGES if path.stem not in ("log", "rehearsal")], ids=str)
def test_stated_times_were_measured(path):
    """Write them with `python -m brainram_lib notebook times` after `make demo`, then state them as `short` does."""
    assert wrong_times(text_of(path), saved_times()) == []


def test_a_time_that_was_not_measured_is_found():
    times = {"01_load_nsd": {"first": {"seconds": 59.3}, "again": {"seconds": 12.2}}}
    text = "| `01_load_nsd` | 59 s, then 12 s |\n| `01_load_nsd.ipynb` | 1 min |\n| other | 3 min |\n| 02_x_y | 7 min |"
    assert wrong_times(text, times) == [("01_load_nsd", "1 min"), ("02_x_y", "7 min")]


@pytest.mark.parametrize("name", saved_times())
def test_committed_times_say_where_they_are_from(name):
    assert (ROOT / "notebooks" / f"{name}.ipynb").is_file()
    for entry in saved_times()[name].values():
        assert entry["seconds"] > 0 and entry["library"]["commit"] and entry["machine"]["cores"] > 0
    assert "Measured on" in in_words(saved_times()[name])
