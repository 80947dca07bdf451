"""COCO-like scenes, 64 x 64: a place, a light, one to three objects. Everything is a function of (set, index).

`scene_of("stimuli", 7)` is the same scene on every machine, so scenes are regenerated, never shipped. The sets are
disjoint streams of one seed: material for the mini models, stimuli of each subject, shared test stimuli, the corpus.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from brainram_lib.world.sprites import sprites_by_category
from brainram_lib.world.vocabulary import (
    COCO_CATEGORIES,
    COLOURS,
    CORPUS_CATEGORIES,
    CORPUS_PLACES,
    LIGHTS,
    PLACES,
    Category,
    Place,
)

SCENE_SIZE = 64
# Objects are drawn smaller when there are more of them, so that each stays visible.
OBJECT_SIZES = {1: (30, 46), 2: (24, 36), 3: (20, 28)}
# Share of objects that stand where one expects them; the rest may stand anywhere, as in photographs.
PLAUSIBLE = 0.9


@dataclass(frozen=True)
class SceneObject:
    """One object: which sprite, where its base stands (pixels, from the top left), how large, which way."""

    category: Category
    sprite: int
    colour: str | None
    x: float
    y: float
    size: float
    flipped: bool
    angle: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `objects` are ordered from the back to the front."""

    place: Place
    light: str
    horizon: float
    objects: tuple[SceneObject, ...]
    texture_seed: int

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories present, each once, in the order of the objects."""
        return tuple(dict.fromkeys(shown.category.name for shown in self.objects))


def stream(name: str, *index: int) -> np.random.Generator:
    """The random stream of one named thing of the world: independent between names and between indices."""
    return np.random.default_rng([zlib.crc32(name.encode()), *index])


def scene_of(scene_set: str, index: int) -> Scene:
    """Scene `index` of a set. Sets whose name starts with 'corpus' also know the corpus's categories and places."""
    rng = stream(f"scene/{scene_set}", index)
    wide = scene_set.startswith("corpus")
    categories = COCO_CATEGORIES + CORPUS_CATEGORIES if wide else COCO_CATEGORIES
    places = PLACES + CORPUS_PLACES if wide else PLACES
    first = categories[rng.integers(len(categories))]
    fitting = [place for place in places if place.kind in first.found]
    place = fitting[rng.integers(len(fitting))] if rng.random() < PLAUSIBLE else places[rng.integers(len(places))]
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.37, 0.18]))
    chosen = [first] + [_companion(rng, first, place, categories) for _ in range(count - 1)]
    horizon = rng.uniform(*place.horizon)
    objects = _arrange(rng, chosen, horizon)
    # Rooms have lamps: night and sunset occur outdoors only.
    lights = ("day", "overcast") if place.kind == "h" else tuple(LIGHTS)
    light = lights[rng.choice(len(lights), p=[0.7, 0.3] if len(lights) == 2 else [0.42, 0.2, 0.18, 0.2])]
    return Scene(place, light, horizon, objects, int(rng.integers(2**31)))


def _companion(rng: np.random.Generator, first: Category, place: Place, categories: tuple[Category, ...]) -> Category:
    """Another object of the same scene: sometimes the same kind again, mostly one that is found in that place."""
    if rng.random() < 0.2:
        return first
    fitting = [category for category in categories if place.kind in category.found]
    pool = fitting if rng.random() < PLAUSIBLE else list(categories)
    return pool[rng.integers(len(pool))]


