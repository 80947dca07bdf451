"""Captions: five per picture in different words, as in COCO; one web-like caption per corpus picture."""

from __future__ import annotations

import numpy as np

from brainram_lib.world.scenes import SCENE_SIZE, Scene, SceneObject, stream
from brainram_lib.world.vocabulary import LIGHTS

CAPTIONS_PER_IMAGE = 5
_SIDES = (("on the left", "at the left"), ("in the middle", "in the center"), ("on the right", "at the right"))
_OPENERS = ("", "there is ", "a picture of ", "a photo of ", "we see ", "this is ")


def _article(noun: str) -> str:
    bare = noun == "someone" or noun.startswith("pair of")
    return noun if bare else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _side(x: float) -> int:
    return int(np.clip(x / SCENE_SIZE * 3, 0, 2))


def _phrase(rng: np.random.Generator, shown: SceneObject, *, colour: bool, side: bool, size: bool) -> str:
    """'a large red car on the left', with the parts that this caption mentions."""
    noun = shown.category.words[rng.integers(len(shown.category.words))]
    words = []
    if size and shown.size > 36:
        words.append(("large", "big")[rng.integers(2)])
    elif size and shown.size < 25:
        words.append(("small", "little")[rng.integers(2)])
    if colour and shown.colour is not None:
        words.append(shown.colour)
    phrase = _article(" ".join([*words, noun]))
    return f"{phrase} {_SIDES[_side(shown.x)][rng.integers(2)]}" if side else phrase


def _caption(rng: np.random.Generator, scene: Scene) -> str:
    """One sentence. Objects and the place are named; colour, side and light mostly, size half the time."""
    order = rng.permutation(len(scene.objects))
    with_sides = rng.random() < 0.7
    parts = [
        _phrase(rng, scene.objects[i], colour=rng.random() < 0.9, side=with_sides, size=rng.random() < 0.5)
        for i in order
    ]
    joined = parts[0] if len(parts) == 1 else " and ".join([", ".join(parts[:-1]), parts[-1]])
    place = scene.place.words[rng.integers(len(scene.place.words))]
    light_words = LIGHTS[scene.light][0]
    light = light_words[rng.integers(len(light_words))] if rng.random() < 0.75 else ""
    if rng.random() < 0.3:
        return " ".join(f"{place} {light}, {joined}".split()).replace(" ,", ",")
    opener = _OPENERS[rng.integers(len(_OPENERS))]
    return " ".join(f"{opener}{joined} {place} {light}".split())


def captions_of(scene: Scene, scene_set: str, index: int, count: int = CAPTIONS_PER_IMAGE) -> list[str]:
    """`count` captions of a scene, each a function of (set, index), in different words."""
    rng = stream(f"captions/{scene_set}", index)
    return [_caption(rng, scene) for _ in range(count)]


def web_caption(scene: Scene, scene_set: str, index: int) -> str:
    """One caption as found on web pages: keywords, sometimes trailing words that say nothing."""
    rng = stream(f"web/{scene_set}", index)
    if rng.random() < 0.55:
        return _caption(rng, scene)
    nouns = [_phrase(rng, shown, colour=True, side=False, size=False) for shown in scene.objects]
    place = scene.place.words[rng.integers(len(scene.place.words))]
    light = LIGHTS[scene.light][0][rng.integers(len(LIGHTS[scene.light][0]))]
    tail = ("stock photo", "free picture", "wall art", "for sale", "photo of the day", "")[rng.integers(6)]
    return " ".join(f"{' and '.join(nouns)} {place} {light} {tail}".split())
