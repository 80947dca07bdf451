"""The mini CLIP: open_clip's own architecture at a small size, shipped in `assets/mini_clip`.

Rebuilt by `python -m brainram_lib world train-clip` (`brainram_lib.recipes.clip`).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jaxtyping import Int64
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from torch import Tensor

ASSETS = Path(__file__).parent / "assets" / "mini_clip"
CONTEXT_LENGTH = 24
EMBED_DIM = 128
VISION = {"image_size": 64, "patch_size": 8, "width": 192, "layers": 6, "head_width": 32}
TEXT = {"context_length": CONTEXT_LENGTH, "width": 128, "heads": 4, "layers": 4}
# Channel statistics of the scenes, used like CLIP's own mean and standard deviation.
PIXEL_MEAN, PIXEL_STD = (0.55, 0.53, 0.52), (0.27, 0.26, 0.27)


class CompactTokenizer:
    """CLIP's byte-pair encoding with its 49,408 ids renumbered to the few that captions of this world use.

    Ids: 0 for any piece that is not in use, then the pieces, then start of text, then end of text (the largest id,
    which is how open_clip finds the end). Padding repeats the end of text, as Hugging Face's CLIP tokenizer does and
    as Versatile Diffusion was trained.
    """

    def __init__(self, pieces: list[int], context_length: int = CONTEXT_LENGTH) -> None:
        self.pieces, self.context_length = pieces, context_length
        self._bpe = SimpleTokenizer()
        self._compact = {piece: position + 1 for position, piece in enumerate(pieces)}

    @property
    def vocab_size(self) -> int:
        return len(self.pieces) + 3

    def __call__(self, texts: list[str]) -> Int64[Tensor, "texts context"]:
        start, end = self.vocab_size - 2, self.vocab_size - 1
        ids = torch.full((len(texts), self.context_length), end, dtype=torch.int64)
        for row, text in enumerate(texts):
            pieces = [self._compact.get(piece, 0) for piece in self._bpe.encode(text)][: self.context_length - 2]
            ids[row, : len(pieces) + 1] = torch.tensor([start, *pieces])
        return ids


def build(vocab_size: int, patch: int = VISION["patch_size"]) -> CLIP:
    """An untrained mini CLIP."""
    return CLIP(EMBED_DIM, {**VISION, "patch_size": patch}, {**TEXT, "vocab_size": vocab_size})


def load(folder: Path = ASSETS) -> tuple[CLIP, CompactTokenizer]:
    """The shipped mini CLIP in float32, evaluation mode, with its tokenizer."""
    tokenizer = CompactTokenizer(json.loads((folder / "vocabulary.json").read_text()))
    model = build(tokenizer.vocab_size)
    weights = load_file(folder / "open_clip_model.safetensors")
    model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return model.eval(), tokenizer
