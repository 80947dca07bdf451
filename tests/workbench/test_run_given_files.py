"""NSD's files that a user gives: one preparation of each, made anew when what is read changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from tiny_run import TINY

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.pipeline.run import run_of
from brainram_lib.pipeline.source import EmbeddedWorld, NsdFiles
from brainram_lib.profiles import changed
from brainram_lib.workbench import Workbench


@pytest.fixture(scope="module")
def nsd(workbench, tmp_path_factory):
    """A world's files in a folder of the user's."""
    return Path(shutil.copytree(workbench.layout.root, tmp_path_factory.mktemp("given") / "nsd"))


NSD = replace(changed(TINY, corpus__pairs=40), source="nsd")


def test_a_folder_named_relative_absolute_or_by_a_link_is_one_preparation(nsd, tmp_path, monkeypatch):
    monkeypatch.chdir(nsd.parent)
    (tmp_path / "link").symlink_to(nsd)
    made = []
    for root in (nsd, "nsd", Path("..") / nsd.parent.name / "nsd", tmp_path / "link"):
        one = Workbench(NSD, subject=1, runs=tmp_path / "runs", nsd_root=root)
        one.betas()
        one.targets("text", "test")
        made += one.store.made
    assert made == ["subject", "images", "targets-text"]


def test_a_world_that_is_given_is_read_and_not_written(nsd, tmp_path):
    given = Workbench(TINY, subject=1, runs=tmp_path, nsd_root=nsd)
    assert given.layout.root == nsd and given.run.source == EmbeddedWorld(root=nsd)
    assert given.betas()["test"].shape[0] == 10


def keys(root):
    """The keys of one run's data."""
    run = run_of(NSD, 1, 0, root)
    return {"subject": run.betas.key} | {f"targets-{modality}": run.targets(modality).key for modality in MODALITIES}


def changed_keys(root, change):
    """Which keys a change of the files changes."""
    before = keys(root)
    change()
    return {name for name, key in keys(root).items() if key != before[name]}


@pytest.fixture
def copied(nsd, tmp_path):
    return Path(shutil.copytree(nsd, tmp_path / "nsd"))


ALL = {"subject", "targets-image", "targets-text"}


def test_replaced_betas_are_prepared_anew(copied):
    layout = NsdFiles(copied).layout(copied, 1)
    path = layout.betas_session(1, 2)

    def replace_betas():
        with h5py.File(path, "r+") as file:
            file["betas"][3] = file["betas"][3] + 1

    assert changed_keys(copied, replace_betas) == ALL


def test_the_betas_of_sessions_and_subjects_that_are_not_read_do_not_count(copied):
    layout = NsdFiles(copied).layout(copied, 1)

    def write():
        for path in (layout.betas_session(1, 4), layout.betas_session(2, 1)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"other")

    assert changed_keys(copied, write) == set()


def test_an_ncsnr_that_is_fetched_later_counts(copied):
    path = NsdFiles(copied).layout(copied, 1).ncsnr(1, NSD.data.beta_version)
    kept = path.read_bytes()
    path.unlink()
    assert changed_keys(copied, lambda: path.write_bytes(kept)) == ALL


def test_another_region_counts(copied):
    path = NsdFiles(copied).layout(copied, 1).roi(1, "nsdgeneral")

    def smaller():
        image = nibabel.load(path)
        values = np.asarray(image.dataobj).copy()
        values[tuple(np.argwhere(values == 1)[0])] = 0
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)

    assert changed_keys(copied, smaller) == ALL


def test_a_changed_stimulus_changes_the_image_targets_alone(copied):
    def invert():
        with h5py.File(NsdFiles(copied).layout(copied, 1).stimuli, "r+") as file:
            file["imgBrick"][5] = 255 - file["imgBrick"][5]

    assert changed_keys(copied, invert) == {"targets-image"}


def test_a_changed_caption_changes_the_text_targets_alone(copied):
    path = NsdFiles(copied).layout(copied, 1).captions("train2017")
    path = path if path.exists() else NsdFiles(copied).layout(copied, 1).captions("val2017")

    def reword():
        said = json.loads(path.read_text())
        said["annotations"][0]["caption"] = "another caption"
        path.write_text(json.dumps(said))

    assert changed_keys(copied, reword) == {"targets-text"}


# Two processes that begin at the same moment: forked from one, so that what they import is imported once.
STIMULI = """
import os, sys
sys.path.insert(0, sys.argv[2])
from tiny_run import TINY, WORLD
from brainram_lib.nsd.stimuli import read_stimuli
from brainram_lib.workbench import Workbench
from brainram_lib.world.world import make_experiment
def said(subject):
    wb = Workbench(TINY, subject=subject, runs=sys.argv[1], world=WORLD)
    seen = make_experiment(WORLD).subject_images[subject - 1]
    return min(int(image.max()) for image in read_stimuli(wb.layout, seen))
for subject in (1, 2):
    if not os.fork():
        os.write(1, f"{subject} {said(subject)}\\n".encode())
        os._exit(0)
sys.exit(max(os.wait()[1] for _ in range(2)) and 1)
"""


def test_two_subjects_that_start_together_each_see_all_their_images(tmp_path, root):
    command = [sys.executable, "-c", STIMULI, str(tmp_path), str(root / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=600)
    assert done.returncode == 0, done.stderr
    brightest = dict(line.split() for line in done.stdout.splitlines())
    assert brightest.keys() == {"1", "2"}
    assert all(int(value) > 50 for value in brightest.values()), "no image is black"
