"""The troubleshooting page quotes messages that the library has."""

from __future__ import annotations

import ast
import re

import pytest

from brainram_lib.setup.site.sources import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
WINDOW, LEAST = 12, 0.25
"""Letters in a row that a quotation must share with a text of the library, and how much of it must be so shared."""


def texts_of_the_library():
    """Every text in the package but docstrings; what is filled in is cut out."""
    for path in sorted((ROOT / "brainram_lib").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                yield node.value


LIBRARY = "\0".join(texts_of_the_library())


def shared(text):
    """The share of a quotation's letters that stand in the library as they are."""
    found = [False] * len(text)
    for start in range(len(text) - WINDOW + 1):
        if text[start : start + WINDOW] in LIBRARY:
            found[start : start + WINDOW] = [True] * WINDOW
    return sum(found) / len(text)


@pytest.mark.parametrize("text", QUOTED, ids=lambda text: text[:40])
def test_quoted_messages_are_the_librarys(text):
    assert shared(text) >= LEAST, "quote the message as the library has it"


def test_an_invented_message_is_found():
    assert shared("the flux of epoch 3 is not capacitive; turn the crystal twice and start again.") < 0.3
    assert len(QUOTED) > 30
