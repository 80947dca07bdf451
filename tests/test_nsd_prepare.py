"""The prepared subject against a plain implementation that goes image by image."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from nsd_files import (
    AFFINE,
    SESSIONS,
    SHAPE,
    TRIALS,
    random_design,
    write_hdf5,
    write_responses,
    write_tree,
    write_volume,
)

from brainram_lib.nsd import prepare as prepare_module
from brainram_lib.nsd.averaging import CONSTANT, CONSTANT_THROUGHOUT, ZERO
from brainram_lib.nsd.design import Design
from brainram_lib.nsd.errors import (
    DamagedFileError,
    MissingFileError,
    MissingSessionError,
    MixedRootsError,
    NsdError,
    RoiError,
    ShapeError,
)
from brainram_lib.nsd.normalise import NORMALISATIONS, RowNormalisation
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "nsd")


def plain(tree, sessions, normalisation, average):
    """{nsdId: rows} of each split, trial by trial."""
    trials = Design.read(tree.layout).trials(1, sessions)
    mask = tree.labels > 0
    rows = [(tree.raw[s - 1, i % TRIALS][mask] / 300) for s, i in zip(trials.session, trials.index, strict=True)]
    values = np.array(rows)
    if normalisation == "session-z":
        for session in np.unique(trials.session):
            here = trials.session == session
            training = values[here & ~trials.is_test]
            values[here] = (values[here] - training.mean(0)) / training.std(0, ddof=1)
    splits = {}
    for split, chosen in (("train", ~trials.is_test), ("test", trials.is_test)):
        ids = sorted(set(trials.nsd_id[chosen].tolist()))
        groups = [values[trials.nsd_id == nsd_id] for nsd_id in ids]
        if average:
            splits[split] = np.array(ids), np.array([group.mean(0) for group in groups])
        else:
            splits[split] = np.repeat(ids, [len(group) for group in groups]), np.concatenate(groups)
    training = splits["train"][1]
    if normalisation == "brain-diffuser":
        return {k: (i, (v - training.mean(0)) / training.std(0, ddof=1)) for k, (i, v) in splits.items()}
    if normalisation == "brainram-released":
        return {
            k: (i, (v - v.mean(1, keepdims=True)) / v.std(1, ddof=1, keepdims=True)) for k, (i, v) in splits.items()
        }
    return splits


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("sessions", [SESSIONS, [1, 3]])
def test_prepared_betas_equal_the_plain_ones(tree, tmp_path, normalisation, average, sessions):
    prepared = prepare_subject(
        tree.layout, 1, tmp_path / "out", sessions=sessions, normalisation=normalisation, average=average
    )
    for split, (ids, values) in plain(tree, sessions, normalisation, average).items():
        np.testing.assert_array_equal(prepared.ids(split), ids)
        assert prepared.betas(split).dtype == np.float32
        np.testing.assert_allclose(prepared.betas(split), values, rtol=2e-4, atol=2e-5)
    counts = np.concatenate([prepared.n_averaged("train"), prepared.n_averaged("test")])
    assert counts.sum() == TRIALS * len(prepared.record["sessions"]) and (average or (counts == 1).all())


def test_statistics_ignore_test_trials(tree, tmp_path):
    """Changing what the shared images evoked must not move a single training value."""
    before = prepare_subject(tree.layout, 1, tmp_path / "a", sessions=SESSIONS)
    trials = Design.read(tree.layout).trials(1, SESSIONS)
    for session in range(1, SESSIONS + 1):
        raw = tree.raw[session - 1].copy()
        raw[trials.of_session(session).is_test] //= 3
        write_hdf5(tree.layout.betas_session(1, session), raw)
    after = prepare_subject(tree.layout, 1, tmp_path / "b", sessions=SESSIONS)
    np.testing.assert_array_equal(before.betas("train"), after.betas("train"))
    assert not np.array_equal(before.betas("test"), after.betas("test"))


def test_voxels_regions_ncsnr_and_affine_go_with_the_columns(tree, tmp_path):
    prepare_subject(tree.layout, 1, tmp_path / "out", sessions=2)
    prepared = PreparedSubject.load(tmp_path / "out")
    index = np.flatnonzero(tree.labels > 0)
    np.testing.assert_array_equal(prepared.voxel_index, index)
    assert prepared.volume_shape == SHAPE and isinstance(prepared.betas("train"), np.memmap)
    np.testing.assert_allclose(prepared.affine, AFFINE, rtol=1e-6)
    np.testing.assert_array_equal(prepared.roi("V1"), np.isin(tree.labels.reshape(-1)[index], (1, 2)))
    np.testing.assert_array_equal(prepared.roi("V1 & lh"), prepared.roi("lh.V1"))
    written = nib.load(tree.layout.ncsnr(1)).get_fdata().reshape(-1)
    np.testing.assert_allclose(prepared.ncsnr, written[index], rtol=1e-6)
    assert prepared.excluded == {} and prepared.record["files"][0].startswith("nsddata_betas/")
    with pytest.raises(RoiError, match="'V9' was provided"):
        prepared.roi("V9 & lh")


def test_both_sources_give_identical_files(tree, tmp_path):
    one = prepare_subject(tree.layout, 1, tmp_path / "a", sessions=3, source="hdf5")
    two = prepare_subject(tree.layout, 1, tmp_path / "b", sessions=3, source="nifti")
    for split in ("train", "test"):
        np.testing.assert_array_equal(one.betas(split), two.betas(split))


def test_repetitions_are_kept_on_request(tree, tmp_path):
    prepared = prepare_subject(tree.layout, 1, tmp_path / "out", sessions=SESSIONS, average=False, normalisation="none")
    ids, values = prepared.by_repetition("train")
    trials = Design.read(tree.layout).trials(1, SESSIONS)
    assert values.shape[1] == 3
    for nsd_id, presentations in zip(ids, values, strict=True):
        places = trials.index[trials.nsd_id == nsd_id]
        raw = tree.raw.reshape(-1, *SHAPE)[places][:, tree.labels > 0]
        np.testing.assert_allclose(presentations, raw / 300, rtol=1e-6)
    with pytest.raises(NsdError, match="holds averages. Prepare the subject with average=False"):
        prepare_subject(tree.layout, 1, tmp_path / "b", sessions=1).by_repetition("train")


def test_dead_voxels_are_left_out_and_listed(tree, tmp_path):
    index = np.flatnonzero(tree.labels > 0)
    dead, constant, silent = index[[0, 5, 9]]
    flat = tree.raw.reshape(SESSIONS, TRIALS, -1)
    flat[:, :, dead], flat[:, :, constant], flat[1, :, silent] = 0, 77, 0
    for session in range(SESSIONS):
        write_hdf5(tree.layout.betas_session(1, session + 1), tree.raw[session])
    for normalisation in NORMALISATIONS:
        out = tmp_path / normalisation
        prepared = prepare_subject(tree.layout, 1, out, sessions=SESSIONS, normalisation=normalisation)
        # a voxel that is silent in one session cannot be z-scored there; over all sessions it varies
        by_session = normalisation == "session-z"
        reason, flat_places = (CONSTANT, [constant, silent]) if by_session else (CONSTANT_THROUGHOUT, [constant])
        np.testing.assert_array_equal(prepared.voxel_index, np.setdiff1d(index, [dead, *flat_places]))
        assert np.isfinite(prepared.betas("train")).all() and np.isfinite(prepared.betas("test")).all()
        assert {why: places.tolist() for why, places in prepared.excluded.items()} == {
            ZERO: [dead],
            reason: flat_places,
        }
        assert json.loads((out / "prepared.json").read_text())["n_excluded"] == {ZERO: 1, reason: len(flat_places)}
    assert prepare_subject(tree.layout, 1, tmp_path / "c", sessions=1).record["n_excluded"] == {ZERO: 1, CONSTANT: 1}


@pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")
def test_surface_betas_are_prepared_and_nan_vertices_listed(tmp_path):
    tree, rng = write_tree(tmp_path / "nsd"), np.random.default_rng(4)
    sizes, values = (8, 8), rng.normal(size=(2, 16, TRIALS)).astype(np.float32)
    values[1, 10, 3] = np.nan
    for hemi, part in zip(("lh", "rh"), (slice(0, 8), slice(8, 16)), strict=True):
        for session in (1, 2):
            path = tree.layout.betas_session(1, session, space="fsaverage", ext="mgh", hemi=hemi)
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.MGHImage(values[session - 1, part, None, None], np.eye(4)), path)
        label = tree.layout.surface_label("fsaverage", hemi, "nsdgeneral")
        label.parent.mkdir(parents=True, exist_ok=True)
        labels = np.array([-1, 1, 1, 0, 1, 1, 1, 0], np.int32)[:, None, None]
        nib.save(nib.MGHImage(labels, np.eye(4)), label)
    prepared = prepare_subject(
        tree.layout, 1, tmp_path / "out", sessions=2, space="fsaverage", normalisation="none", average=False
    )
    assert prepared.volume_shape == (sum(sizes),) and prepared.affine is None
    assert prepared.voxel_index.tolist() == [1, 2, 4, 5, 6, 9, 12, 13, 14]
    assert prepared.record["n_excluded"] == {"not finite in some trial": 1} and np.isnan(prepared.ncsnr).all()
    assert prepared.roi("lh").tolist() == [True] * 5 + [False] * 4 and prepared.roi("nsdgeneral").all()
    first = Design.read(tree.layout).trials(1, 2)
    trial = int(np.flatnonzero(first.nsd_id == prepared.train_ids[0])[0])
    expected = values[trial // TRIALS, prepared.voxel_index, trial % TRIALS]
    np.testing.assert_array_equal(prepared.betas("train")[0], expected)


def test_all_missing_sessions_are_named_at_once(tree, tmp_path):
    for session in (2, 4):
        tree.layout.betas_session(1, session).unlink()
    with pytest.raises(MissingSessionError, match="(?s)betas_session02.hdf5.*betas_session04.hdf5"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=SESSIONS, source="hdf5")
    assert not (tmp_path / "out" / "prepared.json").exists()


def test_two_roots_mixed(tree, tmp_path):
    write_hdf5(tree.layout.betas_session(1, 2), tree.raw[1][:-1])
    with pytest.raises(MixedRootsError, match="has 11 trials, the design 12 in session 2"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=2)
    ordering, images = random_design(seed=8)
    write_responses(tree.layout, 1, images[0][ordering])
    with pytest.raises(MixedRootsError, match="Two data sets are mixed"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=2)


def test_a_mask_or_ncsnr_of_another_subject(tree, tmp_path):
    write_volume(tree.layout.ncsnr(1), np.ones((5, 7, 9), np.float32))
    with pytest.raises(ShapeError, match=r"ncsnr.nii.gz' has shape \(5, 7, 9\), the mask \(5, 7, 6\)"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)
    write_volume(tree.layout.roi(1, "nsdgeneral"), np.ones((6, 7, 6), np.int16))
    with pytest.raises(ShapeError, match=r"the mask is \(6, 7, 6\)"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)
    write_volume(tree.layout.ncsnr(1), np.ones(SHAPE, np.float32))
    tree.raw[:, :, tree.labels < 1] = 0
    write_hdf5(tree.layout.betas_session(1, 1), tree.raw[0])
    write_volume(tree.layout.roi(1, "nsdgeneral"), (tree.labels < 1).astype(np.int16))
    with pytest.raises(NsdError, match="only 0 of .* have usable betas .* probably another subject's"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)
    write_volume(tree.layout.roi(1, "nsdgeneral"), np.zeros(SHAPE, np.int16))
    with pytest.raises(NsdError, match="has no voxel"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)


def test_without_ncsnr_it_is_nan(tree, tmp_path):
    tree.layout.ncsnr(1).unlink()
    with pytest.warns(UserWarning, match="ncsnr.nii.gz', is not there"):
        prepared = prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)
    assert np.isnan(prepared.ncsnr).all() and prepared.record["ncsnr"] == "absent"


def test_options_that_do_not_exist(tree, tmp_path):
    with pytest.raises(NsdError, match="normalisation must be one of .*'zscore' was provided"):
        prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1, normalisation="zscore")
    prepared = prepare_subject(tree.layout, 1, tmp_path / "out", sessions=1)
    with pytest.raises(NsdError, match="split must be one of"):
        prepared.betas("val")


def test_a_single_training_row_has_no_standard_deviation():
    with pytest.raises(NsdError, match="'brain-diffuser' needs 2 training rows at least; there is 1"):
        RowNormalisation.of("brain-diffuser", np.ones((1, 5), np.float32))


def test_an_unfinished_or_cut_preparation_is_not_loaded(tree, tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match="was not prepared to the end"):
        PreparedSubject.load(tmp_path)
    out = tmp_path / "out"
    prepare_subject(tree.layout, 1, out, sessions=2)
    monkeypatch.setattr(prepare_module, "_ncsnr", lambda *_: np.zeros(3, np.float32))
    with pytest.raises(IndexError):
        prepare_subject(tree.layout, 1, out, sessions=1)
    assert len(PreparedSubject.load(out).record["sessions"]) == 2, "a failure leaves the earlier result alone"
    np.save(out / "nsd_ids_train.npy", np.arange(2))
    with pytest.raises(DamagedFileError, match=r"betas_train.npy in .* expected \(2, "):
        PreparedSubject.load(out)
    (out / "betas_train.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DamagedFileError, match="betas_train.npy' cannot be read as an array"):
        PreparedSubject.load(out)
