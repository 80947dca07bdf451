"""Folders of the user's own that are wrong: each has its sentence before anything is made."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from study_files import NAMES, VOXELS, write_study

from brainram_lib.__main__ import main
from brainram_lib.nsd.errors import NsdError
from brainram_lib.pipeline.own_data import OwnData
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI, changed
from brainram_lib.study.check import problems, report
from brainram_lib.study.errors import StudyError
from brainram_lib.study.prepare import prepare
from brainram_lib.study.study import Study


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "mine")


def edit(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def betas(folder, change):
    values = np.load(folder / "betas.npy")
    np.save(folder / "betas.npy", change(values))


def in_both_splits(folder):
    lines = (folder / "trials.csv").read_text().split()
    split = ["split", *("test" if line.startswith("s1,") else "train" for line in lines[1:])]
    split[max(k for k, line in enumerate(lines) if line.startswith("s1,"))] = "train"
    (folder / "trials.csv").write_text("\n".join(f"{line},{one}" for line, one in zip(lines, split, strict=True)))
    edit(folder / "data.toml", ("[split]\ntest = 4\nseed = 3\n", ""))


def one_test_stimulus_in_the_table(folder):
    lines = (folder / "trials.csv").read_text().split()
    split = ["split", *("test" if line.startswith("s1,") else "train" for line in lines[1:])]
    (folder / "trials.csv").write_text("\n".join(f"{line},{one}" for line, one in zip(lines, split, strict=True)))
    edit(folder / "data.toml", ("[split]\ntest = 4\nseed = 3\n", ""))


def session_of_test_trials(folder):
    lines = (folder / "trials.csv").read_text().split()
    test = Study(folder).test(1)
    (folder / "trials.csv").write_text(
        "\n".join([lines[0], *(f"{one.split(',')[0]},{9 if one.split(',')[0] in test else 1}" for one in lines[1:])])
    )


def without_captions_of_s4(folder):
    edit(folder / "captions.csv", ("s4.png,caption 0 of s4", "s4.png, "), ("s4.png,caption 1 of s4", "s4.png,"))


def in_one_npz(folder, trials=True, **changed):
    """Betas and what they show in a .npz; with `trials` the table goes."""
    values = np.load(folder / "betas.npy")
    lines = [line.split(",") for line in (folder / "trials.csv").read_text().split()[1:]]
    held = {"betas": values, "stimulus": np.array([name for name, _ in lines])}
    np.savez(folder / "all.npz", **{name: one for name, one in {**held, **changed}.items() if one is not None})
    edit(folder / "data.toml", ("betas.npy", "all.npz"), *([('trials = "trials.csv"\n', "")] if trials else []))


def in_two_npz(folder):
    """As many names as trials in all, one too many in the first file."""
    values = np.load(folder / "betas.npy")
    names = np.array([line.split(",")[0] for line in (folder / "trials.csv").read_text().split()[1:]])
    np.savez(folder / "a.npz", betas=values[:9], stimulus=names[:10])
    np.savez(folder / "b.npz", betas=values[9:], stimulus=names[10:])
    edit(folder / "data.toml", ('"betas.npy"', '["a.npz", "b.npz"]'), ('trials = "trials.csv"\n', ""))


def pictures_in_npz(folder, stimulus):
    np.savez(folder / "p.npz", images=np.zeros((len(NAMES), 8, 8, 3), np.uint8), stimulus=stimulus)
    edit(folder / "data.toml", ('"pictures"', '"p.npz"'))


WRONG = {
    "no data.toml": (lambda f: (f / "data.toml").unlink(), r"there is no '.*data.toml'.*data example FOLDER"),
    "no TOML": (lambda f: (f / "data.toml").write_text("pictures ="), "cannot be read as TOML"),
    "unknown entry": (
        lambda f: edit(f / "data.toml", ("seed", "sede")),
        r"'sede' is no entry of \[split\] of .* It may have seed, test",
    ),
    "no subject": (lambda f: (f / "data.toml").write_text('pictures="a"\ncaptions="b"\n'), "'subjects' in .* a table"),
    "subject twice": (
        lambda f: (f / "data.toml").write_text((f / "data.toml").read_text() + '\n[subjects.01]\nbetas = "b.npy"\n'),
        r"describes subject 1 twice, as \[subjects.1\] and \[subjects.01\]",
    ),
    "subject's name": (lambda f: edit(f / "data.toml", ("subjects.1", "subjects.anna")), "called by numbers.*'anna'"),
    "negative size": (lambda f: edit(f / "data.toml", ("size = 8", "size = -8")), "'size' in .* whole number, 8 or"),
    "counts differ": (lambda f: betas(f, lambda b: b[:-2]), "trials.csv' has 27 trials, and the betas .* have 25 rows"),
    "unknown id": (
        lambda f: edit(f / "trials.csv", ("s1,2", "ghost,2")),
        "trials.csv' names stimuli without a picture in .*pictures': 'ghost'",
    ),
    "trailing comma": (
        lambda f: edit(f / "trials.csv", ("\n", ",\n"), ("session,", "session")),
        "line 2 of '.*trials.csv' has 3 cells, and its header has 2 cells .stimulus, session.. Put a cell that",
    ),
    "comma in a caption": (
        lambda f: edit(f / "captions.csv", ("caption 1 of s0", "a dog, running")),
        "line 3 of '.*captions.csv' has 3 cells.* in double quotes",
    ),
    "comma in every caption": (
        lambda f: edit(f / "captions.csv", ("caption ", "a dog, ")),
        "line 2 of '.*captions.csv' has 3 cells",
    ),
    "row without a caption": (
        lambda f: edit(f / "captions.csv", ("s4.png,caption 1 of s4", "s4.png")),
        "line 11 of '.*captions.csv' has 1 cell, and its header has 2 cells .stimulus, caption",
    ),
    "empty id": (lambda f: edit(f / "trials.csv", ("s1,2", ",2")), "names no stimulus in row"),
    "other column": (lambda f: edit(f / "trials.csv", ("stimulus", "image")), "must have 'stimulus'.*It has 'image'"),
    "session": (lambda f: edit(f / "trials.csv", ("s1,2", "s1,two")), "'session' in .* whole numbers"),
    "both splits": (in_both_splits, "'s1' are test stimuli and training stimuli in .*by stimulus, never by trial"),
    "no split": (lambda f: edit(f / "data.toml", ("test = 4", "")), "no split is given. Add a column 'split'"),
    "one test stimulus drawn": (
        lambda f: edit(f / "data.toml", ("test = 4", "test = 1")),
        "'test' in .*data.toml' must be a whole number, 2 or more. 1 was provided",
    ),
    "one test stimulus in a file": (
        lambda f: ((f / "t.txt").write_text("s1\n"), edit(f / "data.toml", ("test = 4", 'test = "t.txt"'))),
        "of the 9 stimuli of '.*trials.csv', 1 are test stimuli of subject 1. .* let 2 or more test",
    ),
    "one test stimulus in the table": (
        one_test_stimulus_in_the_table,
        "of the 9 stimuli of '.*trials.csv', 1 are test stimuli of subject 1",
    ),
    "no training stimulus": (
        lambda f: (
            (f / "t.txt").write_text("\n".join(NAMES)), edit(f / "data.toml", ("test = 4", 'test = "t.txt"'))
        ),
        "subject 1 has no training stimulus among the 9",
    ),
    "all test": (lambda f: edit(f / "data.toml", ("test = 4", "test = 9")), "asks for 9 test stimuli, and .* saw 9"),
    "list of strangers": (
        lambda f: ((f / "t.txt").write_text("s1\ndog\n"), edit(f / "data.toml", ("test = 4", 'test = "t.txt"'))),
        "t.txt' names test stimuli without a picture: 'dog'",
    ),
    "one caption missing": (
        without_captions_of_s4,
        "captions.csv' has no caption of 's4'",
    ),
    "captions' column": (lambda f: edit(f / "captions.csv", ("caption\n", "text\n")), "it lacks 'caption'"),
    "no captions": (lambda f: (f / "captions.csv").unlink(), "there is no table '.*captions.csv'"),
    "betas are flat": (lambda f: betas(f, np.ravel), r"must hold numbers of shape \(trials, voxels\)"),
    "betas are text": (lambda f: betas(f, lambda b: b.astype(str)), "must hold numbers"),
    "betas are pickled": (
        lambda f: np.save(f / "betas.npy", np.array([{}], object), allow_pickle=True),
        "cannot be read as an array .*Save it with numpy.save",
    ),
    "betas cut short": (
        lambda f: (f / "betas.npy").write_bytes((f / "betas.npy").read_bytes()[:200]),
        "cannot be read as an array",
    ),
    "betas are a .npz by another name": (
        lambda f: (np.savez(f / "b.npz", betas=np.ones((27, 3))), (f / "b.npz").replace(f / "betas.npy")),
        "betas.npy' is a .npz under another name. Save one array with numpy.save",
    ),
    "betas cut short to nothing": (lambda f: (f / "betas.npy").write_bytes(b""), "cannot be read as an array"),
    "one name beside the betas": (
        lambda f: in_one_npz(f, stimulus=np.array("s1")),
        r"'stimulus' in '.*all.npz' must have one value for each of the 27 trials of 'betas'. It has the shape \(\)",
    ),
    "one session beside the betas": (
        lambda f: in_one_npz(f, session=np.array(1)),
        r"'session' in '.*all.npz' must have one value for each of the 27 trials .* \(\). Save it as an array of 27",
    ),
    "names of another file": (in_two_npz, r"'stimulus' in '.*a.npz' must have one .* of the 9 .* the shape \(10,\)"),
    "names as a pandas column": (
        lambda f: in_one_npz(f, stimulus=np.array([*NAMES] * 3, object)),
        r"'stimulus' in '.*all.npz' holds Python objects.* Save text as stimulus.astype\(str\), numbers as",
    ),
    "regions as a pandas column": (
        lambda f: np.savez(f / "rois.npz", V1=np.array([True] * VOXELS, object)),
        r"'V1' in '.*rois.npz' holds Python objects",
    ),
    "one name beside the pictures": (
        lambda f: pictures_in_npz(f, np.array("s1")),
        r"'stimulus' in '.*p.npz' must be a list of names, one for each of 'images'. It has the shape \(\)",
    ),
    "pictures' names as a pandas column": (
        lambda f: pictures_in_npz(f, np.array(NAMES, object)),
        r"'stimulus' in '.*p.npz' holds Python objects.*stimulus.astype\(str\)",
    ),
    "no betas": (lambda f: (f / "betas.npy").unlink(), "there is no '.*betas.npy'"),
    "mask of another subject": (
        lambda f: np.savez(f / "rois.npz", V1=np.ones(VOXELS + 1, bool)),
        r"'V1' in .* must be a mask .* over the 11 voxels .* bool \(12,\)",
    ),
    "two pictures": (
        lambda f: (f / "pictures/s1.jpg").write_bytes(b""),
        "the stimulus 's1' has two pictures, .*s1.jpg' and .*s1.png",
    ),
    "no picture": (lambda f: [one.unlink() for one in (f / "pictures").iterdir()], "holds no picture"),
    "no folder": (lambda f: edit(f / "data.toml", ('"pictures"', '"gone"')), "'pictures' must be a folder, a .npy or"),
    "test session": (session_of_test_trials, "session 9 of subject 1 has 0 training trials"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_its_sentence_before_work_starts(folder, name):
    change, sentence = WRONG[name]
    change(folder)
    profile = changed(MINI, folder=str(folder), subjects=(1,), split__validation=2)
    with pytest.raises(StudyError, match=sentence):
        run_of(profile, 1, 0)


def test_arrays_beside_the_betas_do_not_count_where_a_table_is_named(folder):
    in_one_npz(folder, trials=False, stimulus=np.array("s1"), session=np.arange(4))
    assert list(problems(Study(folder), 1)) == []


def test_every_problem_is_listed(folder, capsys):
    without_captions_of_s4(folder)
    np.savez(folder / "rois.npz", V1=np.ones(3))
    assert len(list(problems(Study(folder), 1))) == 2
    assert main(["data", "check", str(folder)]) == 1
    assert capsys.readouterr().out.count("NOT subject 1: ") == 2


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_picture_that_cannot_be_read_is_named(folder, content):
    (folder / "pictures/s6.png").write_bytes(content)
    said = [sentence for well, sentence in report(Study(folder)) if not well]
    assert len(said) == 1 and "pictures/s6.png' cannot be used: " in said[0]


def test_a_trial_of_nan_is_named(folder, tmp_path):
    def spoil(values):
        values[13] = np.nan
        return values

    betas(folder, spoil)
    for found in (lambda: prepare(Study(folder), 1, tmp_path / "out", "session-z"), lambda: _raise(folder)):
        with pytest.raises(StudyError, match=r"11 not finite in some trial. Trial 13 \(counted from 0\) has 100%"):
            found()


def _raise(folder):
    raise StudyError(next(sentence for well, sentence in report(Study(folder)) if not well))


def test_a_good_folder_is_described(folder):
    said = list(report(Study(folder)))
    assert all(well for well, _ in said)
    text = "\n".join(sentence for _, sentence in said)
    assert "27 trials of 11 voxels in 3 sessions; 5 training stimuli shown 3 times, 4 test stimuli shown 3" in text


def test_data_of_ones_own_and_nsds_are_not_given_together(folder):
    profile = changed(MINI, folder=str(folder), subjects=(1,), split__validation=2)
    with pytest.raises(ValueError, match="has data of its own in .* and nsd_root is .* Give one of them"):
        run_of(profile, 1, 0, folder)
    with pytest.raises(StudyError, match="has 5 training stimuli, and the profile keeps 300 of them"):
        run_of(changed(profile, split__validation=300), 1, 0)
    with pytest.raises(StudyError, match=r"'subject' must be one of \[1\]"):
        run_of(changed(profile, subjects=(1, 2)), 2, 0)


def test_what_nsd_alone_has_is_said_and_not_made_up(folder, tmp_path):
    source = OwnData(folder)
    for asked in (lambda: source.mark("synthetic", 1, MINI.data), lambda: source.synthetic(tmp_path, 1)):
        with pytest.raises(NsdError, match="NSD-synthetic is of NSD's subjects"):
            asked()
    with pytest.raises(StudyError, match="not in NSD's layout.*notebook 01"):
        source.layout(tmp_path, 1)


@pytest.mark.parametrize("voxels", [-3, 0, 5])
def test_an_example_of_too_few_voxels_is_refused_before_anything_is_written(tmp_path, capsys, voxels):
    assert main(["data", "example", str(tmp_path / "x"), "--voxels", str(voxels)]) == 1
    assert f"'voxels' must be 6 or more of each subject. ({voxels},) was provided" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [".gif", ".bmp"])
def test_files_of_other_kinds_are_no_pictures(folder, kind):
    Image.new("RGB", (4, 4)).save(folder / f"pictures/s1{kind}")
    assert Study(folder).pictures.names == set(NAMES)
