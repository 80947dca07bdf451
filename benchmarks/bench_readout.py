"""The pooled text readout: from true text tokens, how often does it find its own caption first among 10,000?

    python benchmarks/bench_readout.py [--captions 10000] [--fit 8000] [--threads 1]

The readout is fitted as the workbench fits it, on the first captions of the embedded world's corpus. Two sets of
captions that it never saw are then searched, by cosine among the mini CLIP's pooled embeddings of all of them:

- single: captions of corpus scenes beyond the corpus. Found when the nearest caption reads the same as its own.
- averaged: scenes of the probe's set with five captions each, whose tokens are averaged as a stimulus's are. Found when
  the nearest caption reads the same as one of the five.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.encoders import ClipTokens, load_encoder
from brainram_lib.pipeline.search import fit_readouts
from brainram_lib.profiles import MINI
from brainram_lib.recipes.material import captions_of_set
from brainram_lib.retrieval.readouts import PooledTextReadout
from brainram_lib.world.captions import web_caption
from brainram_lib.world.corpus import CORPUS_SET
from brainram_lib.world.scenes import scene_of

NEEDED = 0.95
CHUNK = 500
CAPTIONS_OF_A_SCENE = 5


class CorpusCaptions:
    """The captions of the first `count` items of the embedded world's corpus, which need no pictures."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def caption(self, item: int) -> str:
        """The caption of one item."""
        return web_caption(scene_of(CORPUS_SET, item), CORPUS_SET, item)


def fitted(encoder: ClipTokens, captions: int) -> PooledTextReadout:
    """The readout as the stage `Readouts` fits it."""
    with tempfile.TemporaryDirectory() as folder:
        fit_readouts(Path(folder), CorpusCaptions(captions), encoder, words=False)
        return PooledTextReadout.load(Path(folder) / "readout.safetensors")


def read_out(encoder: ClipTokens, readout: PooledTextReadout, groups: list[list[str]], label: str) -> Tensor:
    """The readout's embedding of each group's averaged tokens, a chunk at a time."""
    starts = tqdm(range(0, len(groups), CHUNK), desc=label, unit="chunk")
    return torch.cat([readout(encoder.text_tokens(groups[start : start + CHUNK])) for start in starts])


class Candidates:
    """Every different caption of some groups, with its pooled embedding."""

    def __init__(self, groups: list[list[str]], encoder: ClipTokens) -> None:
        self.groups = groups
        self.texts = list(dict.fromkeys(caption for group in groups for caption in group))
        self.pooled = encoder.pooled_texts(self.texts)

    def found_first(self, queries: Tensor) -> float:
        """Share of the groups whose query is nearest to a text that is one of their own."""
        blocks = queries.split(CHUNK)
        nearest = [self.texts[best] for block in blocks for best in (block @ self.pooled.T).argmax(1).tolist()]
        return sum(text in group for text, group in zip(nearest, self.groups, strict=True)) / len(self.groups)

    def true_queries(self) -> Tensor:
        """The mean of each group's own pooled embeddings: what a perfect readout would give."""
        place = {text: row for row, text in enumerate(self.texts)}
        return torch.stack([self.pooled[[place[caption] for caption in group]].mean(0) for group in self.groups])


def main() -> None:
    """Fit, search and print both shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--fit", type=int, default=8_000, help="captions that the readout is fitted on; default: 8000")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    encoder = load_encoder("mini")
    readout = fitted(encoder, given.fit)
    beyond = range(MINI.corpus.pairs, MINI.corpus.pairs + given.captions)
    unseen = CorpusCaptions(len(beyond))
    sets = {
        "single captions": [[unseen.caption(item)] for item in tqdm(beyond, desc="captions")],
        "averages of five": captions_of_set("probe", given.captions // CAPTIONS_OF_A_SCENE),
    }
    for name, groups in sets.items():
        among = Candidates(groups, encoder)
        share = among.found_first(read_out(encoder, readout, groups, name))
        best = among.found_first(among.true_queries())
        print(
            f"{name}: {100 * share:.2f} % of {len(groups):,} find their own caption first among "
            f"{sum(map(len, groups)):,} captions ({len(among.texts):,} different); from their true pooled embeddings "
            f"{100 * best:.2f} %; at least {100 * NEEDED:.0f} % is needed"
        )


if __name__ == "__main__":
    main()
