"""The report measures shipped models on scenes of their own, which no training, no subject and no corpus holds."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from brainram_lib import recipes
from brainram_lib.encoders import ClipTokens
from brainram_lib.generation.generator import Generator
from brainram_lib.recipes.report import METHOD, MODELS, REPORT_SET, Figure, Scenes, model_rows, report_text
from brainram_lib.world.corpus import CORPUS_SET
from brainram_lib.world.scenes import render, scene_of
from brainram_lib.world.world import WorldSettings

N = 7


def recipe_sets() -> set[str]:
    """Every text that a recipe but the report holds: the names of its scene sets among them."""
    files = [path for path in Path(recipes.__file__).parent.glob("*.py") if path.name != "report.py"]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_recipe_no_subject_and_no_corpus_draws_from_the_reports_scenes():
    assert REPORT_SET == "report" and REPORT_SET not in recipe_sets()
    assert {"models", "probe"} <= recipe_sets()
    world = WorldSettings()
    seen = {world.source(nsd_id)[0] for nsd_id in range(0, world.n_stimuli, 100)}
    assert "shared" in seen and not any(name.startswith(REPORT_SET) for name in (*seen, CORPUS_SET))


@pytest.mark.parametrize("name", ["report", "x", "a name/with:signs", ""])
def test_a_set_of_any_name_is_a_stream_of_its_own(name):
    assert scene_of(name, 3) == scene_of(name, 3) and scene_of(name, 3) != scene_of(f"{name}2", 3)
    assert np.array_equal(Scenes.of(2, name).pictures[1], render(scene_of(name, 1)))


class PerfectGenerator(Generator):
    """Gives back the scenes; from words alone the scene after."""

    def __init__(self, pictures):
        self.pictures, self.mixes = pictures, []

    def round_trip(self, images):
        return np.where(images > 127, images - 1, images + 1).astype(np.uint8)

    def generate(self, image_tokens, text_tokens, label="", text_mix=None, neighbours=None, seed=0):
        assert len(image_tokens) == len(text_tokens) == len(self.pictures)
        self.mixes.append(text_mix)
        return self.pictures if text_mix is None else np.roll(self.pictures, 1, axis=0)


def test_rows_are_scored_against_the_reports_own_scenes():
    scenes = Scenes.of(N)
    generator = PerfectGenerator(scenes.pictures)
    clip, autoencoder, true_tokens, text = model_rows(ClipTokens.mini(), generator, scenes, "mini")
    assert generator.mixes == [None, 1.0]
    assert clip.what.startswith(f"mini CLIP, top-1 of {N} pairs")
    # an error of one level of 255 everywhere
    assert autoencoder.measured == "48.1 [48.1, 48.1]"
    two_way, top1, named = (part.split()[0] for part in true_tokens.measured.split(" / "))
    assert (two_way, top1) == ("1.000", "1.000") and float(named) > 0.7
    assert float(text.measured.split()[0]) < float(named)


def test_the_methods_rows_have_a_heading_of_their_own():
    row = Figure("what", "0.5", ".4")
    text = report_text({MODELS: [row], METHOD: [row, row]})
    models, method = text.split("\n\n")
    assert models.splitlines()[0] == f"[{MODELS}]" and len(method.splitlines()) == 3
    assert "nothing is chosen by these rows" in method and "no training and no subject sees" in models
