"""Rendered scenes in bulk: pictures as one memory-mapped array, captions beside them, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from tqdm.auto import tqdm

from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import SCENE_SIZE, Scene, object_cover, render, scene_of
from brainram_lib.world.vocabulary import category_matrix, category_names

CHUNK = 250


def _pictures(scene_set: str, start: int, stop: int) -> UInt8[np.ndarray, "n height width 3"]:
    return np.stack([render(scene_of(scene_set, index)) for index in range(start, stop)])


def _covers(side: int, scene_set: str, start: int, stop: int) -> Float[np.ndarray, "n side side"]:
    covers = np.stack([object_cover(scene_of(scene_set, index)) for index in range(start, stop)])
    block = SCENE_SIZE // side
    return covers.reshape(-1, side, block, side, block).mean((2, 4)).astype(np.float16)


def _made_once(make: Callable, scene_set: str, shape: tuple[int, ...], kind: type, path: Path) -> np.ndarray:
    """`make` for every chunk of a set, side by side, into one array of `shape`, memory-mapped from `path`."""
    if path.exists():
        made = np.load(path, mmap_mode="r")
        if made.shape == shape:
            return made
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial.npy")
    made = np.lib.format.open_memmap(unfinished, "w+", kind, shape)
    count = shape[0]
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        chunks = {start: pool.submit(make, scene_set, start, min(start + CHUNK, count)) for start in starts}
        for start in tqdm(starts, desc=f"render scenes '{scene_set}'", unit="chunk"):
            made[start : start + CHUNK] = chunks.pop(start).result()
    made.flush()
    unfinished.replace(path)
    return np.load(path, mmap_mode="r")


def render_set(scene_set: str, count: int, path: Path) -> UInt8[np.ndarray, "count height width 3"]:
    """The first `count` pictures of a set, (count, 64, 64, 3) uint8, memory-mapped; rendered once into `path`."""
    return _made_once(_pictures, scene_set, (count, SCENE_SIZE, SCENE_SIZE, 3), np.uint8, path)


def covers_of_set(scene_set: str, count: int, side: int, path: Path) -> Float[np.ndarray, "count side side"]:
    """How far objects fill every position of a side x side grid over the picture, in [0, 1], as float16."""
    return _made_once(partial(_covers, side), scene_set, (count, side, side), np.float16, path)


def _counts(scene_set: str, start: int, stop: int) -> Int[np.ndarray, " n"]:
    return np.array([len(scene_of(scene_set, index).objects) for index in range(start, stop)])


def _categories(scene_set: str, start: int, stop: int) -> Bool[np.ndarray, "n categories"]:
    return category_matrix(scene_of(scene_set, index).categories for index in range(start, stop))


def _scenes(scene_set: str, count: int, describe: str) -> Iterator[Scene]:
    return (scene_of(scene_set, index) for index in tqdm(range(count), desc=describe, unit="scene"))


def captions_of_set(scene_set: str, count: int) -> list[list[str]]:
    """Five captions for each of the first `count` scenes of a set."""
    return [captions_of(scene, scene_set, index) for index, scene in enumerate(_scenes(scene_set, count, "captions"))]


@dataclass(frozen=True)
class CaptionsOfSet:
    """`captions_of_set`, written only when needed: a resumed training has their tokens already."""

    scene_set: str
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice) -> list[list[str]]:
        indices = range(*rows.indices(self.count))
        return [captions_of(scene_of(self.scene_set, index), self.scene_set, index) for index in indices]


def object_counts(scene_set: str, count: int, path: Path) -> Int[np.ndarray, " count"]:
    """How many objects each of the first `count` scenes of a set shows; kept in `path`."""
    return _made_once(_counts, scene_set, (count,), np.int64, path)


def categories_of_set(scene_set: str, count: int, path: Path) -> Bool[np.ndarray, "count categories"]:
    """Which categories (in the order of `category_names`) each of the first `count` scenes of a set shows; kept."""
    return _made_once(_categories, scene_set, (count, len(category_names())), np.bool_, path)
