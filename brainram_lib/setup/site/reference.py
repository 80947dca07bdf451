"""Pages of the API reference: one a package, one section a module; Sphinx fills in signatures and docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TOP = "brainram_lib"
MODULES = "top"
"""The page of the modules that are in no package."""


def packages(package: Path) -> dict[str, list[str]]:
    """Page -> names of its public modules, the package's own first."""
    found: dict[str, list[str]] = {MODULES: []}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts and not any(part.startswith("_") for part in parts):
            inside = len(parts) > 1 or (package / parts[0]).is_dir()
            found.setdefault(parts[0] if inside else MODULES, []).append(".".join(parts))
    return found


def sentence_of(path: Path) -> str:
    """The first paragraph of a module's docstring in one line; empty without one."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def write_reference(folder: Path, package: Path) -> None:
    """Write the pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = packages(package)
    (folder / "index.rst").write_text("\n".join(_index(names, package)), encoding="utf-8")
    for page, modules in names.items():
        (folder / f"{page}.rst").write_text("\n".join(_page(page, modules, package)), encoding="utf-8")


def _index(names: dict[str, list[str]], package: Path) -> Iterator[str]:
    yield from _title("API reference", "=")
    yield (
        "From the docstrings. Shapes stand in the signatures: ``Float[Tensor, 'batch tokens width']`` is an array of "
        "floating-point numbers with these axes. Packages stand in the order of the alphabet; "
        ":doc:`/CONTRIBUTING` has them in the order in which they import each other."
    )
    yield from ("", ".. list-table::", "   :header-rows: 1", "   :widths: 20 80", "", "   * - package", "     - what")
    for page in names:
        sentence = "The modules " + ", ".join(names[page]) + "." if page == MODULES else _of_package(page, package)
        yield from (f"   * - :doc:`{page}`", f"     - {escaped(sentence)}")
    yield from ("", ".. toctree::", "   :hidden:", "", *(f"   {page}" for page in names), "")


def _of_package(page: str, package: Path) -> str:
    return sentence_of(package / page / "__init__.py")


def _page(page: str, modules: list[str], package: Path) -> Iterator[str]:
    yield from _title("Top-level modules" if page == MODULES else page, "=")
    for module in modules:
        path = package.joinpath(*module.split("."))
        if path.is_dir() and not sentence_of(path / "__init__.py"):
            continue
        if module != page:
            yield from _title(module, "-")
        yield from (f".. automodule:: {TOP}.{module}", "   :members:", "")


def _title(text: str, line: str) -> tuple[str, ...]:
    return text, line * len(text), ""


def escaped(text: str) -> str:
    """Docstring prose as reStructuredText: `code` as ``code``, and no other character with a meaning of its own."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _plain(text.replace("`", "'"))
    return "".join(f"``{part}``" if number % 2 else _plain(part) for number, part in enumerate(parts))


def _plain(text: str) -> str:
    for character in "\\*|_":
        text = text.replace(character, f"\\{character}")
    return text
