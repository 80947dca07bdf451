"""NSD's files whose contents contradict the layout or each other."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile_nsd import GARBAGE, READERS, VERTICES, prepared, write_surface
from nsd_files import SHAPE, write_hdf5, write_volume
from scipy.io import loadmat, savemat

from brainram_lib.nsd import rois
from brainram_lib.nsd.behaviour import check_against_design
from brainram_lib.nsd.check import DAMAGED, check
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.errors import (
    MESSAGE_LENGTH,
    DamagedFileError,
    LayoutError,
    MissingFileError,
    NsdError,
    ShapeError,
)
from brainram_lib.nsd.layout import NsdLayout, _folder
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.repetitions import mean_beta
from brainram_lib.nsd.surfaces import native_to_fsaverage, to_fsaverage5
from brainram_lib.nsd.webdataset import read_webdataset

pytestmark = pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")


@pytest.mark.parametrize("field", ["masterordering", "subjectim", "sharedix", "stimpattern"])
@pytest.mark.parametrize("value", [np.array(["text"]), np.array([[np.nan, 1.5]]), np.empty((0, 0))])
def test_design_fields_of_another_kind_are_refused(layout, field, value):
    fields = {name: array for name, array in loadmat(layout.expdesign).items() if name[0] != "_"}
    savemat(layout.expdesign, fields | {field: value})
    with pytest.raises(DamagedFileError, match=f"whole numbers of . axes in '{field}'"):
        Design.read(layout)


def test_a_design_of_matlab_7_3_says_which_version_is_needed(layout):
    layout.expdesign.unlink()
    with h5py.File(layout.expdesign, "w") as file:
        file["masterordering"] = np.arange(3)
    with pytest.raises(DamagedFileError, match="is an HDF5 file.*version 5"):
        Design.read(layout)


def test_a_behaviour_table_of_words_is_refused(layout):
    layout.responses(1).write_text("SESSION\t73KID\n1\tcat\n")
    with pytest.raises(DamagedFileError, match="must hold numbers in column 73KID"):
        check_against_design(layout, 1, Design.read(layout).trials(1, 1))


@pytest.mark.parametrize("line", ["one early", "1", "1.5 early", "\u00b2 early"])
def test_a_label_table_that_is_none_is_refused(layout, line):
    layout.ctab(1, "streams").write_text(f"0 Unknown\n{line}\n", encoding="utf-8")
    with pytest.raises(DamagedFileError, match="lines `int name`"):
        rois.label_names(layout, 1, "streams")


@pytest.mark.parametrize("text", ["[1]", "{}", '{"subject": 1}', "null"])
def test_a_record_that_is_none_is_refused(layout, text):
    (layout.root.parent / "prepared/prepared.json").write_text(text)
    with pytest.raises(DamagedFileError, match="lacks .*Prepare the subject again"):
        prepared(layout)


def test_mean_betas_of_another_subject_are_refused(layout):
    write_volume(layout.mean_beta(1, 2), np.ones((5, 8, 6), np.float32))
    with pytest.raises(ShapeError, match="of different subjects"):
        mean_beta(layout, prepared(layout))


@pytest.mark.parametrize("numbers", [[0, 1, 2], [1.5, 2, 3], [np.nan, 1, 2]])
def test_vertices_that_are_no_numbers_from_one_are_refused(layout, numbers):
    write_surface(layout.white_to_fsaverage(1, "lh"), np.array(numbers, np.float32)[:, None, None])
    with pytest.raises(ShapeError, match="counted from 1"):
        native_to_fsaverage(layout, 1, "lh")


def test_transforms_of_two_subjects_are_refused(layout):
    write_surface(layout.white_to_fsaverage(1, "lh"), np.full((4, 1, 1), VERTICES + 1, np.float32))
    with pytest.raises(ShapeError, match=f"names vertex {VERTICES + 1}, the depths have {VERTICES}"):
        to_fsaverage5(layout, 1, np.ones(SHAPE))
    write_surface(layout.volume_to_layer(1, "lh", "layerB2"), np.full((VERTICES + 2, 1, 3), 2, np.float32))
    with pytest.raises(ShapeError, match="the depths of lh"):
        to_fsaverage5(layout, 1, np.ones(SHAPE))


def tar_of(folder: Path, **parts: bytes) -> Path:
    import io
    import tarfile

    path = folder / "train" / "train_subj01_0.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for name, data in parts.items():
            member = tarfile.TarInfo(f"s0.{name.replace('_', '.')}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder


@pytest.mark.parametrize("bad", ["coco73k_npy", "nsdgeneral_npy"])
@pytest.mark.parametrize("data", [b"", b"no array", GARBAGE])
def test_a_tar_with_a_part_that_is_no_array_is_refused(tmp_path, bad, data):
    import io

    stream = io.BytesIO()
    np.save(stream, np.ones((3, 4)))
    parts = {"nsdgeneral_npy": stream.getvalue(), "coco73k_npy": stream.getvalue(), "jpg": b"x"} | {bad: data}
    with pytest.raises(DamagedFileError, match="train_subj01_0.tar' holds "):
        read_webdataset(tar_of(tmp_path, **parts), 1, "train")


def test_all_missing_sessions_fit_into_one_message(layout):
    for session in (1, 2, 3, 4):
        layout.betas_session(1, session).unlink()
        layout.betas_session(1, session, ext="nii.gz").unlink()
    with pytest.raises(
        MissingFileError, match="In all, 4 are missing, up to betas_session04.hdf5: 1, 2, 3, 4"
    ) as caught:
        prepare_subject(layout, 1, layout.root / "out", sessions=4)
    assert len(str(caught.value)) <= MESSAGE_LENGTH


def test_betas_that_hold_another_number_of_trials_are_refused(layout):
    write_hdf5(layout.betas_session(1, 1), np.ones((7, *SHAPE), np.int16))
    with pytest.raises(NsdError, match="has 7 trials, the design 12 in session 1"):
        prepare_subject(layout, 1, layout.root / "out", sessions=1)


@pytest.mark.parametrize("sessions", [0, -3])
def test_the_check_refuses_no_sessions(layout, sessions):
    with pytest.raises(NsdError, match="sessions must be at least 1"):
        check(layout, 1, sessions)


def test_a_root_is_taken_as_it_is_typed(monkeypatch):
    monkeypatch.setenv("HOME", os.path.join(os.sep, "somewhere"))
    assert NsdLayout(Path("~/nsd")).root == Path(os.sep, "somewhere", "nsd")
    assert _folder(2024) == Path("2024") and _folder("~") == Path(os.sep, "somewhere")
    for nothing in (None, True, "", " ", "~nobody-of-this-name/x"):
        with pytest.raises(LayoutError):
            _folder(nothing)


@pytest.mark.parametrize("name", ["behaviour", "mask", "design"])
def test_the_check_blames_the_file_that_is_damaged_and_no_other(layout, name):
    path = READERS[name][0](layout)
    path.write_bytes(GARBAGE)
    findings = check(layout, 1, sessions=2)
    assert {name for one in findings if one.status == DAMAGED for name in one.fetch} == {
        str(path.relative_to(layout.root))
    }
    assert all(one.notebooks for one in findings if one.status == DAMAGED)


def test_the_last_sessions_fault_is_named_before_any_session_is_read(layout, monkeypatch):
    layout.betas_session(1, 4).write_bytes(GARBAGE)
    monkeypatch.setattr("brainram_lib.nsd.betas.read_files", lambda *_: pytest.fail("a session was read"))
    with pytest.raises(DamagedFileError, match="betas_session04.hdf5"):
        prepare_subject(layout, 1, layout.root / "out", sessions=4)
