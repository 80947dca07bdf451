"""Data of the user's own: read as a plain implementation reads them, whatever form they have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from study_files import NAMES, SESSIONS, SIDE, STIMULI, TEST, VOXELS, write_csv, write_study

from brainram_lib.__main__ import main
from brainram_lib.core.marks import content_mark, fingerprint
from brainram_lib.nsd.normalise import NORMALISATIONS
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.pipeline.own_data import OwnData
from brainram_lib.profiles import profile_of
from brainram_lib.setup.paper_needs import _own_data
from brainram_lib.study.check import problems, require
from brainram_lib.study.errors import StudyError
from brainram_lib.study.prepare import prepare
from brainram_lib.study.study import Study

SESSION_Z = "session-z"


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "mine")


def raw(folder):
    """Betas, names and sessions as they lie there."""
    lines = [line.split(",") for line in (folder / "trials.csv").read_text().split()[1:]]
    names, sessions = (np.array(column) for column in zip(*lines, strict=True))
    return np.load(folder / "betas.npy"), names, sessions


def plain(folder, test):
    """{split: rows} as the text says: z-scored in each session by its training trials, then averaged by stimulus."""
    betas, names, sessions = raw(folder)
    training, z = ~np.isin(names, list(test)), np.empty_like(betas)
    for session in np.unique(sessions):
        here = sessions == session
        known = betas[here & training].astype(np.float64)
        z[here] = (betas[here] - known.mean(0)) / known.std(0, ddof=1)
    rows = {name: z[names == name].mean(0) for name in NAMES}
    split = {"train": [n for n in NAMES if n not in test], "test": [n for n in NAMES if n in test]}
    return {one: np.stack([rows[name] for name in listed]) for one, listed in split.items()}


def test_betas_are_z_scored_by_training_trials_and_averaged_over_repetitions(folder, tmp_path):
    study = Study(folder)
    prepared, expected = prepare(study, 1, tmp_path / "out", SESSION_Z), plain(folder, study.test(1))
    for split in ("train", "test"):
        np.testing.assert_allclose(prepared.betas(split), expected[split], atol=1e-5)
        assert (prepared.n_averaged(split) == SESSIONS).all()
    assert prepared.betas("test").shape == (TEST, VOXELS) and prepared.betas("train").shape[0] == STIMULI - TEST
    assert prepared.roi("V1").sum() == 5 and np.isnan(prepared.ncsnr).all()


def test_a_test_trial_has_no_say_in_the_training_rows(folder, tmp_path):
    study = Study(folder)
    before = np.array(prepare(study, 1, tmp_path / "a", SESSION_Z).betas("train"))
    betas, names, _ = raw(folder)
    betas[np.isin(names, list(study.test(1)))] *= 50
    np.save(folder / "betas.npy", betas)
    np.testing.assert_array_equal(prepare(Study(folder), 1, tmp_path / "b", SESSION_Z).betas("train"), before)


def test_rows_pictures_and_captions_belong_to_the_same_stimuli(folder, tmp_path):
    study = Study(folder)
    ids = prepare(study, 1, tmp_path / "out", SESSION_Z).test_ids.tolist()
    assert [study.names[int(one)] for one in ids] == sorted(study.test(1))
    assert study.captions_of(ids)[0] == [f"caption {n} of {sorted(study.test(1))[0]}" for n in range(2)]
    assert study.stimuli(ids).shape == (TEST, SIDE, SIDE, 3)
    np.testing.assert_array_equal(study.stimuli(ids)[1], study.pictures.one(sorted(study.test(1))[1]))


def test_a_drawn_split_is_by_stimulus_the_same_for_all_subjects_and_changes_with_the_seed(folder):
    text = (folder / "data.toml").read_text()
    (folder / "data.toml").write_text(f'{text}[subjects.2]\nbetas = "betas.npy"\ntrials = "trials.csv"\n')
    study = Study(folder)
    assert study.test(1) == study.test(2) and len(study.test(1)) == TEST
    trials = study.trials(1)
    assert not set(trials.train_ids) & set(trials.test_ids)
    (folder / "data.toml").write_text(text.replace("seed = 3", "seed = 4"))
    assert Study(folder).test(1) != study.test(1)


def test_a_split_can_stand_in_the_table_or_in_a_file(folder):
    _, names, sessions = raw(folder)
    chosen = {"s2", "s5"}
    text = (folder / "data.toml").read_text()
    (folder / "data.toml").write_text(text.replace("test = 4", 'test = "test.txt"'))
    (folder / "test.txt").write_text("s2.png\n\ns5\n")
    assert Study(folder).test(1) == chosen
    rows = [[n, s, "test" if n in chosen else "train"] for n, s in zip(names, sessions, strict=True)]
    write_csv(folder / "trials.csv", ["stimulus", "session", "split"], rows)
    (folder / "data.toml").write_text(text.replace("[split]\ntest = 4\nseed = 3\n", ""))
    assert Study(folder).test(1) == chosen


def test_arrays_and_json_are_read_as_folders_and_tables(folder, tmp_path):
    study = Study(folder)
    first = prepare(study, 1, tmp_path / "a", SESSION_Z)
    betas, names, sessions = raw(folder)
    np.savez(folder / "betas.npz", betas=betas, stimulus=names, session=sessions.astype(int))
    np.savez(folder / "pictures.npz", images=study.stimuli(range(STIMULI)), stimulus=NAMES)
    (folder / "captions.json").write_text(json.dumps({n: study.captions[n] for n in NAMES}))
    text = (folder / "data.toml").read_text().replace('trials = "trials.csv"\n', "")
    for one, other in (("betas.npy", "betas.npz"), ('"pictures"', '"pictures.npz"'), (".csv", ".json")):
        text = text.replace(one, other)
    (folder / "data.toml").write_text(text)
    again = Study(folder)
    assert again.captions == study.captions
    np.testing.assert_array_equal(again.stimuli([3, 1]), study.stimuli([3, 1]))
    np.testing.assert_array_equal(prepare(again, 1, tmp_path / "b", SESSION_Z).betas("test"), first.betas("test"))


def test_several_files_of_betas_are_sessions(folder, tmp_path):
    study = Study(folder)
    first = prepare(study, 1, tmp_path / "a", SESSION_Z)
    betas, names, _ = raw(folder)
    for k, part in enumerate(np.split(betas, SESSIONS)):
        np.save(folder / f"part{k}.npy", part)
    write_csv(folder / "trials.csv", ["stimulus"], [[name] for name in names])
    text = (folder / "data.toml").read_text()
    (folder / "data.toml").write_text(text.replace('"betas.npy"', '["part0.npy", "part1.npy", "part2.npy"]'))
    np.testing.assert_array_equal(
        prepare(Study(folder), 1, tmp_path / "b", SESSION_Z).betas("train"), first.betas("train")
    )


def test_whole_numbers_keep_themselves_as_ids(folder):
    for path in (folder / "pictures").iterdir():
        path.rename(path.with_name(f"{40 + int(path.stem[1:]):03d}.png"))
    assert sorted(Study(folder).names) == list(range(40, 40 + STIMULI))


def test_the_three_trials_of_the_test_stimuli_average_to_the_prepared_rows(folder, tmp_path):
    source = OwnData(folder)
    prepared = prepare(source.study, 1, tmp_path / "out", SESSION_Z)
    ids, betas = source.repetitions(tmp_path, 1, prepared)
    np.testing.assert_array_equal(ids, prepared.test_ids)
    np.testing.assert_allclose(betas.mean(1), prepared.betas("test"), atol=1e-5)


def test_a_dead_voxel_is_left_out_and_counted(folder, tmp_path):
    betas = np.load(folder / "betas.npy")
    betas[:, 3], betas[4, 7] = 6, np.nan
    np.save(folder / "betas.npy", betas)
    prepared = prepare(Study(folder), 1, tmp_path / "out", SESSION_Z)
    np.testing.assert_array_equal(prepared.voxel_index, np.setdiff1d(np.arange(VOXELS), [3, 7]))
    assert sum(prepared.record["n_excluded"].values()) == 2 and prepared.roi("V1").sum() == 4
    assert list(problems(Study(folder), 1)) == []


def write_trials(folder, session):
    """Rewrite trials.csv with other sessions; a session of None leaves the column out."""
    _, names, _ = raw(folder)
    sessions = [session(name, trial) for trial, name in enumerate(names)]
    rows = [[name] if one is None else [name, one] for name, one in zip(names, sessions, strict=True)]
    write_csv(folder / "trials.csv", ["stimulus", "session"][: len(rows[0])], rows)


def of_normalised(folder, tmp_path, normalisation="none"):
    require(Study(folder), 1, normalisation)
    return prepare(Study(folder), 1, tmp_path / normalisation, normalisation)


@pytest.mark.parametrize("normalisation", [one for one in NORMALISATIONS if one != SESSION_Z])
def test_a_session_of_test_trials_alone_is_used_where_sessions_are_not_z_scored(folder, tmp_path, normalisation):
    betas, names, _ = raw(folder)
    test = Study(folder).test(1)
    write_trials(folder, lambda name, trial: 9 if name in test else 1)
    prepared = of_normalised(folder, tmp_path, normalisation)
    assert prepared.betas("test").shape == (TEST, VOXELS) and np.isfinite(prepared.betas("test")).all()
    if normalisation == "none":
        expected = np.stack([betas[names == name].mean(0) for name in sorted(test)])
        np.testing.assert_allclose(prepared.betas("test"), expected, atol=1e-5)


def test_a_session_of_one_training_trial_leaves_no_voxel_out(folder, tmp_path):
    write_trials(folder, lambda name, trial: trial)
    assert len(of_normalised(folder, tmp_path).voxel_index) == VOXELS


def test_a_voxel_that_is_constant_over_all_training_trials_is_left_out_whatever_the_sessions(folder, tmp_path):
    betas, names, sessions = raw(folder)
    betas[:, 3], betas[sessions == "2", 5] = 6, 6
    betas[np.isin(names, list(Study(folder).test(1))), 3] = np.arange(TEST * SESSIONS)
    np.save(folder / "betas.npy", betas)
    by_session = prepare(Study(folder), 1, tmp_path / "z", SESSION_Z)
    found = [prepared.record["excluded"] for prepared in (of_normalised(folder, tmp_path), by_session)]
    assert found == [
        {"constant over all training trials": [3]},
        {"constant over the training trials of some session": [3, 5]},
    ]


def said_of(folder):
    with pytest.raises(StudyError, match="has 0 training trials; its betas are z-scored") as said:
        require(Study(folder), 1)
    return str(said.value)


def test_both_remedies_for_a_session_of_test_trials_help(folder, tmp_path):
    test = Study(folder).test(1)
    write_trials(folder, lambda name, trial: 9 if name in test else 1)
    assert "Leave out the column 'session', or set data__normalisation" in said_of(folder)
    of_normalised(folder, tmp_path)
    write_trials(folder, lambda name, trial: None)
    of_normalised(folder, tmp_path, SESSION_Z)


def test_both_remedies_for_a_file_of_test_trials_help(folder, tmp_path):
    """Without a column 'session' each file is one: there is none to leave out."""
    betas, names, _ = raw(folder)
    tests = np.isin(names, list(Study(folder).test(1)))
    order = np.concatenate([np.flatnonzero(~tests), np.flatnonzero(tests)])
    np.save(folder / "a.npy", betas[order[: (~tests).sum()]])
    np.save(folder / "b.npy", betas[order[(~tests).sum() :]])
    name_betas(folder, ["a.npy", "b.npy"])
    write_csv(folder / "trials.csv", ["stimulus"], [[name] for name in names[order]])
    assert "there, give these trials the number of a session that has training trials" in said_of(folder)
    of_normalised(folder, tmp_path)
    write_csv(folder / "trials.csv", ["stimulus", "session"], [[name, 1] for name in names[order]])
    of_normalised(folder, tmp_path, SESSION_Z)


def test_data_check_asks_for_the_normalisation_of_a_profile(folder, tmp_path, capsys):
    test = Study(folder).test(1)
    write_trials(folder, lambda name, trial: 9 if name in test else 1)
    profile = tmp_path / "mine.toml"
    profile.write_text(f'base = "mini"\nfolder = "{folder}"\nsubjects = [1]\ndata__normalisation = "none"\n')
    assert main(["data", "check", str(folder)]) == 1
    assert "NOT subject 1: session 9" in capsys.readouterr().out
    assert main(["data", "check", str(folder), "--profile", str(profile)]) == 0
    assert "NOT" not in capsys.readouterr().out
    lines = list(_own_data(folder, profile_of(str(profile)).data.normalisation))
    assert lines and all(well for well, _ in lines), "as doctor says it"


def marks(folder):
    return {what: OwnData(folder).mark(what, 1, DataSettings(sessions=1)) for what in ("betas", "stimuli", "captions")}


def name_betas(folder, said):
    text = (folder / "data.toml").read_text().splitlines()
    (folder / "data.toml").write_text("\n".join(f"betas = {said}" if "betas" in line else line for line in text))


def test_the_order_of_several_files_of_betas_is_part_of_their_mark(folder):
    """Rows follow one another as the files do, so that another order hands every trial another's betas."""
    for k, part in enumerate(np.split(np.load(folder / "betas.npy"), SESSIONS)):
        np.save(folder / f"part{k}.npy", part)
    found = []
    for order in ("012", "102", "012"):
        name_betas(folder, [f"part{k}.npy" for k in order])
        found.append(marks(folder))
    assert found[0] == found[2] and found[0]["betas"] != found[1]["betas"]
    assert all(found[0][what] == found[1][what] for what in ("stimuli", "captions"))


