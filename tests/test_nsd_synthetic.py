"""NSD-synthetic's files: read as they lie, refused in words where they are missing or of other shapes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from nsd_files import SESSIONS, SHAPE, TRIALS, Tree, write_hdf5, write_nifti, write_tree
from scipy.io import savemat

from brainram_lib.nsd.errors import (
    DamagedFileError,
    DesignError,
    LayoutError,
    MissingFileError,
    MixedRootsError,
    NsdError,
    ShapeError,
)
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.synthetic.experiment import SyntheticExperiment
from brainram_lib.nsd.synthetic.layout import SyntheticLayout
from brainram_lib.nsd.synthetic.prepare import core_statistics, prepare_synthetic
from brainram_lib.nsd.synthetic.stimuli import (
    VIEWED,
    blank,
    count_synthetic_stimuli,
    middle,
    read_synthetic_stimuli,
)

COMMON, OWN, HEIGHT, WIDTH, SHOWN = 7, 4, 6, 11, 26
KINDS = ["Natural scenes"] * 3 + ["Noise"] * 4 + ["Chromatic noise"] * 4
# every image twice, the third four and the last 4 times
ORDER = np.random.default_rng(4).permutation(np.r_[np.repeat(np.arange(COMMON + OWN), 2), [2, 2, 10, 10]])


def write_pictures(path, count, size=(HEIGHT, WIDTH), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = pictures
    return pictures


def write_design(layout, order=ORDER, trials=None):
    layout.expdesign.parent.mkdir(parents=True, exist_ok=True)
    pattern = np.zeros((1, 8, 20))
    pattern.reshape(-1)[: len(order) if trials is None else trials] = 1
    savemat(layout.expdesign, {"masterordering": order[None] + 1.0, "stimpattern": pattern})


def write_table(layout, kinds=KINDS, column="Image class"):
    pd.DataFrame({"Image number": np.arange(len(kinds)) + 1, column: kinds}).to_csv(layout.information, index=False)


@pytest.fixture
def tree(tmp_path):
    """A core data set with NSD-synthetic beside it, and the session's raw betas (trials, X, Y, Z)."""
    core = write_tree(tmp_path)
    layout = SyntheticLayout(core.layout)
    write_design(layout)
    write_table(layout)
    write_pictures(layout.stimuli, COMMON)
    write_pictures(layout.colour_stimuli(1), OWN, seed=1)
    raw = np.random.default_rng(9).integers(-3000, 3000, (len(ORDER), *SHAPE)).astype(np.int16)
    write_hdf5(layout.betas(1)[0], raw)
    return core, layout, raw


@pytest.fixture
def prepared(tree, tmp_path):
    return prepare_subject(tree[0].layout, 1, tmp_path / "prepared", sessions=SESSIONS)


def test_paths_are_those_of_nsd_synthetic():
    layout = SyntheticLayout(NsdLayout(Path("nsd")))
    betas = "nsd/nsddata_betas/ppdata/subj05/func1pt8mm/nsdsyntheticbetas_fithrf_GLMdenoise_RR/betas_nsdsynthetic.hdf5"
    assert [str(path) for path in layout.betas(5)] == [betas]
    surface = layout.betas(5, "betas_fithrf", "fsaverage")
    assert [path.name for path in surface] == ["lh.betas_nsdsynthetic.mgh", "rh.betas_nsdsynthetic.mgh"]
    assert surface[0].parent.name == "nsdsyntheticbetas_fithrf"
    assert layout.expdesign.name == "nsdsynthetic_expdesign.mat"
    assert str(layout.colour_stimuli(2)).endswith("stimuli/nsdsynthetic/nsdsynthetic_colorstimuli_subj02.hdf5")
    with pytest.raises(LayoutError, match="NSD-synthetic has betas of the versions .* 'betas_assumehrf' was asked for"):
        layout.betas(1, "betas_assumehrf")
    with pytest.raises(LayoutError, match="subject must be one of"):
        layout.colour_stimuli(9)


