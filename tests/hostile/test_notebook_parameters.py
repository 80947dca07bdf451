"""Notebook parameters as they are typed or given: made right or refused before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hostile_notebooks import CELL, DECLARED, NAMES

from brainram_lib.setup.notebooks import (
    ParameterError,
    accepted,
    check_parameters,
    literals_in,
    parameters_of,
    parse_parameters,
)


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("runs", "2024", "2024"),
        ("runs", "02", "02"),
        ("runs", "1e5", "1e5"),
        ("runs", "True", "True"),
        ("runs", "[a]", "[a]"),
        ("runs", "my {x} folder", "my {x} folder"),
        ("runs", "None", None),
        ("runs", "null", None),
        ("nsd_root", "7", "7"),
        ("corpus_root", "()", "()"),
        ("subject", "02", 2),
        ("subject", " 5 ", 5),
        ("seed", "0007", 7),
        ("plant", "true", True),
        ("plant", "False", False),
        ("rate", "1", 1),
        ("rate", "1e-3", 1e-3),
        ("systems", "['ridge', 'brainram']", ["ridge", "brainram"]),
        ("profile", "2", "2"),
    ],
)
def test_what_can_be_meant_one_way_is_taken_so(name, typed, meant):
    found = parse_parameters([(name, typed)], DECLARED, NAMES)[name]
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("subject", "2.0"),
        ("subject", "two"),
        ("subject", "true"),
        ("subject", "²"),
        ("seed", "-1"),
        ("seed", "4294967296"),
        ("seed", "1e3"),
        ("seed", "{[]: 1}"),
        ("seed", "(" * 5000),
        ("stimulus", "-1"),
        ("k", "0"),
        ("plant", "yes"),
        ("plant", "1"),
        ("rate", "1e999"),
        ("rate", "nan"),
        ("systems", "ridge"),
        ("systems", "[1e999]"),
        ("runs", ""),
        ("runs", " "),
        ("runs", "nul\0"),
        ("runs", "half \ud83d"),
        ("profile", "half \udcff"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(name, typed):
    with pytest.raises(ParameterError, match=f"'{name}' of {NAMES} must .*was provided") as caught:
        parse_parameters([(name, typed)], DECLARED, NAMES)
    assert len(str(caught.value)) < 500


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(ParameterError, match="'subject' of n.ipynb was given 2 times"):
        parse_parameters([("subject", "1"), ("subject", "2")], DECLARED, NAMES)


def test_a_quoted_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", os.path.join(os.sep, "somewhere"))
    found = parse_parameters([("runs", "~/results"), ("nsd_root", "~")], DECLARED, NAMES)
    assert found == {
        "runs": os.path.join(os.sep, "somewhere", "results"),
        "nsd_root": os.path.join(os.sep, "somewhere"),
    }
    with pytest.raises(ParameterError, match="write the folder in full"):
        parse_parameters([("runs", "~nobody-of-this-name/r")], DECLARED, NAMES)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"runs": 2024}, {"runs": "2024"}),
        ({"runs": Path("a/b")}, {"runs": "a/b"}),
        ({"runs": None}, {"runs": None}),
        ({"subject": np.int64(2), "rate": np.float32(0.5)}, {"subject": 2, "rate": 0.5}),
    ],
)
def test_values_from_python_become_what_papermill_writes(given, made):
    found = accepted(DECLARED, given)
    assert found == made and [type(value) for value in found.values()] == [type(value) for value in made.values()]


@pytest.mark.parametrize("given", [{"runs": True}, {"runs": ["a"]}, {"systems": [{1, 2}]}, {"rate": float("inf")}])
def test_values_from_python_that_no_cell_can_hold_are_refused(given):
    with pytest.raises(ParameterError, match="was provided"):
        accepted(DECLARED, given)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("runs = 2024", "with papermill itself, write `-r runs ...`"),
        ('runs = "~/results"', "which only a shell replaces"),
        ("subject = 11", r"'subject' of this notebook must be one of \(1, 2, 5, 7\) in the profile 'mini'"),
        ("subject = 0", r"must be one of \(1, 2, 5, 7\)"),
        ("seed = -1", "must be between 0 and"),
    ],
)
def test_papermills_own_door_refuses_the_same(line, words):
    with pytest.raises(ParameterError, match=words):
        check_parameters(["", CELL, f"# Parameters\n{line}\n"])


@pytest.mark.parametrize(
    "source", ["x = {[]: 1}", "x = 'a' + 1", "x = 1\0", "x = " + "(" * 5000, "x = " + "-" * 9000 + "1"]
)
def test_cells_that_cannot_be_read_declare_nothing(source):
    assert literals_in(source) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"cells": [1]}', '{"cells": {"a": 1}}', '{"cells": [{"metadata": null}]}', "\x1f\x8b"],
)
def test_files_that_are_no_notebook_are_named(tmp_path, text):
    (tmp_path / NAMES).write_text(text, encoding="latin-1")
    with pytest.raises(ParameterError, match="n.ipynb' (cannot be read as a notebook|must have exactly one cell)"):
        parameters_of(tmp_path / NAMES)
