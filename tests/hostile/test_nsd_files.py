"""NSD's files locked, forbidden, missing, damaged, or saved anew by another program: the error fits the cause."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from brainram_lib.nsd import rois
from brainram_lib.nsd.behaviour import check_against_design, read_responses
from brainram_lib.nsd.betas import read_hdf5, read_mgh, read_nifti
from brainram_lib.nsd.captions import count_captioned, read_stim_info
from brainram_lib.nsd.check import DAMAGED, UNREADABLE, check, table
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.errors import (
    MESSAGE_LENGTH,
    DamagedFileError,
    LayoutError,
    LockedFileError,
    MissingFileError,
    NcsnrError,
    NsdError,
    RoiError,
    ShapeError,
    UnreadableFileError,
    is_there,
    shortened,
)
from brainram_lib.nsd.layout import LAYERS, NsdLayout, _folder
from brainram_lib.nsd.noise import noise_ceiling
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.repetitions import mean_beta
from brainram_lib.nsd.stimuli import count_stimuli, read_stimuli
from brainram_lib.nsd.surfaces import layer_coordinates, native_to_fsaverage, to_fsaverage5
from brainram_lib.nsd.webdataset import read_webdataset
from brainram_lib.view.cortex import on_cortex
from brainram_lib.view.subject import by_area, ceiling, histogram, roi_table
from tests.nsd_files import AFFINE, SHAPE, write_captions, write_hdf5, write_stimuli, write_tree, write_volume

MASK = np.ones(SHAPE, bool)
GARBAGE = np.random.default_rng(0).bytes(4000)
VERTICES = 9
pytestmark = pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A tree with every kind of file, and a prepared subject beside it."""
    root = tmp_path_factory.mktemp("whole")
    layout = write_tree(root / "nsd").layout
    write_captions(layout)
    write_stimuli(layout)
    write_volume(layout.mean_beta(1, 1), np.ones(SHAPE, np.float32))
    write_volume(layout.mean_beta(1, 2), np.ones(SHAPE, np.float32))
    for hemi in ("lh", "rh"):
        for layer in LAYERS:
            write_surface(layout.volume_to_layer(1, hemi, layer), np.full((VERTICES, 1, 3), 2, np.float32))
        write_surface(layout.white_to_fsaverage(1, hemi), np.arange(1, VERTICES + 1, dtype=np.float32)[:, None, None])
        name = layout.betas_session(1, 1, space="fsaverage", ext="mgh", hemi=hemi)
        write_surface(name, np.ones((VERTICES, 1, 1, 12), np.float32))
    layout.ctab(1, "streams").parent.mkdir(parents=True, exist_ok=True)
    layout.ctab(1, "streams").write_text("0 Unknown\n1 early\n")
    prepare_subject(layout, 1, root / "prepared", sessions=2)
    return root


