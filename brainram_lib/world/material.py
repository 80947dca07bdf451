"""Rendered scenes in bulk: pictures as one memory-mapped array, captions beside them, in a fixed order."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm.auto import tqdm

from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import SCENE_SIZE, render, scene_of

CHUNK = 250


def _render_chunk(scene_set: str, start: int, stop: int) -> UInt8[np.ndarray, "n height width 3"]:
    return np.stack([render(scene_of(scene_set, index)) for index in range(start, stop)])


def render_set(scene_set: str, count: int, path: Path) -> UInt8[np.ndarray, "count height width 3"]:
    """The first `count` pictures of a set, (count, 64, 64, 3) uint8, memory-mapped; rendered once into `path`."""
    shape = (count, SCENE_SIZE, SCENE_SIZE, 3)
    if path.exists():
        images = np.load(path, mmap_mode="r")
        if images.shape == shape:
            return images
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    images = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        chunks = {start: pool.submit(_render_chunk, scene_set, start, min(start + CHUNK, count)) for start in starts}
        for start in tqdm(starts, desc=f"render scenes '{scene_set}'", unit="chunk"):
            images[start : start + CHUNK] = chunks.pop(start).result()
    images.flush()
    partial.replace(path)
    return np.load(path, mmap_mode="r")


def captions_of_set(scene_set: str, count: int) -> list[list[str]]:
    """Five captions for each of the first `count` scenes of a set."""
    return [captions_of(scene_of(scene_set, index), scene_set, index) for index in range(count)]
