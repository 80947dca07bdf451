"""The check: what is there, what is missing, for which notebook, what to fetch."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from nsd_files import SESSIONS, SHAPE, write_captions, write_stimuli, write_tree, write_volume

from brainram_lib.nsd.check import DAMAGED, MISSING, THERE, add_arguments, check, run, table
from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.layout import HEMISPHERES, LAYERS, NsdLayout


@pytest.fixture
def tree(tmp_path):
    made = write_tree(tmp_path)
    write_captions(made.layout)
    write_stimuli(made.layout)
    return made


def by_thing(layout, **options):
    return {finding.thing: finding for finding in check(layout, 1, **options)}


def complete(layout):
    files = ["prf-visualrois", "prf-eccrois", "floc-faces", "floc-bodies", "floc-places", "floc-words", "streams"]
    for name in files:
        for hemi in (None, *HEMISPHERES):
            write_volume(layout.roi(1, name, hemi), np.zeros(SHAPE, np.int16))
    for hemi in HEMISPHERES:
        for path in (*(layout.volume_to_layer(1, hemi, k) for k in LAYERS), layout.white_to_fsaverage(1, hemi)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_an_empty_root_lists_every_file(tmp_path):
    findings = check(NsdLayout(tmp_path), 1, sessions=2)
    assert all(finding.status == MISSING and finding.fetch for finding in findings)
    text = table(findings)
    for name in ("nsd_expdesign.mat", "betas_session02.hdf5", "nsdgeneral.nii.gz", "captions_val2017.json"):
        assert name in text
    assert str(tmp_path) not in text, "names are relative to the root"


def test_a_tree_with_two_sessions_missing(tree):
    tree.layout.betas_session(1, 2).unlink()
    tree.layout.betas_session(1, 2, ext="nii.gz").unlink()
    findings = by_thing(tree.layout)
    assert findings["betas, session 02"].status == MISSING
    assert findings["betas, session 02"].fetch[0].endswith("betas_fithrf_GLMdenoise_RR/betas_session02.hdf5")
    assert findings[f"betas, {SESSIONS - 1} of {SESSIONS} sessions"].status == THERE
    assert "training and 4 test images" in findings["design"].note
    assert findings["surface transforms, lh"].notebooks == ("01",)
    assert findings["captions, train2017"].status == THERE


def test_damage_is_found_without_reading_betas(tree):
    path = tree.layout.betas_session(1, 3)
    path.write_bytes(path.read_bytes()[:3000])
    tree.layout.expdesign.write_bytes(b"nothing" * 40)
    findings = by_thing(tree.layout, sessions=SESSIONS)
    assert findings["betas, session 03"].status == DAMAGED and findings["design"].status == DAMAGED
    assert findings["betas, session 03"].fetch


@pytest.mark.parametrize("subject", [0, 9])
def test_a_subject_that_nsd_does_not_have_is_named(tree, subject):
    with pytest.raises(NsdError, match=rf"subject must be one of \[1, 2, .*8\]. {subject} was provided"):
        check(tree.layout, subject)


def test_a_mask_of_another_subject_is_found(tree):
    write_volume(tree.layout.roi(1, "nsdgeneral"), np.ones((5, 8, 6), np.int16))
    finding = by_thing(tree.layout)["betas, session 01"]
    assert finding.status == DAMAGED and "of different subjects" in finding.note


@pytest.mark.parametrize("source", ["auto", "nifti"])
def test_the_command_says_whether_every_notebook_can_run(tree, capsys, source):
    words = ("--nsd-root", str(tree.layout.root), "--subject", "1", "--source", source)
    assert run(arguments(*words)) == 1
    assert "notebooks that cannot run: 01\n" in capsys.readouterr().out
    complete(tree.layout)
    assert run(arguments(*words)) == 0
    assert "every notebook can run" in capsys.readouterr().out


def test_surface_betas_are_looked_for_by_hemisphere(tree):
    finding = by_thing(tree.layout, space="fsaverage", sessions=1)["betas, session 01"]
    assert [name.rsplit("/", 1)[1] for name in finding.fetch] == ["lh.betas_session01.mgh", "rh.betas_session01.mgh"]
