"""Faster settings of the generator: scheduler, steps and guidance against speed and quality, from true tokens.

    python benchmarks/bench_generation_quality.py [--pictures 100] [--steps 5 8 10 20] [--guidance 1 2] [--model FOLDER]

Scenes of the embedded world that no network was trained on and that are no stimuli (of the probe's set, behind those it
was fitted on) are encoded, and generated again from their own image and text tokens, every time from the same noise. A
row is printed for each setting:

- pictures per second, denoising and decoding together;
- agreement, the mean PSNR (dB) with what 50 steps of ddim give at the same guidance;
- PSNR (dB) to the scene itself;
- top-1, how often the picture's mini CLIP embedding is nearest to its own scene's among all;
- named, how often the probe names a category that the scene shows.

The first rows are what they must be compared with: the scenes themselves, the autoencoder's output, and 50 steps.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from brainram_lib.encoders import ClipTokens, load_encoder
from brainram_lib.evaluation.backbones import FeatureNetwork, load_network
from brainram_lib.evaluation.probe import Probe, label_matrix
from brainram_lib.generation.generator import Generator
from brainram_lib.generation.sampling import SCHEDULERS
from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.pipeline.pictures import generator_of
from brainram_lib.pipeline.scores import PROBE
from brainram_lib.pipeline.weights import EncoderWeights, GeneratorWeights
from brainram_lib.profiles import MINI
from brainram_lib.recipes.probe import PROBE_SET
from brainram_lib.world.captions import captions_of
from brainram_lib.world.scenes import render, scene_of

FITTED_ON = 2_000  # scenes of the set that the shipped probe was fitted on
REFERENCE_STEPS = 50
Pictures = UInt8[np.ndarray, "n height width 3"]


@dataclass
class Scenes:
    """What is generated, and what measures it."""

    pictures: Pictures
    image_tokens: Float[np.ndarray, "n tokens width"]
    text_tokens: Float[np.ndarray, "n words width"]
    labels: Bool[np.ndarray, "n categories"]
    encoder: ClipTokens
    network: FeatureNetwork
    probe: Probe

    @classmethod
    def make(cls, count: int) -> Scenes:
        """The first `count` scenes that the probe was not fitted on."""
        indices = range(FITTED_ON, FITTED_ON + count)
        scenes = [scene_of(PROBE_SET, index) for index in indices]
        pictures = np.stack([render(scene) for scene in scenes])
        words = [captions_of(scene, PROBE_SET, index) for scene, index in zip(scenes, indices, strict=True)]
        encoder, probe = load_encoder(MINI.encoder), Probe.load(PROBE)
        labels = label_matrix([scene.categories for scene in scenes], probe.categories)
        tokens = encoder.image_tokens(pictures).numpy(), encoder.text_tokens(words).numpy()
        return cls(pictures, *tokens, labels, encoder, load_network("lite0"), probe)

    def quality(self, made: Pictures) -> tuple[float, float, float]:
        """(PSNR to the scene, top-1, named) of pictures of these scenes."""
        own, other = self.encoder.pooled_images(self.pictures), self.encoder.pooled_images(made)
        top1 = ((other @ own.T).argmax(1) == torch.arange(len(own))).float().mean().item()
        return psnr(made, self.pictures), top1, float(self.probe.named(self.network(made)["late"], self.labels).mean())


def psnr(made: Pictures, truth: Pictures) -> float:
    """10 log10(255^2 / mean squared error), the mean over pictures; identical pictures count as 60 dB."""
    error = np.square(made.astype(np.float32) - truth).mean((1, 2, 3))
    return float(np.minimum(60, 10 * np.log10(255**2 / np.maximum(error, 1e-9))).mean())


def generated(generator: Generator, settings: GenerationSettings, scenes: Scenes, label: str) -> tuple[Pictures, float]:
    """The pictures at some settings, and pictures per second."""
    own = Generator(settings, generator.model, generator.null_image, generator.null_text)
    started = time.perf_counter()
    made = own.generate(scenes.image_tokens, scenes.text_tokens, label)
    return made, len(made) / (time.perf_counter() - started)


def row(name: str, speed: float | None, agreement: float | None, quality: tuple[float, float, float]) -> str:
    """One line of the table."""
    to_scene, top1, named = quality
    seen = ["–" if value is None else f"{value:.1f}" for value in (speed, agreement)]
    return f"| {name} | {seen[0]} | {seen[1]} | {to_scene:.1f} | {top1:.2f} | {named:.2f} |"


def compare(generator: Generator, scenes: Scenes, guidance: list[float], steps: list[int]) -> list[str]:
    """Every row of the table."""
    rows = [row("the scenes themselves", None, None, scenes.quality(scenes.pictures))]
    rows.append(row("autoencoder", None, None, scenes.quality(generator.round_trip(scenes.pictures))))
    generated(generator, replace(MINI.generation, steps=1), scenes, "warm up")
    for scale in guidance:
        settings = replace(MINI.generation, guidance_scale=scale)
        longest = replace(settings, scheduler="ddim", steps=REFERENCE_STEPS)
        best, speed = generated(generator, longest, scenes, f"ddim, {REFERENCE_STEPS}")
        rows.append(row(f"ddim, {REFERENCE_STEPS} steps, guidance {scale:g}", speed, None, scenes.quality(best)))
        for name, count in itertools.product(SCHEDULERS, steps):
            one = replace(settings, scheduler=name, steps=count)
            made, speed = generated(generator, one, scenes, f"{name}, {count}")
            title = f"{name}, {count} steps, guidance {scale:g}"
            rows.append(row(title, speed, psnr(made, best), scenes.quality(made)))
    return rows


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8, 10, 20])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--model", type=Path, help="a generator's folder; default: the shipped one")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    scenes = Scenes.make(given.pictures)
    weights = GeneratorWeights(str(given.model) if given.model else MINI.generation.checkpoint)
    rows = compare(
        generator_of(MINI.generation, weights, EncoderWeights(MINI.encoder)), scenes, given.guidance, given.steps
    )
    mix = MINI.generation.text_mix
    print(f"{given.pictures} scenes, {given.threads} thread(s), torch {torch.__version__}, text mix {mix}")
    print("| setting | pictures/s | agreement, dB | PSNR, dB | top-1 | named |\n|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
