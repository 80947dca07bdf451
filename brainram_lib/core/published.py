"""Published weights of the profile `paper`: which repository, which revision, and how to fetch them.

Repositories move; a revision does not. The loaders read the revisions named here from the hub's cache. The hub could
not be reached when they were noted: each comes from a public source, named beside it, that loads these weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REVISION = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Published:
    """Weights on the Hugging Face hub.

    Attributes:
        name: the name that profiles use.
        repo: the hub's repository.
        revision: the commit, 40 hexadecimal digits.
        files: the files needed from it, as the hub's patterns.
        gigabytes: their size, counted from the architecture's weights at 4 bytes each unless `source` says otherwise.
        licence: as the authors of the weights state it.
        purpose: what reads it.
        source: where the revision was found.
    """

    name: str
    repo: str
    revision: str
    files: tuple[str, ...]
    gigabytes: float
    licence: str
    purpose: str
    source: str

    def command(self) -> str:
        """The command line that fetches exactly this."""
        wanted = " ".join(f"--include '{pattern}'" for pattern in self.files)
        return f"hf download {self.repo} --revision {self.revision} {wanted}"

    def home(self, cache: Path | None = None) -> Path:
        """The repository's folder in the hub's cache (default: where `hf download` puts it)."""
        if cache is None:
            from huggingface_hub.constants import HF_HUB_CACHE

            cache = Path(HF_HUB_CACHE)
        return cache / f"models--{self.repo.replace('/', '--')}"

    def snapshot(self, cache: Path | None = None) -> Path:
        """The folder of the pinned revision, whether or not it is there."""
        return self.home(cache) / "snapshots" / self.revision

    def missing(self, cache: Path | None = None) -> list[str]:
        """The patterns that match no file in the pinned snapshot."""
        folder = self.snapshot(cache)
        return [pattern for pattern in self.files if not any(path.is_file() for path in folder.glob(pattern))]

    def other_revisions(self, cache: Path | None = None) -> list[str]:
        """Revisions in the cache that are not the pinned one."""
        found = sorted(path.name for path in (self.home(cache) / "snapshots").glob("*") if path.is_dir())
        return [name for name in found if REVISION.fullmatch(name) and name != self.revision]

    def require(self, cache: Path | None = None) -> Path:
        """The folder of the pinned revision.

        Raises:
            FileNotFoundError: part of it is missing; the message holds the command that fetches it.
        """
        if missing := self.missing(cache):
            others = ", ".join(self.other_revisions(cache))
            raise FileNotFoundError(
                f"{self.repo} at revision {self.revision[:12]} lacks {', '.join(missing)} in the hub's cache"
                f"{f' (there is {others})' if others else ''}. Fetch it: {self.command()}"
            )
        return self.snapshot(cache)


CLIP_VIT_L14 = Published(
    name="ViT-L-14-quickgelu",
    repo="timm/vit_large_patch14_clip_224.openai",
    revision="18d0535469bb561bf468d76c1d73aa35156c922b",
    files=("open_clip_model.safetensors",),
    gigabytes=1.71,
    licence="MIT (OpenAI's CLIP)",
    purpose="CLIP ViT-L/14 (openai): tokens, queries, the metric CLIP. Where open_clip 3.3 reads its tag 'openai' from",
    source="cache listings and pinned loaders in public repositories; the file's hub checksum starts 9ce2e8a8ebff",
)
VERSATILE_DIFFUSION = Published(
    name="versatile-diffusion",
    repo="shi-labs/versatile-diffusion",
    revision="2926f8e11ea526b562cd592b099fcf9c2985d0b7",
    files=(
        "image_unet/*",
        "text_unet/*",
        "vae/*",
        "scheduler/*",
        "image_encoder/config.json",
        "text_encoder/config.json",
    ),
    gigabytes=10.6,
    licence="MIT",
    purpose="the generator",
    source="MedARC-AI/fMRI-reconstruction-NSD, src/Reconstructions.py: the snapshot that MindEye generates with",
)
PUBLISHED = {one.name: one for one in (CLIP_VIT_L14, VERSATILE_DIFFUSION)}