def test_trials_are_counted_from_0_and_kinds_in_the_order_of_the_table(tree):
    experiment = SyntheticExperiment.read(tree[1])
    np.testing.assert_array_equal(experiment.ordering, ORDER)
    assert experiment.kinds == tuple(KINDS)


def test_pictures_are_the_middle_square_of_both_files_with_the_usual_gamma(tree):
    _, layout, _ = tree
    assert count_synthetic_stimuli(layout, 1) == (COMMON, OWN)
    shown = read_synthetic_stimuli(layout, 1, np.array([9, 2]))
    common, own = write_pictures(layout.stimuli, COMMON), write_pictures(layout.colour_stimuli(1), OWN, seed=1)
    for picture, source in zip(shown, (own[2], common[2]), strict=True):
        expected = np.floor(255 * np.sqrt(source[:, 2:8] / 255))
        assert picture.shape == (HEIGHT, HEIGHT, 3) and np.abs(picture - expected).max() == 0
    assert VIEWED[0] == 0 and VIEWED[255] == 255 and VIEWED[64] == 127
    assert middle(np.zeros((9, 4, 3), np.uint8)).shape == (4, 4, 3)


def test_a_picture_of_one_colour_is_found():
    pictures = np.full((3, 5, 5, 3), 90, np.uint8)
    pictures[:, :, :, 1] = 20
    pictures[1, 3, 2, 0] = 91
    np.testing.assert_array_equal(blank(pictures), [True, False, True])


def test_betas_are_z_scored_over_the_session_and_averaged_over_presentations(tree, prepared):
    core, _, raw = tree
    found = prepare_synthetic(core.layout, prepared)
    values = raw.reshape(len(raw), -1)[:, prepared.voxel_index] / 300
    z = (values - values.mean(0)) / values.std(0, ddof=1)
    expected = np.stack([z[ORDER == image].mean(0) for image in range(COMMON + OWN)])
    np.testing.assert_allclose(found.betas, expected, atol=1e-4)
    np.testing.assert_array_equal(found.images, np.arange(COMMON + OWN))
    assert found.kinds == tuple(KINDS) and found.presentations.sum() == SHOWN and found.presentations[2] == 4
    assert not found.silent.any() and found.halves.shape == (COMMON + OWN, 2, len(prepared.voxel_index))
    third = z[np.flatnonzero(ORDER == 2)]
    np.testing.assert_allclose(found.halves[2], (third[::2].mean(0), third[1::2].mean(0)), atol=1e-4)


def test_nifti_is_read_where_there_is_no_hdf5(tree, prepared):
    core, layout, raw = tree
    before = prepare_synthetic(core.layout, prepared).betas
    write_nifti(layout.betas(1, ext="nii.gz")[0], raw)
    layout.betas(1)[0].unlink()
    np.testing.assert_allclose(prepare_synthetic(core.layout, prepared).betas, before, atol=1e-6)


def core_means(core: Tree, prepared) -> tuple[np.ndarray, np.ndarray]:
    """Session by session in a plain loop."""
    moments = []
    for session in range(SESSIONS):
        trials = slice(session * TRIALS, (session + 1) * TRIALS)
        training = core.ordering[trials] >= 4
        values = core.raw[session].reshape(TRIALS, -1)[training][:, prepared.voxel_index] / 300
        moments.append((values.mean(0), values.std(0, ddof=1)))
    return np.mean([mean for mean, _ in moments], 0), np.mean([sd for _, sd in moments], 0)


def test_statistics_of_the_core_sessions_leave_a_shift_between_sessions_in(tree, prepared):
    core, layout, raw = tree
    mean, sd = core_means(core, prepared)
    found = core_statistics(core.layout, prepared)
    np.testing.assert_allclose(found, (mean, sd), rtol=1e-5, atol=1e-5)
    write_hdf5(layout.betas(1)[0], (raw + 600).astype(np.int16))
    own, by_core = (prepare_synthetic(core.layout, prepared, how).betas for how in ("session", "core"))
    weights = np.bincount(ORDER)
    np.testing.assert_allclose(np.average(own, 0, weights), 0, atol=1e-5)
    shift = np.average(by_core, 0, weights)
    expected = (raw.reshape(len(raw), -1)[:, prepared.voxel_index].mean(0) / 300 + 2 - mean) / sd
    np.testing.assert_allclose(shift, expected, atol=1e-4)


