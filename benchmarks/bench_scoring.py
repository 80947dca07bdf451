"""What scoring costs at NSD's size: 982 reconstructions of 512 pixels, stimuli of 425, the paper's eight metrics.

    python benchmarks/bench_scoring.py [--images 982] [--sample 16] [--folder scoring_bench]

Networks are untrained and of true size (their weights are fetched by hand), and see `--sample` images, from which their
time is scaled. All else, reading, resizing, PixCorr, SSIM, identification, distances, intervals and the table, is done
for all images with features of the true sizes. Peak memory is this process's, with the features of both sides held.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.backbones import one_layer, random_network
from brainram_lib.evaluation.metrics import Backbone, Evaluator
from brainram_lib.evaluation.records import records_of
from brainram_lib.evaluation.submitted import read_submission
from brainram_lib.evaluation.tables import score_table

STIMULUS, MADE = 425, 512
METRICS = catalogue.metric_set("paper")


def scenes(count: int, side: int, seed: int) -> np.ndarray:
    """Smooth random pictures, which a PNG and SSIM treat as they treat photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


def timed(times: dict[str, float], what: str, work: Callable) -> object:
    """Do it, and note how long it took."""
    start = time.perf_counter()
    done = work()
    times[what] = times.get(what, 0.0) + time.perf_counter() - start
    return done


def networks() -> dict[str, Backbone]:
    """The paper's networks, untrained, with the layers that its metrics name."""
    clip = ClipTokens.from_open_clip("ViT-L-14-quickgelu")
    found: dict[str, Backbone] = {"clip": one_layer(lambda seen: clip.pooled_images(seen).numpy())}
    for name in dict.fromkeys(metric.backbone for metric in METRICS if metric.backbone not in (None, "clip")):
        found[name] = random_network(name)
    return found


def features(count: int, sample: int, times: dict[str, float]) -> dict[str, dict[str, np.ndarray]]:
    """Features of `count` images: those of the sample, repeated with noise; the networks' time is scaled."""
    pictures, rng, found = scenes(sample, STIMULUS, 0), np.random.default_rng(1), {}
    for name, network in tqdm(networks().items(), desc="networks", unit="network"):
        network(pictures[:1])
        seconds: dict[str, float] = {}
        seen = timed(seconds, name, lambda network=network: network(pictures))
        times[f"features, {name}"] = 2 * seconds[name] * count / sample
        wanted = {metric.layer for metric in METRICS if metric.backbone == name}
        found[name] = {
            layer: rng.standard_normal((count, values.shape[1]), np.float32)
            for layer, values in seen.items()
            if layer in wanted
        }
    return found


def main() -> None:
    """Print seconds of every part and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=982)
    parser.add_argument("--sample", type=int, default=16, help="images that the networks see")
    parser.add_argument("--folder", type=Path, default=Path("scoring_bench"), help="where the pictures are written")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for row in tqdm(range(given.images), desc="write", unit="picture", mininterval=1):
        Image.fromarray(scenes(1, MADE, row)[0]).save(given.folder / f"nsd{row:05d}.png")
    times: dict[str, float] = {}
    seen = features(given.images, given.sample, times)
    truth = scenes(given.images, STIMULUS, 1)
    made = timed(times, "read", lambda: read_submission(given.folder)).images
    evaluator = Evaluator(truth, METRICS, {name: lambda _, name=name: seen[name] for name in seen})
    values = timed(times, "compare", lambda: evaluator.score(made, features=seen))
    made_of = {"subject": 1, "seed": 0}
    records = timed(times, "intervals", lambda: records_of("folder", values, **made_of))
    timed(times, "table", lambda: score_table(records, METRICS, "Scoring", embedded=False).markdown())
    networks_alone = sum(seconds for what, seconds in times.items() if what.startswith("features"))
    for what, seconds in times.items():
        print(f"{what:24s}{seconds:9.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rest, threads = sum(times.values()) - networks_alone, torch.get_num_threads()
    print(f"features {networks_alone:.0f} s, all else {rest:.1f} s; peak {peak:.2f} GiB; {threads} threads")


if __name__ == "__main__":
    main()
