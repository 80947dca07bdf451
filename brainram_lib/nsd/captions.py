"""Captions of NSD's images: nsdId -> (cocoSplit, cocoId) -> COCO's caption files. Each file is parsed once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from brainram_lib.nsd.errors import CaptionError, DamagedFileError, MissingFileError
from brainram_lib.nsd.layout import CAPTION_SPLITS, NsdLayout

_COLUMNS = {"nsdId", "cocoId", "cocoSplit"}


def read_stim_info(layout: NsdLayout) -> pd.DataFrame:
    """nsd_stim_info_merged.csv, indexed by the 0-based nsdId.

    Raises:
        MissingFileError: it is not there.
        DamagedFileError: a column is missing or an nsdId appears twice.
    """
    path = layout.stim_info
    if not path.exists():
        raise MissingFileError(f"the stimulus table '{path}' is not there. Fetch it.")
    table = pd.read_csv(path)
    missing = _COLUMNS - set(table.columns)
    if missing or table["nsdId"].duplicated().any():
        raise DamagedFileError(f"'{path}' must have one row per nsdId, {sorted(_COLUMNS)}; missing: {sorted(missing)}.")
    return table.set_index("nsdId", drop=False)


class Captions:
    """The captions of NSD's images; files are opened at the first question and then kept."""

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
            MissingFileError: a file is not there.
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


def _parse(path: Path) -> dict[int, list[str]]:
    if not path.exists():
        raise MissingFileError(f"COCO's captions '{path}' are not there. Put COCO's annotations folder in the root.")
    try:
        annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as problem:
        raise DamagedFileError(f"'{path}' is not COCO's caption file ({problem!r}). Fetch it again.") from problem
    captions: dict[int, list[str]] = {}
    for annotation in tqdm(annotations, desc=path.name, leave=False, disable=len(annotations) < 100_000):
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
    return captions
