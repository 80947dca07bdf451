"""Image and brain retrieval (paper 5.2, Table 2, last two columns): top-1 among 300 test images, 30 repeats.

The two differ only by the axis that competes, and a transposed similarity swaps their labels, so the axes have names:
similarity[brain, image].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

POOL, REPEATS = 300, 30
BRAINS, IMAGES = 0, 1


@dataclass(frozen=True)
class Identification:
    """Top-1 identification in one direction.

    Attributes:
        repeats: top-1 accuracy of each repeat, (n_repeats,).
        per_image: for each test image, the share of the repeats that drew it in which it was found, (n_drawn,);
            intervals over images are bootstrapped from it.
        pool: images competing in each repeat; chance is 1 / pool.
    """

    repeats: Float[np.ndarray, " repeats"]
    per_image: Float[np.ndarray, " drawn"]
    pool: int

    @property
    def mean(self) -> float:
        """Mean over repeats."""
        return float(self.repeats.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The central 95 % of the repeats. Zero width when the pool is the whole test set: use `per_image` then."""
        low, high = np.quantile(self.repeats, [0.025, 0.975])
        return float(low), float(high)

    @property
    def chance(self) -> float:
        """Accuracy of a blind guess."""
        return 1 / self.pool


def retrieval(
    estimates: Float[np.ndarray, "n tokens width"],
    targets: Float[np.ndarray, "_n _tokens _width"],
    pool: int = POOL,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Identification]:
    """{'image_retrieval': ..., 'brain_retrieval': ...} from flattened, L2-normalised tokens.

    image_retrieval: for each brain, its own image ranks first among the pool's images.
    brain_retrieval: for each image, its own brain ranks first among the pool's brains.

    Args:
        estimates: what the brains predict, (n, n_tokens, width).
        targets: the images' true tokens, (n, n_tokens, width), same order.
        pool: how many images are drawn without replacement in each repeat.

    Raises:
        ValueError: shapes differ, the test set is smaller than the pool, or tokens are not finite.
    """
    if estimates.shape != targets.shape:
        raise ValueError(
            f"'estimates' is {estimates.shape} and 'targets' {targets.shape}: both must be (n, tokens, width) of the "
            "same images in the same order."
        )
    return retrieval_from_similarity(unit_rows(estimates) @ unit_rows(targets).T, pool, repeats, seed)


def retrieval_from_similarity(
    similarity: Float[np.ndarray, "brains images"], pool: int = POOL, repeats: int = REPEATS, seed: int = 0
) -> dict[str, Identification]:
    """The same from similarity[brain, image], right pairs on the diagonal.

    Raises:
        ValueError: fewer images than the pool needs, or a similarity that is NaN or infinite.
    """
    n = len(similarity)
    if n < pool:
        raise ValueError(f"'pool' must be at most the {n} test images. {pool} was provided.")
    _check_finite(similarity)
    draws = _draws(n, pool, repeats, seed)
    directions = {"image_retrieval": IMAGES, "brain_retrieval": BRAINS}
    return {name: _identified(similarity, draws, axis) for name, axis in directions.items()}


def drawn_images(n: int, pool: int = POOL, repeats: int = REPEATS, seed: int = 0) -> Int[np.ndarray, " drawn"]:
    """Which of n images `per_image` covers, in its order: those that were drawn at least once."""
    return np.unique(np.concatenate(_draws(n, min(pool, n), repeats, seed)))


def _draws(n: int, pool: int, repeats: int, seed: int) -> list[Int[np.ndarray, " pool"]]:
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(n, pool, replace=False)) for _ in range(repeats)]


def found_first(similarity: Float[np.ndarray, "brains images"], competing: int) -> Bool[np.ndarray, " n"]:
    """Whether each right pair ranks first when the entries along axis `competing` compete; ties are failures.

    `competing=IMAGES`: each row (brain) looks among images. `competing=BRAINS`: each column (image) looks among brains.
    """
    own = similarity.diagonal()
    rivals = similarity >= (own[:, None] if competing == IMAGES else own[None, :])
    return rivals.sum(competing) == 1


def ranks(similarity: Float[np.ndarray, "brains images"], competing: int) -> Float[np.ndarray, " n"]:
    """Rank of each right pair, 1 is best, ties counted against it; mean rank and top-k follow from it."""
    own = similarity.diagonal()
    return (similarity >= (own[:, None] if competing == IMAGES else own[None, :])).sum(competing).astype(np.float64)


def _check_finite(similarity: np.ndarray) -> None:
    """Comparisons with NaN are never true, so a broken rival would go unnoticed."""
    bad = np.argwhere(~np.isfinite(similarity))
    if len(bad):
        raise ValueError(
            f"similarities must be finite. {len(bad)} of {similarity.size} are NaN or infinite, the first of brain "
            f"{bad[0][0]} and image {bad[0][1]}: look for values that are not finite in their tokens."
        )


def _identified(similarity: np.ndarray, draws: list[np.ndarray], competing: int) -> Identification:
    hits, held = np.zeros(len(similarity)), np.zeros(len(similarity))
    accuracies = []
    for drawn in draws:
        found = found_first(similarity[np.ix_(drawn, drawn)], competing)
        accuracies.append(found.mean())
        hits[drawn] += found
        held[drawn] += 1
    return Identification(np.array(accuracies), hits[held > 0] / held[held > 0], len(draws[0]))


def unit_rows(tokens: Float[np.ndarray, "n tokens width"]) -> Float[np.ndarray, "n flat"]:
    """Tokens flattened and divided by their norm, as every comparison of token sets uses them."""
    flat = tokens.reshape(len(tokens), -1).astype(np.float32)
    # a row that is not finite becomes NaN, which callers that compare rows refuse
    with np.errstate(invalid="ignore"):
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float32).tiny)
