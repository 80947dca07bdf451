"""The embedded world's image-text corpus ('mini LAION'): scenes of the set 'corpus' with captions like web pages'.

It knows more categories and places than the stimuli and shares no scene with them. `planted` puts near-duplicates of
chosen stimuli in it, so that the audit has something to find. `foreign_share` makes a second, poorer corpus, which
plays the part of LAION-400M beside 2B-en (Table 3); the other language is a means, not a claim: LAION-400M is described
as English too. Written in the format that `retrieval.corpus` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json
from brainram_lib.retrieval.images import encoded
from brainram_lib.retrieval.layout import CorpusLayout
from brainram_lib.retrieval.writing import CorpusItem, PooledEncoder, write_shard
from brainram_lib.world.captions import web_caption
from brainram_lib.world.foreign import german
from brainram_lib.world.scenes import SCENE_SIZE, render, scene_of, stream

CORPUS_SET = "corpus"
# reserved for documentation: these addresses lead nowhere
ADDRESS = "https://corpus.example"
# one process renders this many scenes at a time
CHUNK = 125
# A planted copy is brighter or darker by up to this share, and cropped by one or two pixels at every side.
RELIT = 0.12
COPY_QUALITY = 70
SETTINGS = "settings.json"

Stimulus = tuple[str, int]


def make_mini_corpus(
    folder: Path,
    encoder: PooledEncoder,
    count: int,
    planted: Sequence[Stimulus] = (),
    shard_size: int = 1000,
    foreign_share: float = 0.0,
) -> dict[int, Stimulus]:
    """Write `count` image-caption pairs to `folder`; returns the planted items {id: (scene set, index)}.

    `planted`: stimuli, e.g. ("shared", 7), of which the corpus gets one near-duplicate each (cropped, relit,
    recompressed). `foreign_share`: this share of the captions, planted ones among them, is in another language
    (`foreign.german`); the pictures are the same. Shards that are complete are kept, so an interrupted run goes on.

    Raises:
        ValueError: more planted items than `count`, a share outside [0, 1], or a folder made with other settings.
        StoreError: the disk is full.
    """
    if len(planted) > count:
        raise ValueError(f"{len(planted)} stimuli cannot be planted in a corpus of {count} items.")
    places, foreign = planted_places(count, planted), foreign_items(count, foreign_share)
    layout = CorpusLayout(Path(folder))
    settings = {"count": count, "shard_size": shard_size, "encoder": encoder.fingerprint}
    stimuli = [list(stimulus) for stimulus in planted]
    _claim(layout, {**settings, "planted": stimuli, "foreign_share": float(foreign_share)})
    shards = [number for number in range(-(-count // shard_size)) if not layout.metadata(number).exists()]
    if not shards:
        return places
    with ProcessPoolExecutor(os.cpu_count()) as pool:

        def drawn(shard: int) -> Iterator[list[CorpusItem]]:
            ids = range(shard * shard_size, min((shard + 1) * shard_size, count))
            jobs = [
                (part, {i: places[i] for i in part if i in places}, foreign.intersection(part)) for part in _parts(ids)
            ]
            return pool.map(_items, jobs)

        # the next shard is drawn while one is embedded
        ahead = drawn(shards[0])
        for shard, after in zip(tqdm(shards, desc="make the corpus", unit="shard"), [*shards[1:], None], strict=True):
            items = [item for part in ahead for item in part]
            if after is not None:
                ahead = drawn(after)
            write_shard(layout, shard, items, encoder, SCENE_SIZE)
    return places


def planted_places(count: int, planted: Sequence[Stimulus]) -> dict[int, Stimulus]:
    """Positions of the near-duplicates in a corpus of `count` items, random but always the same."""
    positions = stream("corpus/planted").permutation(count)[: len(planted)]
    return {int(position): (name, int(index)) for position, (name, index) in zip(positions, planted, strict=True)}


def foreign_items(count: int, share: float) -> set[int]:
    """Which of `count` items have a caption in another language: round(share * count) of them, always the same.

    The items of a larger share include those of a smaller one.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"'foreign_share' must lie between 0 and 1. {share} was provided.")
    return set(stream("corpus/foreign").permutation(count)[: round(share * count)].tolist())


def near_duplicate(scene_set: str, index: int) -> UInt8[np.ndarray, "height width 3"]:
    """A stimulus as a web page might show it again: cropped by a pixel or two, a little brighter or darker."""
    rng = stream(f"near-duplicate/{scene_set}", index)
    pixels = render(scene_of(scene_set, index))
    left, top, right, bottom = rng.integers(1, 3, 4)
    cropped = Image.fromarray(pixels[top : SCENE_SIZE - bottom, left : SCENE_SIZE - right])
    whole = np.asarray(cropped.resize((SCENE_SIZE, SCENE_SIZE), Image.Resampling.BICUBIC), np.float64)
    return np.clip(whole * rng.uniform(1 - RELIT, 1 + RELIT), 0, 255).astype(np.uint8)


def _parts(ids: range) -> list[range]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]


def _items(job: tuple[range, dict[int, Stimulus], set[int]]) -> list[CorpusItem]:
    ids, places, foreign = job
    return [_item(index, places.get(index), index in foreign) for index in ids]


def _item(index: int, planted: Stimulus | None, foreign: bool) -> CorpusItem:
    """Item `index`: a scene of the corpus, or the near-duplicate of a stimulus, with its caption."""
    scene = scene_of(*(planted or (CORPUS_SET, index)))
    pixels = encoded(near_duplicate(*planted), COPY_QUALITY) if planted else encoded(render(scene))
    caption = web_caption(scene, CORPUS_SET, index)
    return CorpusItem(pixels, german(caption) if foreign else caption, f"{ADDRESS}/{index}.jpg")


def _claim(layout: CorpusLayout, settings: dict) -> None:
    """Write the settings into an empty folder; a folder made with others is left as it is.

    A folder whose settings have no share predates that setting: none of its captions is in another language.
    """
    path = layout.folder / SETTINGS
    if path.exists() and (found := {"foreign_share": 0.0} | json.loads(path.read_text())) != settings:
        changed = sorted(name for name in settings if found.get(name) != settings[name])
        raise ValueError(
            f"the corpus at '{layout.folder}' was made with other settings ({', '.join(changed)}). Choose another "
            "folder, or delete this one."
        )
    if not path.exists():
        write_json(path, settings)
