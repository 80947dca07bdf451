"""Image metrics: PixCorr, SSIM, two-way identification and correlation distance, one value per image.

Every function returns (n,), so that an interval over images can be bootstrapped; the table's number is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.core.measure import let_go
from brainram_lib.evaluation.catalogue import PIXCORR, SSIM, Metric
from brainram_lib.evaluation.images import PIXEL_CHUNK, STANDARD, Resizing, check_pairs, for_pixels

Backbone = Callable[[np.ndarray], Mapping[str, np.ndarray]]

# scikit-image's structural_similarity with gaussian_weights: sigma 1.5 cut at 3.5 sigma, and Wang et al.'s constants.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
# Rows whose features are standardised at a time.
_BLOCK = 64
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
        """Every network's features of some images, {backbone: {layer: (n, features)}}."""
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
            features: of the reconstructions, if the caller already has them.

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
    """The pixel metrics among `metrics`, {metric name: (n,)}: every image is resized once for all of them."""
    chosen = [metric for metric in metrics if metric.backbone is None]
    if not chosen:
        return {}

    def compared(start: int) -> list[Tensor]:
        part = slice(start, start + PIXEL_CHUNK)
        (real,), (made,) = for_pixels(truth[part], resizing), for_pixels(images[part], resizing)
        return [_OF_PIXELS[metric.comparison](real, made) for metric in chosen]

    # one chunk per core: images are too small to be split between cores
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=lambda: torch.set_num_threads(1)) as pool:
        starts = range(0, len(truth), PIXEL_CHUNK)
        parts = list(tqdm(pool.map(compared, starts), total=len(starts), desc=label, unit="batch", delay=2))
    columns = zip(chosen, zip(*parts, strict=True), strict=True)
    return {metric.name: torch.cat(values).numpy() for metric, values in columns}


def of_features(
    metric: Metric,
    real: Float[np.ndarray, "n features"],
    made: Float[np.ndarray, "_n _features"],
    among: Literal["reals", "reconstructions"] = "reals",
) -> Float[np.ndarray, " n"]:
    """A metric of features, one value per image; `among` applies to two-way identification."""
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
    """Two-dimensional structural similarity of each pair in grey, at `resizing.pixels` a side.

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
        ValueError: the two differ in shape, hold fewer than two images, or are not finite.
    """
    if real.shape != made.shape or len(real) < 2:
        raise ValueError(
            f"'real' has features of shape {real.shape} and 'made' {made.shape}: both must be of the same images and "
            "layer, and at least two images are needed to compare."
        )
    correlation = _correlations(real, made)
    # a comparison with NaN is lost without a word
    if bad := int((~np.isfinite(correlation)).sum()):
        raise ValueError(
            f"features must be finite. {bad} of {correlation.size} correlations of 'real' and 'made' are not: check "
            "the network's weights and what it was given."
        )
    own = correlation.diagonal()
    won = correlation < own[None, :] if among == "reals" else correlation < own[:, None]
    return won.sum(0 if among == "reals" else 1).astype(np.float32) / (len(real) - 1)


def two_way_identification_reference(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "_n _features"]
) -> Float[np.ndarray, " n"]:
    """The same over the real images, from numpy's corrcoef, one comparison at a time."""
    n = len(real)
    correlation = np.corrcoef(real, made)[:n, n:]
    won = [[correlation[i, j] < correlation[j, j] for i in range(n) if i != j] for j in range(n)]
    return np.mean(won, axis=1).astype(np.float32)


def correlation_distance(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "_n _features"]
) -> Float[np.ndarray, " n"]:
    """1 - Pearson correlation of the features of each pair: 0 for identical images, about 1 for unrelated ones."""
    return (1 - (_standard_rows(real) * _standard_rows(made)).sum(1)).numpy()


def _correlations(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "_n _features"]
) -> Float[np.ndarray, "n _n"]:
    """R[i, j]. AlexNet's features of 982 images take .7 GB, so the real ones are read block by block."""
    others = _standard_rows(made).T
    blocks = (real[start : start + _BLOCK] for start in range(0, len(real), _BLOCK))
    return torch.cat([_standard_rows(block) @ others for block in blocks]).numpy()


def _standard_rows(rows: Float[np.ndarray, "n features"]) -> Float[Tensor, "n features"]:
    """`_standard` of an array that may lie on disk, which is read block by block and never held whole."""
    made = torch.empty(rows.shape, dtype=torch.float64 if rows.dtype == np.float64 else torch.float32)
    for start in range(0, len(rows), _BLOCK):
        made[start : start + _BLOCK] = _standard(torch.from_numpy(np.array(rows[start : start + _BLOCK])))
        let_go(rows)
    return made


def _standard(rows: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
    """Rows centred and divided by their norm, so that two rows multiply to their correlation; flat rows are zero."""
    centred, norm = _centred(rows)
    return centred.div_(norm)


def _centred(rows: Float[Tensor, "n features"]) -> tuple[Float[Tensor, "n features"], Float[Tensor, "n 1"]]:
    """Rows minus their mean, and the norm of the rest; infinite where the rest is rounding error, not a direction."""
    centred = rows - rows.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    return centred, norm.masked_fill(norm <= 1e-6 * rows.norm(dim=1, keepdim=True), float("inf"))


def _grey(images: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 1 side side"]:
    red, green, blue = images.split(1, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _blurred(images: Float[Tensor, "n 1 side side"]) -> Float[Tensor, "n 1 inner inner"]:
    """Gaussian means where the whole window lies inside the image: only these positions count."""
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
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    # the two variances enter as their sum
    variances, covariance = _blurred(x * x + y * y) - squares, _blurred(x * y) - product
    top = (2 * product + _C1) * (2 * covariance + _C2)
    bottom = (squares + _C1) * (variances + _C2)
    return (top / bottom).mean((1, 2, 3))


def _pixcorr_of(x: Float[Tensor, "n 3 side side"], y: Float[Tensor, "n 3 side side"]) -> Float[Tensor, " n"]:
    (x, norm_x), (y, norm_y) = _centred(x.flatten(1)), _centred(y.flatten(1))
    return torch.linalg.vecdot(x, y) / (norm_x * norm_y)[:, 0]


_OF_PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel_correlation": _pixcorr_of,
    "ssim": lambda x, y: _ssim_of(_grey(x), _grey(y)),
}
