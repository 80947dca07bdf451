"""How the shipped probe is trained: it names a category of a picture, from EfficientNet-Lite0's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainram_lib.evaluation.backbones import load_network
from brainram_lib.evaluation.probe import Probe, fit_probe, label_matrix
from brainram_lib.generation.generator import Generator
from brainram_lib.pipeline.scores import PROBE
from brainram_lib.recipes.material import render_set
from brainram_lib.world.scenes import scene_of
from brainram_lib.world.vocabulary import category_names

PROBE_SET = "probe"
PROBE_CHUNK = 1000


def train_probe(work: Path, scenes: int, generator: Generator, path: Path = PROBE) -> Probe:
    """Train the shipped probe on scenes of its own set and on the autoencoder's outputs of the same scenes."""
    pictures = np.asarray(render_set(PROBE_SET, scenes, work / "probe_scenes.npy"))
    both = np.concatenate([pictures, generator.round_trip(pictures)])
    labels = label_matrix([scene_of(PROBE_SET, i).categories for i in range(scenes)], category_names())
    network = load_network("lite0")
    # the network gives all its layers, of which 20,000 pictures' fill the memory
    features = np.concatenate(
        [network(part)["late"] for part in np.split(both, range(PROBE_CHUNK, len(both), PROBE_CHUNK))]
    )
    groups = np.tile(np.arange(scenes), 2)
    probe = fit_probe(features, np.tile(labels, (2, 1)), category_names(), groups=groups)
    probe.save(path)
    return probe
