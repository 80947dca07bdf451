"""The sprite atlases: categories drawn by emoji fonts, shipped as two pictures so that no font is needed.

The first holds what stimuli and corpus show, the second what neither does (`world.unseen`).

Sprites: OpenMoji (CC BY-SA 4.0, openmoji.org) and Noto Color Emoji (SIL Open Font License 1.1). The atlas is rebuilt by
`python -m brainram_lib world sprites --openmoji FONT --noto FONT`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from brainram_lib.world.unseen import UNSEEN_CATEGORIES
from brainram_lib.world.vocabulary import COCO_CATEGORIES, CORPUS_CATEGORIES, Category

_ASSETS = Path(__file__).parent / "assets"
ATLAS, UNSEEN = _ASSETS / "sprites.png", _ASSETS / "unseen.png"
SPRITE_SIZE = 48
COLUMNS = 20
# A Noto bitmap font exists at this one size only.
NOTO_SIZE = 109


def _draw(glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """One emoji, cropped to what is drawn and centred on a transparent square; None if the font lacks it."""
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
    """Draw the atlas of stimuli and corpus with both fonts, and its index; returns the number of sprites."""
    fonts = (ImageFont.truetype(str(openmoji_font), 120), ImageFont.truetype(str(noto_font), NOTO_SIZE))
    return _write_atlas(ATLAS, COCO_CATEGORIES + CORPUS_CATEGORIES, fonts)


def build_unseen_atlas(openmoji_font: Path) -> int:
    """Draw the atlas of what neither shows, with one font, and its index; returns the number of sprites."""
    return _write_atlas(UNSEEN, UNSEEN_CATEGORIES, (ImageFont.truetype(str(openmoji_font), 120),))


def _write_atlas(path: Path, categories: Sequence[Category], fonts: Sequence[ImageFont.FreeTypeFont]) -> int:
    sprites: list[tuple[str, Image.Image]] = []
    for category in categories:
        drawn = [_draw(glyph, font) for glyph in category.emoji for font in fonts]
        found = [sprite for sprite in drawn if sprite is not None]
        if not found:
            raise ValueError(f"no font draws '{category.name}' ({category.emoji}). Choose another emoji for it.")
        sprites += [(category.name, sprite) for sprite in found]
    rows = -(-len(sprites) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * SPRITE_SIZE, rows * SPRITE_SIZE), (0, 0, 0, 0))
    for position, (_, sprite) in enumerate(sprites):
        row, column = divmod(position, COLUMNS)
        atlas.paste(sprite, (column * SPRITE_SIZE, row * SPRITE_SIZE))
    path.parent.mkdir(exist_ok=True)
    atlas.save(path, optimize=True)
    path.with_suffix(".json").write_text(json.dumps([name for name, _ in sprites]))
    return len(sprites)


@cache
def sprites_by_category() -> dict[str, tuple[UInt8[np.ndarray, "side side 4"], ...]]:
    """Category name -> its sprites (RGBA), of both atlases. Read once per process."""
    return {name: sprites for path in (ATLAS, UNSEEN) for name, sprites in _read_atlas(path).items()}


def _read_atlas(path: Path) -> dict[str, tuple[UInt8[np.ndarray, "side side 4"], ...]]:
    atlas = np.asarray(Image.open(path).convert("RGBA"))
    sprites: dict[str, list[np.ndarray]] = {}
    for position, name in enumerate(json.loads(path.with_suffix(".json").read_text())):
        row, column = divmod(position, COLUMNS)
        top, left = row * SPRITE_SIZE, column * SPRITE_SIZE
        sprites.setdefault(name, []).append(atlas[top : top + SPRITE_SIZE, left : left + SPRITE_SIZE])
    return {name: tuple(found) for name, found in sprites.items()}