@pytest.fixture
def root(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def layout(root) -> NsdLayout:
    return NsdLayout(root / "nsd")


def write_surface(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(values, np.eye(4)), path)


def prepared(layout: NsdLayout) -> PreparedSubject:
    return PreparedSubject.load(layout.root.parent / "prepared")


def surface_betas(layout: NsdLayout) -> tuple[Path, ...]:
    return tuple(layout.betas_session(1, 1, space="fsaverage", ext="mgh", hemi=hemi) for hemi in ("lh", "rh"))


# Every place where a file is opened: the file, and what reads it.
READERS: dict[str, tuple[Callable[[NsdLayout], Path], Callable[[NsdLayout], object]]] = {
    "design": (lambda on: on.expdesign, Design.read),
    "stimulus table": (lambda on: on.stim_info, read_stim_info),
    "captions": (lambda on: on.captions("val2017"), lambda on: count_captioned(on, "val2017")),
    "behaviour": (lambda on: on.responses(1), lambda on: read_responses(on, 1)),
    "betas, HDF5": (lambda on: on.betas_session(1, 1), lambda on: read_hdf5(on.betas_session(1, 1), MASK)),
    "betas, NIfTI": (
        lambda on: on.betas_session(1, 1, ext="nii.gz"),
        lambda on: read_nifti(on.betas_session(1, 1, ext="nii.gz"), MASK),
    ),
    "betas, surface": (
        lambda on: surface_betas(on)[1],
        lambda on: read_mgh(surface_betas(on), np.ones(2 * VERTICES, bool)),
    ),
    "stimuli": (lambda on: on.stimuli, lambda on: read_stimuli(on, [1, 150])),
    "number of stimuli": (lambda on: on.stimuli, count_stimuli),
    "mask": (lambda on: on.roi(1, "nsdgeneral"), lambda on: rois.read_mask(on, 1, "nsdgeneral")),
    "labels": (lambda on: on.ctab(1, "streams"), lambda on: rois.label_names(on, 1, "streams")),
    "ncsnr": (lambda on: on.ncsnr(1), lambda on: prepare_subject(on, 1, on.root / "out", sessions=1)),
    "mean betas": (lambda on: on.mean_beta(1, 2), lambda on: mean_beta(on, prepared(on))),
    "depth": (lambda on: on.volume_to_layer(1, "lh", "layerB1"), lambda on: layer_coordinates(on, 1, "lh", "layerB1")),
    "fsaverage": (lambda on: on.white_to_fsaverage(1, "lh"), lambda on: native_to_fsaverage(on, 1, "lh")),
    "record": (lambda on: on.root.parent / "prepared/prepared.json", prepared),
    "array": (lambda on: on.root.parent / "prepared/betas_test.npy", prepared),
}
# A subject without these goes on.
OPTIONAL = {"labels", "ncsnr"}
DAMAGES = ("empty", "page", "noise", "first half", "gzip of noise")
# The first half of a table is a table: rows that are missing are named when they are asked for.
STILL_WHOLE = {(name, "first half") for name in ("behaviour", "stimulus table", "labels")} | {("labels", "empty")}

each_reader = pytest.mark.parametrize("name", READERS)


def refused(layout: NsdLayout, name: str) -> NsdError:
    with pytest.raises(NsdError) as caught:
        READERS[name][1](layout)
    message = str(caught.value)
    assert READERS[name][0](layout).name in message and len(message) <= MESSAGE_LENGTH
    return caught.value


@each_reader
def test_whole_files_are_read(layout, name):
    READERS[name][1](layout)


@each_reader
def test_a_missing_file_is_called_missing(layout, name):
    READERS[name][0](layout).unlink()
    if name in OPTIONAL:
        READERS[name][1](layout)
    else:
        assert isinstance(refused(layout, name), MissingFileError)


@each_reader
def test_a_forbidden_file_is_not_called_damaged(layout, name, monkeypatch):
    path, original = READERS[name][0](layout), Path.open

    def guarded(self: Path, *arguments: object, **settings: object) -> object:
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return original(self, *arguments, **settings)

    monkeypatch.setattr(Path, "open", guarded)
    problem = refused(layout, name)
    assert isinstance(problem, UnreadableFileError) and "may not be read" in str(problem)
    assert "again" not in str(problem)


@each_reader
def test_a_folder_in_a_files_place_is_called_one(layout, name):
    path = READERS[name][0](layout)
    path.unlink()
    path.mkdir()
    assert "is a folder" in str(refused(layout, name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n in READERS for k in DAMAGES if (n, k) not in STILL_WHOLE],
)
def test_a_damaged_file_is_to_be_fetched_again(layout, name, kind):
    path = READERS[name][0](layout)
    bytes_of = {
        "empty": b"",
        "page": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>" * 9,
        "noise": b"\xfe" + GARBAGE,
        "first half": path.read_bytes()[: path.stat().st_size // 2],
        "gzip of noise": gzip.compress(GARBAGE),
    }
    path.write_bytes(bytes_of[kind])
    problem = refused(layout, name)
    assert isinstance(problem, (DamagedFileError, ShapeError)) and "gain" in str(problem)


@pytest.mark.parametrize("name", ["betas, HDF5", "stimuli", "number of stimuli"])
def test_a_locked_file_is_waited_for_and_not_fetched(layout, name):
    with READERS[name][0](layout).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        problem = refused(layout, name)
    assert isinstance(problem, LockedFileError)
    assert "another program or notebook has it open" in str(problem) and "etch" not in str(problem)
    READERS[name][1](layout)


def test_the_check_names_a_locked_file_and_does_not_ask_to_fetch_it(layout):
    with layout.betas_session(1, 2).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        findings = check(layout, 1, sessions=2)
    finding = next(one for one in findings if one.thing == "betas, session 02")
    assert finding.status == UNREADABLE and finding.stops and finding.fetch == ()
    assert "is locked" in table(findings)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("unable to lock file, errno = 37, error message = 'No locks available'", LockedFileError, "HDF5_USE_FILE"),
        ("file is already open for write (may use <h5clear file> to clear file consistency flags)", LockedFileError,
         "h5clear"),
        ("file read failed: errno = 5, error message = 'Input/output error'", UnreadableFileError, "Check the disk"),
        ("file read failed: errno = 116, error message = 'Stale file handle'", UnreadableFileError, "may be whole"),
        ("unable to open file: errno = 24, error message = 'Too many open files'", UnreadableFileError, "Close other"),
        ("truncated file: eof = 96, sblock->base_addr = 0, stored_eof = 2048", DamagedFileError, "Fetch it again"),
    ],
)  # fmt: skip
def test_hdf5s_own_words_are_told_apart(layout, monkeypatch, said, kind, words):
    def failing(*_: object, **__: object) -> None:
        raise OSError(f"Unable to synchronously open file ({said})")

    monkeypatch.setattr(h5py, "File", failing)
    problem = refused(layout, "betas, HDF5")
    assert type(problem) is kind and words in str(problem)