def test_a_voxel_that_never_changes_is_the_mean_and_is_counted(tree, prepared):
    core, layout, raw = tree
    x, y, z = np.unravel_index(prepared.voxel_index[3], SHAPE)
    raw[:, x, y, z] = 77
    write_hdf5(layout.betas(1)[0], raw)
    found = prepare_synthetic(core.layout, prepared)
    assert found.silent.sum() == 1 and found.silent[3] and not found.betas[:, 3].any()
    write_hdf5(layout.betas(1)[0], np.zeros_like(raw))
    with pytest.raises(NsdError, match=r"only 0 of \d+ voxels have usable betas .* another subject's"):
        prepare_synthetic(core.layout, prepared)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("expdesign", "the design of NSD-synthetic, .*nsdsynthetic_expdesign.mat', is not there"),
        ("information", "the table of NSD-synthetic's images, .*imageinformation.csv', is not there"),
        ("betas", "betas_nsdsynthetic.hdf5' is not there. Fetch it"),
    ],
)
def test_what_is_missing_is_named(tree, prepared, missing, said):
    core, layout, _ = tree
    (layout.betas(1)[0] if missing == "betas" else getattr(layout, missing)).unlink()
    with pytest.raises(MissingFileError, match=said):
        prepare_synthetic(core.layout, prepared)


def test_missing_and_unlike_stimulus_files_are_named(tree):
    _, layout, _ = tree
    write_pictures(layout.colour_stimuli(1), OWN, (HEIGHT, WIDTH + 1))
    with pytest.raises(ShapeError, match=r"stimuli.hdf5' holds pictures of \(6, 11, 3\), .* are of \(6, 12, 3\)"):
        read_synthetic_stimuli(layout, 1, np.arange(2))
    write_pictures(layout.colour_stimuli(1), OWN)
    with pytest.raises(NsdError, match="images must be 0 to 10. 3 to 11 were asked for"):
        read_synthetic_stimuli(layout, 1, np.array([3, 11]))
    with h5py.File(layout.stimuli, "w") as file:
        file["imgBrick"] = np.zeros((COMMON, 3, HEIGHT, WIDTH), np.uint8)
    with pytest.raises(DamagedFileError, match="must hold uint8 'imgBrick'"):
        read_synthetic_stimuli(layout, 1, np.arange(2))
    layout.stimuli.unlink()
    with pytest.raises(MissingFileError, match="the stimulus file .*nsdsynthetic_stimuli.hdf5' is not there"):
        count_synthetic_stimuli(layout, 1)


def test_files_that_contradict_each_other_are_refused(tree, prepared):
    core, layout, raw = tree
    write_table(layout, KINDS[:-1])
    with pytest.raises(DesignError, match="at most 10, the images that .* It runs from 1 to 11"):
        SyntheticExperiment.read(layout)
    write_table(layout, column="class")
    with pytest.raises(DamagedFileError, match="name its class in the column 'Image class'"):
        SyntheticExperiment.read(layout)
    write_table(layout)
    write_design(layout, trials=25)
    with pytest.raises(DesignError, match="stimpattern has 25 trials, masterordering 26"):
        SyntheticExperiment.read(layout)
    savemat(layout.expdesign, {"masterordering": ORDER[None] + 1.5})
    with pytest.raises(DamagedFileError, match=r"has no \['stimpattern'\]"):
        SyntheticExperiment.read(layout)
    write_design(layout)
    write_hdf5(layout.betas(1)[0], raw[:-1])
    with pytest.raises(MixedRootsError, match="has 25 trials, NSD-synthetic's design 26"):
        prepare_synthetic(core.layout, prepared)
    write_hdf5(layout.betas(1)[0], raw[:, :, :, :-1])
    with pytest.raises(ShapeError, match="Take mask and betas of one"):
        prepare_synthetic(core.layout, prepared)
    with pytest.raises(NsdError, match="statistics must be one of"):
        prepare_synthetic(core.layout, prepared, "mine")
