"""Pieces of HTML for the neighbour browser: cards with pictures, bars and token maps, nothing loaded from outside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from html import escape

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image

RAMP = colormaps["viridis"]
TEXT_COLUMNS = 12
LONGEST_CAPTION = 240

STYLE = """<style>
.bram {font-family: var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #1f2328);
  font-size: 13px; line-height: 1.35;}
.bram-card {max-width: 168px; padding: 12px; margin: 2px; border-radius: 10px;
  background: var(--jp-layout-color1, #fff); border: 1px solid var(--jp-border-color2, #d8dee4);
  box-shadow: 0 1px 3px rgba(0,0,0,.10);}
.bram-card.own {border: 2px solid #21918c; padding: 11px;}
.bram-title {font-weight: 600; margin: 0 0 6px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;}
.bram-picture {width: 100%; aspect-ratio: 1; border-radius: 6px; display: block; image-rendering: auto;}
.bram-missing {aspect-ratio: 1; box-sizing: border-box; padding: 8px; border-radius: 6px;
  background: rgba(128,128,128,.15); overflow: hidden; font-size: 11px;}
.bram-label {display: flex; justify-content: space-between; margin-top: 7px; font-size: 12px;}
.bram-track {height: 7px; border-radius: 4px; background: rgba(128,128,128,.22); overflow: hidden;}
.bram-fill {height: 7px; border-radius: 4px;}
.bram-caption {margin-top: 8px; min-height: 52px; font-style: italic; overflow-wrap: anywhere; white-space: normal;}
.bram-item {margin-top: 4px; font-size: 11px; opacity: .7;}
.bram-map {display: grid; gap: 1px; margin-top: 5px;}
.bram-global {display: flex; align-items: center; gap: 5px; white-space: nowrap; margin-top: 6px; font-size: 11px;}
.bram-global span {width: 14px; height: 14px; border-radius: 3px; display: inline-block;}
.bram-note {font-size: 12px; opacity: .8; margin: 4px;}
.bram-shares {max-width: 640px; margin: 4px;}
.bram-share {display: grid; grid-template-columns: 110px 1fr 48px; gap: 8px; align-items: center; margin: 3px 0;}
</style>"""


def data_uri(image: UInt8[np.ndarray, "height width 3"]) -> str:
    """The picture itself as a data URI: a PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def shown_caption(caption: str) -> str:
    """A caption of the corpus, which is untrusted text: escaped for HTML and cut to the length of a card."""
    short = caption if len(caption) <= LONGEST_CAPTION else caption[: LONGEST_CAPTION - 1] + "…"
    return escape(short, quote=True)


def picture(image: UInt8[np.ndarray, "height width 3"] | None, description: str) -> str:
    """An image element; without an image, the reason in its place."""
    if image is None:
        return f'<div class="bram-missing">no picture: {escape(description[:200])}</div>'
    return f'<img class="bram-picture" alt="{escape(description, quote=True)}" src="{data_uri(image)}">'


def bar(label: str, share: float, text: str, colour: str) -> str:
    """A labelled bar, filled to `share` of its length (cut to [0, 1])."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<div class="bram-label"><span>{escape(label)}</span><span>{escape(text)}</span></div>'
        f'<div class="bram-track"><div class="bram-fill" style="width:{width:.1f}%;background:{colour}"></div></div>'
    )


def token_map(weights: Float[np.ndarray, " tokens"], modality: str, top: float) -> str:
    """One weight per token as coloured cells, 0 to `top`: image tokens on their grid with token 0 apart; text in order.

    Pointing at a cell shows its number.
    """
    apart, columns = token_grid(modality, len(weights))
    cells = "".join(
        f'<div title="token {apart + place}: {weight:.3f}" style="background:{colour(weight, top)};'
        f'aspect-ratio:1"></div>'
        for place, weight in enumerate(weights[apart:])
    )
    grid = f'<div class="bram-map" style="grid-template-columns:repeat({columns},1fr)">{cells}</div>'
    if not apart:
        return grid
    first = f'<span title="token 0: {weights[0]:.3f}" style="background:{colour(weights[0], top)}"></span>'
    return f'{grid}<div class="bram-global">{first}token 0 (global): {weights[0]:.2f}</div>'


def token_grid(modality: str, tokens: int) -> tuple[int, int]:
    """(tokens shown apart, columns of the rest): (1, 8) for 65 image tokens, (0, 12) for text."""
    side = math.isqrt(max(tokens - 1, 0))
    if modality == "image" and side and side * side == tokens - 1:
        return 1, side
    return 0, min(tokens, TEXT_COLUMNS)


def colour(weight: float | np.floating, top: float) -> str:
    """The colour of a weight on the scale from 0 to `top`."""
    return to_hex(RAMP(min(max(float(weight) / top, 0.0), 1.0)))


def scale_top(weights: Mapping[str, Float[np.ndarray, "_n _samples _sources _tokens"]]) -> float:
    """Upper end of the colour scale of all maps, so that stimuli, samples and modalities can be compared.

    The 99th percentile of the weights, or twice an even split if that is more, so that an even split is in the middle
    of the scale or below.
    """
    ends = [max(2 / given.shape[2], float(np.percentile(given, 99))) for given in weights.values() if given.size]
    return min(1.0, max(ends, default=1.0))


def card(title: str, *parts: str, own: bool = False) -> str:
    """A card with a title; `own` marks the brain's own estimate."""
    kind = "bram-card own" if own else "bram-card"
    head = f'<div class="bram-title">{escape(title)}</div>'
    return f'<div class="bram"><div class="{kind}">{head}{"".join(parts)}</div></div>'


def share_chart(names: list[str], shares: Float[np.ndarray, " sources"]) -> str:
    """Horizontal bars: what part of the refinement, averaged over tokens, came from each source."""
    rows = "".join(
        f'<div class="bram-share"><span>{escape(name)}</span><div class="bram-track"><div class="bram-fill" '
        f'style="width:{100 * share:.1f}%;background:{"#21918c" if place == 0 else "#3b528b"}"></div></div>'
        f"<span>{100 * share:.0f} %</span></div>"
        for place, (name, share) in enumerate(zip(names, shares, strict=True))
    )
    return f'<div class="bram bram-shares">{rows}</div>'