def test_short_memory_is_not_the_files_fault(layout, monkeypatch):
    def failing(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 40 GiB")

    monkeypatch.setattr(nib, "load", failing)
    assert "memory was short" in str(refused(layout, "mask"))


def test_a_name_that_may_not_be_looked_at_counts_as_there(tmp_path, monkeypatch):
    def forbidden(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    assert not is_there(tmp_path / "gone") and not is_there(tmp_path / "nul\0")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert not is_there(tmp_path / "circle")
    monkeypatch.setattr(Path, "stat", forbidden)
    assert is_there(tmp_path / "hidden")


def test_messages_are_cut_in_the_middle():
    assert shortened("short") == "short"
    cut = shortened("begin" + "x" * 9000 + "end", 100)
    assert len(cut) <= 100 and cut.startswith("begin") and cut.endswith("end") and " ... " in cut
    assert len(str(DamagedFileError("x" * 10_000))) <= MESSAGE_LENGTH
    assert shortened("half \ud83d").isprintable()


# --- files that another program saved ---


def changed_volume(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> None:
    values = np.asarray(nib.load(path).dataobj)
    nib.save(nib.Nifti1Image(change(values), affine), path)


def scaled(path: Path, factor: float) -> None:
    """The same values, stored as bytes with a slope."""
    image = nib.load(path)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * factor, AFFINE, header), path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.int8])
def test_labels_saved_in_another_type_are_the_same(layout, dtype):
    before = rois.read_mask(layout, 1, "nsdgeneral & V1")
    for name in ("nsdgeneral", "prf-visualrois"):
        changed_volume(layout.roi(1, name), lambda values: values.astype(dtype))
    np.testing.assert_array_equal(rois.read_mask(layout, 1, "nsdgeneral & V1"), before)


def test_labels_with_an_axis_of_one_more_are_the_same(layout):
    before = rois.read_mask(layout, 1, "nsdgeneral")
    changed_volume(layout.roi(1, "nsdgeneral"), lambda values: values[..., None])
    np.testing.assert_array_equal(rois.read_mask(layout, 1, "nsdgeneral"), before)


