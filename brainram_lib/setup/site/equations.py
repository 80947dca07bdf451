"""Equations as MathML, which is part of HTML: they are read without a script, also offline. docutils writes it."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

_MATHML = "http://www.w3.org/1998/Math/MathML"
# HTML's entities; XML knows five of them
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)\w+;")
_DOTS = re.compile(r"\\dots(?![a-zA-Z])")


def mathml(text: str, block: bool) -> str:
    """An equation, written as LaTeX, as MathML.

    Args:
        text: the equation without dollars.
        block: whether it stands on a line of its own.

    Raises:
        docutils.utils.math.MathError: it holds something that docutils does not know.
    """
    from docutils.utils.math.latex2mathml import tex2mathml

    # docutils knows the dots on the line by one of their names
    made = tex2mathml(_DOTS.sub(r"\\ldots", text), as_block=block)
    return _index_beside_accent(made) if "<munderover>" in made else made


def _index_beside_accent(made: str) -> str:
    """docutils puts the index of a letter with an accent below the letter; it belongs beside it."""
    ElementTree.register_namespace("", _MATHML)
    tree = ElementTree.fromstring(_ENTITY.sub(lambda match: html.unescape(match[0]), made))
    for found in list(tree.iter(f"{{{_MATHML}}}munderover")):
        base, index, above = list(found)
        if above.tag.endswith("}mo") and above.get("stretchy") == "false":
            accented = ElementTree.Element(f"{{{_MATHML}}}mover", accent="true")
            accented.extend([base, above])
            found[:] = [accented, index]
            found.tag = f"{{{_MATHML}}}msub"
    return ElementTree.tostring(tree, encoding="unicode")


def inline_equation(translator: Any, node: Any) -> None:
    """An equation within a line."""
    _write(translator, node, block=False)


def equation(translator: Any, node: Any) -> None:
    """An equation of its own line."""
    _write(translator, node, block=True)


def _write(translator: Any, node: Any, block: bool) -> None:
    from docutils import nodes
    from docutils.utils.math import MathError
    from sphinx.util.logging import getLogger

    try:
        made = mathml(node.astext(), block)
    except MathError as problem:
        getLogger(__name__).warning("equation %r cannot be written as MathML: %s", node.astext(), problem)
        made = translator.encode(node.astext())
    translator.body.append(f'<div class="equation">{made}</div>\n' if block else made)
    raise nodes.SkipNode
