"""NSD's files locked, forbidden, missing or damaged: the error fits the cause."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
from pathlib import Path

import h5py
import nibabel as nib
import pytest
from hostile_nsd import GARBAGE, READERS, refused

from brainram_lib.nsd.check import UNREADABLE, check, table
from brainram_lib.nsd.errors import (
    MESSAGE_LENGTH,
    DamagedFileError,
    LockedFileError,
    MissingFileError,
    ShapeError,
    UnreadableFileError,
    is_there,
    shortened,
)

pytestmark = pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")


# A subject without these goes on.
OPTIONAL = {"labels", "ncsnr"}
DAMAGES = ("empty", "page", "noise", "first half", "gzip of noise")
# The first half of a table is a table: rows that are missing are named when they are asked for.
STILL_WHOLE = {(name, "first half") for name in ("behaviour", "stimulus table", "labels")} | {("labels", "empty")}

each_reader = pytest.mark.parametrize("name", READERS)


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