@pytest.mark.parametrize(
    ("change", "affine", "error", "words"),
    [
        (lambda v: np.where(v < 0, np.nan, v).astype(np.float32), AFFINE, RoiError, "NaN"),
        (lambda v: v.astype(np.uint8), AFFINE, RoiError, "holds 255: a -1 was saved without a sign"),
        (lambda v: v.astype(np.uint16), AFFINE, RoiError, "holds 65535: a -1 was saved without a sign"),
        (lambda v: v.astype(np.uint16).astype(np.float32), AFFINE, RoiError, "holds 65535"),
        (lambda v: v + 0.25, AFFINE, RoiError, "whole numbers"),
        (lambda v: v * 1e12, AFFINE, RoiError, "whole numbers"),
        (lambda v: v[::-1], AFFINE @ np.diag([-1.0, 1, 1, 1]), ShapeError, "in the order LAS"),
        (lambda v: v.transpose(2, 1, 0), AFFINE[[2, 1, 0, 3]], ShapeError, "in the order SAR"),
    ],
    ids=["NaN outside", "uint8", "uint16", "uint16 as float", "fractions", "huge", "flipped", "transposed"],
)
def test_labels_that_lost_their_meaning_are_refused(layout, change, affine, error, words):
    changed_volume(layout.roi(1, "nsdgeneral"), change, affine)
    with pytest.raises(error, match=words):
        rois.read_mask(layout, 1, "nsdgeneral")


def test_labels_with_a_scaling_that_rounds_are_refused(layout):
    scaled(layout.roi(1, "prf-visualrois"), 1 / 3)
    with pytest.raises(RoiError, match="uint8 with a scaling"):
        rois.read_mask(layout, 1, "V1")


def test_a_header_that_states_no_orientation_passes(layout):
    path = layout.roi(1, "nsdgeneral")
    image = nib.load(path)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    path.write_bytes(gzip.compress(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_bytes()))
    assert rois.read_mask(layout, 1, "nsdgeneral").any()


def resave_nifti(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE, end: str = "<"):
    values = change(np.asarray(nib.load(path).dataobj))
    image = nib.Nifti1Image(values, affine, nib.Nifti1Header(endianness=end))
    image.header.set_data_dtype(values.dtype if values.dtype != np.float64 else np.int16)
    nib.save(image, path)


def test_betas_of_the_other_byte_order_or_of_several_members_are_the_same(layout):
    path = layout.betas_session(1, 1, ext="nii.gz")
    before = read_nifti(path, MASK)
    resave_nifti(path, lambda v: v, end=">")
    np.testing.assert_array_equal(read_nifti(path, MASK), before)
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:2000]) + gzip.compress(raw[2000:]))
    np.testing.assert_array_equal(read_nifti(path, MASK), before)


@pytest.mark.parametrize(
    ("change", "affine", "words"),
    [
        (lambda v: v / 300.0, AFFINE, "unscaled int16"),
        (lambda v: (v / 300).astype(np.float32), AFFINE, "unscaled int16"),
        (lambda v: v.astype(np.int32), AFFINE, "unscaled int16"),
        (lambda v: v[..., 0], AFFINE, "unscaled int16"),
        (lambda v: v[:, ::-1], AFFINE @ np.diag([1.0, -1, 1, 1]), "in the order RPS"),
    ],
    ids=["scaled", "percent", "int32", "one volume", "flipped"],
)
def test_betas_saved_anew_are_refused(layout, change, affine, words):
    path = layout.betas_session(1, 1, ext="nii.gz")
    resave_nifti(path, change, affine)
    with pytest.raises(NsdError, match=words):
        read_nifti(path, MASK)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"betas": np.ones((12, 6, 7, 5), np.float32)}, r"holds betas \(float32"),
        ({"other": np.ones((12, 6, 7, 5), np.int16)}, r"holds other \(int16"),
        ({"betas": np.ones((12, 42, 5), np.int16)}, "of 4 axes"),
        ({"betas/inner": np.ones(3)}, "holds betas"),
        ({}, "holds nothing"),
    ],
    ids=["float", "another name", "3 axes", "group", "nothing"],
)
def test_betas_in_hdf5_of_another_kind_are_refused(layout, content, words):
    path = layout.betas_session(1, 1)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(DamagedFileError, match=words):
        read_hdf5(path, MASK)
    assert next(one for one in check(layout, 1, sessions=1) if one.thing.startswith("betas, ses")).status == DAMAGED


