"""Two methods, told apart: every addition is a switch that changes something, and can be left out."""

from dataclasses import replace

import pytest
from torch import nn

from brainram_lib.additions import ADDITIONS, BRAINRAM, PLUS
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI, PAPER, changed, profile_of, with_method
from brainram_lib.stage1.projector import Projector
from brainram_lib.systems import gu


def test_paper_is_as_printed_and_mini_has_the_additions():
    assert PAPER.method == BRAINRAM and MINI.method == PLUS
    printed = with_method(MINI, BRAINRAM)
    for profile in (PAPER, printed):
        stage1, stage2 = profile.stage1, profile.stage2
        assert (stage1.units, stage1.process, stage1.contrast) == ("scaled", "cosine", "estimates")
        assert not stage1.projector.linear_path and stage1.network.kind == "unet" and not stage1.free_share
        assert (stage1.epochs, stage1.batch, stage1.gamma, stage1.beta) == (180, 32, 0.8, 0.3)
        assert (stage2.fusion, stage2.epochs, stage2.batch, stage2.gamma) == ("ram", 120, 256, 0.2)
        assert (stage2.rate, stage2.schedule, stage2.random_share) == (2.5e-4, "constant", 0)
        assert (profile.sampling.samples, profile.sampling.kind, profile.sampling.steps) == (4, "draw", 100)
        assert profile.retrieval.text_weight is None and profile.retrieval.candidates is None
        assert profile.generation.neighbour_share == 0


@pytest.mark.parametrize("profile", [MINI, PAPER], ids=lambda profile: profile.name)
def test_the_methods_turn_into_each_other(profile):
    plus, printed = with_method(profile, PLUS), with_method(profile, BRAINRAM)
    assert with_method(plus, BRAINRAM) == printed and with_method(printed, PLUS) == plus
    assert with_method(profile, profile.method) == profile


@pytest.mark.parametrize("name", ADDITIONS)
def test_each_addition_changes_something_and_can_be_left_out(name):
    needs = {"joint-search": ["words"], "residual-prior": []}
    without = [name, *needs.get(name, [])]
    left = with_method(MINI, PLUS, without)
    assert left != MINI and len(ADDITIONS[name].reason) > 40
    printed = with_method(MINI, BRAINRAM)
    for path in ADDITIONS[name].settings(MINI.source):
        values = []
        for profile in (left, printed):
            value = profile
            for part in path.split("__"):
                value = getattr(value, part)
            values.append(value)
        assert values[0] == values[1], path


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"split__images": [3200, 300]}, True),
        ({"split__images": [8859, 300], "data__sessions": 37}, True),
        ({"split__images": [1600, 300]}, False),
        ({"split__clusters": 5}, False),
        ({"split__validation": 200}, False),
    ],
)
def test_a_start_that_has_seen_what_is_held_out_is_left_out(changes, kept):
    """What is trained then is what a profile without a start trains, under the same key."""
    run, plain = (run_of(changed(MINI, **changes, **more), 1, 0) for more in ({}, {"stage1__start": ""}))
    assert (run.prior("image").start is not None) == kept
    assert (run.prior("image").key == plain.prior("image").key) == (not kept)


def test_a_start_has_seen_no_image_of_another_subject():
    held_out = changed(MINI, split__clusters=5)
    assert (
        run_of(held_out, 2, 0).prior("image").start is not None and run_of(held_out, 1, 0).prior("image").start is None
    )


def test_near_duplicates_that_are_excluded_are_not_trained_on_either():
    """Their stage is in the key where it is used, and in no key where all items may be found."""
    free = {"stage1__start": "", "stage1__free_share": 0.5}
    usual, without = (run_of(changed(MINI, **free, retrieval__exclude_duplicates=one), 1, 0) for one in (False, True))
    assert usual.prior("text").copies is None and "copies" not in usual.prior("text").described["inputs"]
    assert without.prior("text").described["inputs"]["copies"] == without.duplicates.key
    maps = [gu.tokens(run).tokens for run in (usual, without)]
    assert maps[0].copies is None and maps[1].copies == without.duplicates and maps[0].key != maps[1].key


def test_the_printed_projector_drops_out_behind_its_first_layer_as_the_authors_does():
    layers = Projector(PAPER.stage1.projector, 30, 2, 8).compress
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.0, 0.5]
    small = Projector(MINI.stage1.projector, 30, 2, 8).compress
    assert [layer.p for layer in small if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    assert PAPER.stage1.clip is None and with_method(PAPER, PLUS).stage1.clip == 1.0 == MINI.stage1.clip


def test_what_a_user_changed_stays():
    # one epoch is what an addition sets too, and is kept because the user said so
    mine = changed(MINI, stage2__fusion="average", stage1__epochs=1)
    printed = with_method(mine, BRAINRAM)
    assert printed.stage2.fusion == "average" and printed.stage1.epochs == 1
    assert printed.stage1.units == "scaled"


@pytest.mark.parametrize(("profile", "other"), [(MINI, BRAINRAM), (PAPER, PLUS)])
def test_a_change_of_the_method_brings_its_settings_under_the_users_own(profile, other, tmp_path):
    assert replace(changed(profile, method=other), own=()) == with_method(profile, other)
    mine = changed(profile, method=other, stage1__epochs=7)
    assert mine.stage1 == replace(with_method(profile, other).stage1, epochs=7)
    file = tmp_path / "mine.toml"
    file.write_text(f'base = "{profile.name}"\nmethod = "{other}"\nstage1__epochs = 7\n')
    assert profile_of(str(file)).stage1 == mine.stage1
    with pytest.raises(ValueError, match="'method' must be one of brainram, brainram-plus. 'best' was provided"):
        changed(profile, method="best")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'method' must be one of brainram, brainram-plus. 'best' was provided"):
        with_method(MINI, "best")
    with pytest.raises(ValueError, match="'without' must be of whitening, .*'magic' was provided"):
        with_method(MINI, PLUS, ["magic"])
