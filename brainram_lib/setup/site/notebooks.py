"""A notebook as a page of the site: outputs that mean something on paper, named figures, and how to run it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brainram_lib.setup.notebooks import PATHS
from brainram_lib.setup.site.markdown import whole_intervals

ROOT = Path(__file__).resolve().parents[3]
INJECTED_TAG = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"
INTERACTIVE = "*An interactive view stands here when the notebook runs.*"
# A widget's class -> a committed picture of it, and what it shows.
PICTURES = {
    "NeighbourBrowser": (
        Path("figures") / "browser.png",
        "The browser in JupyterLab: a stimulus, controls, and its neighbours with a map of the RAM's weights each",
    )
}
DEMO = range(1, 6)
# tqdm with a total, and without one
_BAR = re.compile(r"\d+%\|.*\d+/\d+|: \d+\w* \[\d\d:\d\d")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_ICON = re.compile(r"&lt;link\s+rel=&quot;icon&quot;.*?&gt;", re.DOTALL)
_SENTENCE = 240

Notebook = dict[str, Any]


def executed_copy(plain: Notebook, path: Path) -> tuple[Notebook | None, str]:
    """The executed copy at `path` if it is of this very notebook and ran to its end; else None and why not."""
    if not path.is_file():
        return None, f"there is no '{path}'"
    copy = json.loads(path.read_text(encoding="utf-8"))
    run = copy["metadata"].get("papermill") or {}
    if run.get("exception") or not run.get("duration"):
        return None, f"'{path}' did not run to its end"
    if list(_sources(copy)) != list(_sources(plain)):
        return None, f"'{path}' was made from another version of the notebook"
    return copy, ""


def _sources(notebook: Notebook) -> Iterator[tuple[str, str]]:
    for cell in notebook["cells"]:
        if INJECTED_TAG not in _tags(cell):
            yield cell["cell_type"], _text(cell["source"])


def page(notebook: Notebook, path: Path, executed: bool, times: str) -> Notebook:
    """The notebook with a note below its title, outputs that can be read without a kernel, and named figures.

    Args:
        notebook: plain, or the executed copy.
        path: of the notebook, relative to the checkout.
        executed: which of both it is.
        times: how long it takes, a sentence; empty where it is not known.
    """
    title, *others = notebook["cells"]
    cells = [title, _markdown(_note(path, executed, times))]
    heading = _HEADING.search(_text(title["source"]))
    section = name = heading[1] if heading else path.stem
    for cell in others:
        if cell["cell_type"] == "markdown":
            found = _HEADING.findall(_text(cell["source"]))
            section = found[-1] if found else section
            cells.append({**cell, "metadata": {}})
        elif cell["cell_type"] == "code":
            cells.append(_code(cell, f"Figure of notebook {name}, section '{section}'"))
    kept = {key: value for key, value in notebook["metadata"].items() if key in ("kernelspec", "language_info")}
    return {**notebook, "cells": cells, "metadata": kept}


def _note(path: Path, executed: bool, times: str) -> str:
    command = f"`python -m brainram_lib notebook run {path}`"
    if executed:
        lines = [f"Executed by {command}."]
    else:
        number = path.name[:2]
        all_five = " `make demo` executes notebooks 01 to 05." if number.isdigit() and int(number) in DEMO else ""
        lines = [f"Shown without outputs. To see them, run {command}, then `make docs`.{all_five}"]
    lines += [f"Time: {times}"] if times else []
    return "\n".join([":::{note}", *lines, ":::"])


def _code(cell: dict[str, Any], figure: str) -> dict[str, Any]:
    outputs = list(_readable(cell.get("outputs", [])))
    said = next((_text(one["text"]).strip().splitlines()[0] for one in outputs if one["output_type"] == "stream"), "")
    drawn = any("image/png" in one.get("data", {}) for one in outputs)
    if INJECTED_TAG in _tags(cell):
        cell = {**cell, "source": _without_folders(_text(cell["source"]))}
    # figures that `view.show` displays bring their own
    own = (one.get("metadata", {}).get("image/png", {}).get("alt", "") for one in outputs)
    alt = " ".join(f"{figure}. {next(filter(None, own), said)}".split())[:_SENTENCE]
    metadata = {"mystnb": {"image": {"alt": alt}}} if drawn else {}
    return {**cell, "outputs": outputs, "metadata": metadata}


def _without_folders(source: str) -> str:
    """The parameters of a run without those that name folders of one machine."""
    lines = source.splitlines(keepends=True)
    return "".join(line for line in lines if line.partition("=")[0].strip() not in PATHS)


def _readable(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without progress bars and the chatter of libraries; a widget needs a kernel, so a sentence stands for it."""
    for output in outputs:
        data = output.get("data", {})
        if output["output_type"] == "stream" and (output["name"] == "stderr" or not _text(output["text"]).strip()):
            continue
        if WIDGET not in data:
            yield _standing_alone(output)
        elif not _BAR.search(_text(data.get("text/plain", ""))):
            yield {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": INTERACTIVE}}
            yield from _pictured(_text(data.get("text/plain", "")))


def _pictured(widget: str) -> Iterator[dict[str, Any]]:
    """A picture in the place of a widget, where one is committed."""
    path, alt = PICTURES.get(widget.partition("(")[0], (None, ""))
    if path and (ROOT / path).is_file():
        image = base64.b64encode((ROOT / path).read_bytes()).decode()
        yield {"output_type": "display_data", "metadata": {"image/png": {"alt": alt}}, "data": {"image/png": image}}


def _standing_alone(output: dict[str, Any]) -> dict[str, Any]:
    """nilearn's interactive view brings its scripts with it, but asks another host for its icon."""
    if "text/html" not in output.get("data", {}):
        return output
    page = _ICON.sub("", _text(output["data"]["text/html"])).replace("<iframe ", '<iframe title="Interactive view" ')
    return {**output, "data": {**output["data"], "text/html": page if "<iframe" in page else whole_intervals(page)}}


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text, "id": "note"}


def _tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags") or []


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def markdown_of(notebook: Notebook) -> str:
    """All text cells of a notebook, as one page."""
    return "\n\n".join(_text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
