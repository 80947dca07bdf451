"""Reconstructions that others made, scored beside a run's own, and presets of the metrics."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brainram_lib.evaluation.submitted import read_submission
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.pipeline import submitted


def test_reconstructions_that_others_made_are_matched_by_their_ids(workbench, tmp_path):
    ids, stimuli = workbench.nsd_ids("test"), workbench.stimuli("test")
    for number, pixels in list(zip(ids, stimuli, strict=True))[1:][::-1]:
        Image.fromarray(pixels).save(tmp_path / f"nsd{number:05d}.png")
    made = len(workbench.store.made)
    table = workbench.submitted(tmp_path)
    assert sorted(workbench.store.made[made:]) == ["features-clip"] * 2 + ["features-lite0"] * 2 + ["submitted-scores"]
    assert table.sections[0].cells.loc[tmp_path.name, "PixCorr ↑"] == "1.000 [1.000, 1.000]"
    assert table.sections[0].cells.loc[tmp_path.name, "Lite0 late ↑ %"] == "100.0"
    assert EMBEDDED in table.title and "9 of 10 test images are scored" in table.text()
    assert f"1 test images are missing: nsdId {ids[0]}" in table.text()
    Image.fromarray(stimuli[0]).save(tmp_path / "nsd99999.png")
    with pytest.raises(ValueError, match="1 images that are of no test image of this subject, the first nsdId 99999"):
        workbench.submitted(tmp_path)


def test_a_folder_is_read_once_for_all_networks(workbench, tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", 255 - workbench.stimuli("test"))
    np.save(tmp_path / "nsd_ids.npy", workbench.nsd_ids("test"))
    read = []
    monkeypatch.setattr(submitted, "read_submission", lambda folder: read.append(folder) or read_submission(folder))
    workbench.submitted(tmp_path)
    assert read == [tmp_path]
    # nothing stays behind
    assert submitted.read_once.cache_info().currsize == 0


def test_a_preset_computes_only_what_it_sees_differently(workbench, tmp_path):
    stimuli = workbench.stimuli("test")
    sharp, soft = tmp_path / "sharp", tmp_path / "soft"
    for folder, images in ((sharp, stimuli), (soft, stimuli // 2 + 60)):
        folder.mkdir()
        np.save(folder / "images.npy", images)
        np.save(folder / "nsd_ids.npy", workbench.nsd_ids("test"))
    made = workbench.store.made
    workbench.submitted(sharp)
    before = len(made)
    table = workbench.submitted(sharp, "takagi")
    # CLIP's own preprocessing is both presets'
    assert sorted(made[before:]) == ["features-lite0"] * 2 + ["submitted-scores"]
    assert [one.split(" ↑")[0] for one in table.sections[0].cells.columns] == [
        "Lite0 early",
        "Lite0 middle",
        "Lite0 late",
        "mini CLIP",
    ]
    assert "compares over reconstructions" in table.text() and "pool of 10 is smaller than the 300" in table.text()
    before = len(made)
    workbench.submitted(sharp, "mindeye")
    plain = workbench.submitted(sharp, "mindeye2")
    # the same images seen in the same way
    assert sorted(made[before:]) == ["features-clip"] * 2 + ["features-lite0"] * 2 + ["submitted-scores"] * 2
    assert "no blurry images were given" in plain.text() and "scores 1000 images" in plain.text()
    before = len(made)
    blended = workbench.submitted(sharp, "mindeye2", soft)
    assert sorted(made[before:]) == ["features-clip", "features-lite0", "submitted-scores"]
    assert "75% reconstruction and 25% blurry image, blended before all metrics" in blended.text()
    with pytest.raises(ValueError, match="the preset 'mindeye' blends nothing"):
        workbench.submitted(sharp, "mindeye", soft)
    np.save(soft / "images.npy", stimuli[:-1])
    np.save(soft / "nsd_ids.npy", workbench.nsd_ids("test")[:-1])
    with pytest.raises(ValueError, match="lacks 1 of the 10 images of .* Every reconstruction needs its blurry twin"):
        workbench.submitted(sharp, "mindeye2", soft)
    with pytest.raises(ValueError, match="'preset' must be one of brainram"):
        workbench.submitted(sharp, "umbrae")
