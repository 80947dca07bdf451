"""Presets score as the evaluations that they are named after: sizes, smoothing, direction, layers, blend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from brainram_lib.evaluation.backbones import NETWORKS
from brainram_lib.evaluation.catalogue import MINI, PAPER
from brainram_lib.evaluation.images import blended, chunks, for_pixels, to_unit
from brainram_lib.evaluation.metrics import of_features, two_way_identification
from brainram_lib.evaluation.presets import PRESETS, preset_of

N, HEIGHT, WIDTH = 5, 90, 70


def pictures(n=N, height=HEIGHT, width=WIDTH, seed=0):
    """Smooth pictures: pure noise would make every resizing look different."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 9, 7, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height), Image.BICUBIC)) for one in small])


def by_pil(images, side, how, crop=False):
    """PIL's resizing, as scripts that open files do it."""
    made = []
    for one in images:
        pil = Image.fromarray(one)
        pil = center_crop(resize(pil, side, how), side) if crop else resize(pil, (side, side), how)
        made.append(np.asarray(pil).astype(np.float32).transpose(2, 0, 1) / 255)
    return np.stack(made)


def ours(parts):
    return torch.cat(list(parts)).numpy()


@pytest.mark.parametrize("name", ["mindeye", "mindeye2"])
def test_mindeye_resizes_tensors_twice_and_smooths_nothing(name):
    images, preset = pictures(height=300, width=280), PRESETS[name]
    once = resize(to_unit(images), [256, 256], InterpolationMode.BILINEAR, antialias=False)
    for side in (224, 255, 342, 425):
        expected = resize(once, [side, side], InterpolationMode.BILINEAR, antialias=False)
        np.testing.assert_allclose(ours(chunks(images, side, preset.resizing)), expected.numpy(), atol=1e-6)
    assert preset.clip == "resized" and preset.resizing.pixels == 425 and preset.resizing.network is None


def test_shrinking_with_and_without_antialiasing_differ():
    images = np.random.default_rng(0).integers(0, 256, (2, 400, 400, 3), np.uint8)
    smooth, plain = (ours(chunks(images, 224, PRESETS[name].resizing)) for name in ("brainram", "mindeye"))
    assert np.abs(smooth - plain).mean() > 0.05


def test_brain_diffuser_resizes_files_with_pil():
    images, resizing = pictures(), PRESETS["brain-diffuser"].resizing
    assert resizing.network == 224
    network = ours(chunks(images, 224, resizing))
    np.testing.assert_allclose(network, by_pil(images, 224, InterpolationMode.BILINEAR), atol=1.5 / 255)
    pixels = ours(for_pixels(images, resizing))
    np.testing.assert_allclose(pixels, by_pil(images, 425, InterpolationMode.BICUBIC), atol=3 / 255)
    assert 0 <= pixels.min() and pixels.max() <= 1


def test_takagi_crops_the_middle_and_measures_networks_alone():
    preset = PRESETS["takagi"]
    images = pictures(height=400, width=360)
    cropped = ours(chunks(images, preset.resizing.network, preset.resizing))
    # there the shorter side is resized first, and the cut falls half a pixel beside ours
    np.testing.assert_allclose(cropped, by_pil(images, 299, InterpolationMode.BILINEAR, crop=True), atol=10 / 255)
    columns = preset.metrics(PAPER)
    assert [(one.name, one.layer) for one in columns] == [
        ("alex2", "pool2"),
        ("alex5", "pool5"),
        ("incep", "avgpool"),
        ("clip", "image"),
    ]
    assert {"pool2", "pool5"} <= NETWORKS["alexnet"].layers.keys()
    assert [one.name for one in preset.metrics(MINI)] == ["lite0_early", "lite0_middle", "lite0_late", "clip"]


def test_the_direction_of_comparison_is_the_presets():
    real, made = np.random.default_rng(0).normal(size=(2, N, 11)).astype(np.float32)
    metric = PAPER[2]
    for name, among in (("takagi", "reconstructions"), ("mindeye", "reals")):
        found = of_features(metric, real, made, PRESETS[name].among)
        np.testing.assert_array_equal(found, two_way_identification(real, made, among))


def test_blurry_images_are_blended_at_the_first_side():
    sharp, soft = pictures(), pictures(height=40, width=40, seed=1)
    mixed = blended(sharp, soft, PRESETS["mindeye2"].blend, PRESETS["mindeye2"].resizing)
    at = [resize(to_unit(one), [256, 256], InterpolationMode.BILINEAR, antialias=False) for one in (sharp, soft)]
    expected = (0.75 * at[0] + 0.25 * at[1]).permute(0, 2, 3, 1).numpy()
    assert mixed.dtype == np.uint8
    np.testing.assert_allclose(mixed / 255, expected, atol=0.51 / 255)


def test_every_preset_says_what_it_does_and_stands_in_the_document():
    document = (Path(__file__).parent.parent / "docs" / "scoring.md").read_text()
    for name, preset in PRESETS.items():
        assert preset.name == name and preset_of(name) is preset
        said = " ".join(preset.said())
        assert name in said and preset.source in said and preset.source.split(" of ")[-1] in document
        row = next(line for line in document.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"{preset.images:,}" in row and ("without" in row) == (not preset.resizing.antialias)
        assert (preset.blend is not None) == (".75" in row)
        for one in preset.differences:
            assert one.split(";")[0].split(",")[0] in document
    with pytest.raises(ValueError, match="'preset' must be one of brainram, mindeye, .*'umbrae' was provided"):
        preset_of("umbrae")
    assert replace(PRESETS["mindeye"], layers={}).metrics(PAPER) == PAPER
