"""Design and splits against a plain implementation that counts trials one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nsd_files import SESSIONS, TRIALS, random_design, write_design, write_responses, write_tree
from scipy.io import loadmat, savemat

from brainram_lib.nsd.behaviour import check_against_design, read_responses
from brainram_lib.nsd.design import SESSIONS_OF_SUBJECT, Design
from brainram_lib.nsd.errors import DamagedFileError, DesignError, MissingFileError, MixedRootsError
from brainram_lib.nsd.layout import NsdLayout


def plain_trials(fields, subject, sessions):
    """One dictionary a trial, straight from the file's 1-based fields."""
    ordering, images = fields["masterordering"][0], fields["subjectim"]
    shared = {int(value) for value in fields["sharedix"][0]}
    seen, rows, trial = {}, [], 0
    for session, runs in enumerate(fields["stimpattern"], start=1):
        for _ in range(int(runs.sum())):
            one_based = int(images[subject - 1, int(ordering[trial]) - 1])
            repetition = seen.get(one_based, 0)
            seen[one_based] = repetition + 1
            if session in sessions:
                rows.append((one_based - 1, session, trial, repetition, one_based in shared))
            trial += 1
    return rows


def compare(layout, subject, sessions):
    chosen = set(range(1, sessions + 1)) if isinstance(sessions, int) else set(sessions)
    expected = plain_trials(loadmat(layout.expdesign), subject, chosen)
    trials = Design.read(layout).trials(subject, sessions)
    columns = (trials.nsd_id, trials.session, trials.index, trials.repetition, trials.is_test)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert trials.test_ids.tolist() == sorted({row[0] for row in expected if row[4]})
    assert trials.train_ids.tolist() == sorted({row[0] for row in expected if not row[4]})
    return trials