def _arrange(rng: np.random.Generator, categories: list[Category], horizon: float) -> tuple[SceneObject, ...]:
    """Give every object a column of the picture, a size and a base line; those in front are drawn last."""
    count = len(categories)
    columns = rng.permutation(count)
    objects = []
    for category, column in zip(categories, columns, strict=True):
        size = rng.uniform(*OBJECT_SIZES[count]) * category.scale
        x = (column + 0.5 + rng.uniform(-0.22, 0.22)) / count * SCENE_SIZE
        x = float(np.clip(x, size * 0.42, SCENE_SIZE - size * 0.42))
        flies = category.name in ("airplane", "bird", "kite", "frisbee", "balloon", "helicopter", "butterfly")
        lowest, highest = (0.45, 0.72) if flies else (horizon + 0.14, 0.98)
        base = rng.uniform(lowest, highest) * SCENE_SIZE
        y = float(np.clip(base, size * 0.95, SCENE_SIZE - 1))
        colour = list(COLOURS)[rng.integers(len(COLOURS))] if category.tint else None
        sprite = int(rng.integers(len(sprites_by_category()[category.name])))
        objects.append(SceneObject(category, sprite, colour, x, y, size, rng.random() < 0.5, rng.uniform(-8, 8)))
    return tuple(sorted(objects, key=lambda shown: shown.y))


