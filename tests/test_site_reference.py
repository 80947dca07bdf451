"""The API reference: a sentence for each package, shapes as they are written, docstrings as prose."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from brainram_lib.setup.site.extension import docstring, signature
from brainram_lib.setup.site.reference import packages, sentence_of
from brainram_lib.setup.site.sources import ROOT
from brainram_lib.stage2.ram import Fuse, Ram


@pytest.mark.parametrize("name", sorted(set(packages(ROOT / "brainram_lib")) - {"top"}))
def test_every_package_says_in_a_sentence_what_is_in_it(name):
    assert len(sentence_of(ROOT / "brainram_lib" / name / "__init__.py").split()) > 4


def test_shapes_stand_in_signatures_as_written():
    shown, returned = signature(None, "method", "forward", Fuse.forward, None, None, None)
    assert shown == "(u: Float[Tensor, 'batch sources tokens width'])"
    assert returned.startswith("tuple[Float[Tensor, 'batch tokens width']")
    assert signature(None, "class", "Ram", Ram, None, None, None)[0].startswith("(settings: Stage2Settings, neighbours")


def test_paths_and_objects_do_not_stand_in_signatures():
    shown, _ = signature(None, "function", "build", lambda out=ROOT, count=3: None, None, None, None)
    assert shown == "(out=..., count=3)"


def test_docstrings_are_prose_with_code():
    lines = ["q is `p` * |w| for token_ 0, `a_b*`."]
    docstring(None, "function", "f", None, None, lines)
    assert lines == ["q is ``p`` \\* \\|w\\| for token\\_ 0, ``a_b*``.", ""]


def test_equations_and_lists_of_docstrings_stand_apart():
    blocks = "    u_j = x_j * w\n    v = 1\n\n```\na_/\n  b\n```"
    lines = f"Here:\n\n{blocks}\n\nNot so:\n- one\n  goes on\n- two\n\nArgs:\n    a: b".split("\n")
    docstring(None, "function", "f", None, None, lines)
    apart = "::\n\n    u_j = x_j * w\n    v = 1\n\n::\n\n    a_/\n      b\n\n"
    assert "\n".join(lines) == f"Here:\n\n{apart}Not so:\n\n- one\n  goes on\n- two\n\nArgs:\n    a: b\n"


@pytest.mark.skipif(find_spec("docutils") is None, reason="the site's packages: `make docs`")
def test_an_index_stands_beside_an_accented_letter():
    from brainram_lib.setup.site.equations import mathml

    made = re.sub(r"\s", "", mathml(r"a < \sum_{k=0}^K \tilde Z_{kt}\, \exp c_1, \dots", block=True))
    assert '<msub><moveraccent="true"><mi>Z</mi>' in made and "</mover><mrow><mi>k</mi><mi>t</mi></mrow></msub>" in made
    assert made.count("<munderover>") == 1 and "\u2026" in made and "&lt;" in made
