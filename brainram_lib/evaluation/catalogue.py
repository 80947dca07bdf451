"""The metrics of the tables, as data: what each is called, which way is better, what it compares.

Definitions as MindEye evaluates them, which BrainRAM follows (paper 4.3). Metrics whose backbone has no weights offline
carry the stand-in's own name: `lite0_late` is not 'Incep'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Comparison = Literal["pixel_correlation", "ssim", "two_way", "distance", "other"]


@dataclass(frozen=True)
class Metric:
    """One column of a table.

    Attributes:
        name: as records carry it.
        title: as tables print it.
        direction: 'up' when larger is better, 'down' when smaller is.
        comparison: how a reconstruction is compared with its ground truth; 'other' is computed elsewhere.
        backbone: the network whose features are compared, None for pixels.
        layer: which of its layers.
        percent: printed in percent (the value is a share).
        decimals: how many are printed where it is not percent.
        chance: the score of an unrelated output where it is known without measuring, else None.
    """

    name: str
    title: str
    direction: Literal["up", "down"]
    comparison: Comparison = "other"
    backbone: str | None = None
    layer: str | None = None
    percent: bool = False
    chance: float | None = None
    decimals: int = 3

    @property
    def heading(self) -> str:
        """Title with the arrow, and the unit where it is percent: 'Alex(2) ↑ %'."""
        return f"{self.title} {'↑' if self.direction == 'up' else '↓'}{' %' if self.percent else ''}"


def _two_way(name: str, title: str, backbone: str, layer: str) -> Metric:
    return Metric(name, title, "up", "two_way", backbone, layer, percent=True, chance=0.5)


PIXCORR = Metric("pixcorr", "PixCorr", "up", "pixel_correlation", chance=0.0)
SSIM = Metric("ssim", "SSIM", "up", "ssim")

MINI = (
    PIXCORR,
    SSIM,
    _two_way("lite0_early", "Lite0 early", "lite0", "early"),
    _two_way("lite0_middle", "Lite0 middle", "lite0", "middle"),
    _two_way("lite0_late", "Lite0 late", "lite0", "late"),
    _two_way("clip", "mini CLIP", "clip", "image"),
)
PAPER = (
    PIXCORR,
    SSIM,
    _two_way("alex2", "Alex(2)", "alexnet", "conv2"),
    _two_way("alex5", "Alex(5)", "alexnet", "conv5"),
    _two_way("incep", "Incep", "inception", "avgpool"),
    _two_way("clip", "CLIP", "clip", "image"),
    Metric("eff", "Eff", "down", "distance", "efficientnet_b1", "avgpool", chance=1.0),
    Metric("swav", "SwAV", "down", "distance", "swav", "avgpool", chance=1.0),
)
IDENTIFICATION = (
    Metric("image_retrieval", "Image retrieval", "up", percent=True),
    Metric("brain_retrieval", "Brain retrieval", "up", percent=True),
    # this workbench's own: text estimates are identified among the captions of the test images
    Metric("caption_retrieval", "Caption retrieval", "up", percent=True),
)
PROBE = (
    Metric("probe_category", "Category named", "up", percent=True),
    Metric("probe_place", "Place named", "up", percent=True),
)
ESTIMATES = (
    Metric("image_mse", "Image tokens MSE", "down", decimals=5),
    Metric("image_cosine", "Image tokens cosine", "up"),
    Metric("text_mse", "Text tokens MSE", "down", decimals=5),
    Metric("text_cosine", "Text tokens cosine", "up"),
    # what CLIP's own column could reach if an image kept all information of its estimate
    Metric("global_two_way", "Global token, two-way", "up", percent=True, chance=0.5),
)
OF_TOKENS = frozenset(one.name for one in IDENTIFICATION + ESTIMATES)
ALL = tuple(dict.fromkeys(MINI + PAPER + IDENTIFICATION + PROBE + ESTIMATES))
_SETS = {"mini": MINI, "paper": PAPER}


def metric_set(name: str) -> tuple[Metric, ...]:
    """The image metrics of a named set, 'mini' or 'paper'.

    Raises:
        ValueError: no set has this name.
    """
    if name not in _SETS:
        raise ValueError(f"'metric set' must be one of {', '.join(_SETS)}. '{name}' was provided.")
    return _SETS[name]


def metric(name: str) -> Metric:
    """The metric that records call `name`.

    Raises:
        ValueError: no metric has this name.
    """
    # two sets may use one name for different networks: 'clip' is then the paper's, which reported rows use
    known = {one.name: one for one in ALL}
    if name not in known:
        raise ValueError(f"'metric' must be one of {', '.join(known)}. '{name}' was provided.")
    return known[name]


def metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names, in this order."""
    return tuple(metric(name) for name in names)
