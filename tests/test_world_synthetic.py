"""The embedded world's NSD-synthetic: nothing in it was trained on, the world beside it is as it was, and it is read
back by the library's own reader."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainram_lib.core.marks import fingerprint
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.synthetic.experiment import SyntheticExperiment
from brainram_lib.nsd.synthetic.layout import SyntheticLayout
from brainram_lib.nsd.synthetic.prepare import prepare_synthetic
from brainram_lib.nsd.synthetic.stimuli import count_synthetic_stimuli, read_synthetic_stimuli
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import MINI
from brainram_lib.world import synthetic_session
from brainram_lib.world.brains import SUPERCATEGORIES, Standard, semantic_drive, semantic_names
from brainram_lib.world.manipulated import answered, at_contrast, line_drawing, mooney, upside_down
from brainram_lib.world.patterns import chromatic, coloured, grating, spiral
from brainram_lib.world.scenes import DECORATIONS, render, scene_of, stream
from brainram_lib.world.sprites import sprites_by_category
from brainram_lib.world.synthetic import CHROMATIC, SETS, SHARED, drive_of, own_set, shared_set, unseen_objects
from brainram_lib.world.synthetic_session import per_kind, stored, trial_order, write_synthetic
from brainram_lib.world.unseen import KIND_OF, UNSEEN_CATEGORIES, UNSEEN_PLACES
from brainram_lib.world.vocabulary import COCO_CATEGORIES, CORPUS_CATEGORIES, CORPUS_PLACES, PLACES
from brainram_lib.world.world import WorldError, WorldSettings, make_world

TINY = WorldSettings("tiny", (1, 2), (67, 53), sessions=2, trials_per_session=45, images=30, shared=11)
EACH = 2
# Of the world before NSD-synthetic was added to it.
PICTURES, KEYS = "3f6493cb9544", ("7bebfb059a78", "d25b1ea43e45", "be80b65a70c2")
# Every set of scenes that something is trained or tested on.
KNOWN_SETS = ("shared", "subject1", "subject2", "corpus", "models", "brain")


def test_the_world_beside_it_is_as_it_was():
    """Results are named by these: another mark would mean that all are made again."""
    assert fingerprint(WorldSettings()) == "3504776869f3"
    run = run_of(MINI, 1, 0)
    assert (run.betas.key, run.targets("image").key, run.targets("text").key) == KEYS
    digest = hashlib.sha256()
    for known in KNOWN_SETS:
        for index in range(6):
            digest.update(render(scene_of(known, index)).tobytes())
    assert digest.hexdigest()[:12] == PICTURES


def test_no_held_out_category_or_place_is_shown_anywhere_else():
    held_out = {category.name for category in UNSEEN_CATEGORIES}, {place.name for place in UNSEEN_PLACES}
    known = {category.name for category in COCO_CATEGORIES + CORPUS_CATEGORIES}
    assert not held_out[0] & known and not held_out[1] & {place.name for place in PLACES + CORPUS_PLACES}
    shown = [scene_of(scenes, index) for scenes in KNOWN_SETS for index in range(150)]
    assert not any(set(scene.categories) & held_out[0] or scene.place.name in held_out[1] for scene in shown)
    sprites = {sprite.tobytes() for name in known for sprite in sprites_by_category()[name]}
    assert not any(sprites_by_category()[name][0].tobytes() in sprites for name in held_out[0])
    assert set(KIND_OF) == held_out[0] and set(KIND_OF.values()) <= set(SUPERCATEGORIES)
    decorations = {place.decor for place in PLACES + CORPUS_PLACES}
    assert {"stars", "bubbles", "spikes"} <= set(DECORATIONS) - decorations
    assert not set(SETS) & set(KNOWN_SETS) and not any(name.startswith("corpus") for name in SETS)


def test_every_object_of_a_new_category_scene_is_new_and_every_new_place_is():
    for index in range(12):
        scene = unseen_objects(scene_of(SETS[1], index), stream("test", index))
        assert len(scene.categories) == len(scene.objects) and set(scene.categories) <= set(KIND_OF)
    names = {one.name for kind, one in shared_set(len(UNSEEN_PLACES)) if kind == "New places"}
    assert names == {place.name for place in UNSEEN_PLACES}


def test_the_set_is_the_same_everywhere_and_all_of_it_is_visible():
    shown, again = shared_set(5), shared_set(5)
    assert [kind for kind, _ in shown] == [kind for kind in SHARED for _ in range(5)]
    for (_, one), (_, other) in zip(shown, again, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        assert one.picture.shape == (64, 64, 3) and one.picture.std() > 0.5, one.name
    pictures = {one.picture.tobytes() for _, one in shown}
    assert len(pictures) == len(shown)
    own = [one.picture for _, one in own_set(5, 1)]
    assert not np.array_equal(own[0], own_set(5, 2)[0][1].picture)


def test_noise_has_the_spectrum_that_it_is_called_by():
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None]).ravel()
    chosen = (frequency > 0.05) & (frequency < 0.4)
    for exponent in (0.0, 1.0, 2.0):
        fields = [coloured(np.random.default_rng(k), exponent) for k in range(6)]
        power = np.mean([np.abs(np.fft.fft2(field)).ravel() ** 2 for field in fields], 0)
        slope = np.polyfit(np.log(frequency[chosen]), np.log(power[chosen]), 1)[0]
        assert slope == pytest.approx(-2 * exponent, abs=0.15)


def test_gratings_turn_and_spirals_close():
    upright, lying = grating(0)[0][..., 0].astype(float), grating(3)[0][..., 0].astype(float)
    assert upright.std(0).max() < 1 < upright.std(1).min() and lying.std(1).max() < 1 < lying.std(0).min()
    for index in range(12):
        picture = spiral(index)[0][..., 0].astype(float)
        # above and below the seam at the left, where the angle jumps by a turn
        left = picture[30:34, :16]
        assert np.abs(np.diff(left, axis=0)).max() < 150
    assert np.ptp(chromatic(0, 1, 3)[0].astype(int), axis=-1).max() > 40


def test_manipulated_scenes_and_contrasts():
    picture = render(scene_of(SETS[3], 0))
    np.testing.assert_array_equal(upside_down(upside_down(picture)), picture)
    two_tones = mooney(picture)
    assert set(np.unique(two_tones)) == {20, 235} and (two_tones == 20).mean() == pytest.approx(0.5, abs=0.1)
    assert 0.02 < (line_drawing(picture) == 20).mean() < 0.2
    faint = at_contrast(picture, 0.1)
    assert np.abs(faint.astype(int) - 128).max() <= 13
    assert answered(1) == 1 and answered(0.1) == pytest.approx(0.55) and answered(0) == 0


def test_known_scenes_drive_what_they_drove_and_unseen_ones_their_kin():
    for index in range(8):
        scene = scene_of("shared", index)
        np.testing.assert_array_equal(drive_of(scene), semantic_drive([scene])[0])
    scene, names = scene_of(SETS[1], 1), semantic_names()
    moved = replace(unseen_objects(scene, stream("test", 0)), place=UNSEEN_PLACES[0])
    row = drive_of(moved)
    kinds = {KIND_OF[name] for name in moved.categories}
    driven = {name for name, value in zip(names, row, strict=True) if value > 0 and ":" not in name}
    assert driven == {name for kind in kinds for name in SUPERCATEGORIES[kind]}
    expected = sum(0.5 + shown.size / 72 for shown in moved.objects)
    assert row[[names.index(name) for name in driven]].sum() == pytest.approx(expected, rel=1e-5)
    places = [k for k, name in enumerate(names) if name.startswith("place:")]
    assert row[places].sum() == pytest.approx(1, rel=1e-5) and np.ptp(row[places]) == 0
    noise = next(one for kind, one in shared_set(1) if kind == "Noise")
    assert not noise.drive.any()


def test_a_standard_gives_its_own_pictures_mean_0_and_others_what_they_are_in_its_units():
    parts = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 13, 5)).astype(np.float32)) * 3 + 1
    shares = torch.tensor([0.6, 0.0, 0.8, 0.0])[:, None, None].expand(4, 1, 5)
    standard = Standard.of(parts, shares)
    signal = standard(parts)
    assert torch.allclose(signal.mean(0), torch.zeros(5), atol=1e-5) and torch.allclose(signal.std(0), torch.ones(5))
    assert torch.allclose(standard(parts[:, 3:4]), signal[3:4], atol=1e-6)


def test_each_image_is_shown_twice_and_never_twice_in_a_row():
    order = trial_order(23, 0)
    assert (np.bincount(order) == 2).all() and (np.diff(order) != 0).all()
    assert not np.array_equal(order, trial_order(23, 1)) and per_kind(WorldSettings()) == 60 and per_kind(TINY) == EACH


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    root = tmp_path_factory.mktemp("world") / "nsd"
    make_world(root, TINY, [1])
    return SyntheticLayout(write_synthetic(root, 1))


@pytest.fixture(scope="module")
def prepared(layout, tmp_path_factory):
    return prepare_subject(layout.nsd, 1, tmp_path_factory.mktemp("prepared"), sessions=2)


def test_the_files_are_read_by_the_reader_of_the_real_ones(layout, prepared):
    count = EACH * (len(SHARED) + 1)
    experiment = SyntheticExperiment.read(layout)
    assert experiment.kinds == tuple(kind for kind in (*SHARED, CHROMATIC) for _ in range(EACH))
    np.testing.assert_array_equal(experiment.ordering, trial_order(count, TINY.seed))
    assert count_synthetic_stimuli(layout, 1) == (EACH * len(SHARED), EACH)
    drawn = [one.picture for _, one in [*shared_set(EACH), *own_set(EACH, 1)]]
    shown = read_synthetic_stimuli(layout, 1, np.arange(count))
    bright = np.stack(drawn) > 60
    assert np.abs(shown.astype(int) - np.stack(drawn))[bright].max() <= 2, "bright values pass the screen's gamma"
    assert stored(drawn[0]).shape == (64, 122, 3)
    found = prepare_synthetic(layout.nsd, prepared)
    assert found.betas.shape == (count, len(prepared.voxel_index)) and (found.presentations == 2).all()
    assert np.isfinite(found.betas).all()


def test_the_brain_is_the_one_of_the_core_sessions(layout, prepared):
    """Ordinary scenes have betas with the spread of ordinary scenes, and two presentations agree."""
    found = prepare_synthetic(layout.nsd, prepared, "core")
    assert 0.3 < found.betas.std() / prepared.betas("test").std() < 3
    other = prepare_synthetic(layout.nsd, prepared)
    assert np.corrcoef(found.betas.ravel(), other.betas.ravel())[0, 1] > 0.8


def test_a_second_subject_gets_its_own_and_leaves_the_first(layout):
    before = layout.betas(1)[0].stat().st_mtime_ns, layout.stimuli.stat().st_mtime_ns
    write_synthetic(layout.root, 2)
    write_synthetic(layout.root, 1)
    assert before == (layout.betas(1)[0].stat().st_mtime_ns, layout.stimuli.stat().st_mtime_ns)
    own = [read_synthetic_stimuli(layout, subject, np.array([EACH * len(SHARED)])) for subject in (1, 2)]
    assert not np.array_equal(*own) and layout.betas(2)[0].exists()


def test_another_recipe_and_unknown_subjects_are_refused(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_session, "RECIPE", 99)
    with pytest.raises(WorldError, match="holds NSD-synthetic of recipe 1, and this version writes recipe 99"):
        write_synthetic(layout.root, 1)
    with pytest.raises(WorldError, match=r"subject must be one of \(1, 2\)"):
        write_synthetic(layout.root, 3)
    with pytest.raises(FileNotFoundError, match="holds no embedded world"):
        write_synthetic(tmp_path, 1)
