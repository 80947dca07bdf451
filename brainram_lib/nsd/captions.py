"""Captions of NSD's images: nsdId -> (cocoSplit, cocoId) -> COCO's caption files. Each file is parsed once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from brainram_lib.nsd.errors import CaptionError, DamagedFileError, reading, shortened
from brainram_lib.nsd.layout import CAPTION_SPLITS, NsdLayout

_COLUMNS = {"nsdId", "cocoId", "cocoSplit"}


def read_stim_info(layout: NsdLayout) -> pd.DataFrame:
    """nsd_stim_info_merged.csv, indexed by the 0-based nsdId.

    Raises:
        MissingFileError: it is not there.
        DamagedFileError: a column is missing or does not hold ids, or an nsdId appears twice.
        LockedFileError, UnreadableFileError: the file is not to blame.
    """
    path = layout.stim_info
    with reading(path, f"the stimulus table '{path}' is not there. Fetch it.", "is no table of stimuli"):
        table = pd.read_csv(path)
    missing = _COLUMNS - set(table.columns)
    if missing or table["nsdId"].duplicated().any():
        hint = " Its columns are not separated by commas: another program saved it." if len(table.columns) == 1 else ""
        raise DamagedFileError(
            f"'{path}' must have one row per nsdId, {sorted(_COLUMNS)}; missing: {sorted(missing)}.{hint} Fetch it "
            "again."
        )
    for name in ("nsdId", "cocoId"):
        if not pd.api.types.is_integer_dtype(table[name]):
            raise DamagedFileError(
                f"'{path}' must hold whole numbers in column {name}; it holds {table[name].dtype}. Fetch it again."
            )
    return table.set_index("nsdId", drop=False)


class Captions:
    """The captions of NSD's images; files are read on first use and then kept."""

    def __init__(self, layout: NsdLayout) -> None:
        self.layout = layout
        self._parsed: dict[str, dict[int, list[str]]] = {}

    @cached_property
    def _coco(self) -> dict[int, tuple[str, int]]:
        table = read_stim_info(self.layout)
        return dict(zip(table["nsdId"], zip(table["cocoSplit"], table["cocoId"], strict=True), strict=True))

    def of(self, nsd_id: int) -> list[str]:
        """The captions of one image, in the order of COCO's file, stripped.

        Raises:
            CaptionError: the stimulus table has no such image, or COCO's file has no caption of it.
            MissingFileError, DamagedFileError, UnreadableFileError: a file is not there, not what it should be, or may
                not be read.
        """
        if int(nsd_id) not in self._coco:
            raise CaptionError(f"nsdId {nsd_id} has no row in '{self.layout.stim_info}' ({len(self._coco)} images).")
        split, coco_id = self._coco[int(nsd_id)]
        found = self._split(split).get(int(coco_id))
        if not found:
            raise CaptionError(
                f"nsdId {nsd_id} is COCO image {coco_id} of {split}, which has no caption in "
                f"'{self.layout.captions(split)}'. Use COCO's own captions_{split}.json."
            )
        return found

    def of_all(self, nsd_ids: Iterable[int]) -> list[list[str]]:
        """The captions of several images, in the order asked for."""
        return [self.of(nsd_id) for nsd_id in nsd_ids]

    def _split(self, split: str) -> dict[int, list[str]]:
        if split not in self._parsed:
            if split not in CAPTION_SPLITS:
                raise CaptionError(f"cocoSplit must be one of {list(CAPTION_SPLITS)}. {split!r} stands in the table.")
            self._parsed[split] = _parse(self.layout.captions(split))
        return self._parsed[split]


def count_captioned(layout: NsdLayout, split: str) -> int:
    """How many images have captions in COCO's file of a split; the file is parsed and checked.

    Raises:
        MissingFileError, DamagedFileError, UnreadableFileError: as `Captions.of`.
    """
    return len(_parse(layout.captions(split)))


def _parse(path: Path) -> dict[int, list[str]]:
    absent = f"COCO's captions '{path}' are not there. Put COCO's annotations folder in the root."
    with reading(path, absent, "is not COCO's caption file"):
        # COCO writes no byte order mark; editors on Windows do.
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, list):
        raise _not_captions(path, f"it must be an object with a list 'annotations', it is {_described(document)}")
    captions: dict[int, list[str]] = {}
    for place, annotation in enumerate(
        tqdm(annotations, desc=path.name, leave=False, disable=len(annotations) < 100_000)
    ):
        image, caption = _checked(path, place, annotation)
        captions.setdefault(image, []).append(caption.strip())
    return captions


def _checked(path: Path, place: int, annotation: Any) -> tuple[int, str]:
    """image_id and caption of one annotation.

    Raises:
        DamagedFileError: one of them is absent or of the wrong type, or the caption holds half a character.
    """
    if not isinstance(annotation, dict):
        raise _not_captions(path, f"annotation {place} must be an object, it is {_described(annotation)}")
    image, caption = annotation.get("image_id"), annotation.get("caption")
    if type(image) is not int:
        raise _not_captions(path, f"annotation {place} must have a whole number as image_id, it has {_told(image)}")
    if not isinstance(caption, str):
        raise _not_captions(
            path, f"annotation {place}, of image {image}, must have a text as caption, it has {_told(caption)}"
        )
    if not caption.isascii() and any("\ud800" <= character <= "\udfff" for character in caption):
        raise _not_captions(path, f"the caption of image {image} holds half a character: {_told(caption)}")
    return image, caption


def _not_captions(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"'{path}' is not COCO's caption file ({why}). Put COCO's own '{path.name}' there.")


def _told(value: object) -> str:
    return shortened(repr(value), 80) if value is not None else "none"


def _described(document: object) -> str:
    if isinstance(document, dict):
        return f"an object with the keys {shortened(list(document)[:8], 120)}"
    return f"a {type(document).__name__}"
