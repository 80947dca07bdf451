"""Systems in files outside the package: run once, run again when they change, and refused by name."""

from __future__ import annotations

import json

import pytest

from brainram_lib.profiles import MINI, profile_of
from brainram_lib.systems import outside, system, systems
from brainram_lib.systems.outside import SystemFileError, load_systems

DECODER = """
from dataclasses import dataclass
from brainram_lib.core.store import Stage
from brainram_lib.systems import System, register

@dataclass(frozen=True)
class Mine(Stage):
    setting: int = 1

def tokens(run):
    return {"image": Mine(), "text": Mine()}

register(System("mine", "My title", "my own", "decoder", 35, tokens))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "_REGISTRY", dict(system._REGISTRY))
    monkeypatch.setattr(outside, "_RUN", {})
    (tmp_path / "my_decoder.py").write_text(DECODER)
    return tmp_path / "my_decoder.py"


def test_a_file_is_run_once_and_its_systems_are_known(file):
    (first,) = load_systems([str(file)])
    assert first.title == "My title" and first in systems(MINI.method)
    assert load_systems([str(file)])[0] is first
    assert load_systems([]) == ()


def test_a_file_that_changed_is_run_again_and_what_it_no_longer_registers_is_forgotten(file):
    load_systems([str(file)])
    file.write_text(DECODER.replace('"mine"', '"other"'))
    assert [one.name for one in load_systems([str(file)])] == ["other"]
    assert "mine" not in {one.name for one in systems()}


def test_a_profile_names_files_relative_to_itself(file, monkeypatch):
    (file.parent / "mine.json").write_text(json.dumps({"base": "mini", "systems": ["my_decoder.py"]}))
    monkeypatch.chdir(file.parent.parent)
    profile = profile_of(f"{file.parent.name}/mine.json")
    assert profile.systems == (str(file),) and load_systems(profile.systems)[0].name == "mine"
    (file.parent / "mine.json").write_text(json.dumps({"base": "mini", "systems": [3]}))
    with pytest.raises(Exception, match="systems"):
        profile_of(f"{file.parent.name}/mine.json")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"mine"', '"ridge"', "registers the system 'ridge', which is taken. Choose another name"),
        ("class Mine", "class RidgeFit", "has a stage 'RidgeFit', as another stage is called"),
        ("register(System", "(System", "registers no system. It must call `register"),
        ('"decoder"', '"dream"', "line 13: ValueError: 'kind' of 'mine' must be decoder"),
        ("def tokens(run):", "def tokens(run:", "line 10: SyntaxError"),
        ("setting: int = 1", "setting: int = gone", "line 8: NameError: name 'gone'"),
    ],
)
def test_a_wrong_file_is_named_and_leaves_the_systems_as_they_were(file, old, new, sentence):
    before = systems()
    text = DECODER.replace(old, new).replace("Mine()", "None")
    file.write_text(text)
    with pytest.raises(SystemFileError, match=sentence):
        load_systems([str(file)])
    assert systems() == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SystemFileError, match="there is no file '.*gone.py'. The profile's 'systems' names it"):
        load_systems([str(tmp_path / "gone.py")])