def render(scene: Scene) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a scene: background, its decoration, the objects with soft shadows, then the light."""
    rng = np.random.default_rng(scene.texture_seed)
    canvas = _background(scene, rng)
    for shown in scene.objects:
        _paste(canvas, shown)
    _, gain, offset = LIGHTS[scene.light]
    lit = canvas * np.array(gain) + np.array(offset)
    return np.clip(lit, 0, 255).astype(np.uint8)


@cache
def _grid() -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size"]]:
    rows, columns = np.mgrid[0:SCENE_SIZE, 0:SCENE_SIZE].astype(np.float64)
    return rows, columns


def _gradient(top: tuple, bottom: tuple, share: Float[np.ndarray, "size size"]) -> Float[np.ndarray, "size size 3"]:
    weight = np.clip(share, 0, 1)[..., None]
    return np.array(top) * (1 - weight) + np.array(bottom) * weight


def _background(scene: Scene, rng: np.random.Generator) -> Float[np.ndarray, "size size 3"]:
    rows, _ = _grid()
    edge = scene.horizon * SCENE_SIZE
    far = _gradient(*scene.place.far, rows / edge)
    near = _gradient(*scene.place.near, (rows - edge) / (SCENE_SIZE - edge))
    near = near + rng.normal(0, 3.0, (SCENE_SIZE // 2, SCENE_SIZE // 2, 1)).repeat(2, 0).repeat(2, 1)
    tone = rng.normal(1.0, 0.05, 3)
    canvas = np.where((rows < edge)[..., None], far, near) * tone
    return DECORATIONS[scene.place.decor](canvas, edge, rng)


def _blend(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], strength: float = 1.0) -> np.ndarray:
    weight = (mask * strength)[..., None]
    return canvas * (1 - weight) + np.array(colour) * weight


def _clouds(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for _ in range(rng.integers(1, 4)):
        x, y, wide = rng.uniform(0, 64), rng.uniform(3, edge * 0.6), rng.uniform(5, 11)
        cloud = np.exp(-(((columns - x) / wide) ** 2) - ((rows - y) / (wide * 0.35)) ** 2)
        canvas = _blend(canvas, cloud * (rows < edge), (255, 255, 255), 0.9)
    return canvas


def _ridge(rng: np.random.Generator, roughness: float) -> np.ndarray:
    _, columns = _grid()
    waves = [rng.uniform(0.4, 1) * np.sin(columns[0] / rng.uniform(4, 14) + rng.uniform(0, 6.28)) for _ in range(3)]
    return np.sum(waves, axis=0) * roughness


def _peaks(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for _ in range(3):
        x, high, steep = rng.uniform(0, 64), rng.uniform(9, 20), rng.uniform(0.7, 1.2)
        top = edge - high + np.abs(columns - x) * steep
        canvas = _blend(canvas, (rows > top) & (rows < edge), (105, 110, 130))
        canvas = _blend(canvas, (rows > top) & (rows < edge - high * 0.62) & (rows < edge), (240, 244, 250))
    return canvas


def _dunes(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, _ = _grid()
    canvas = _blend(canvas, (rows > edge - 3 + _ridge(rng, 1.6)) & (rows < edge + 4), (235, 200, 130))
    return _blend(canvas, (rows > edge + 9 + _ridge(rng, 2.0)) & (rows < edge + 12), (180, 135, 75), 0.6)


def _trees(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for x in np.linspace(2, 62, 6) + rng.uniform(-5, 5, 6):
        high, wide = rng.uniform(14, 26), rng.uniform(4, 7)
        crown = ((columns - x) / wide) ** 2 + ((rows - (edge - high * 0.6)) / (high * 0.55)) ** 2 < 1
        trunk = (np.abs(columns - x) < 1.2) & (rows > edge - high * 0.3) & (rows < edge + 2)
        canvas = _blend(canvas, trunk, (95, 65, 40))
        canvas = _blend(canvas, crown, (40, int(rng.uniform(90, 130)), 50))
    return canvas


def _pines(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for x in rng.uniform(0, 64, 5):
        high = rng.uniform(9, 18)
        inside = (np.abs(columns - x) < (rows - edge + high) * 0.32) & (rows < edge + 1) & (rows > edge - high)
        canvas = _blend(canvas, inside, (45, 85, 75))
    return canvas


def _road(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    middle = rng.uniform(24, 40)
    depth = np.clip((rows - edge) / (SCENE_SIZE - edge), 0, 1)
    canvas = _blend(canvas, (np.abs(columns - middle) > 8 + 34 * depth) & (rows > edge), (95, 140, 75))
    dashes = (np.abs(columns - middle) < 0.6 + 1.6 * depth) & (rows > edge) & ((rows // 5) % 2 == 0)
    return _blend(canvas, dashes, (245, 235, 190))


def _towers(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    left = 0.0
    while left < SCENE_SIZE:
        wide, high, grey = rng.uniform(7, 14), rng.uniform(10, edge * 0.9), rng.uniform(95, 170)
        inside = (columns >= left) & (columns < left + wide - 1) & (rows > edge - high) & (rows < edge)
        canvas = _blend(canvas, inside, (int(grey), int(grey * 0.95), int(grey * 0.98)))
        windows = inside & (rows.astype(int) % 4 < 2) & ((columns - left).astype(int) % 4 < 2)
        canvas = _blend(canvas, windows, (235, 220, 150), 0.7)
        left += wide
    return canvas


def _surf(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, _ = _grid()
    shore = edge + rng.uniform(5, 9) + _ridge(rng, 0.8)
    canvas = _blend(canvas, (rows > edge) & (rows < shore), (50, 140, 190))
    return _blend(canvas, np.abs(rows - shore) < 1.2, (250, 250, 250))


def _waves(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, _ = _grid()
    for depth in np.arange(4, SCENE_SIZE - edge, 6):
        crest = edge + depth + _ridge(rng, 0.6)
        canvas = _blend(canvas, np.abs(rows - crest) < 0.8, (150, 205, 235), 0.7)
    return canvas


def _tiles(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    pitch = int(rng.integers(8, 13))
    lines = ((rows.astype(int) % pitch == 0) | (columns.astype(int) % pitch == 0)) & (rows < edge)
    canvas = _blend(canvas, lines, (250, 250, 245), 0.8)
    return _blend(canvas, np.abs(rows - edge) < 1.5, (245, 240, 230), 0.8)


def _window(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    left, wide = rng.uniform(4, 40), rng.uniform(14, 20)
    frame = (columns > left) & (columns < left + wide) & (rows > 4) & (rows < edge - 6)
    canvas = _blend(canvas, frame, (250, 250, 250))
    pane = (columns > left + 2) & (columns < left + wide - 2) & (rows > 6) & (rows < edge - 8)
    return _blend(canvas, pane & (np.abs(columns - left - wide / 2) > 0.8), (150, 200, 240))


def _shelf(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    level = rng.uniform(9, max(10.0, edge - 8))
    canvas = _blend(canvas, (np.abs(rows - level) < 1.2), (120, 85, 55))
    for left in np.arange(rng.uniform(0, 8), 60, rng.uniform(4, 7)):
        high, tint = rng.uniform(4, 8), rng.uniform(60, 200, 3)
        box = (columns > left) & (columns < left + 3) & (rows < level) & (rows > level - high)
        canvas = _blend(canvas, box, tuple(int(value) for value in tint))
    return canvas


def _stars(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for x, y in rng.uniform(0, 64, (30, 2)):
        canvas = _blend(canvas, (np.hypot(columns - x, rows - y) < 0.8) & (rows < edge - 1), (250, 250, 225))
    return canvas


def _bubbles(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for x, y, size in rng.uniform((0, 0, 1.5), (64, 64, 4), (14, 3)):
        ring = np.abs(np.hypot(columns - x, rows - y) - size) < 0.7
        canvas = _blend(canvas, ring, (190, 240, 245), 0.7)
    return canvas


def _spikes(canvas: np.ndarray, edge: float, rng: np.random.Generator) -> np.ndarray:
    rows, columns = _grid()
    for x in np.linspace(3, 61, 8) + rng.uniform(-3, 3, 8):
        high, wide = rng.uniform(8, edge * 0.7), rng.uniform(2.5, 5)
        canvas = _blend(canvas, np.abs(columns - x) < wide * (1 - rows / high), (26, 18, 30))
    return canvas


DECORATIONS = {
    "none": lambda canvas, edge, rng: canvas,
    "clouds": _clouds,
    "peaks": _peaks,
    "dunes": _dunes,
    "trees": _trees,
    "pines": _pines,
    "road": _road,
    "towers": _towers,
    "surf": _surf,
    "waves": _waves,
    "tiles": _tiles,
    "window": _window,
    "shelf": _shelf,
    # of places that no model was trained on
    "stars": _stars,
    "bubbles": _bubbles,
    "spikes": _spikes,
}


def _placed(shown: SceneObject) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
    """An object as it is drawn: its colours, its opacity in [0, 1] and where in the picture both lie."""
    sprite = Image.fromarray(sprites_by_category()[shown.category.name][shown.sprite])
    if shown.flipped:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = _side(shown)
    sprite = sprite.rotate(shown.angle, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.BOX)
    pixels = np.asarray(sprite, dtype=np.float64)
    top, left = round(shown.y - side), round(shown.x - side / 2)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + side, SCENE_SIZE), min(left + side, SCENE_SIZE)
    pixels = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return pixels[..., :3], pixels[..., 3:] / 255, (slice(y0, y1), slice(x0, x1))


def _side(shown: SceneObject) -> int:
    return max(4, round(shown.size))


def _paste(canvas: Float[np.ndarray, "size size 3"], shown: SceneObject) -> None:
    """Paste one sprite and its shadow onto the canvas, in place."""
    colour, alpha, where = _placed(shown)
    if shown.colour is not None:
        colour = _tinted(colour, COLOURS[shown.colour])
    rows, columns = _grid()
    side = _side(shown)
    shadow = np.exp(-(((columns - shown.x) / (side * 0.4)) ** 2) - ((rows - shown.y) / (side * 0.09)) ** 2)
    canvas *= 1 - 0.35 * shadow[..., None]
    canvas[where] = canvas[where] * (1 - alpha) + colour * alpha


def object_cover(scene: Scene) -> Float[np.ndarray, "size size"]:
    """How far every pixel shows an object, in [0, 1]: the largest opacity of the sprites there."""
    cover = np.zeros((SCENE_SIZE, SCENE_SIZE))
    for shown in scene.objects:
        _, alpha, where = _placed(shown)
        cover[where] = np.maximum(cover[where], alpha[..., 0])
    return cover


def _tinted(colour: Float[np.ndarray, "h w 3"], target: tuple[int, int, int]) -> Float[np.ndarray, "h w 3"]:
    """Repaint a sprite in one colour, keeping its drawing: mid tones take the colour, black and white stay."""
    luminance = colour @ np.array([0.299, 0.587, 0.114]) / 255
    chroma = (colour.max(-1) - colour.min(-1)) / 255
    toned = np.array(target) * (0.35 + 0.9 * luminance)[..., None]
    strength = np.clip(0.25 + 1.6 * chroma, 0, 1) * np.clip(luminance * 5, 0, 1)
    return colour * (1 - strength[..., None]) + np.clip(toned, 0, 255) * strength[..., None]
