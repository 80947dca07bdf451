"""A notebook as a page of the site: the executed copy if it is of this notebook, what can be read, how to run it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from brainram_lib.setup.site import notebooks
from brainram_lib.setup.site.notebooks import INTERACTIVE, PICTURES, ROOT, WIDGET, executed_copy, page
from brainram_lib.view.browser import NeighbourBrowser

PATH = Path("notebooks/02_priors.ipynb")
PLAIN = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# 02 Priors\n\nWhy."},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "subject = 1", "outputs": []},
        {"cell_type": "markdown", "metadata": {}, "source": "## Does it denoise?"},
        {"cell_type": "code", "metadata": {}, "source": ["figure\n", "said"], "outputs": []},
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
BAR = {WIDGET: {}, "text/plain": "ridge:   0%|          | 0/65 [00:00<?, ?token/s]"}
WITHOUT_TOTAL = {WIDGET: {}, "text/plain": "score, ridge: 4batch [00:02,  1.56batch/s]"}
OUTPUTS = [
    {"output_type": "stream", "name": "stderr", "text": "chatter"},
    {"output_type": "display_data", "metadata": {}, "data": BAR},
    {"output_type": "display_data", "metadata": {}, "data": WITHOUT_TOTAL},
    {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
    {"output_type": "display_data", "metadata": {}, "data": {WIDGET: {}, "text/plain": "Browser(...)"}},
    {"output_type": "stream", "name": "stdout", "text": ["The error is .54.\n", "More.\n"]},
]


def executed(**papermill):
    copy = json.loads(json.dumps(PLAIN))
    tags = {"tags": ["injected-parameters"]}
    injected = {"cell_type": "code", "metadata": tags, "source": "subject = 2\nruns = 'r'\n", "outputs": []}
    copy["cells"][3]["outputs"] = OUTPUTS
    copy["cells"].insert(2, injected)
    copy["metadata"]["papermill"] = {"duration": 12.5, "exception": None, **papermill}
    return copy


def test_an_executed_copy_is_used_only_if_it_is_of_this_notebook(tmp_path):
    path = tmp_path / "n.ipynb"
    assert executed_copy(PLAIN, path)[0] is None
    path.write_text(json.dumps(executed()))
    assert executed_copy(PLAIN, path)[0] == executed()
    other = json.loads(json.dumps(PLAIN))
    other["cells"][2]["source"] = "## Another version"
    assert "another version" in executed_copy(other, path)[1]
    path.write_text(json.dumps(executed(exception=True)))
    assert "did not run to its end" in executed_copy(PLAIN, path)[1]


def test_an_executed_notebook_becomes_a_page(tmp_path):
    shown = page(executed(), PATH, True, "7 min. Measured on 2 cores.")
    assert "Executed by `python -m brainram_lib notebook run" in shown["cells"][1]["source"]
    assert "Time: 7 min." in shown["cells"][1]["source"]
    assert [cell["source"] for cell in shown["cells"]].count("subject = 2\n") == 1, "folders are one machine's"
    last = shown["cells"][-1]
    assert [one.get("data", {}).get("text/markdown") for one in last["outputs"]] == [None, INTERACTIVE, None]
    alt = last["metadata"]["mystnb"]["image"]["alt"]
    assert alt == "Figure of notebook 02 Priors, section 'Does it denoise?'. The error is .54."


def test_a_plain_notebook_says_how_to_run_it():
    note = page(PLAIN, PATH, False, "")["cells"][1]["source"]
    assert "Shown without outputs" in note and "make demo" in note and "Time" not in note


def test_an_interactive_view_asks_no_other_host():
    link = "&lt;link rel=&quot;icon&quot;\n  href=&quot;https://a.org/i.ico&quot; /&gt;"
    shown = [
        {"output_type": "execute_result", "metadata": {}, "data": {"text/html": text}}
        for text in (f'<iframe srcdoc="{link}&lt;p&gt;[1, 2]"></iframe>', "<td>.5 [.4, .6]</td>")
    ]
    copy = executed()
    copy["cells"][-1]["outputs"] = shown
    texts = [one["data"]["text/html"] for one in page(copy, PATH, True, "")["cells"][-1]["outputs"]]
    assert texts == [
        '<iframe title="Interactive view" srcdoc="&lt;p&gt;[1, 2]"></iframe>', "<td>.5 [.4,\u00a0.6]</td>",
    ]  # fmt: skip


def test_a_figure_keeps_the_alternative_text_that_it_was_shown_with():
    picture = {
        "output_type": "display_data",
        "data": {"image/png": ""},
        "metadata": {"image/png": {"alt": "It falls."}},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": "shapes"}
    made = notebooks._code({"cell_type": "code", "metadata": {}, "outputs": [printed, picture], "source": ""}, "Figure")
    assert made["metadata"]["mystnb"]["image"]["alt"] == "Figure. It falls."


def test_a_picture_stands_for_the_browser_of_neighbours():
    copy = executed()
    widget = {WIDGET: {}, "text/plain": "NeighbourBrowser(children)"}
    copy["cells"][4]["outputs"] = [{"output_type": "execute_result", "metadata": {}, "data": widget}]
    cell = page(copy, PATH, True, "")["cells"][-1]
    assert [list(one["data"]) for one in cell["outputs"]] == [["text/markdown"], ["image/png"]]
    path, alt = PICTURES[NeighbourBrowser.__name__]
    assert base64.b64decode(cell["outputs"][1]["data"]["image/png"]) == (ROOT / path).read_bytes()
    assert alt in cell["metadata"]["mystnb"]["image"]["alt"]