def test_surface_betas_in_whole_numbers_are_refused(layout):
    write_surface(surface_betas(layout)[0], np.ones((VERTICES, 1, 1, 12), np.int16))
    with pytest.raises(DamagedFileError, match="float32 percent signal change"):
        read_mgh(surface_betas(layout), np.ones(2 * VERTICES, bool))


def test_hemispheres_of_two_sessions_are_refused(layout):
    write_surface(surface_betas(layout)[0], np.ones((VERTICES, 1, 1, 11), np.float32))
    with pytest.raises(ShapeError, match="of different sessions"):
        read_mgh(surface_betas(layout), np.ones(2 * VERTICES, bool))


# --- ncsnr ---


def with_ncsnr(layout: NsdLayout, change: Callable[[np.ndarray], np.ndarray] | None) -> PreparedSubject:
    if change is None:
        layout.ncsnr(1).unlink()
    else:
        changed_volume(layout.ncsnr(1), change)
    return prepare_subject(layout, 1, layout.root / "out", sessions=2)


FAULTY = {
    "all NaN": (lambda v: np.full_like(v, np.nan), NcsnrError, "no finite value"),
    "infinite": (lambda v: np.full_like(v, np.inf), NcsnrError, "no finite value"),
    "negative": (lambda v: v - 2, NcsnrError, "negative values, down to -"),
    "zero": (np.zeros_like, NcsnrError, "nothing but zero"),
    "another subject's": (lambda v: v[1:], ShapeError, "of different subjects"),
    "one value": (lambda v: v[:1, :1, :1], ShapeError, "of different subjects"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_ncsnr_is_named_when_prepared_and_by_the_check(layout, name):
    change, error, words = FAULTY[name]
    with pytest.raises(error, match=words):
        with_ncsnr(layout, change)
    finding = next(one for one in check(layout, 1, sessions=2) if one.thing == "ncsnr")
    assert finding.status == DAMAGED and words.split(",")[0] in finding.note and finding.fetch


@pytest.mark.filterwarnings("default:ncsnr:UserWarning")
def test_an_absent_ncsnr_is_a_warning_and_every_view_says_what_it_can(layout):
    with pytest.warns(UserWarning, match="ncsnr.nii.gz', is not there. Fetch it and prepare the subject again"):
        data = with_ncsnr(layout, None)
    assert roi_table(data)["median ncsnr"].isna().all() and np.isnan(ceiling(data)).all()
    legend = histogram(by_area(data, data.ncsnr), "ncsnr", "title").axes[0]
    assert "no finite value" in " ".join(text.get_text() for text in legend.texts)
    with pytest.raises(NsdError, match="was prepared without NSD's ncsnr"):
        on_cortex(layout, data, data.ncsnr)


def test_single_voxels_without_ncsnr_do_not_disturb_the_others(layout):
    def some(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values.ravel()[::3], values.ravel()[1::7] = np.inf, np.nan
        return values

    data = with_ncsnr(layout, some)
    found = ceiling(data)
    assert np.array_equal(np.isnan(found), np.isnan(data.ncsnr)) and np.nanmax(found) == 100
    histogram(by_area(data, found), "ceiling", "title")


@pytest.mark.parametrize("values", [{}, {"a": np.array([])}, {"a": np.array([np.nan]), "b": np.arange(5.0)}])
def test_histograms_take_areas_without_values(values):
    labels = histogram(values, "x", "title").axes[0].get_legend_handles_labels()[1]
    assert len(labels) == len(values)


def test_noise_ceilings_have_their_limits():
    found = noise_ceiling(np.array([0.0, np.inf, np.nan, 1.0]), 2)
    np.testing.assert_allclose(found, [0, 1, np.nan, 2 / 3])
    with pytest.raises(NsdError, match="must not be negative"):
        noise_ceiling(np.array([0.5, -0.5]), 3)
    with pytest.raises(NsdError, match="at least 1"):
        noise_ceiling(np.array([0.5]), np.array([], int))


# --- contents that contradict the layout ---


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
def test_a_record_that_is_none_is_refused(root, text):
    (root / "prepared/prepared.json").write_text(text)
    with pytest.raises(DamagedFileError, match="lacks .*Prepare the subject again"):
        PreparedSubject.load(root / "prepared")


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
