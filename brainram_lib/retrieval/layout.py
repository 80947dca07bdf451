"""Where the files of an image-text corpus lie: clip-retrieval's folder, with img2dataset's tars in `images/`.

```
corpus/
  img_emb/img_emb_0.npy      float16 (rows, width), L2-normalised
  text_emb/text_emb_0.npy    float16 (rows, width), L2-normalised
  metadata/metadata_0.parquet   image_path, caption, url, key: one row per embedding
  image.index  text.index    faiss indices that another tool made: read, never written here
  images/00000.tar  images/00000.parquet    jpg, txt and json of every picture; failures in the parquet only
```

clip-retrieval pads numbers to as many digits as its last file has (`img_emb_00.npy` to `img_emb_11.npy`), and
`clip-retrieval parquet_to_arrow` writes few large files, `metadata/0.arrow`: all are read, in the order of the numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MODALITIES = ("image", "text")
_EMBEDDINGS = {"image": "img_emb", "text": "text_emb"}
_METADATA = re.compile(r"(?:metadata_)?([0-9]+)\.(?:parquet|arrow)")
# img2dataset's names: five digits of the shard, four of the sample
SHARD_DIGITS, SAMPLE_DIGITS = 5, 4


class CorpusError(ValueError):
    """A corpus is missing, incomplete or inconsistent; the message names the file and what to do."""


def checked_modality(modality: str) -> str:
    """`modality` itself.

    Raises:
        ValueError: it is neither 'image' nor 'text'.
    """
    if modality not in MODALITIES:
        raise ValueError(f"'modality' must be one of {MODALITIES}. '{modality}' was provided.")
    return modality


@dataclass(frozen=True)
class CorpusLayout:
    """File names of the corpus at `folder`: as written here, and as found, whichever tool wrote them."""

    folder: Path

    def embeddings(self, modality: str, shard: int) -> Path:
        """The embeddings of one shard, as written here."""
        name = _EMBEDDINGS[checked_modality(modality)]
        return self.folder / name / f"{name}_{shard}.npy"

    def metadata(self, shard: int) -> Path:
        """The metadata of one shard, as written here."""
        return self.folder / "metadata" / f"metadata_{shard}.parquet"

    def index(self, modality: str) -> Path:
        """The faiss index of one modality that another tool left here: a file, or for very large ones a folder."""
        return self.folder / f"{checked_modality(modality)}.index"

    @property
    def images(self) -> Path:
        """The folder of img2dataset's tars, or of plain picture files."""
        return self.folder / "images"

    def tar(self, shard: int) -> Path:
        """img2dataset's tar of one shard."""
        return self.images / f"{shard:0{SHARD_DIGITS}d}.tar"

    def download_record(self, shard: int) -> Path:
        """img2dataset's table beside a tar: every picture that was tried, with its status."""
        return self.tar(shard).with_suffix(".parquet")

    def found_metadata(self) -> dict[int, Path]:
        """The tables that are there, by number, in the order of the numbers.

        Raises:
            CorpusError: two files have the same number, or the folder may not be read.
        """
        return _numbered(self.folder / "metadata", _METADATA)

    def found_embeddings(self, modality: str) -> dict[int, Path]:
        """The embeddings that are there, by number, in the order of the numbers.

        Raises:
            CorpusError: two files have the same number.
        """
        name = _EMBEDDINGS[checked_modality(modality)]
        return _numbered(self.folder / name, re.compile(rf"{name}_([0-9]+)\.npy"))

    def shards(self) -> list[int]:
        """Numbers of the shards that have metadata, in order."""
        return list(self.found_metadata())


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as problem:
        raise CorpusError(cause(problem, folder, "")) from problem
    for path in paths:
        if not (match := pattern.fullmatch(path.name)):
            continue
        number = int(match[1])
        if number in found:
            raise CorpusError(
                f"shard {number} stands twice in '{folder}': '{found[number].name}' and '{path.name}'. Keep the one "
                "that belongs to the other files of this corpus and move the other away."
            )
        found[number] = path
    return dict(sorted(found.items()))


def sample_key(shard: int, position: int) -> str:
    """img2dataset's key of one picture, e.g. '000020007': shard 2, sample 7."""
    return f"{shard:0{SHARD_DIGITS}d}{position:0{SAMPLE_DIGITS}d}"


def cause(problem: Exception, path: Path, again: str) -> str:
    """One sentence on why a file could not be read, and what to do; `again` is the remedy for a damaged file."""
    if isinstance(problem, FileNotFoundError):
        where = f"is a link to '{path.readlink()}', where nothing is" if path.is_symlink() else "is not there"
        return f"'{path}' {where}. Fetch it, or write it again."
    if isinstance(problem, PermissionError):
        return f"'{path}' may not be read by this user. Ask its owner for permission to read it."
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno > 0:
        return f"'{path}' cannot be read ({problem.strerror}). Check the disk it lies on, then try again."
    return f"'{path}' cannot be read ({short(problem)}). {again}"


def short(text: object, most: int = 120) -> str:
    """A text from a file, on one line and cut to `most` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
