"""Image metrics: PixCorr, SSIM, two-way identification and correlation distance, one value per image.

Every function returns (n,), so that an interval over images can be bootstrapped; the table's number is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.evaluation.catalogue import PIXCORR, SSIM, Metric
from brainram_lib.evaluation.images import STANDARD, Resizing, check_pairs, for_pixels

Backbone = Callable[[np.ndarray], Mapping[str, np.ndarray]]

# scikit-image's structural_similarity with gaussian_weights: sigma 1.5 cut at 3.5 sigma, and Wang et al.'s constants.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_GREY = (0.2125, 0.7154, 0.0721)


class Evaluator:
    """The ground truth of a test set, with its features, against which any number of systems is scored.

    Args:
        truth: the stimuli, uint8 (n, H, W, 3).
        metrics: which metrics, for example `catalogue.MINI`.
        backbones: for each backbone that the metrics name, a function from uint8 pictures to {layer: (n, features)}.
        resizing: for the pixel metrics (backbones resize for themselves).

    Raises:
        ValueError: a metric's backbone is missing.
    """

    def __init__(
        self,
        truth: UInt8[np.ndarray, "n height width 3"],
        metrics: Sequence[Metric],
        backbones: Mapping[str, Backbone],
        resizing: Resizing = STANDARD,
    ) -> None:
        needed = dict.fromkeys(metric.backbone for metric in metrics if metric.backbone)
        for name in needed:
            if name not in backbones:
                raise ValueError(f"'backbones' must hold '{name}', which the metrics name. Got {', '.join(backbones)}.")
        self.truth, self.metrics, self.resizing = truth, tuple(metrics), resizing
        self.backbones = {name: backbones[name] for name in needed}
        self._features = {name: backbone(truth) for name, backbone in self.backbones.items()}

    def features(
        self, images: UInt8[np.ndarray, "_n height width 3"], label: str = "features"
    ) -> dict[str, Mapping[str, np.ndarray]]:
        """What every network sees in some images, {backbone: {layer: (n, features)}}."""
        steps = tqdm(self.backbones.items(), desc=label, unit="network")
        return {name: backbone(images) for name, backbone in steps}

    def score(
        self,
        reconstructions: UInt8[np.ndarray, "_n height width 3"],
        label: str = "metrics",
        features: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """Per-image values of every metric, {metric name: (n,)}.

        Args:
            label: names the system in the progress bars.
            features: of the reconstructions, where the caller has them.

        Raises:
            ValueError: the reconstructions are not uint8 pictures of the same images.
        """
        check_pairs(self.truth, reconstructions)
        made = self.features(reconstructions, label) if features is None else features
        values = of_pixels(self.metrics, self.truth, reconstructions, self.resizing, label)
        for metric in self.metrics:
            if metric.backbone is not None:
                real = self._features[metric.backbone][metric.layer]
                values[metric.name] = of_features(metric, real, made[metric.backbone][metric.layer])
        return {metric.name: values[metric.name] for metric in self.metrics}


def of_pixels(
    metrics: Sequence[Metric],
    truth: UInt8[np.ndarray, "n height width 3"],
    images: UInt8[np.ndarray, "_n height_made width_made 3"],
    resizing: Resizing,
    label: str = "pixels",
) -> dict[str, Float[np.ndarray, " n"]]:
    """Those of the metrics that compare pixels, {metric name: (n,)}: every picture is resized once for all of them."""
    chosen = [metric for metric in metrics if metric.backbone is None]
    values: dict[str, list[Tensor]] = {metric.name: [] for metric in chosen}
    if chosen:
        pairs = zip(for_pixels(truth, resizing), for_pixels(images, resizing), strict=True)
        for real, made in tqdm(pairs, desc=label, unit="batch", delay=2):
            for metric in chosen:
                values[metric.name].append(_OF_PIXELS[metric.comparison](real, made))
    return {name: torch.cat(parts).numpy() for name, parts in values.items()}


def of_features(
    metric: Metric,
    real: Float[np.ndarray, "n features"],
    made: Float[np.ndarray, "_n _features"],
    among: Literal["reals", "reconstructions"] = "reals",
) -> Float[np.ndarray, " n"]:
    """A metric of features, one value an image; `among` is of two-way identification."""
    return (
        correlation_distance(real, made)
        if metric.comparison == "distance"
        else two_way_identification(real, made, among)
    )


def pixcorr(
    truth: UInt8[np.ndarray, "n height width 3"],
    reconstructions: UInt8[np.ndarray, "_n height_made width_made 3"],
    resizing: Resizing = STANDARD,
) -> Float[np.ndarray, " n"]:
    """Pearson correlation of all pixels of each pair, at `resizing.pixels` a side. A flat picture correlates 0."""
    check_pairs(truth, reconstructions)
    return of_pixels([PIXCORR], truth, reconstructions, resizing)[PIXCORR.name]


def ssim(
    truth: UInt8[np.ndarray, "n height width 3"],
    reconstructions: UInt8[np.ndarray, "_n height_made width_made 3"],
    resizing: Resizing = STANDARD,
) -> Float[np.ndarray, " n"]:
    """Structural similarity of each pair in grey, a true two-dimensional one, at `resizing.pixels` a side.

    SSIM = (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)), moments under a Gaussian of
    sigma 1.5, population covariance, data range 1. Published values that came from scikit-image before 0.20 called
    with `multichannel=True` on a grey picture average one-dimensional SSIMs over columns and do not compare.
    """
    check_pairs(truth, reconstructions)
    return of_pixels([SSIM], truth, reconstructions, resizing)[SSIM.name]


def ssim_reference(
    truth: UInt8[np.ndarray, "n height width 3"],
    reconstructions: UInt8[np.ndarray, "_n height_made width_made 3"],
    resizing: Resizing = STANDARD,
) -> Float[np.ndarray, " n"]:
    """The same with scikit-image, a pair at a time."""
    settings = dict(gaussian_weights=True, sigma=_SIGMA, use_sample_covariance=False, data_range=1.0)
    values = []
    for pair in range(len(truth)):
        one = slice(pair, pair + 1)
        real, made = (
            rgb2gray(next(for_pixels(images[one], resizing))[0].permute(1, 2, 0).numpy())
            for images in (truth, reconstructions)
        )
        values.append(structural_similarity(real, made, **settings))
    return np.array(values, np.float32)


def two_way_identification(
    real: Float[np.ndarray, "n features"],
    made: Float[np.ndarray, "_n _features"],
    among: Literal["reals", "reconstructions"] = "reals",
) -> Float[np.ndarray, " n"]:
    """Share of comparisons that each image wins: its own pair correlates more than the pair with another. Chance .5.

    With R[i, j] the correlation of real i and reconstruction j, image j scores the share of i != j with
    R[i, j] < R[j, j]; ties are failures. `among="reconstructions"` compares over the other index instead, as Takagi
    and Nishimoto do.

    Raises:
        ValueError: the two differ in shape, or hold fewer than two images.
    """
    if real.shape != made.shape or len(real) < 2:
        raise ValueError(
            f"'real' has features of shape {real.shape} and 'made' {made.shape}: both must be of the same images and "
            "layer, and at least two images are needed to compare."
        )
    correlation = (_standard(torch.from_numpy(real)) @ _standard(torch.from_numpy(made)).T).numpy()
    own = correlation.diagonal()
    won = correlation < own[None, :] if among == "reals" else correlation < own[:, None]
    return won.sum(0 if among == "reals" else 1).astype(np.float32) / (len(real) - 1)


def two_way_identification_reference(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "_n _features"]
) -> Float[np.ndarray, " n"]:
    """The same over reals, from numpy's corrcoef, one comparison at a time."""
    n = len(real)
    correlation = np.corrcoef(real, made)[:n, n:]
    won = [[correlation[i, j] < correlation[j, j] for i in range(n) if i != j] for j in range(n)]
    return np.mean(won, axis=1).astype(np.float32)


