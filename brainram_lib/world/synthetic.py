"""The embedded world's NSD-synthetic: which pictures its one session shows, of which class, and what they drive.

Classes that NSD-synthetic has carry its names. Three show scenes with something that no model was trained on:
categories, places and, as 'Manipulated scenes', styles. 'Natural scenes' are ordinary ones that were never shown: what
a decoder loses on them is due to the session, not to the stimuli.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, UInt8

from brainram_lib.world import patterns
from brainram_lib.world.brains import SUPERCATEGORIES, semantic_drive, semantic_names
from brainram_lib.world.manipulated import CONTRASTS, MANIPULATIONS, answered, at_contrast
from brainram_lib.world.scenes import Scene, SceneObject, render, scene_of, stream
from brainram_lib.world.unseen import KIND_OF, UNSEEN_CATEGORIES, UNSEEN_PLACES

RECIPE = 1
"""Number of this set and of its session, raised whenever a picture or a beta changes."""
# Sets of scenes; `scene_of` draws them as it draws stimuli.
SETS = tuple(f"nsdsynthetic/{name}" for name in ("natural", "categories", "places", "styles", "contrasts"))
CHROMATIC = "Chromatic noise"


@dataclass(frozen=True)
class Stimulus:
    """One picture.

    Attributes:
        picture: as it is drawn. name: what it shows, in words; the subclass of NSD-synthetic's table.
        drive: which names of `semantic_names` it shows, and how strongly; nothing where there is no scene.
    """

    picture: UInt8[np.ndarray, "size size 3"]
    name: str
    drive: Float32[np.ndarray, " names"]


def natural(index: int) -> Stimulus:
    """An ordinary scene."""
    scene = scene_of(SETS[0], index)
    return Stimulus(render(scene), "scene", drive_of(scene))


def new_categories(index: int) -> Stimulus:
    """An ordinary place, with all objects from categories that no model was trained on."""
    scene = unseen_objects(scene_of(SETS[1], index), stream("nsdsynthetic/unseen objects", index))
    return Stimulus(render(scene), " and ".join(scene.categories), drive_of(scene))


def new_places(index: int) -> Stimulus:
    """Ordinary objects in a place that no model was trained on."""
    scene = replace(scene_of(SETS[2], index), place=UNSEEN_PLACES[index % len(UNSEEN_PLACES)])
    return Stimulus(render(scene), scene.place.name, drive_of(scene))


def manipulated(index: int) -> Stimulus:
    """An ordinary scene, manipulated as in NSD-synthetic."""
    scene, name = scene_of(SETS[3], index), tuple(MANIPULATIONS)[index % len(MANIPULATIONS)]
    return Stimulus(MANIPULATIONS[name](render(scene)), name, drive_of(scene))


def faint(index: int) -> Stimulus:
    """An ordinary scene at one of NSD-synthetic's contrasts; the same scene at every contrast."""
    scene, contrast = scene_of(SETS[4], index // len(CONTRASTS)), CONTRASTS[index % len(CONTRASTS)]
    return Stimulus(
        at_contrast(render(scene), contrast), f"contrast {contrast:.0%}", drive_of(scene) * answered(contrast)
    )


def _without_scene(pattern: Callable[[int], patterns.Pattern]) -> Callable[[int], Stimulus]:
    return lambda index: Stimulus(*pattern(index), np.zeros(len(semantic_names()), np.float32))


# Class -> its pictures, the same for every subject.
SHARED: dict[str, Callable[[int], Stimulus]] = {
    "Natural scenes": natural,
    "New categories": new_categories,
    "New places": new_places,
    "Manipulated scenes": manipulated,
    "Contrast modulation": faint,
    "Noise": _without_scene(patterns.noise),
    "Gratings": _without_scene(patterns.grating),
    "Spiral gratings": _without_scene(patterns.spiral),
    "Single words": _without_scene(patterns.word),
}


def shared_set(each: int) -> list[tuple[str, Stimulus]]:
    """(class, stimulus) pairs: `each` of every class that all subjects see."""
    return [(kind, draw(index)) for kind, draw in SHARED.items() for index in range(each)]


def own_set(each: int, subject: int) -> list[tuple[str, Stimulus]]:
    """The coloured noise of one subject, as NSD-synthetic has it."""
    draw = _without_scene(lambda index: patterns.chromatic(index, subject, -(-each // 4)))
    return [(CHROMATIC, draw(index)) for index in range(each)]


def unseen_objects(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with its objects replaced, in place, by others from categories that no model was trained on."""
    chosen = rng.permutation(len(UNSEEN_CATEGORIES))[: len(scene.objects)]
    objects: tuple[SceneObject, ...] = tuple(
        replace(shown, category=UNSEEN_CATEGORIES[k], sprite=0, colour=None)
        for shown, k in zip(scene.objects, chosen, strict=True)
    )
    return replace(scene, objects=objects)


def drive_of(scene: Scene) -> Float[np.ndarray, " names"]:
    """`semantic_drive`, with the drive of an unseen category or place split equally among its kin.

    Voxels have no tuning for what the subject never learned; they respond as to the mean member of its supercategory,
    or to the mean place.
    """
    row, names = semantic_drive([scene])[0], semantic_names()
    for shown in scene.objects:
        kin = SUPERCATEGORIES.get(KIND_OF.get(shown.category.name, ""), ())
        for name in kin:
            row[names.index(name)] += (0.5 + shown.size / 72) / len(kin)
    if f"place:{scene.place.name}" not in names:
        places = [k for k, name in enumerate(names) if name.startswith("place:")]
        row[places] += 1 / len(places)
    return row
