"""The embedded world on disk: NSD's layout, whole files, resumable, and read back by the library's own reader."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from brainram_lib.nsd.behaviour import check_against_design
from brainram_lib.nsd.betas import read_hdf5
from brainram_lib.nsd.captions import Captions
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.noise import ncsnr
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.repetitions import mean_beta, read_repetitions, trials_of
from brainram_lib.nsd.rois import masks_within
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.view.cortex import on_cortex, regions_on_cortex
from brainram_lib.view.subject import roi_table
from brainram_lib.world import nsd_writer
from brainram_lib.world import world as world_module
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import render, scene_of
from brainram_lib.world.world import (
    WorldError,
    WorldSettings,
    make_experiment,
    make_world,
    read_settings,
    scene_for_nsd_id,
)

TINY = WorldSettings("tiny", (1, 2), (67, 53), sessions=2, trials_per_session=45, images=30, shared=7, nifti=True)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "nsd", TINY, [1])


def test_the_design_file_is_nsds(layout):
    fields = scipy.io.loadmat(layout.expdesign)
    assert fields["masterordering"].shape == (1, 90) and fields["subjectim"].shape == (8, 30)
    assert np.array_equal(fields["sharedix"], [np.arange(1, 8)])
    assert fields["stimpattern"].shape[:2] == (2, 12) and (fields["stimpattern"].sum((1, 2)) == 45).all()
    assert (np.bincount(fields["masterordering"].ravel()[:].astype(int))[1:] == 3).all()
    design = Design.read(layout)
    assert np.array_equal(design.trials(2, 2).nsd_id, make_experiment(TINY).nsd_ids(2))
    check_against_design(layout, 1, design.trials(1, 2))


def test_repetitions_are_spread_over_sessions():
    experiment = make_experiment(WorldSettings())
    sessions = [np.unique(experiment.session[experiment.ordering == image]).size for image in range(200)]
    assert np.mean(sessions) > 2


def test_stimuli_and_captions_are_those_of_the_scenes(layout):
    pictures = read_stimuli(layout, [3, 7, 29])
    assert np.array_equal(pictures[0], render(scene_of("shared", 3)))
    assert np.array_equal(pictures[2], render(scene_of("subject1", 22)))
    assert not read_stimuli(layout, [30]).any()
    scene = scene_for_nsd_id(TINY, 31)
    assert TINY.source(31) == ("subject2", 1)
    assert Captions(layout).of(31) == captions_of(scene, "subject2", 1)


def test_coco_ids_are_unique_and_in_the_split_that_the_table_names(layout):
    table = pd.read_csv(layout.stim_info)
    assert table["cocoId"].is_unique and len(table) == TINY.n_stimuli
    for split, rows in table.groupby("cocoSplit"):
        images = json.loads(layout.captions(split).read_text())["images"]
        assert {image["id"] for image in images} == set(rows["cocoId"])


def test_the_stimulus_table_names_each_trial(layout):
    table = pd.read_csv(layout.stim_info, index_col=0).set_index("nsdId")
    shown = make_experiment(TINY).nsd_ids(1)
    for nsd_id in (0, 11, 29):
        trials = table.loc[nsd_id, [f"subject1_rep{k}" for k in range(3)]].to_numpy()
        assert np.array_equal(trials, np.flatnonzero(shown == nsd_id) + 1)
    assert table.loc[11, "subject2"] == 0 and table.loc[11, "subject2_rep0"] == 0 and table["shared1000"].sum() == 7


def test_hdf5_and_nifti_betas_agree_and_only_nsdgeneral_is_written(layout):
    with h5py.File(layout.betas_session(1, 2)) as file:
        betas = file["betas"]
        assert betas.shape == (45, 38, 56, 43) and betas.dtype == np.int16 and betas.chunks == (45, 1, 1, 1)
        assert betas.id.get_num_chunks() == 67
        hdf5 = betas[:].transpose(3, 2, 1, 0)
    image = nib.load(layout.betas_session(1, 2, ext="nii.gz"))
    assert image.get_data_dtype() == np.int16 and np.array_equal(np.asarray(image.dataobj), hdf5)
    mask = np.asarray(nib.load(layout.roi(1, "nsdgeneral")).dataobj) > 0
    assert mask.sum() == 67 and not hdf5[~mask].any()


def test_region_volumes_say_minus_one_outside_the_cortex(layout):
    both, left, right = (np.asarray(nib.load(layout.roi(1, "streams", hemi)).dataobj) for hemi in (None, "lh", "rh"))
    assert both.min() == left.min() == right.min() == -1
    assert ((left > 0) & (right > 0)).sum() == 0 and (both > 0).sum() == 67
    assert np.array_equal(both > 0, (left > 0) | (right > 0))
    brain = np.asarray(nib.load(layout.brainmask(1)).dataobj)
    assert np.array_equal(brain > 0, both >= 0)
    index = np.flatnonzero(both > 0)
    masks = masks_within(layout, 1, index, both.shape)
    assert masks["nsdgeneral"].all() and (masks["lh"] ^ masks["rh"]).all()


@pytest.fixture(scope="module")
def prepared(layout, tmp_path_factory):
    return prepare_subject(layout, 1, tmp_path_factory.mktemp("prepared"), sessions=2, average=False)


def test_the_library_reads_its_own_world(prepared):
    assert prepared.betas("train").shape[0] == 69 and prepared.betas("test").shape[0] == 21
    assert sum(map(len, prepared.excluded.values())) >= 2
    assert prepared.record["ncsnr"] == "file"


def test_repetitions_are_those_of_the_single_trials(layout, prepared, monkeypatch):
    ids, single = read_repetitions(layout, prepared)
    expected_ids, expected = prepared.by_repetition("test")
    assert np.array_equal(ids, expected_ids) and np.allclose(single, expected, atol=1e-5)
    assert len(trials_of(layout, prepared)) == 90
    monkeypatch.setattr("brainram_lib.nsd.repetitions.REPETITIONS", 5)
    with pytest.raises(NsdError, match="no test image has 5 trials"):
        read_repetitions(layout, prepared)


def test_mean_betas_are_those_of_the_session_files(layout, prepared):
    mask = np.zeros(prepared.volume_shape, bool)
    mask.reshape(-1)[prepared.voxel_index] = True
    total = sum(read_hdf5(layout.betas_session(1, session), mask).mean(0) for session in (1, 2))
    assert np.allclose(mean_beta(layout, prepared), total / 2, atol=1e-4)
    with pytest.raises(NsdError, match="mean betas are volumes in func1pt8mm"):
        mean_beta(layout, replace(prepared, record={**prepared.record, "space": "fsaverage"}))


def test_voxels_appear_on_the_hemisphere_that_they_belong_to(layout, prepared):
    left, right = on_cortex(layout, prepared, prepared.roi("lh").astype(float))
    assert np.nanmax(left) == pytest.approx(1) and np.nanmin(right) == pytest.approx(0)
    regions = regions_on_cortex(layout, prepared, ["early", "no such region"])
    assert list(regions) == ["early"] and regions["early"][0].any() and regions["early"][1].any()
    for side, mask in zip(("lh", "rh"), regions["early"], strict=True):
        labels = np.asarray(nib.load(layout.surface_label(1, side, "streams")).dataobj).ravel()
        assert np.mean(labels[mask] == 1) > 0.5


def test_the_region_table_counts_voxels(prepared):
    table = roi_table(prepared)
    assert table.loc[("nsdgeneral", "nsdgeneral"), "voxels"] == len(prepared.voxel_index)
    assert (table["lh"] + table["rh"] == table["voxels"]).all()


def test_ncsnr_is_nsds_formula(layout):
    rng = np.random.default_rng(2)
    betas = rng.normal(0, 1, (90, 5)) + rng.normal(0, 1, (30, 5))[make_experiment(TINY).ordering]
    experiment = make_experiment(TINY)
    z = nsd_writer.zscored(betas, experiment.session)
    assert np.allclose(nsd_writer.ncsnr_of(z, experiment.ordering), ncsnr(z, experiment.ordering), atol=1e-4)


def test_ncsnr_of_a_plain_loop():
    rng = np.random.default_rng(3)
    image = rng.permutation(np.repeat(np.arange(11), 3))[:31]
    z = rng.normal(0, 1, (31, 4))
    variances = [z[image == k].var(0, ddof=1) for k in range(11) if (image == k).sum() == 3]
    noise = np.sqrt(np.mean(variances, 0))
    expected = np.sqrt(np.maximum(0, 1 - noise**2)) / noise
    assert np.allclose(nsd_writer.ncsnr_of(z, image), expected, atol=1e-5)


def test_a_second_call_adds_what_is_missing_and_leaves_the_rest(layout):
    kept = layout.betas_session(1, 2)
    before, bytes_before = kept.stat().st_mtime_ns, layout.betas_session(1, 1).read_bytes()
    layout.betas_session(1, 1).unlink()
    make_world(layout.root, TINY, [1, 2])
    assert kept.stat().st_mtime_ns == before
    assert len(bytes_before) == layout.betas_session(1, 1).stat().st_size
    assert np.array_equal(read_stimuli(layout, [31])[0], render(scene_of("subject2", 1)))
    assert np.array_equal(read_stimuli(layout, [29])[0], render(scene_of("subject1", 22)))
    assert layout.ncsnr(2, split=2).exists() and not list(layout.root.rglob("*.partial*"))


def test_an_interrupted_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def stop(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(world_module.writer, "write_transforms", stop)
    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path, TINY, [1])
    assert not list(tmp_path.rglob("*.partial*")) and not list(tmp_path.rglob("betas_*"))


def test_other_settings_in_the_same_root_are_refused(layout):
    assert read_settings(layout.root) == TINY
    with pytest.raises(WorldError, match="seed: 0 there, 4 asked for"):
        make_world(layout.root, replace(TINY, seed=4), [1])


def test_unfit_settings_and_unknown_subjects_are_refused(tmp_path):
    with pytest.raises(WorldError, match="must show 31 images"):
        replace(TINY, images=31)
    with pytest.raises(WorldError, match="one number of voxels per subject"):
        replace(TINY, voxels=(3,))
    with pytest.raises(WorldError, match=r"subject must be one of \(1, 2\)"):
        make_world(tmp_path, TINY, [3])
    with pytest.raises(WorldError, match="nsdId must be 0 to 52"):
        scene_for_nsd_id(TINY, 53)
    with pytest.raises(FileNotFoundError, match="holds no embedded world"):
        read_settings(tmp_path)


def test_a_longer_world_shows_more_images_and_keeps_those_of_the_standard_one():
    standard, longer = WorldSettings.with_sessions(7), WorldSettings.with_sessions(37)
    assert standard == WorldSettings()
    assert (longer.sessions, longer.images, longer.shared) == (37, 9250, standard.shared)
    first = standard.own_start(1) + 3
    assert longer.source(0) == standard.source(0) and longer.source(first) == standard.source(first)
