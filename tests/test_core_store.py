"""Saved results: a key says what a result was made from; it is made once, whole or not at all."""

from __future__ import annotations

import errno
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from brainram_lib.core.files import StoreError, write_array, write_json
from brainram_lib.core.settings import Settings, number
from brainram_lib.core.store import RECORD, Stage, Store, library


@dataclass(frozen=True)
class Sizes(Settings):
    width: int = number(3, low=1)
    batch: int = number(7, low=1, keyed=False)


@dataclass(frozen=True)
class Weights:
    """Has a key of its own, which does not say where it lies."""

    place: Path
    key: str


@dataclass(frozen=True)
class Source(Stage):
    value: float = 1.0

    def make(self, folder: Path, store: Store) -> None:
        write_array(folder / "x.npy", np.full(5, self.value))
        write_json(folder / "x.json", {"value": self.value})


@dataclass(frozen=True)
class Doubled(Stage):
    source: Source
    sizes: Sizes = Sizes()
    weights: Weights | None = None
    label: str = field(default="doubled", metadata={"keyed": False})

    def make(self, folder: Path, store: Store) -> None:
        write_array(folder / "x.npy", 2 * store.result(self.source).array("x"))


@dataclass(frozen=True)
class Halved(Doubled):
    """Inherits all fields."""

    @property
    def name(self) -> str:
        return "doubled"


@dataclass(frozen=True)
class Fails(Stage):
    """Leaves something in its folder and raises `problem` until there is none."""

    name_: str = "fails"
    problem: list = field(default_factory=list, metadata={"keyed": False}, compare=False)

    def make(self, folder: Path, store: Store) -> None:
        before = [path.name for path in folder.iterdir()]
        (folder / "checkpoint").write_text("half")
        if self.problem:
            raise self.problem.pop()
        write_json(folder / "before.json", before)


FIRST = Doubled(Source(), weights=Weights(Path("/here"), "abc"))


def test_a_key_is_twelve_digits_and_the_same_for_equal_stages():
    assert re.fullmatch("[0-9a-f]{12}", FIRST.key)
    assert replace(FIRST).key == FIRST.key and Doubled(Source(1.0)).key == Doubled(Source(value=1.0)).key


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, source=Source(2.0)),
        replace(FIRST, sizes=Sizes(width=4)),
        replace(FIRST, weights=Weights(Path("/here"), "abd")),
        replace(FIRST, weights=None),
        Halved(Source(), weights=Weights(Path("/here"), "abc")),
    ],
    ids=["input", "setting", "weights", "no weights", "class of the same name"],
)
def test_a_key_changes_with_all_that_makes_the_result(other):
    assert other.key != FIRST.key


@pytest.mark.parametrize(
    "same",
    [
        replace(FIRST, label="another label"),
        replace(FIRST, sizes=Sizes(batch=8)),
        replace(FIRST, weights=Weights(Path("/there"), "abc")),
    ],
    ids=["label", "batch within settings", "place of the weights"],
)
def test_a_key_does_not_change_with_what_cannot_change_the_result(same):
    assert same.key == FIRST.key


def test_a_key_changes_with_the_version_and_so_do_those_of_all_that_follows(monkeypatch):
    keys = Source().key, Doubled(Source()).key
    monkeypatch.setattr(Source, "VERSION", 2)
    assert Source().key != keys[0] and Doubled(Source()).key != keys[1]


def test_a_key_does_not_depend_on_where_results_lie(tmp_path):
    stores = Store(tmp_path / "one"), Store(tmp_path / "two")
    folders = [store.result(FIRST).folder.relative_to(store.root) for store in stores]
    assert folders[0] == folders[1] == Path("shared/doubled") / FIRST.key


def test_a_result_is_made_once_with_what_it_needs(tmp_path):
    store = Store(tmp_path)
    assert store.find(FIRST) is None
    assert store.result(FIRST).array("x").tolist() == [2.0] * 5
    assert store.made == ["source", "doubled"]
    again = Store(tmp_path)
    assert again.result(FIRST).array("x").tolist() == [2.0] * 5
    assert again.made == [] and store.result(FIRST) is store.result(FIRST)


def test_other_settings_are_another_result_and_the_first_stays(tmp_path):
    store = Store(tmp_path)
    results = [store.result(Source(value)) for value in (1.0, 2.0)]
    assert [result.array("x")[0] for result in results] == [1.0, 2.0]
    assert store.made == ["source", "source"]


def test_results_that_were_moved_are_found(tmp_path):
    Store(tmp_path / "runs").result(FIRST)
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    store = Store(tmp_path / "moved")
    store.result(FIRST)
    assert store.made == []