def correlation_distance(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "_n _features"]
) -> Float[np.ndarray, " n"]:
    """1 - Pearson correlation of the features of each pair: 0 for identical images, about 1 for unrelated ones."""
    return (1 - (_standard(torch.from_numpy(real)) * _standard(torch.from_numpy(made))).sum(1)).numpy()


def _standard(rows: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
    """Rows centred and divided by their norm, so that two rows multiply to their correlation; flat rows are zero."""
    centred = rows - rows.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    # what rounding leaves of a flat row is not a direction
    return centred / norm.masked_fill(norm <= 1e-6 * rows.norm(dim=1, keepdim=True), float("inf"))


def _grey(images: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 1 side side"]:
    return (images * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blurred(images: Float[Tensor, "n 1 side side"]) -> Float[Tensor, "n 1 inner inner"]:
    """Gaussian means at the places where the whole window lies inside the picture, which are those that count."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    # shifted sums along one axis, then the other: a tenth of the time of conv2d with one channel
    for axis in (-1, -2):
        length = images.shape[axis] - 2 * _RADIUS
        total = images.narrow(axis, 0, length) * float(kernel[0])
        for shift, weight in enumerate(kernel[1:], 1):
            total.add_(images.narrow(axis, shift, length), alpha=float(weight))
        images = total
    return images


def _ssim_of(x: Float[Tensor, "n 1 side side"], y: Float[Tensor, "n 1 side side"]) -> Float[Tensor, " n"]:
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    bottom = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return (top / bottom).mean((1, 2, 3))


def _pixcorr_of(x: Float[Tensor, "n 3 side side"], y: Float[Tensor, "n 3 side side"]) -> Float[Tensor, " n"]:
    return (_standard(x.flatten(1)) * _standard(y.flatten(1))).sum(1)


_OF_PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel_correlation": _pixcorr_of,
    "ssim": lambda x, y: _ssim_of(_grey(x), _grey(y)),
}