@st.composite
def designs(draw):
    images = draw(st.integers(3, 14))
    shared = draw(st.integers(1, images - 1))
    trials = draw(st.lists(st.integers(1, 7), min_size=1, max_size=40))
    ordering = draw(st.lists(st.integers(0, images - 1), min_size=sum(trials), max_size=sum(trials)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    common = rng.choice(500, shared, replace=False)
    rest = np.setdiff1d(np.arange(500), common)
    rows = [np.r_[common, rng.choice(rest, images - shared, replace=False)] for _ in range(8)]
    sessions = draw(st.one_of(st.integers(1, len(trials)), st.sets(st.integers(1, len(trials)), min_size=1).map(list)))
    return np.array(ordering), np.array(rows), shared, trials, draw(st.integers(1, 8)), sessions


@settings(max_examples=40, deadline=None)
@given(designs())
def test_any_design_gives_the_trials_that_a_plain_count_gives(tmp_path_factory, made):
    *design, subject, sessions = made
    layout = NsdLayout(tmp_path_factory.mktemp("design"))
    write_design(layout, *design)
    compare(layout, subject, sessions)


@pytest.mark.parametrize(("subject", "sessions"), [(1, 40), (1, 37), (3, 32), (4, 30), (8, 30)])
def test_subjects_with_fewer_sessions_miss_repetitions_and_images(tmp_path, subject, sessions):
    rng = np.random.default_rng(5)
    images = np.concatenate([np.tile(np.arange(11), (8, 1)), 11 + np.arange(8 * 89).reshape(8, 89)], axis=1)
    ordering = np.r_[rng.permutation(np.repeat(np.arange(95), 3))[:275], np.arange(95, 100)]
    write_design(NsdLayout(tmp_path), ordering, images, 11, [7] * 40)
    assert sessions <= SESSIONS_OF_SUBJECT[subject]
    trials = compare(NsdLayout(tmp_path), subject, sessions)
    assert len(trials) == 7 * sessions
    if sessions < 40:
        everything = Design.read(NsdLayout(tmp_path)).trials(subject, 40)
        assert len(trials.train_ids) + len(trials.test_ids) < len(everything.train_ids) + len(everything.test_ids)


def test_the_real_proportions_give_the_published_splits(tmp_path):
    """10,000 images three times in 40 sessions of 750: all sessions give 9,000 + 1,000."""
    images = np.concatenate([np.tile(np.arange(1000), (8, 1)), 1000 + np.arange(72000).reshape(8, 9000)], axis=1)
    ordering = np.random.default_rng(0).permutation(np.repeat(np.arange(10000), 3))
    write_design(NsdLayout(tmp_path), ordering, images, 1000, [750] * 40)
    design = Design.read(NsdLayout(tmp_path))
    everything, fewer = design.trials(1, 40), design.trials(1, 37)
    assert (len(everything.train_ids), len(everything.test_ids)) == (9000, 1000)
    assert len(fewer) == 27750 and len(fewer.train_ids) <= 9000 and (np.diff(fewer.train_ids) > 0).all()


def test_an_image_whose_only_trials_lie_outside_the_sessions_is_in_no_split(tmp_path):
    images = np.tile(np.array([50, 60, 70, 80]), (8, 1))
    write_design(NsdLayout(tmp_path), np.array([0, 1, 1, 2, 3, 3]), images, 1, [3, 2, 1])
    trials = Design.read(NsdLayout(tmp_path)).trials(2, [1, 3])
    assert trials.train_ids.tolist() == [60, 80] and trials.test_ids.tolist() == [50]
    assert trials.repetition.tolist() == [0, 0, 1, 1], "the second presentation of 80 stays the second"


def test_ids_count_from_zero_and_splits_are_named(tmp_path):
    images = np.tile(np.array([0, 3, 9]), (8, 1))
    write_design(NsdLayout(tmp_path), np.array([2, 0, 1]), images, 1, [3])
    trials = Design.read(NsdLayout(tmp_path)).trials(1, 1)
    assert trials.nsd_id.tolist() == [9, 0, 3]
    assert trials.ids("test").tolist() == [0] and trials.ids("train").tolist() == [3, 9]
    with pytest.raises(DesignError, match=r"split must be one of \['train', 'test'\]. 'val' was provided"):
        trials.ids("val")


@pytest.mark.parametrize("sessions", [0, 5, [], [1, 1], [0, 2], [5]])
def test_sessions_that_the_design_lacks(tmp_path, sessions):
    tree = write_tree(tmp_path)
    with pytest.raises(DesignError, match=f"different numbers, 1 to {SESSIONS}"):
        Design.read(tree.layout).trials(1, sessions)


def test_a_subject_that_the_design_lacks(tmp_path):
    tree = write_tree(tmp_path)
    with pytest.raises(DesignError, match="subject must be 1 to 8"):
        Design.read(tree.layout).trials(9, 1)


def test_missing_and_damaged_design_files(tmp_path):
    layout = NsdLayout(tmp_path)
    with pytest.raises(MissingFileError, match="design file .* is not there. Fetch it"):
        Design.read(layout)
    layout.expdesign.parent.mkdir(parents=True)
    layout.expdesign.write_bytes(b"not a MATLAB file" * 20)
    with pytest.raises(DamagedFileError, match="no readable MATLAB file"):
        Design.read(layout)
    savemat(layout.expdesign, {"masterordering": np.ones((1, 3))})
    with pytest.raises(DamagedFileError, match=r"has no \['subjectim', 'sharedix', 'stimpattern'\]"):
        Design.read(layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masterordering": np.zeros((1, 48))}, "masterordering must be 1-based"),
        ({"masterordering": np.ones((1, 47))}, "stimpattern has 48 trials, masterordering 47"),
        ({"subjectim": np.ones((8, 19))}, "row 1 of subjectim must hold different ids"),
        ({"sharedix": np.array([[1, 2, 3, 5]])}, "row 1 of subjectim must begin with the 4 ids of sharedix"),
    ],
)
def test_contradictions_within_the_design_are_named(tmp_path, change, message):
    layout = write_tree(tmp_path).layout
    fields = {name: value for name, value in loadmat(layout.expdesign).items() if not name.startswith("__")}
    savemat(layout.expdesign, fields | change)
    with pytest.raises(DesignError, match=message):
        Design.read(layout)


def test_the_behaviour_table_must_show_the_design_s_images(tmp_path):
    tree = write_tree(tmp_path)
    trials = Design.read(tree.layout).trials(1, 3)
    assert len(read_responses(tree.layout, 1)) == SESSIONS * TRIALS
    check_against_design(tree.layout, 1, trials)
    other, images = random_design(seed=9)
    write_responses(tree.layout, 1, images[0][other])
    with pytest.raises(MixedRootsError, match="session 1 .* shows other images .* Two data sets are mixed"):
        check_against_design(tree.layout, 1, trials)
    tree.layout.responses(1).write_text("SUBJECT\n1\n")
    with pytest.raises(DamagedFileError, match=r"has no column \['73KID', 'SESSION'\]"):
        check_against_design(tree.layout, 1, trials)