def test_an_interrupted_make_goes_on_in_its_partial_folder(tmp_path):
    store, stage = Store(tmp_path), Fails(problem=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        store.result(stage)
    assert store.find(stage) is None and list(store.records()) == []
    assert store.result(stage).json("before") == ["checkpoint"]
    assert [path.name for path in store.folder(stage).parent.iterdir()] == [stage.key], "no partial folder, no lock"


def test_half_written_files_of_a_killed_process_do_not_stay(tmp_path):
    store, stage = Store(tmp_path), Fails(problem=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        store.result(stage)
    partial = store.folder(stage).with_name(f".{stage.key}.partial")
    (partial / "part").mkdir()
    for name in (".before.12-ab.partial.json", "part/.x.12-ab.partial.npy"):
        (partial / name).write_text("half")
    store.result(stage)
    assert not list(store.folder(stage).rglob(".*.partial*")) and "checkpoint" in store.result(stage).json("before")


def test_a_full_disk_is_a_sentence_and_earlier_results_stay(tmp_path):
    store = Store(tmp_path)
    kept = store.result(Source())
    with pytest.raises(StoreError, match="no room on the disk for the results of 'fails'"):
        store.result(Fails(problem=[OSError(errno.ENOSPC, "No space left on device")]))
    assert Store(tmp_path).result(Source()).folder == kept.folder


def test_a_folder_without_a_record_is_made_again(tmp_path):
    store = Store(tmp_path)
    left = store.folder(Source())
    left.mkdir(parents=True)
    (left / "rest").touch()
    assert store.result(Source()).array("x").shape == (5,) and not (left / "rest").exists()


def test_a_folder_that_was_deleted_as_the_message_says_is_made_again_by_the_same_store(tmp_path):
    store = Store(tmp_path)
    (store.result(Source()).folder / "x.npy").write_text("damaged")
    with pytest.raises(StoreError, match=f"Delete the folder '{re.escape(str(store.folder(Source())))}' and run"):
        store.result(Source()).array("x")
    shutil.rmtree(store.folder(Source()))
    assert store.result(Source()).array("x").shape == (5,)


def test_a_damaged_record_is_named(tmp_path):
    folder = Store(tmp_path).result(Source()).folder
    (folder / RECORD).write_text('{"stage": ')
    with pytest.raises(StoreError, match=rf"{RECORD}' is damaged .*Delete the folder '{folder}'"):
        Store(tmp_path).result(Source())


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY", None])
def test_an_array_that_is_cut_short_or_gone_is_named(tmp_path, left):
    result = Store(tmp_path).result(Source())
    (result.folder / "x.npy").unlink()
    if left is not None:
        (result.folder / "x.npy").write_bytes(left)
    with pytest.raises(StoreError, match=r"x.npy' cannot be read as an array .*run the stage again"):
        result.array("x")


def test_an_array_that_lost_its_last_bytes_is_named(tmp_path):
    result = Store(tmp_path).result(Source())
    whole = (result.folder / "x.npy").read_bytes()
    (result.folder / "x.npy").write_bytes(whole[:-3])
    with pytest.raises(StoreError, match="cannot be read as an array"):
        result.array("x")


@pytest.mark.parametrize("left", ["", "{", None])
def test_json_that_is_cut_short_or_gone_is_named(tmp_path, left):
    result = Store(tmp_path).result(Source())
    (result.folder / "x.json").unlink()
    if left is not None:
        (result.folder / "x.json").write_text(left)
    with pytest.raises(StoreError, match="x.json' cannot be read as JSON"):
        result.json("x")


def test_the_record_holds_what_the_result_was_made_from_and_with(tmp_path):
    record = Store(tmp_path).result(FIRST).record
    assert record["stage"] == "doubled" and record["class"] == "Doubled" and record["version"] == 1
    assert record["settings"] == {"sizes": {"width": 3}, "weights": "abc"}
    assert record["inputs"] == {"source": Source().key}
    assert record["library"] == library() and record["library"]["version"]
    assert re.fullmatch(r"[0-9a-f]{12}\+?", record["library"]["commit"])
    assert record["wall_seconds"] >= 0 and record["peak_memory_gib"] > 0 and record["versions"]["torch"]


def test_the_time_of_an_interrupted_attempt_counts_too(tmp_path, monkeypatch):
    clock = iter(float(10 * number) for number in range(100))
    monkeypatch.setattr("brainram_lib.core.measure.time.time", lambda: next(clock))
    monkeypatch.setattr("brainram_lib.core.measure.time.process_time", lambda: next(clock) / 2)
    store, stage = Store(tmp_path), Fails(problem=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        store.result(stage)
    assert store.begun(stage)
    result = store.result(stage)
    # each reading of a clock moves both on by ten: 20 s and 10 s an attempt
    assert (result.record["wall_seconds"], result.record["cpu_seconds"]) == (40.0, 20.0)
    assert not list(result.folder.glob(".*"))


def test_time_that_cannot_be_written_hides_no_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr("brainram_lib.core.measure.write_json", lambda *of: (_ for _ in ()).throw(OSError("read-only")))
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).result(Fails(problem=[KeyboardInterrupt()]))


def test_records_are_of_finished_results_alone(tmp_path):
    store = Store(tmp_path)
    store.result(FIRST)
    with pytest.raises(ValueError, match="stop"):
        store.result(Fails(problem=[ValueError("stop")]))
    assert sorted(record["stage"] for _, record in store.records()) == ["doubled", "source"]
