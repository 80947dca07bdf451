"""Times of notebooks: noted where they ran, read from executed copies, refused where they would mislead."""

from __future__ import annotations

import json

import pytest

from brainram_lib.setup.times import (
    AGAIN,
    FIRST,
    TimesError,
    in_words,
    joined,
    note_run,
    short,
    stages_made,
    time_of,
    times_in,
    write_times,
)  # fmt: skip

HOST = {"cores": 2, "memory_gib": 23.5, "gpu": None, "python": "3.11.7", "torch": "2.14.0"}
ABOUT = {"machine": HOST, "library": {"version": "0.1.0", "commit": "0123456789ab"}, "made": ["subject", "prior-image"]}
RUN = {
    "duration": 397.281, "start_time": "2026-11-27T00:45:02.214220+00:00", "exception": None,
    "parameters": {"subject": 1},
}  # fmt: skip


def copy_in(folder, name="02_train_priors", about=ABOUT, **changes):
    metadata = {"papermill": {**RUN, **changes}} | ({"brainram": about} if about else {})
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def result_in(runs, stage, key="0123456789ab"):
    folder = runs / "embedded-world" / "subj01" / stage / key
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    return folder / "result.json"


def test_a_copy_says_where_it_ran_and_what_it_made(tmp_path):
    copy = copy_in(tmp_path, about=None)
    result_in(tmp_path / "runs", "prior-image")
    note_run(copy, tmp_path / "runs", started=0)
    about = json.loads(copy.read_text())["metadata"]["brainram"]
    assert about["made"] == ["prior-image"] and about["machine"]["cores"] > 0 and about["library"]["version"]
    assert time_of(copy)[0] == FIRST


def test_stages_from_before_and_unfinished_ones_do_not_count(tmp_path):
    old, new = result_in(tmp_path, "subject"), result_in(tmp_path, "prior-image")
    result_in(tmp_path, "ram-image", ".0123456789ab.partial")
    assert stages_made(tmp_path, min(old.stat().st_mtime, new.stat().st_mtime) - 1) == ["subject", "prior-image"]
    assert stages_made(tmp_path, new.stat().st_mtime + 1) == []
    assert stages_made(tmp_path / "gone", 0) == []


def test_a_first_run_and_one_that_found_everything_are_kept_apart(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir(), again.mkdir()
    copy_in(first)
    copy_in(again, about={**ABOUT, "made": []}, duration=27.2)
    out = tmp_path / "times.json"
    write_times(first, out)
    assert write_times(again, out)[0].split() == ["02_train_priors", "again", "27.2", "s", "0", "results", "made"]
    kept = json.loads(out.read_text())["02_train_priors"]
    assert kept[FIRST]["seconds"] == 397.3 and kept[AGAIN]["seconds"] == 27.2
    assert in_words(kept) == (
        "7 min making what was missing (2 results); 27 s when every result is there. Measured on 2 cores, 24 GiB, no "
        "GPU; 2026-11-27, commit 0123456789ab."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exception": True}, "did not run to its end"),
        ({"duration": None}, "did not run to its end"),
        ({"about": None}, "does not say where it ran. Run it with `python -m brainram_lib notebook run`"),
        ({"parameters": {"profile": "paper", "subject": 1}}, "ran with profile: only a run with the defaults is timed"),
    ],
)
def test_times_that_would_mislead_are_refused(tmp_path, changes, message):
    with pytest.raises(TimesError, match=message):
        time_of(copy_in(tmp_path, **changes))
    assert times_in(tmp_path)[0] == {} and message.split(".")[0] in times_in(tmp_path)[1][0]
    with pytest.raises(TimesError, match="no time can be read in"):
        write_times(tmp_path, tmp_path / "times.json")
    assert not (tmp_path / "times.json").exists()


def test_new_times_replace_old_ones_of_their_kind_alone():
    old, new = {"a": {FIRST: 1, AGAIN: 2}, "b": {FIRST: 3}}, {"a": {AGAIN: 5}, "c": {FIRST: 7}}
    assert joined(old, new) == {"a": {FIRST: 1, AGAIN: 5}, "b": {FIRST: 3}, "c": {FIRST: 7}}


@pytest.mark.parametrize(("seconds", "words"), [(7.4, "7 s"), (59.33, "59 s"), (99.4, "99 s"), (397.3, "7 min")])
def test_times_are_stated_shortly(seconds, words):
    assert short(seconds) == words
