"""The glossary: terms that are used, where the code says they are; the words of tables' headers are in it."""

from __future__ import annotations

import json
import re

import pytest

from brainram_lib.evaluation.catalogue import ALL, MINI
from brainram_lib.setup.site.notebooks import markdown_of
from brainram_lib.setup.site.sources import ROOT, notebooks, pages
from brainram_lib.systems import systems

GLOSSARY = ROOT / "docs" / "glossary.md"
ENTRY = re.compile(r"^### (?P<terms>.+)\n(?P<text>[^\n]+)$", re.MULTILINE)
CODE = re.compile(r"`(?P<file>[\w/.]+)`(?: \(`(?P<name>\w+)`\))?")
ENTRIES = {match["terms"]: match["text"] for match in ENTRY.finditer(GLOSSARY.read_text())}


def plain(text):
    return re.sub(r"[\s`*-]+", " ", text).lower()


def words_in_use():
    """All that a reader meets: pages but this one, notebooks with their code, titles of tables."""
    texts = [(ROOT / path).read_text() for path in pages(ROOT) if path.name != GLOSSARY.name]
    for path in notebooks(ROOT):
        notebook = json.loads((ROOT / path).read_text())
        texts += [markdown_of(notebook), *("".join(cell["source"]) for cell in notebook["cells"])]
    titles = [one.title for one in (*ALL, *MINI)] + [system.title for system in systems()]
    return plain("\n".join(texts + titles))


IN_USE = words_in_use()


def is_used(term, text):
    """The term as whole words, in one number or the other."""
    return re.search(rf"(?<!\w){re.escape(plain(term))}s?(?!\w)", text) is not None


def test_there_are_entries_and_each_term_has_one():
    terms = [term for entry in ENTRIES for term in _terms(entry)]
    assert len(terms) > 50 and len(terms) == len(set(terms))
    assert len(ENTRIES) == GLOSSARY.read_text().count("\n### "), "an entry is a heading and one paragraph below it"


def _terms(heading):
    return [heading] if heading == "Global token, two-way" else heading.split(", ")


@pytest.mark.parametrize("heading", ENTRIES)
def test_terms_are_used(heading):
    assert [term for term in _terms(heading) if not is_used(term, IN_USE)] == []


def test_a_term_that_nobody_uses_is_found():
    assert not is_used("flux capacitor", IN_USE) and is_used("neighbour", IN_USE)


@pytest.mark.parametrize("heading", ENTRIES)
def test_an_entry_says_where_code_and_paper_have_it(heading):
    text = ENTRIES[heading]
    meaning, _, places = text.partition("*Code:*")
    assert 4 < len(meaning.split()) <= 65 and "*Paper:*" in places
    found = list(CODE.finditer(places.partition("*Paper:*")[0]))
    assert found
    for match in found:
        path = ROOT / "brainram_lib" / match["file"]
        assert path.exists(), match["file"]
        if match["name"]:
            assert re.search(rf"^(?:class |def )?{match['name']}\b", path.read_text(), re.MULTILINE), match[0]


@pytest.mark.parametrize("title", dict.fromkeys(one.title for one in (*ALL, *MINI)))
def test_words_of_tables_headers_are_explained(title):
    assert title in {term for entry in ENTRIES for term in (entry, *_terms(entry))}


@pytest.mark.parametrize(
    "word", ["Ridge", "Convex mix", "Nearest neighbour", "Shuffled", "BrainRAM-plus", "True tokens"]
)
def test_words_of_rows_are_explained(word):
    assert any(system.title.startswith(word) for system in systems())
    assert any(word.lower() == term.lower() for entry in ENTRIES for term in _terms(entry))
