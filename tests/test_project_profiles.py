"""Profiles as files: a base and changes to it."""

from __future__ import annotations

import json

import pytest

from brainram_lib.profiles import MINI, PAPER, changed, profile_of


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "paper", "stage1__epochs": 2, "split__images": [7, 3], "subjects": [1]}))
    assert profile_of(str(path)) == changed(PAPER, name="mine", stage1__epochs=2, split__images=(7, 3), subjects=(1,))


def test_a_toml_file_is_a_profile_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "mini"\nname = "row"\nsampling__samples = 3\nsubjects = [2]\n')
    assert profile_of(str(path)) == changed(MINI, name="row", sampling__samples=3, subjects=(2,))


def test_settings_that_need_each_other_are_changed_together():
    plain = {"retrieval__text_weight": None, "retrieval__word_weight": 0.0}
    assert changed(MINI, **plain).retrieval.word_weight == 0
    with pytest.raises(ValueError, match="'epochs' of Stage1Settings has no settings of its own, such as 'x'"):
        changed(MINI, stage1__epochs__x=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must hold an object whose 'base' is one of"),
        ("[1]", "must hold an object"),
        ('{"stage1__epochs": 2}', r"whose 'base' is one of \['mini', 'paper'\]"),
        ('{"base": "maxi"}', "'maxi'"),
        ('{"base": "paper", "stage1__epochs": 0}', "wrong.json': 'epochs' of Stage1Settings must be a whole number"),
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
    with pytest.raises(ValueError, match="'profile' must be one of .* or a JSON or TOML file"):
        profile_of("maxi")
