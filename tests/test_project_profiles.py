"""Profiles as files: a base and changes to it."""

from __future__ import annotations

import json

import pytest

from brainram_lib.profiles import PAPER, changed, profile_of


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "paper", "stage1__epochs": 2, "images": [7, 3], "subjects": [1]}))
    assert profile_of(str(path)) == changed(PAPER, name="mine", stage1__epochs=2, images=(7, 3), subjects=(1,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must hold a JSON object whose 'base' is one of"),
        ("[1]", "must hold a JSON object"),
        ('{"stage1__epochs": 2}', r"whose 'base' is one of \['mini', 'paper'\]"),
        ('{"base": "maxi"}', "'maxi'"),
        ('{"base": "paper", "stage1__epoch": 2}', "'epoch' is not a setting of Stage1Settings"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, message):
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        profile_of(str(path))


def test_a_missing_file_and_an_unknown_name_are_named():
    with pytest.raises(FileNotFoundError, match="no profile file 'none.json'"):
        profile_of("none.json")
    with pytest.raises(ValueError, match="'profile' must be one of .* or a JSON file"):
        profile_of("maxi")
