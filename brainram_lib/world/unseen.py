"""Categories and places that no stimulus, no training material of the mini models and no corpus picture shows.

`vocabulary` holds what they do show, and `scenes.scene_of` draws only from that. Sprites of these categories are in a
separate atlas (`sprites.UNSEEN`).
"""

from __future__ import annotations

from brainram_lib.world.vocabulary import Category, Place

# Name, emoji, and the supercategory (`brains.SUPERCATEGORIES`) whose members the late areas take it for.
_DRAWN = (
    ("kangaroo", "🦘", "animal"),
    ("octopus", "🐙", "animal"),
    ("hedgehog", "🦔", "animal"),
    ("scorpion", "🦂", "animal"),
    ("snail", "🐌", "animal"),
    ("crocodile", "🐊", "animal"),
    ("rocket", "🚀", "vehicle"),
    ("flying saucer", "🛸", "vehicle"),
    ("anchor", "⚓", "outdoor"),
    ("fountain", "⛲", "outdoor"),
    ("statue", "🗿", "outdoor"),
    ("crown", "👑", "accessory"),
    ("mushroom", "🍄", "food"),
    ("grapes", "🍇", "food"),
    ("corn", "🌽", "food"),
    ("pineapple", "🍍", "food"),
    ("croissant", "🥐", "food"),
    ("key", "🔑", "indoor"),
    ("candle", "🕯", "indoor"),
    ("trumpet", "🎺", "indoor"),
    ("drum", "🥁", "indoor"),
    ("hammer", "🔨", "indoor"),
    ("magnet", "🧲", "indoor"),
    ("microscope", "🔬", "indoor"),
)
UNSEEN_CATEGORIES = tuple(Category(name, emoji, (name,), "oswnh") for name, emoji, _ in _DRAWN)
KIND_OF = {name: kind for name, _, kind in _DRAWN}

UNSEEN_PLACES: tuple[Place, ...] = (
    Place("moon", "o", ("on the moon",), ((4, 4, 14), (22, 22, 44)), ((172, 168, 166), (92, 90, 92)), "stars"),
    Place("lava field", "o", ("on lava",), ((48, 14, 18), (150, 44, 22)), ((228, 92, 24), (92, 18, 12)), "peaks"),
    Place("under water", "w", ("under water",), ((10, 92, 112), (12, 60, 96)), ((16, 92, 84), (8, 44, 60)), "bubbles"),
    Place("cave", "o", ("in a cave",), ((44, 34, 52), (66, 50, 66)), ((86, 62, 84), (40, 28, 44)), "spikes"),
    Place("neon room", "h", ("in neon",), ((196, 30, 168), (92, 16, 140)), ((24, 210, 214), (16, 92, 130)), "tiles"),
)  # fmt: skip
