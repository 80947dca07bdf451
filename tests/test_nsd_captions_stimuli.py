"""Captions and images by nsdId."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nsd_files import STIMULI, write_captions, write_stimuli

from brainram_lib.nsd import captions as captions_module
from brainram_lib.nsd.captions import Captions, read_stim_info
from brainram_lib.nsd.errors import CaptionError, DamagedFileError, MissingFileError, NsdError
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.stimuli import count_stimuli, read_stimuli


@pytest.fixture
def layout(tmp_path):
    write_captions(NsdLayout(tmp_path))
    return NsdLayout(tmp_path)


def test_captions_follow_the_id_through_table_and_split(layout):
    """The table's rows are in reverse order here: a reader that goes by position gives another image's captions."""
    captions = Captions(layout)
    for nsd_id in (0, 1, 98, STIMULI - 1):
        assert captions.of(nsd_id) == [f"{n} of image {nsd_id}" for n in range(5)]
    assert captions.of_all([5, 3, 5]) == [captions.of(5), captions.of(3), captions.of(5)]
    assert read_stim_info(layout).loc[4, "cocoId"] == 1028


def test_each_file_is_parsed_once(layout, monkeypatch):
    parsed = []
    original = captions_module._parse
    monkeypatch.setattr(captions_module, "_parse", lambda path: parsed.append(path.name) or original(path))
    captions = Captions(layout)
    captions.of_all(list(range(30)))
    assert sorted(parsed) == ["captions_train2017.json", "captions_val2017.json"]


def test_an_image_without_caption_is_named(tmp_path):
    layout = NsdLayout(tmp_path)
    write_captions(layout, without=7)
    with pytest.raises(CaptionError, match="nsdId 7 is COCO image 1049 of train2017, which has no caption"):
        Captions(layout).of_all([6, 7])
    with pytest.raises(CaptionError, match=f"nsdId {STIMULI} has no row"):
        Captions(layout).of(STIMULI)


def test_caption_files_that_are_missing_or_damaged(layout):
    layout.captions("train2017").write_text('{"annotations": [')
    with pytest.raises(DamagedFileError, match="is not COCO's caption file"):
        Captions(layout).of(1)
    layout.captions("train2017").write_text(json.dumps([1]))
    with pytest.raises(DamagedFileError, match="is not COCO's caption file"):
        Captions(layout).of(1)
    layout.captions("train2017").unlink()
    with pytest.raises(MissingFileError, match="COCO's captions .* are not there"):
        Captions(layout).of(1)
    layout.stim_info.write_text("nsdId,cocoId\n1,2\n")
    with pytest.raises(DamagedFileError, match=r"missing: \['cocoSplit'\]"):
        read_stim_info(layout)
    layout.stim_info.unlink()
    with pytest.raises(MissingFileError, match="stimulus table .* is not there"):
        read_stim_info(layout)


def test_images_come_in_the_order_asked_for(layout):
    images = write_stimuli(layout)
    wanted = [9, 3, 4, 5, 3, STIMULI - 1, 0]
    read = read_stimuli(layout, wanted)
    assert read.dtype == np.uint8 and read.shape == (7, 4, 5, 3)
    np.testing.assert_array_equal(read, images[wanted])
    np.testing.assert_array_equal(read_stimuli(layout, np.array([2, 3, 8])), images[[2, 3, 8]])
    assert read_stimuli(layout, []).shape == (0, 4, 5, 3)
    assert count_stimuli(layout) == STIMULI


def test_bad_stimuli(layout):
    with pytest.raises(MissingFileError, match="stimulus file .* is not there"):
        read_stimuli(layout, [0])
    write_stimuli(layout)
    for ids in ([-1, 2], [STIMULI]):
        with pytest.raises(NsdError, match=f"nsdIds must be 0 to {STIMULI - 1}"):
            read_stimuli(layout, ids)
    whole = layout.stimuli.read_bytes()
    layout.stimuli.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="cannot be read as HDF5 to its end"):
        read_stimuli(layout, [0])
