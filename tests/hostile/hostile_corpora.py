"""A made-up corpus in clip-retrieval's layout, with any fault or oddity that a test asks for."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE, IMAGE_WIDTH, TEXT_WIDTH = 8, 6, 5
RED = [255, 0, 0]


def units(count, width, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, width))
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float16)


def png(colour="red", size=(SIDE, SIDE)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def keys_of(count, shard=0):
    return [f"{shard:05d}{position:04d}" for position in range(count)]


def write(folder, count=3, shard="0", without=(), **columns):
    """One shard, numbered as `shard` spells it; `columns` replace or (None) drop those of the table."""
    folder, number = Path(folder), int(shard)
    for name in ("img_emb", "text_emb", "metadata", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if "image" not in without:
        np.save(folder / f"img_emb/img_emb_{shard}.npy", units(count, IMAGE_WIDTH, 1 + number))
    if "text" not in without:
        np.save(folder / f"text_emb/text_emb_{shard}.npy", units(count, TEXT_WIDTH, 101 + number))
    table = {
        "image_path": keys_of(count, number),
        "caption": [f"caption {number} {position}" for position in range(count)],
        "url": [f"https://a.example/{position}" for position in range(count)],
        "key": keys_of(count, number),
        **columns,
    }
    table = {name: cells for name, cells in table.items() if cells is not None}
    pq.write_table(pa.table(table), folder / f"metadata/metadata_{shard}.parquet")
    return folder


def tar(path, members):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def tar_of(folder, count=3, shard=0, colour="red"):
    tar(Path(folder) / f"images/{shard:05d}.tar", [(f"{key}.png", png(colour)) for key in keys_of(count, shard)])


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
