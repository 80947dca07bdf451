"""What scoring costs at NSD's size: 982 reconstructions of 512 pixels, stimuli of 425, the paper's eight metrics.

    python benchmarks/bench_scoring.py [--images 982] [--sample 16] [--folder scoring_bench]

The stages of `python -m brainram_lib score` do all: read, resize, compare, write. Networks are untrained and of true
size (their weights are fetched by hand), and see `--sample` images, from which their time is scaled; features of the
true sizes are made of what they saw. Peak memory is this process's, networks included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP as OpenClip
from PIL import Image
from safetensors.torch import save_file
from tqdm.auto import tqdm

from brainram_lib.core.files import write_array
from brainram_lib.core.marks import content_mark
from brainram_lib.core.measure import hand_back_memory, peak_memory
from brainram_lib.core.store import Stage, Store
from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.backbones import one_layer, random_network
from brainram_lib.evaluation.metrics import Backbone
from brainram_lib.evaluation.records import records_of
from brainram_lib.evaluation.submitted import files_of
from brainram_lib.evaluation.tables import score_table
from brainram_lib.pipeline import submitted
from brainram_lib.pipeline.weights import EncoderWeights

STIMULUS, MADE = 425, 512
CLIP = "ViT-L-14-quickgelu"
METRICS = catalogue.metric_set("paper")


def scenes(count: int, side: int, seed: int) -> np.ndarray:
    """Smooth random pictures, which a PNG and SSIM treat as they treat photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


@dataclass(frozen=True)
class Seen(Stage):
    """The stimuli of a subject with this many test images."""

    count: int

    def make(self, folder: Path, store: Store) -> None:
        """Draw them."""
        write_array(folder / "stimuli.npy", scenes(self.count, STIMULUS, 1))

    def stimuli(self, store: Store, split: str) -> np.ndarray:
        """All of them."""
        return store.result(self).array("stimuli")

    def nsd_ids(self, store: Store, split: str) -> np.ndarray:
        """Their numbers."""
        return np.arange(self.count)


class Networks:
    """The paper's networks, untrained, each made when it is asked for; `seconds` is what all images would take."""

    def __init__(self, sample: int, clip: Path) -> None:
        self.sample, self.clip, self.seconds, self.spent = sample, clip, {}, 0.0

    def of(self, stage: submitted.Features) -> Backbone:
        """The network of one stage: it looks at a sample, and the others get features like those."""
        start = time.perf_counter()
        if stage.backbone == "clip":
            clip = ClipTokens.from_open_clip(CLIP, self.clip, images_alone=True)
            network = one_layer(lambda seen: clip.pooled_images(seen).numpy())
        else:
            network = random_network(stage.backbone)
        self.spent += time.perf_counter() - start
        return lambda pictures: self._like(stage, network, pictures)

    def _like(self, stage: submitted.Features, network: Backbone, pictures: np.ndarray) -> dict[str, np.ndarray]:
        start, name = time.perf_counter(), stage.backbone
        seen = network(pictures[: self.sample])
        took = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + took * len(pictures) / self.sample
        made = {layer: np.empty((len(pictures), seen[layer].shape[1]), np.float32) for layer in stage.layers}
        for row in range(len(pictures)):
            for layer, values in made.items():
                values[row] = seen[layer][row % self.sample]
                values[row, row :: len(pictures)] += 1
        self.spent += time.perf_counter() - start
        return made


class Timed:
    """A function that adds up the seconds of its calls."""

    def __init__(self, function: Callable) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *given: object) -> object:
        start = time.perf_counter()
        try:
            return self.function(*given)
        finally:
            self.seconds += time.perf_counter() - start


def write_clip(path: Path) -> Path:
    """A file of CLIP's image tower with untrained weights, which is read as the published one is."""
    drawn = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = OpenClip(**open_clip.get_model_config(CLIP)).visual.state_dict()
    weights = {f"visual.{name}": torch.randn(one.shape, generator=drawn) * 0.02 for name, one in shapes.items()}
    save_file(weights, path)
    return path


def main() -> None:
    """Print seconds of networks and of all else, and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=982)
    parser.add_argument("--sample", type=int, default=16, help="images that the networks see")
    parser.add_argument("--folder", type=Path, default=Path("scoring_bench"), help="where the pictures are written")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for row in tqdm(range(given.images), desc="write", unit="picture", mininterval=1):
        Image.fromarray(scenes(1, MADE, row)[0]).save(given.folder / f"nsd{row:05d}.png")
    with tempfile.TemporaryDirectory() as runs:
        networks = Networks(given.sample, write_clip(Path(runs) / "clip.safetensors"))
        submitted.Features._network = lambda stage: networks.of(stage)
        reading = submitted.read_submission = Timed(submitted.read_submission)
        saving = submitted.write_array = Timed(submitted.write_array)
        store, seen = Store(Path(runs)), Seen(given.images)
        store.result(seen)
        # what was drawn here lies on the disk where a subject is read
        hand_back_memory()
        start = time.perf_counter()
        with peak_memory() as peak:
            made = submitted.Made(given.folder, content_mark(files_of(given.folder), given.folder))
            stage = submitted.SubmittedScores(made, seen, "drawn", "paper", "brainram", EncoderWeights("mini"))
            stage.check(store)
            values = {name: np.array(one) for name, one in store.result(stage).json("values").items()}
            records = records_of("folder", values, subject=1, seed=0)
            score_table(records, METRICS, "Scoring", embedded=False).markdown()
        whole = time.perf_counter() - start
    for name, seconds in networks.seconds.items():
        print(f"features, {name:20s}{seconds:9.1f} s")
    rest = whole - networks.spent
    compared = rest - reading.seconds - saving.seconds
    print(
        f"features {sum(networks.seconds.values()):.0f} s, all else {rest:.1f} s (reading images "
        f"{reading.seconds:.1f}, saving features {saving.seconds:.1f}, comparing and table {compared:.1f}); "
        f"peak {peak.memory:.2f} GiB; {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
