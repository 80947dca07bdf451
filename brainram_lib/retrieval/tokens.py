"""Neighbours re-encoded to tokens: the RAM needs their pictures and captions as token sets, not as one vector.

Every item is encoded once. Encoded items lie in blocks, `image/000000.npy` float16 (m, T, D), their ids beside it in
`image/000000.ids.npy`; a block is complete when its ids are there, so an interrupted run goes on where it stopped.
Marks of the pictures lie beside them (`.files.npy`): if pictures have changed or arrived since, those whose marks
differ are encoded again (their ids become GONE). Processes that use one folder write its blocks in turn.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.files import write_array, write_json
from brainram_lib.core.locks import held
from brainram_lib.retrieval.corpus import Corpus, CorpusError, bytes_mark
from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.layout import cause, checked_modality, short

BLOCK = 256
GONE = -1


@runtime_checkable
class TokenEncoder(Protocol):
    """What re-encoding needs of an encoder: the token sets of pictures and of captions."""

    def image_tokens(self, images: UInt8[np.ndarray, "n height width 3"]) -> Float[Tensor, "n tokens width"]:
        """Tokens of pictures."""

    def text_tokens(self, captions: list[list[str]]) -> Float[Tensor, "n tokens width"]:
        """Tokens of groups of captions, averaged within each group."""


class TokenCache:
    """Tokens of corpus items, encoded once and kept as memory-mapped blocks under `folder`.

    `folder` belongs to one corpus and one encoder: its name should hold both. Several processes may use it at once.
    Failures are not stored, so a picture that arrives later is tried by the next process.

    Raises:
        CorpusError: `folder` holds the tokens of another corpus or encoder, or a block that cannot be read.
    """

    def __init__(self, corpus: Corpus, encoder: TokenEncoder, folder: Path | str) -> None:
        self.corpus, self.encoder, self.folder = corpus, encoder, Path(folder)
        # files, mapped only while they are read: there may be more than a process can hold open
        self._blocks: dict[str, list[Path]] = {"image": [], "text": []}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._known: dict[str, set[str]] = {modality: set() for modality in self._blocks}
        # (block, row) of every item; -1: not encoded
        self._places = {modality: np.full((len(corpus), 2), -1, np.int32) for modality in self._blocks}
        self._failures: dict[str, dict[int, str]] = {modality: {} for modality in self._blocks}
        self._claim()
        for modality in self._blocks:
            self._take_in_new(modality)

    def failures(self, modality: str) -> dict[int, str]:
        """Items that this process could not encode, and why. Exclude them and search again."""
        return dict(self._failures[checked_modality(modality)])

    def prepare(self, ids: Int[np.ndarray, "*rows"], modality: str) -> dict[int, str]:
        """Encode whatever of `ids` is not there yet; returns the failures among `ids`."""
        wanted = np.unique(np.asarray(ids, np.int64))
        self._check_ids(wanted)
        failed = self._failures[checked_modality(modality)]
        new = self._missing(wanted.tolist(), modality)
        starts = range(0, len(new), BLOCK)
        for start in tqdm(starts, desc=f"encode neighbours' {modality}s", unit="block", disable=len(starts) < 2):
            with self._writing():
                # another process may have encoded them meanwhile
                self._take_in_new(modality)
                if items := self._missing(new[start : start + BLOCK], modality):
                    self._encode(items, modality)
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
        shape = self._shapes[modality]
        gathered = torch.empty((ids.size, *shape), dtype=dtype)
        for block in np.unique(places[:, 0]):
            rows = np.flatnonzero(places[:, 0] == block)
            stored = self._loaded(self._blocks[modality][block], "r")
            gathered[rows] = torch.from_numpy(stored[places[rows, 1]]).to(dtype)
        return gathered.reshape(*ids.shape, *shape)

    def keep_images(self, first: int, tokens: Float[np.ndarray, "n tokens width"]) -> None:
        """Store image tokens of the items `first`, `first` + 1, ..., computed when the corpus was embedded."""
        ids = list(range(first, first + len(tokens)))
        self._check_ids(np.array(ids))
        with self._writing():
            self._take_in_new("image")
            if len(self._missing(ids, "image")) == len(ids):
                self._write("image", ids, tokens, [bytes_mark(self.corpus.image_bytes(item)) for item in ids])

    def _missing(self, items: list[int], modality: str) -> list[int]:
        places, failed = self._places[modality], self._failures[modality]
        return [item for item in items if places[item, 0] < 0 and item not in failed]

    def _writing(self) -> AbstractContextManager:
        return held(self.folder / "writing.lock", "corpus tokens")

    def _encode(self, items: list[int], modality: str) -> None:
        """Encode items and write them as one block; the lock is held."""
        marks: dict[int, int] = {}
        readable, encoded = self._image_block(items, marks) if modality == "image" else self._text_block(items)
        if not readable:
            return
        with np.errstate(over="ignore"):
            tokens = encoded.detach().cpu().numpy().astype(np.float16)
        if bad := [item for item, rows in zip(readable, tokens, strict=True) if not np.isfinite(rows).all()]:
            raise ValueError(
                f"the encoder gave {modality} tokens that are NaN or infinite in half precision for {len(bad)} items, "
                f"the first are {bad[:3]}. Check its weights."
            )
        self._write(modality, readable, tokens, [marks[item] for item in readable] if marks else [])

    def _write(self, modality: str, ids: list[int], tokens: np.ndarray, marks: list[int]) -> None:
        """One block, its ids last; the lock is held."""
        path = self.folder / modality / f"{self._next_number(modality):06d}.npy"
        write_array(path, tokens)
        if marks:
            write_array(path.with_suffix(".files.npy"), np.array(marks, np.uint64))
        write_array(path.with_suffix(".ids.npy"), np.array(ids, np.int64))
        self._take_in_new(modality)

    def _next_number(self, modality: str) -> int:
        return max((int(name.split(".")[0]) for name in self._known[modality]), default=-1) + 1

    def _text_block(self, items: list[int]) -> tuple[list[int], Tensor]:
        return items, self.encoder.text_tokens([[self.corpus.caption(item)] for item in items])

    def _image_block(self, items: list[int], marks: dict[int, int]) -> tuple[list[int], Tensor | None]:
        pictures = {}
        for item in items:
            try:
                pictures[item], marks[item] = self.corpus.marked_image(item)
            except ImageRefused as problem:
                self._failures["image"][item] = str(problem)
        if not pictures:
            return [], None
        return list(pictures), self.encoder.image_tokens(np.stack(list(pictures.values())))

    def _take_in_new(self, modality: str) -> None:
        """Register complete blocks that are not known yet: their tokens and the items they belong to."""
        for path in sorted((self.folder / modality).glob("[0-9]*.ids.npy")):
            if path.name not in self._known[modality]:
                self._take_in(modality, path)

    def _take_in(self, modality: str, ids_path: Path) -> None:
        tokens_path = ids_path.with_name(ids_path.name.replace(".ids.npy", ".npy"))
        tokens, ids = self._loaded(tokens_path, "r"), self._loaded(ids_path, None)
        shape = self._shapes.setdefault(modality, tokens.shape[1:])
        fits = tokens.ndim == 3 and ids.shape == tokens.shape[:1] and tokens.shape[1:] == shape
        if not fits or ids.dtype.kind != "i" or ((ids < GONE) | (ids >= len(self.corpus))).any():
            raise CorpusError(
                f"'{tokens_path}' {tokens.shape} and its ids {ids.shape} do not fit each other, the other blocks or "
                f"the corpus. {self._again}"
            )
        rows = np.flatnonzero(ids != GONE)
        self._places[modality][ids[rows]] = np.stack([np.full(len(rows), len(self._blocks[modality])), rows], 1)
        self._blocks[modality].append(tokens_path)
        self._known[modality].add(ids_path.name)

    def _loaded(self, path: Path, mode: str | None) -> np.ndarray:
        try:
            return np.load(path, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError) as problem:
            raise CorpusError(cause(problem, path, self._again)) from problem

    def _check_ids(self, ids: Int[np.ndarray, " n"]) -> None:
        if len(ids) and not (0 <= ids[0] and ids[-1] < len(self.corpus)):
            raise IndexError(f"ids must lie between 0 and {len(self.corpus) - 1}; they span {ids[0]} to {ids[-1]}.")

    def _claim(self) -> None:
        """Claim the folder for this corpus and encoder, or raise if it is another's; look for changed pictures."""
        own = {"corpus": self.corpus.rows_mark, "encoder": getattr(self.encoder, "fingerprint", None)}
        whole = {**own, "pictures": self.corpus.pictures_mark}
        if self._owner() == whole:
            return
        with self._writing():
            owner = self._owner()
            if owner is not None and any(owner.get(name) != value for name, value in own.items()):
                other = "encoder" if owner.get("corpus") == own["corpus"] else "corpus"
                raise CorpusError(
                    f"'{self.folder}' holds tokens of another {other} than '{self.corpus.folder}' and this encoder. "
                    "Choose another folder, named by both."
                )
            if owner is not None and owner != whole:
                self._drop_changed()
            write_json(self.folder / "corpus.json", whole)

    def _owner(self) -> dict | None:
        path = self.folder / "corpus.json"
        try:
            owner = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            raise CorpusError(cause(problem, path, self._again)) from problem
        if not isinstance(owner, dict):
            raise CorpusError(f"'{path}' does not say whose tokens these are ({short(owner)}). Choose another folder.")
        return owner

    def _drop_changed(self) -> None:
        """Forget the tokens of pictures whose files have changed."""
        for path in tqdm(sorted((self.folder / "image").glob("[0-9]*.ids.npy")), desc="compare pictures", leave=False):
            marks = self._loaded(path.with_name(path.name.replace(".ids.", ".files.")), None)
            ids = self._loaded(path, None)
            if marks.shape != ids.shape:
                raise CorpusError(f"'{path}' has {ids.shape} ids and {marks.shape} marks of files. {self._again}")
            kept = [
                item == GONE or self._mark_of(int(item)) == int(mark) for item, mark in zip(ids, marks, strict=True)
            ]
            if not all(kept):
                write_array(path, np.where(kept, ids, GONE))

    @property
    def _again(self) -> str:
        return f"Delete '{self.folder}'; the tokens are made again."

    def _mark_of(self, item: int) -> int | None:
        try:
            return bytes_mark(self.corpus.image_bytes(item))
        except (ImageRefused, IndexError):
            return None
