import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation.backbones import (
    NETWORKS,
    WeightsMissing,
    load_network,
    one_layer,
    random_network,
    resized_clip,
    weights_path,
)
from brainram_lib.evaluation.catalogue import MINI, PAPER
from brainram_lib.evaluation.images import Resizing


def pictures(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 21, 27, 3), np.uint8)


def test_every_metric_names_a_layer_that_a_network_has():
    for metric in (*MINI, *PAPER):
        if metric.backbone not in (None, "clip"):
            assert metric.layer in NETWORKS[metric.backbone].layers


@pytest.mark.parametrize("name", NETWORKS)
def test_a_networks_memory_is_free_once_its_features_are_made(name):
    """Scoring collects no cycles between networks: each goes with the last name for it."""
    gc.disable()
    try:
        network = random_network(name, side=96)
        network(pictures(1))
        weights = [weakref.ref(one) for one in network.module.parameters()]
        del network
        assert weights and all(one() is None for one in weights)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("name", "side", "widths"),
    [
        ("lite0", 64, {"early": 24 * 16 * 16, "middle": 112 * 4 * 4, "late": 1280}),
        (
            "alexnet",
            96,
            {"conv2": 192 * 11 * 11, "conv5": 256 * 5 * 5, "pool2": 192 * 5 * 5, "pool5": 256 * 2 * 2},
        ),
        ("inception", 91, {"avgpool": 2048}),
        ("efficientnet_b1", 65, {"avgpool": 1280}),
        ("swav", 64, {"avgpool": 2048}),
    ],
)
def test_layers_and_shapes_of_the_architectures(name, side, widths):
    features = random_network(name, side=side)(pictures())
    assert {layer: values.shape for layer, values in features.items()} == {k: (3, w) for k, w in widths.items()}
    assert all(np.isfinite(values).all() for values in features.values())


def test_only_the_layers_that_are_wanted_are_kept():
    whole = load_network("lite0", resizing=Resizing(network=64))(pictures())
    late = load_network("lite0", resizing=Resizing(network=64), layers=("late",))(pictures())
    assert list(late) == ["late"] and list(whole) == ["early", "middle", "late"]
    np.testing.assert_array_equal(late["late"], whole["late"])


def test_clip_sees_pictures_resized_as_the_other_networks_see_them():
    encoder = ClipTokens.mini()
    images = np.repeat(np.repeat(pictures(5), 4, 1), 4, 2)
    smooth, plain = (resized_clip(encoder, Resizing(antialias=one))(images)["image"] for one in (True, False))
    assert smooth.shape == plain.shape == (5, 128) and np.abs(smooth - plain).max() > 1e-3
    small = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    own = encoder.pooled_images(small).numpy()
    np.testing.assert_allclose(resized_clip(encoder, Resizing(first=None))(small)["image"], own, atol=1e-5)


def test_alexnet_features_are_after_the_relu_and_are_not_overwritten():
    features = random_network("alexnet", side=96)(pictures())
    assert features["conv2"].min() == 0 and features["conv2"].max() > 0


def test_lite0_comes_with_its_weights_and_tells_pictures_apart():
    network = load_network("lite0", resizing=Resizing(network=64))
    images = pictures(4)
    images[2] = images[0]
    late = network(images)["late"]
    np.testing.assert_allclose(late[2], late[0], atol=1e-5)
    assert np.abs(late[1] - late[0]).max() > 0.1
    random = random_network("lite0", side=64)(images)["late"]
    assert np.abs(random - late).max() > 0.1


def test_weights_are_read_from_a_file_or_a_folder(tmp_path):
    network = random_network("efficientnet_b1", seed=3, side=64)
    torch.save(network.module.state_dict(), tmp_path / "efficientnet_b1-c27df63c.pth")
    images, resizing = pictures(), Resizing(network=64)
    expected = network(images)["avgpool"]
    for place in (tmp_path, tmp_path / "efficientnet_b1-c27df63c.pth"):
        got = load_network("efficientnet_b1", place, resizing)(images)["avgpool"]
        np.testing.assert_allclose(got, expected, atol=1e-5)


class SmallBody(torch.nn.Module):
    """Named as a ResNet's parts are, and nothing like as large."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 5, 3)
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(5, 7)

    def forward(self, pixels):
        return self.fc(self.avgpool(self.conv1(pixels)).flatten(1))


def test_swav_files_carry_a_prefix_and_heads_that_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "swav", replace(NETWORKS["swav"], build=SmallBody))
    state = random_network("swav", seed=3, side=32).module.state_dict()
    body = {f"module.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    body["module.projection_head.0.weight"] = body["module.prototypes.weight"] = torch.ones(2, 2)
    torch.save(body, tmp_path / "swav_800ep_pretrain.pth.tar")
    images = pictures()
    got = load_network("swav", tmp_path, Resizing(network=32))(images)["avgpool"]
    np.testing.assert_allclose(got, random_network("swav", seed=3, side=32)(images)["avgpool"], atol=1e-5)


def test_missing_and_foreign_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(WeightsMissing, match="weights of AlexNet are not at '.*hub.*alexnet-owt.*Download https"):
        load_network("alexnet")
    torch.save({"features.0.weight": torch.ones(2)}, tmp_path / "inception.pth")
    with pytest.raises(ValueError, match="does not hold the weights of Inception V3"):
        load_network("inception", tmp_path / "inception.pth")
    with pytest.raises(ValueError, match="'network' must be one of lite0"):
        load_network("vgg")


def test_hub_cache_is_where_torch_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert weights_path(NETWORKS["swav"]) == tmp_path / "checkpoints" / "swav_800ep_pretrain.pth.tar"


def test_a_plain_function_becomes_a_backbone():
    backbone = one_layer(lambda images: images.mean((1, 2)))
    assert backbone(pictures())["image"].shape == (3, 3)
    assert backbone(pictures())["image"].dtype == np.float32
