"""Where the files of an image-text corpus lie: clip-retrieval's folder, with img2dataset's tars in `images/`.

```
corpus/
  img_emb/img_emb_0.npy      float16 (rows, width), L2-normalised
  text_emb/text_emb_0.npy    float16 (rows, width), L2-normalised
  metadata/metadata_0.parquet   image_path, caption, url, key: one row per embedding
  image.index  image.json    faiss index over img_emb, and what it was made from
  text.index   text.json     the same over text_emb
  images/00000.tar  images/00000.parquet    jpg, txt and json of every picture; failures in the parquet only
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODALITIES = ("image", "text")
_EMBEDDINGS = {"image": "img_emb", "text": "text_emb"}
# img2dataset's names: five digits of the shard, four of the sample
SHARD_DIGITS, SAMPLE_DIGITS = 5, 4


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
    """File names of the corpus at `folder`."""

    folder: Path

    def embeddings(self, modality: str, shard: int) -> Path:
        """The embeddings of one shard."""
        name = _EMBEDDINGS[checked_modality(modality)]
        return self.folder / name / f"{name}_{shard}.npy"

    def metadata(self, shard: int) -> Path:
        """The metadata of one shard."""
        return self.folder / "metadata" / f"metadata_{shard}.parquet"

    def index(self, modality: str) -> Path:
        """The faiss index of one modality: a file, or for very large ones a folder."""
        return self.folder / f"{checked_modality(modality)}.index"

    def index_record(self, modality: str) -> Path:
        """What the index of one modality was made from."""
        return self.folder / f"{checked_modality(modality)}.json"

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

    def shards(self) -> list[int]:
        """Numbers of the shards that have metadata, in order."""
        found = (path.stem.removeprefix("metadata_") for path in self.metadata(0).parent.glob("metadata_*.parquet"))
        return sorted(int(number) for number in found if number.isdigit())


def sample_key(shard: int, position: int) -> str:
    """img2dataset's key of one picture, e.g. '000020007': shard 2, sample 7."""
    return f"{shard:0{SHARD_DIGITS}d}{position:0{SAMPLE_DIGITS}d}"