def test_the_mark_of_one_file_of_betas_is_as_it_always_was(folder):
    study = Study(folder)
    files, numbered = study.files(1), [[name, study.numbers[name]] for name in NAMES]
    read = content_mark([*files.betas, files.trials, files.rois], folder)
    assert marks(folder)["betas"] == fingerprint([read, numbered, sorted(study.test(1))])


def test_betas_beside_a_linked_folder_change_the_mark(folder, tmp_path):
    (tmp_path / "disk/deep").mkdir(parents=True)
    linked = tmp_path / "linked"
    linked.symlink_to(folder.rename(tmp_path / "disk/deep/mine"))
    outside = (linked / "betas.npy").rename(tmp_path / "betas.npy")
    name_betas(linked, f'"{outside}"')
    before = marks(linked)["betas"]
    np.save(outside, np.load(outside) + 1)
    assert marks(linked)["betas"] != before


def test_marks_change_with_what_a_stage_reads_and_not_with_the_place(folder, tmp_path):
    before = marks(folder)
    assert marks(write_study(tmp_path / "elsewhere")) == before
    (folder / "captions.csv").write_text((folder / "captions.csv").read_text().replace("caption 1", "other 1"))
    assert {what for what, mark in marks(folder).items() if mark != before[what]} == {"captions"}
    before = marks(folder)
    (folder / "pictures/s3.png").write_bytes((folder / "pictures/s4.png").read_bytes())
    assert {what for what, mark in marks(folder).items() if mark != before[what]} == {"stimuli"}
    before = marks(folder)
    (folder / "data.toml").write_text((folder / "data.toml").read_text().replace("seed = 3", "seed = 4"))
    assert {what for what, mark in marks(folder).items() if mark != before[what]} == {"betas"}
