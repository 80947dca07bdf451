"""Scenes and captions: the same everywhere, different between sets, and captions that say what is there."""

from dataclasses import replace

import numpy as np
import pytest

from brainram_lib.recipes.material import covers_of_set, render_set
from brainram_lib.world.captions import captions_of, web_caption
from brainram_lib.world.scenes import SCENE_SIZE, object_cover, render, scene_of
from brainram_lib.world.sprites import sprites_by_category
from brainram_lib.world.vocabulary import COCO_CATEGORIES, CORPUS_CATEGORIES, CORPUS_PLACES, LIGHTS, PLACES

WORDS = {category.name: category.words for category in COCO_CATEGORIES}


def test_a_scene_is_a_function_of_its_set_and_index():
    assert scene_of("shared", 7) == scene_of("shared", 7)
    assert scene_of("shared", 7) != scene_of("shared", 8) and scene_of("shared", 7) != scene_of("subject1", 7)
    assert np.array_equal(render(scene_of("shared", 7)), render(scene_of("shared", 7)))


def test_pictures_are_pictures():
    pictures = np.stack([render(scene_of("shared", index)) for index in range(20)])
    assert pictures.shape == (20, SCENE_SIZE, SCENE_SIZE, 3) and pictures.dtype == np.uint8
    assert pictures.std(axis=(1, 2, 3)).min() > 5, "a scene is nearly blank"


def test_the_cover_says_where_objects_are():
    for index in range(10):
        scene = scene_of("shared", index)
        cover, empty = object_cover(scene), replace(scene, objects=())
        changed = np.abs(render(scene).astype(int) - render(empty)).max(-1) > 8
        assert cover.shape == (SCENE_SIZE, SCENE_SIZE) and cover.min() == 0 and 0.5 < cover.max() <= 1
        assert changed[cover > 0.9].mean() > 0.6, "an opaque sprite looks unlike its background"
        assert not object_cover(empty).any()


def test_covers_of_a_set_are_means_over_blocks(tmp_path):
    covers = covers_of_set("models", 3, 16, tmp_path / "covers.npy")
    whole = object_cover(scene_of("models", 2))
    assert covers.shape == (3, 16, 16)
    np.testing.assert_allclose(covers[2, 9, 5], whole[36:40, 20:24].mean(), atol=1e-3)


def test_the_corpus_knows_more_than_the_stimuli():
    wide = [scene_of("corpus", index) for index in range(300)]
    narrow = [scene_of("subject1", index) for index in range(300)]
    extra = {category.name for category in CORPUS_CATEGORIES}, {place.name for place in CORPUS_PLACES}
    for scenes, expected in ((wide, True), (narrow, False)):
        assert any(set(scene.categories) & extra[0] for scene in scenes) == expected
        assert any(scene.place.name in extra[1] for scene in scenes) == expected


def test_every_category_has_a_sprite_and_every_decoration_is_drawn():
    assert all(len(sprites_by_category()[category.name]) for category in COCO_CATEGORIES + CORPUS_CATEGORIES)
    drawn = {scene_of("corpus", index).place.decor for index in range(400)}
    assert drawn == {place.decor for place in PLACES + CORPUS_PLACES}


@pytest.mark.parametrize("index", range(25))
def test_captions_name_every_object_in_different_words(index):
    scene = scene_of("shared", index)
    captions = captions_of(scene, "shared", index)
    assert len(captions) == 5 and len(set(captions)) > 1
    for caption in captions:
        assert all(any(word in caption for word in WORDS[name]) for name in scene.categories), caption
        assert any(word in caption for word in scene.place.words), caption


def test_night_is_darker_than_day():
    brightness = {light: [] for light in LIGHTS}
    for index in range(200):
        scene = scene_of("shared", index)
        brightness[scene.light].append(render(scene).mean())
    assert np.mean(brightness["night"]) < np.mean(brightness["overcast"]) < np.mean(brightness["day"])


def test_web_captions_are_text_and_repeat():
    scene = scene_of("corpus", 3)
    assert web_caption(scene, "corpus", 3) == web_caption(scene, "corpus", 3) != ""


def test_a_set_is_rendered_once_and_in_order(tmp_path):
    pictures = render_set("shared", 3, tmp_path / "x.npy")
    assert np.array_equal(pictures[2], render(scene_of("shared", 2)))
    stamp = (tmp_path / "x.npy").stat().st_mtime_ns
    render_set("shared", 3, tmp_path / "x.npy")
    assert (tmp_path / "x.npy").stat().st_mtime_ns == stamp
