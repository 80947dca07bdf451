"""Artificial pictures in the style of NSD-synthetic, without a scene: noise, gratings, spirals, words, coloured noise.

All are functions of an index and are drawn about a middle grey, `SCENE_SIZE` pixels square.
"""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from brainram_lib.world.scenes import SCENE_SIZE, stream

GREY = 128
Pattern = tuple[UInt8[np.ndarray, "size size 3"], str]
# Name of a spectrum and the exponent of its amplitude: white f^0, pink f^-1, brown f^-2.
SPECTRA = {"white": 0.0, "pink": 1.0, "brown": 2.0}
BLOCK = 8
ANGLES, CYCLES = (0, 30, 60, 90, 120, 150), (2, 4, 6, 10, 16)
# Radial and angular frequency of a spiral, as shares of its own: rings, pinwheels and spirals of both handednesses.
SPIRALS = {"annulus": (1.0, 0.0), "pinwheel": (0.0, 1.0), "forward spiral": (0.7, 0.7), "reverse spiral": (0.7, -0.7)}
SPIRAL_FREQUENCIES = (4, 6, 9, 13, 18)
# Of four and of six letters, as NSD-synthetic's; none is a word of the captions.
WORDS = (
    "feet gold salt iron milk rope wolf king rain coin "
    "planet summer bridge silver garden winter doctor island rocket circle"
).split()
WORD_HEIGHTS, WORD_PIXELS = (16, 32, 48), 15


def noise(index: int) -> Pattern:
    """Grey noise: white, white in blocks, pink and brown in turn."""
    name = ("white", "white blocks", "pink", "brown")[index % 4]
    rng = stream("nsdsynthetic/noise", index)
    if name == "white blocks":
        side = SCENE_SIZE // BLOCK
        field = rng.standard_normal((side, side)).repeat(BLOCK, 0).repeat(BLOCK, 1)
    else:
        field = coloured(rng, SPECTRA[name])
    return _grey(field * 50), f"{name} noise"


def coloured(rng: np.random.Generator, exponent: float) -> Float[np.ndarray, "size size"]:
    """Gaussian noise whose amplitude falls as f^-exponent, mean 0, standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(SCENE_SIZE)[:, None], np.fft.fftfreq(SCENE_SIZE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((SCENE_SIZE, SCENE_SIZE)))
    field = np.fft.ifft2(spectrum * np.where(np.isinf(frequency), 0, frequency**-exponent)).real
    return field / field.std()


def grating(index: int) -> Pattern:
    """A straight sinusoid of full contrast: its angle varies first, then its cycles per picture, then its phase."""
    angle = ANGLES[index % len(ANGLES)]
    cycles = CYCLES[index // len(ANGLES) % len(CYCLES)]
    x, y = _plane()
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    return _wave(along * cycles / 2, "grating", index), f"grating, {angle} degrees, {cycles} cycles"


def spiral(index: int) -> Pattern:
    """cos(a ln r + b theta + phase) in log-polar coordinates; a small grey disc covers the middle."""
    name = tuple(SPIRALS)[index % len(SPIRALS)]
    frequency = SPIRAL_FREQUENCIES[index // len(SPIRALS) % len(SPIRAL_FREQUENCIES)]
    x, y = _plane()
    radius, (radial, angular) = np.hypot(x, y), SPIRALS[name]
    # only whole numbers of turns join up without a seam
    turns = radial * frequency * np.log(radius) + round(angular * frequency) * np.arctan2(y, x)
    picture = _wave(turns / (2 * np.pi), "spiral", index)
    picture[radius < frequency / SCENE_SIZE] = GREY
    return picture, f"{name}, frequency {frequency}"


def word(index: int) -> Pattern:
    """A word in white on grey, high, in the middle or low."""
    text = WORDS[index % len(WORDS)]
    height = WORD_HEIGHTS[index // len(WORDS) % len(WORD_HEIGHTS)]
    shift = stream("nsdsynthetic/word", index).integers(-2, 3, 2)
    canvas = Image.new("L", (SCENE_SIZE, SCENE_SIZE), GREY)
    font = ImageFont.load_default(WORD_PIXELS)
    middle = (SCENE_SIZE // 2 + int(shift[0]), height + int(shift[1]))
    ImageDraw.Draw(canvas).text(middle, text, fill=255, font=font, anchor="mm")
    return np.repeat(np.asarray(canvas)[..., None], 3, 2), f"word '{text}', height {height}"


def chromatic(index: int, subject: int, hues: int) -> Pattern:
    """Pink noise of one hue about grey: four patterns in turn, each in `hues` hues; each subject has its own."""
    hue, pattern = index // 4 % hues, index % 4
    field = coloured(stream("nsdsynthetic/chromatic", subject, pattern), 1.0)
    colour = np.array(colorsys.hls_to_rgb(hue / hues, 0.5, 0.8)) * 255 - GREY
    picture = GREY + (np.clip(0.5 + 0.35 * field, 0, 1)[..., None]) * colour
    return np.clip(picture, 0, 255).astype(np.uint8), f"chromatic noise, hue {hue + 1} of {hues}"


def _plane() -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size"]]:
    """x and y of every pixel, -1 to 1."""
    y, x = (np.mgrid[0:SCENE_SIZE, 0:SCENE_SIZE] + 0.5) / SCENE_SIZE * 2 - 1
    return x, y


def _wave(turns: Float[np.ndarray, "size size"], name: str, index: int) -> UInt8[np.ndarray, "size size 3"]:
    phase = stream(f"nsdsynthetic/{name}", index).uniform(0, 1)
    return _grey(127 * np.cos(2 * np.pi * (turns + phase)))


def _grey(field: Float[np.ndarray, "size size"]) -> UInt8[np.ndarray, "size size 3"]:
    return np.repeat(np.clip(GREY + field, 0, 255).astype(np.uint8)[..., None], 3, 2)
