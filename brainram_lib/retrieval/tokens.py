"""Neighbours re-encoded to tokens: the RAM needs their pictures and captions as token sets, not as one vector.

Every item is encoded once. Encoded items lie in blocks, `image/000000.npy` float16 (m, T, D), their ids beside it in
`image/000000.ids.npy`; a block is complete when its ids are there, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_array, write_json
from brainram_lib.retrieval.corpus import Corpus, CorpusError
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.layout import checked_modality

BLOCK = 256


@runtime_checkable
class TokenEncoder(Protocol):
    """What re-encoding needs of an encoder: the token sets of pictures and of captions."""

    def image_tokens(self, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n tokens width"]:
        """Tokens of pictures."""

    def text_tokens(self, captions: list[list[str]]) -> Float[Tensor, "n tokens width"]:
        """Tokens of groups of captions, averaged within each group."""


class TokenCache:
    """Tokens of corpus items, encoded once and kept as memory-mapped blocks under `folder`.

    `folder` belongs to one corpus and one encoder: use another folder for another encoder.

    Raises:
        CorpusError: `folder` holds the tokens of another corpus.
    """

    def __init__(self, corpus: Corpus, encoder: TokenEncoder, folder: Path | str) -> None:
        self.corpus, self.encoder, self.folder = corpus, encoder, Path(folder)
        self._claim()
        self._blocks: dict[str, list[np.ndarray]] = {"image": [], "text": []}
        # (block, row) of every item; -1: not encoded
        self._places = {modality: np.full((len(corpus), 2), -1, np.int32) for modality in self._blocks}
        self._failures = {modality: self._read_failures(modality) for modality in self._blocks}
        for modality in self._blocks:
            for path in sorted((self.folder / modality).glob("[0-9]*.ids.npy")):
                self._take_in(modality, path)

    def failures(self, modality: str) -> dict[int, str]:
        """Items that could not be encoded, and why. Search again with `exclude` set to them."""
        return dict(self._failures[checked_modality(modality)])

    def prepare(self, ids: Int[np.ndarray, "*rows"], modality: str) -> dict[int, str]:
        """Encode whatever of `ids` is not there yet; gives the failures among `ids`."""
        wanted = np.unique(np.asarray(ids, np.int64))
        self._check_ids(wanted)
        failed = self._failures[checked_modality(modality)]
        new = [int(item) for item in wanted[self._places[modality][wanted, 0] < 0] if int(item) not in failed]
        starts = range(0, len(new), BLOCK)
        for start in tqdm(starts, desc=f"encode neighbours' {modality}s", unit="block", disable=len(starts) < 2):
            self._encode(new[start : start + BLOCK], modality)
        return {item: failed[item] for item in wanted.tolist() if item in failed}

    def tokens_of(
        self, ids: Int[np.ndarray, "*rows"], modality: str, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*rows tokens width"]:
        """Tokens of items, in the shape of `ids`; what is not encoded yet is encoded first.

        Raises:
            ImageRefused: one of them could not be encoded; the message names it and says why.
            ValueError: no ids at all.
        """
        ids = np.asarray(ids, np.int64)
        if not ids.size:
            raise ValueError(f"no ids were given, their shape is {ids.shape}: there are no tokens to look up.")
        if failed := self.prepare(ids, modality):
            item, reason = next(iter(failed.items()))
            raise ImageRefused(
                f"{len(failed)} of the {len(np.unique(ids))} items have no {modality} tokens; item {item}: {reason}. "
                "Search again with 'exclude' set to the cache's failures."
            )
        places = self._places[modality][ids.ravel()]
        first = self._blocks[modality][0]
        gathered = torch.empty((ids.size, *first.shape[1:]), dtype=dtype)
        for block in np.unique(places[:, 0]):
            rows = np.flatnonzero(places[:, 0] == block)
            gathered[rows] = torch.from_numpy(self._blocks[modality][block][places[rows, 1]]).to(dtype)
        return gathered.reshape(*ids.shape, *first.shape[1:])

    def _encode(self, items: list[int], modality: str) -> None:
        readable, encoded = self._image_block(items) if modality == "image" else self._text_block(items)
        if not readable:
            return
        tokens = encoded.detach().cpu().numpy()
        if not np.isfinite(tokens).all():
            raise ValueError(f"the encoder gave {modality} tokens that are NaN or infinite for items {readable[:3]}...")
        path = self.folder / modality / f"{len(self._blocks[modality]):06d}.npy"
        write_array(path, tokens.astype(np.float16))
        write_array(path.with_suffix(".ids.npy"), np.array(readable, np.int64))
        self._take_in(modality, path.with_suffix(".ids.npy"))

    def _text_block(self, items: list[int]) -> tuple[list[int], Tensor]:
        return items, self.encoder.text_tokens([[self.corpus.caption(item)] for item in items])

    def _image_block(self, items: list[int]) -> tuple[list[int], Tensor | None]:
        pictures = dict(self._decoded(items))
        if len(pictures) < len(items):
            write_json(self.folder / "image" / "failures.json", self._failures["image"])
        if not pictures:
            return [], None
        return list(pictures), self.encoder.image_tokens(np.stack(list(pictures.values())))

    def _decoded(self, items: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for item in items:
            try:
                yield item, self.corpus.image(item)
            except ImageRefused as problem:
                self._failures["image"][item] = str(problem)

    def _take_in(self, modality: str, ids_path: Path) -> None:
        """Know one complete block: its tokens and which items they are of."""
        tokens_path = ids_path.with_name(ids_path.name.replace(".ids.npy", ".npy"))
        try:
            tokens, ids = np.load(tokens_path, mmap_mode="r", allow_pickle=False), np.load(ids_path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as problem:
            raise CorpusError(f"'{tokens_path}' cannot be read ({problem}). Delete '{self.folder}'.") from problem
        self._places[modality][ids] = np.stack([np.full(len(ids), len(self._blocks[modality])), np.arange(len(ids))], 1)
        self._blocks[modality].append(tokens)

    def _check_ids(self, ids: Int[np.ndarray, " n"]) -> None:
        if len(ids) and not (0 <= ids[0] and ids[-1] < len(self.corpus)):
            raise IndexError(f"ids must lie between 0 and {len(self.corpus) - 1}; they span {ids[0]} to {ids[-1]}.")

    def _read_failures(self, modality: str) -> dict[int, str]:
        path = self.folder / modality / "failures.json"
        return {int(item): reason for item, reason in json.loads(path.read_text()).items()} if path.exists() else {}

    def _claim(self) -> None:
        """Mark the folder as this corpus's, or find that it is another's."""
        mark = self.folder / "corpus.json"
        owner = json.loads(mark.read_text())["corpus"] if mark.exists() else None
        if owner is None:
            write_json(mark, {"corpus": self.corpus.fingerprint})
        elif owner != self.corpus.fingerprint:
            raise CorpusError(
                f"'{self.folder}' holds tokens of another corpus than '{self.corpus.folder}'. Delete it, or choose "
                "another folder."
            )
