"""What Sphinx learns from this project: equations as MathML, shapes in signatures, docstrings in plain prose."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from brainram_lib.setup.site.equations import equation, inline_equation
from brainram_lib.setup.site.reference import escaped

_PLAIN = (bool, int, float, str, type(None))


class _Source:
    """Text that stands in a signature as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(
    app: Any, what: str, name: str, thing: Any, options: Any, shown: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Annotations as the source has them, so that shapes can be read; defaults that are objects as '...'."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    parameters = [_as_written(one) for one in found.parameters.values() if one.name not in ("self", "cls")]
    empty = found.return_annotation is inspect.Signature.empty or what == "class"
    return str(inspect.Signature(parameters)), None if empty else _annotation(found.return_annotation)


def _as_written(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.annotation is not inspect.Parameter.empty:
        parameter = parameter.replace(annotation=_Source(_annotation(parameter.annotation)))
    if parameter.default is not inspect.Parameter.empty and not _simple(parameter.default):
        parameter = parameter.replace(default=_Source("..."))
    return parameter


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _simple(value: Any) -> bool:
    return all(map(_simple, value)) if isinstance(value, tuple) else isinstance(value, _PLAIN)


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are prose with `code` in it; napoleon, which reads 'Args:' and its kin, comes after this."""
    before = ""
    shown: list[str] = []
    for part in "\n".join(lines).split("\n\n"):
        if _fenced(part):
            shown += ["::", "", *(f"    {line}" for line in part.split("\n")[1:-1]), ""]
        elif _set_apart(part, before):
            shown += ["::", "", *part.split("\n"), ""]
        else:
            shown += [*_lists_apart(escaped(part).split("\n")), ""]
        before = part
    lines[:] = shown


def _fenced(part: str) -> bool:
    return part.startswith("```") and part.rstrip().endswith("\n```")


def _set_apart(part: str, before: str) -> bool:
    """Whether a paragraph is an equation or a tree of files: indented below text that is not."""
    indented = all(line.startswith("  ") for line in part.split("\n"))
    return indented and bool(before.strip()) and not before.split("\n")[-1].startswith(" ")


def _lists_apart(lines: list[str]) -> Iterator[str]:
    """reStructuredText wants an empty line before a list."""
    before = ""
    for line in lines:
        if line.startswith("- ") and before and not before.startswith(("- ", " ")):
            yield ""
        yield line
        before = line


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline_equation, None), (equation, None))
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", docstring, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
