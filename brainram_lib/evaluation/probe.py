"""A linear probe: does a picture show a category that its stimulus shows?

'Named' is the share of pictures whose first-ranked category is present in the scene. The probe is a ridge on pooled
Lite0 features, one column per category, trained on scenes of a separate set and on their autoencoder outputs, so that
an object that the generator blurs is not taken for a missing one. It never sees a stimulus.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from safetensors import safe_open
from safetensors.numpy import save_file

from brainram_lib.core.files import write_whole

ALPHAS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)


@dataclass(frozen=True)
class Probe:
    """score = (features - mean) / scale @ weights + bias; the category with the highest score is named.

    Attributes:
        categories: the names of the columns.
        mean: training means of the features, (n_features,).
        scale: their deviations, (n_features,).
        weights: (n_features, n_categories).
        bias: the categories' training frequencies, (n_categories,).
        alpha: the regularisation chosen on the held-out part.
        held_out: share named on the held-out part.
    """

    categories: tuple[str, ...]
    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    weights: Float[np.ndarray, "features categories"]
    bias: Float[np.ndarray, " categories"]
    alpha: float
    held_out: float

    def scores(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n categories"]:
        """One score per picture and category; only their order means anything."""
        return (features - self.mean) / self.scale @ self.weights + self.bias

    def named(
        self, features: Float[np.ndarray, "n features"], labels: Bool[np.ndarray, "n categories"]
    ) -> Bool[np.ndarray, " n"]:
        """Whether the category ranked first is present in the stimulus, (n,).

        Args:
            features: of the images to score, (n, n_features).
            labels: what their stimuli show, (n, n_categories), columns as `categories`.

        Raises:
            ValueError: rows or columns do not fit.
        """
        if len(features) != len(labels) or labels.shape[1] != len(self.categories):
            raise ValueError(
                f"'labels' is {labels.shape}, but there are {len(features)} pictures and {len(self.categories)} "
                "categories. Make it with label_matrix(categories_of_each_scene, probe.categories)."
            )
        return labels[np.arange(len(labels)), self.scores(features).argmax(1)]

    def save(self, path: Path) -> None:
        """Write the probe as safetensors, whole or not at all."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ("mean", "scale", "weights", "bias")}
        arrays["fit"] = np.array([self.alpha, self.held_out])
        with write_whole(path) as partial:
            save_file(arrays, partial, metadata={"categories": "\n".join(self.categories)})

    @classmethod
    def load(cls, path: Path) -> Probe:
        """Read a probe that `save` wrote.

        Raises:
            FileNotFoundError: nothing is at `path`.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"No probe is at '{path}'. Train one with fit_probe and save it there.")
        with safe_open(path, "numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in ("mean", "scale", "weights", "bias")}
            alpha, held_out = map(float, stored.get_tensor("fit"))
            return cls(tuple(stored.metadata()["categories"].split("\n")), **arrays, alpha=alpha, held_out=held_out)


def label_matrix(present: Sequence[Collection[str]], categories: Sequence[str]) -> Bool[np.ndarray, "n categories"]:
    """Which categories each scene shows, (n, n_categories).

    Raises:
        ValueError: a scene shows a category that `categories` lacks.
    """
    column = {name: position for position, name in enumerate(categories)}
    labels = np.zeros((len(present), len(column)), bool)
    for row, names in enumerate(present):
        for name in names:
            if name not in column:
                raise ValueError(f"'{name}' of scene {row} must be one of the {len(column)} categories of the probe.")
            labels[row, column[name]] = True
    return labels


def fit_probe(
    features: Float[np.ndarray, "n features"],
    labels: Bool[np.ndarray, "_n categories"],
    categories: Sequence[str],
    held_out: float = 0.1,
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Probe:
    """One-against-the-rest ridge in closed form; alpha is the one that names most categories right on a held-out part.

    Args:
        features: (n, n_features), for example Lite0's 'late'.
        labels: (n, n_categories) of the same pictures.
        categories: the names of the columns.
        held_out: share kept apart to choose alpha.
        groups: (n,) the scene of each picture, so that a scene and its autoencoder output fall on the same side.

    Raises:
        ValueError: rows or columns do not fit, or there is too little to hold a part out.
    """
    if len(features) != len(labels) or labels.shape[1] != len(categories) or len(features) < 10:
        raise ValueError(
            f"'features' is {features.shape}, 'labels' {labels.shape} and there are {len(categories)} categories: rows "
            "and columns must agree, and at least 10 pictures are needed."
        )
    apart = _kept_apart(np.arange(len(features)) if groups is None else np.asarray(groups), held_out, seed)
    train, target = features[~apart], labels[~apart].astype(np.float64)
    mean, scale = train.mean(0), np.maximum(train.std(0), 1e-6)
    design, bias = ((train - mean) / scale).astype(np.float64), target.mean(0)
    values, vectors = np.linalg.eigh(design.T @ design)
    rotated = vectors.T @ (design.T @ (target - bias))
    tried = []
    for alpha in alphas:
        weights = ((vectors / (values + alpha)) @ rotated).astype(np.float32)
        probe = Probe(tuple(categories), mean, scale, weights, bias.astype(np.float32), float(alpha), 0.0)
        tried.append(replace(probe, held_out=float(probe.named(features[apart], labels[apart]).mean())))
    return max(tried, key=lambda probe: probe.held_out)


def _kept_apart(groups: np.ndarray, share: float, seed: int) -> Bool[np.ndarray, " n"]:
    """A random share of the groups, whole groups together."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(1, round(share * len(names)))])


def named_by_chance(
    probe: Probe, features: Float[np.ndarray, "n features"], labels: Bool[np.ndarray, "n categories"]
) -> float:
    """Expected share named if images and stimuli were paired at random (all n^2 pairs)."""
    first = probe.scores(features).argmax(1)
    return float(labels[:, first].mean())
