"""The sprite atlas: every category drawn by two emoji fonts, shipped as one picture so that no font is needed.

Sprites: OpenMoji (CC BY-SA 4.0, openmoji.org) and Noto Color Emoji (SIL Open Font License 1.1). The atlas is remade
by `python -m brainram_lib world sprites --openmoji FONT --noto FONT`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from brainram_lib.world.vocabulary import COCO_CATEGORIES, CORPUS_CATEGORIES

ATLAS = Path(__file__).parent / "assets" / "sprites.png"
ATLAS_INDEX = Path(__file__).parent / "assets" / "sprites.json"
SPRITE_SIZE = 48
COLUMNS = 20
# A Noto bitmap font exists at this one size only.
NOTO_SIZE = 109


def _draw(glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """One emoji, cropped to what is drawn and centred on a transparent square; None when the font lacks it."""
    canvas = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((64, 64), glyph, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None or np.asarray(canvas)[..., :3].max() == 0:
        return None
    drawn = canvas.crop(box)
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(drawn, ((side - drawn.width) // 2, side - drawn.height))
    return square.resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.LANCZOS)


def build_atlas(openmoji_font: Path, noto_font: Path) -> int:
    """Draw every category with both fonts and write the atlas and its index; returns the number of sprites."""
    fonts = (ImageFont.truetype(str(openmoji_font), 120), ImageFont.truetype(str(noto_font), NOTO_SIZE))
    sprites: list[tuple[str, Image.Image]] = []
    for category in COCO_CATEGORIES + CORPUS_CATEGORIES:
        drawn = [_draw(glyph, font) for glyph in category.emoji for font in fonts]
        found = [sprite for sprite in drawn if sprite is not None]
        if not found:
            raise ValueError(f"neither font draws '{category.name}' ({category.emoji}). Choose another emoji for it.")
        sprites += [(category.name, sprite) for sprite in found]
    rows = -(-len(sprites) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * SPRITE_SIZE, rows * SPRITE_SIZE), (0, 0, 0, 0))
    for position, (_, sprite) in enumerate(sprites):
        row, column = divmod(position, COLUMNS)
        atlas.paste(sprite, (column * SPRITE_SIZE, row * SPRITE_SIZE))
    ATLAS.parent.mkdir(exist_ok=True)
    atlas.save(ATLAS, optimize=True)
    ATLAS_INDEX.write_text(json.dumps([name for name, _ in sprites]))
    return len(sprites)


@cache
def sprites_by_category() -> dict[str, tuple[UInt8[np.ndarray, "side side 4"], ...]]:
    """Category name -> its sprites (RGBA). Read once per process."""
    atlas = np.asarray(Image.open(ATLAS).convert("RGBA"))
    sprites: dict[str, list[np.ndarray]] = {}
    for position, name in enumerate(json.loads(ATLAS_INDEX.read_text())):
        row, column = divmod(position, COLUMNS)
        top, left = row * SPRITE_SIZE, column * SPRITE_SIZE
        sprites.setdefault(name, []).append(atlas[top : top + SPRITE_SIZE, left : left + SPRITE_SIZE])
    return {name: tuple(found) for name, found in sprites.items()}
