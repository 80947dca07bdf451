"""Marks change with what files hold and never with where they lie."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from brainram_lib.core import marks
from brainram_lib.core.marks import content_mark, file_mark, fingerprint, plain
from brainram_lib.core.settings import Settings, number

NAMES = ("a/one.bin", "a/two.bin", "three.bin")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    for byte, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([byte]) * 1000)
    return folder


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """An empty memory of its own; every file of 100 bytes and more is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(marks, "REMEMBERED", 100)
    marks._memory.cache_clear()
    read = []
    whole = marks._whole
    monkeypatch.setattr(marks, "_whole", lambda path: read.append(path.name) or whole(path))
    yield read
    marks._memory.cache_clear()


def mark(folder, names=NAMES):
    return content_mark([folder / name for name in names], folder)


def test_a_place_and_its_spelling_are_no_part_of_a_mark(root, tmp_path, monkeypatch):
    expected = mark(root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    spellings = Path("data"), Path("./a/../data"), tmp_path / "link", Path("link"), root / "a" / ".."
    (tmp_path / "a").mkdir()
    assert {mark(folder) for folder in spellings} == {expected}
    shutil.move(root, tmp_path / "moved")
    assert mark(tmp_path / "moved") == expected
    shutil.copytree(tmp_path / "moved", tmp_path / "copied")
    assert mark(tmp_path / "copied") == expected


def test_the_order_and_repetition_of_files_do_not_count(root):
    assert mark(root, NAMES[::-1]) == mark(root, (*NAMES, NAMES[0])) == mark(root)


def test_a_file_outside_a_linked_folder_counts(root, tmp_path):
    """Its name leads through '..', which the file system would resolve from where the link leads."""
    (tmp_path / "deep/below").mkdir(parents=True)
    root.rename(tmp_path / "deep/below/data")
    (tmp_path / "link").symlink_to(tmp_path / "deep/below/data")
    outside = tmp_path / "outside.bin"
    found = []
    for content in (b"one", b"two"):
        outside.write_bytes(content)
        found.append(content_mark([outside, tmp_path / "link" / NAMES[0]], tmp_path / "link"))
    assert found[0] != found[1]


def test_the_mark_of_files_below_a_folder_is_as_it_always_was(root):
    assert mark(root) == fingerprint([[name, file_mark(root / name)] for name in sorted(NAMES)])


def test_a_byte_in_the_middle_counts(root):
    before = mark(root)
    with (root / NAMES[1]).open("r+b") as stream:
        stream.seek(500)
        stream.write(b"x")
    assert mark(root) != before


def test_a_missing_file_a_new_file_and_another_name_count(root):
    found = [mark(root)]
    (root / NAMES[2]).rename(root / "four.bin")
    found += [mark(root), mark(root, (*NAMES, "four.bin")), mark(root, ("a/one.bin", "a/two.bin", "four.bin"))]
    assert len(set(found)) == 4


def test_a_file_that_is_fetched_later_counts(root):
    asked = (*NAMES, "later.bin")
    before = mark(root, asked)
    (root / "later.bin").write_bytes(b"")
    assert mark(root, asked) != before and file_mark(root / "never.bin") is None


def test_a_large_file_is_read_once_also_by_later_processes(root, memory):
    first = mark(root)
    assert len(memory) == 3
    assert mark(root) == first and len(memory) == 3
    marks._memory.cache_clear()
    assert mark(root) == first and len(memory) == 3


def test_a_large_file_that_changed_is_read_again(root, memory):
    before, path = mark(root), root / NAMES[0]
    state = path.stat()
    path.write_bytes(b"y" * 1000)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert mark(root) != before and memory[3:] == ["one.bin"], "of the same size and with its old time put back"


def test_a_memory_that_cannot_be_read_or_written_only_costs_time(root, memory, tmp_path):
    before = mark(root)
    marks._memory_file().write_text("[1, 2")
    marks._memory.cache_clear()
    assert mark(root) == before and len(memory) == 6
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file in its place")
    marks._memory.cache_clear()
    assert mark(root) == before and len(memory) == 9


def test_a_huge_file_is_marked_by_blocks_spread_over_it(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(marks, "SAMPLED", 1000)
    monkeypatch.setattr(marks, "BLOCK", 16)
    path = tmp_path / "huge.bin"
    path.write_bytes(bytes(100_000))
    before = file_mark(path)
    assert memory == [] and file_mark(path) == before
    path.write_bytes(bytes(100_001))
    assert file_mark(path) != before


def test_a_fingerprint_changes_with_every_setting_and_not_with_their_kind():
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": np.int64(1)})
    assert len({fingerprint(one) for one in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": None}, {})}) == 5


@dataclass(frozen=True)
class Before(Settings):
    rate: float = number(1.0)


@dataclass(frozen=True)
class Later(Before):
    size: float = number(1.0, above=0, neutral=1.0)


def test_a_setting_that_is_added_later_renames_nothing_at_its_neutral_value():
    assert fingerprint(Later()) == fingerprint(Later(size=1)) == fingerprint(Before())
    assert fingerprint({"stage": [Later()]}) == fingerprint({"stage": [Before()]}), "also deep inside"
    assert len({fingerprint(one) for one in (Later(), Later(size=0.5), Later(2.0), replace(Later(2.0), size=0.5))}) == 4
    assert plain(Later()) == {"rate": 1.0, "size": 1.0}, "a record says it all the same"
