"""What a workbench is asked for and does not have is named."""

from __future__ import annotations

import pytest
from tiny_run import TINY

from brainram_lib.profiles import changed
from brainram_lib.workbench import Workbench


@pytest.mark.parametrize(
    ("alone", "needed"),
    [("text_weight", "word_weight.*needs a 'retrieval.text"), ("candidates", "token_weight.*needs")],
)
def test_settings_that_would_have_no_effect_are_named(alone, needed):
    with pytest.raises(ValueError, match=needed):
        changed(TINY, **{f"retrieval__{alone}": None})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "maxi"}, "'profile' must be one of"),
        ({"subject": 3}, r"'subject' must be one of \[1, 2, 5, 7\].*'3' was provided"),
        ({"profile": "paper"}, "give nsd_root"),
        ({"seed": -1}, "'seed' must be a whole number, 0 or more. -1 was"),
    ],
)
def test_what_cannot_be_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Workbench(**arguments)


def test_a_profile_without_a_corpus_asks_for_one(tmp_path):
    with pytest.raises(ValueError, match="needs a corpus of your own: give corpus_root"):
        _ = Workbench("paper", nsd_root=tmp_path).corpus


def test_an_unknown_system_or_modality_is_named(workbench):
    for asked in (workbench.reconstructions, workbench.samples, workbench.tokens_of_system):
        with pytest.raises(ValueError, match="'system' must be one of brainram, .*'dream' was provided"):
            asked("dream")
    with pytest.raises(ValueError, match="'modality' must be one of"):
        workbench.targets("sound", "test")
    with pytest.raises(ValueError, match="'nearest-train' shows images that exist and has no tokens"):
        workbench.tokens_of_system("nearest-train")
