"""MindEye's tars give the same arrays in the same order as NSD's own files."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from nsd_files import SESSIONS, write_tree
from PIL import Image

from brainram_lib.nsd.errors import DamagedFileError, MissingFileError, ShapeError
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.webdataset import (
    WebdatasetSplit,
    prepare_webdataset,
    read_webdataset,
    read_webdataset_images,
)


def npy(value):
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def jpg(shade):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), shade, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, parts in samples:
            for part, data in parts.items():
                member = tarfile.TarInfo(f"sample{key:09d}.{part}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def sample(nsd_id, presentations):
    padded = np.concatenate([presentations, np.repeat(presentations[-1:], 3 - len(presentations), axis=0)])
    parts = {"jpg": jpg(nsd_id), "nsdgeneral.npy": npy(padded.astype(np.float32)), "trial.npy": npy(np.arange(3))}
    return parts | {"coco73k.npy": npy(np.array(nsd_id)), "num_uniques.npy": npy(np.array(len(presentations)))}


@pytest.fixture
def mirror(tmp_path):
    """The other tests' tree as MindEye would have packed it: shuffled, two training tars and a validation one."""
    tree = write_tree(tmp_path / "nsd")
    prepared = prepare_subject(
        tree.layout, 1, tmp_path / "trials", sessions=SESSIONS, average=False, normalisation="none"
    )
    rng, folder = np.random.default_rng(0), tmp_path / "mirror"
    for split, tars in (("train", ("train/train_subj01_0", "train/train_subj01_1", "val/val_subj01_0")),
                        ("test", ("test/test_subj01_0", "test/test_subj01_1"))):  # fmt: skip
        ids, trials = prepared.ids(split), prepared.betas(split)
        shuffled = rng.permutation(np.unique(ids))
        for name, part in zip(tars, np.array_split(shuffled, len(tars)), strict=True):
            samples = [(k, sample(int(i), trials[ids == i])) for k, i in enumerate(part)]
            write_tar(folder / f"{name}.tar", samples)
    return tree, folder


@pytest.mark.parametrize("normalisation", ["none", "brain-diffuser", "brainram-released"])
def test_tars_and_files_agree(mirror, tmp_path, normalisation):
    tree, folder = mirror
    from_files = prepare_subject(tree.layout, 1, tmp_path / "files", sessions=SESSIONS, normalisation=normalisation)
    from_tars = prepare_webdataset(folder, 1, tmp_path / "tars", normalisation=normalisation)
    for split in ("train", "test"):
        np.testing.assert_array_equal(from_tars.ids(split), from_files.ids(split))
        np.testing.assert_array_equal(from_tars.n_averaged(split), from_files.n_averaged(split))
        np.testing.assert_allclose(from_tars.betas(split), from_files.betas(split), rtol=1e-4, atol=1e-5)


def test_voxels_without_a_signal_are_left_out(tmp_path):
    """Voxel 1 is constant, but not its sums, as images have 2 or 3 presentations; voxel 3 is NaN in one test image."""
    rng = np.random.default_rng(0)
    for split, ids in (("train", range(6)), ("test", range(6, 9))):
        betas = rng.normal(size=(len(ids), 3, 5))
        betas[:, :, 1] = 0.3
        betas[0, 0, 3] = np.nan if split == "test" else 1
        samples = [(i, sample(i, shown[: 2 + i % 2])) for i, shown in zip(ids, betas, strict=True)]
        write_tar(tmp_path / f"{split}/{split}_subj01_0.tar", samples)
    prepared = prepare_webdataset(tmp_path, 1, tmp_path / "out", normalisation="brain-diffuser")
    assert prepared.voxel_index.tolist() == [0, 2, 4] and prepared.excluded["constant or not finite"].tolist() == [1, 3]
    assert np.isfinite(prepared.betas("train")).all() and np.isfinite(prepared.betas("test")).all()


def test_a_repeat_is_not_averaged_twice_though_a_voxel_is_nan():
    shown = np.array([[[1.0, np.nan], [3.0, np.nan], [3.0, np.nan]]], np.float32)
    rows = WebdatasetSplit(np.array([5]), shown, ()).rows()
    assert rows.count.tolist() == [2] and rows.total[0, 0] == 4


def test_images_and_ids_are_in_one_order(mirror):
    _, folder = mirror
    found = read_webdataset(folder, 1, "train")
    assert (np.diff(found.nsd_ids) > 0).all() and found.betas.shape[1] == 3
    images = read_webdataset_images(folder, 1, "train")
    np.testing.assert_allclose(images[:, 0, 0, 0], found.nsd_ids, atol=2)
    assert any(path.name.startswith("val") for path in found.shards)


def test_bad_tars(mirror, tmp_path):
    _, folder = mirror
    with pytest.raises(MissingFileError, match="no train tars of subj02; 'train/train_subj02_0.tar' was expected"):
        read_webdataset(folder, 2, "train")
    with pytest.raises(ShapeError, match="'session-z' needs sessions"):
        prepare_webdataset(folder, 1, tmp_path / "out", normalisation="session-z")
    path = folder / "test" / "test_subj01_0.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:1800])
    with pytest.raises(DamagedFileError, match="test_subj01_0.tar"):
        read_webdataset(folder, 1, "test")
    path.write_bytes(whole[: 512 * 30])
    with tarfile.open(path) as archive:
        boundary = max(member.offset for member in archive)
    path.write_bytes(whole[:boundary])
    with pytest.raises(DamagedFileError, match="does not end as a tar does"):
        read_webdataset(folder, 1, "test")
    parts = sample(3, np.ones((2, 4)))
    write_tar(path, [(0, {key: data for key, data in parts.items() if key != "coco73k.npy"})])
    with pytest.raises(DamagedFileError, match=r"sample 'sample000000000' lacks \['coco73k.npy'\]"):
        read_webdataset(folder, 1, "test")
    write_tar(path, [(0, sample(3, np.ones((2, 4))))])
    with pytest.raises(ShapeError, match="betas of shapes"):
        read_webdataset(folder, 1, "test")
