"""Baselines that generate nothing: the nearest training image, and the nearest neighbour, shown as they are.

A decoder that only classifies and hallucinates scores well on semantic metrics (Shirakawa et al., arXiv 2405.10078),
and so do these images: every table shows them beside it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from brainram_lib.evaluation.identification import unit_rows


def nearest_by_tokens(
    estimates: Float[np.ndarray, "n tokens width"],
    candidates: Float[np.ndarray, "m _tokens _width"],
    chunk: int = 256,
) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For each estimate the candidate with the highest cosine of flattened tokens, and that cosine.

    Args:
        estimates: the brain's token estimates, (n, n_tokens, width).
        candidates: for example the training images' true tokens, (m, n_tokens, width).
        chunk: estimates compared at a time; memory is chunk x m.

    Raises:
        ValueError: tokens of estimates and candidates differ in shape, or there is no candidate.
    """
    if estimates.shape[1:] != candidates.shape[1:] or not len(candidates):
        raise ValueError(
            f"'estimates' has tokens of shape {estimates.shape[1:]} and 'candidates' is {candidates.shape}: both must "
            "come from the same encoder, and at least one candidate is needed."
        )
    known = unit_rows(candidates)
    indices, cosines = np.empty(len(estimates), np.int64), np.empty(len(estimates), np.float32)
    for start in range(0, len(estimates), chunk):
        similarity = unit_rows(estimates[start : start + chunk]) @ known.T
        rows = slice(start, start + len(similarity))
        indices[rows] = similarity.argmax(1)
        cosines[rows] = similarity.max(1)
    return indices, cosines


def nearest_by_tokens_reference(
    estimates: Float[np.ndarray, "n tokens width"], candidates: Float[np.ndarray, "m tokens width"]
) -> Int64[np.ndarray, " n"]:
    """The same index, one pair at a time."""
    chosen = []
    for estimate in estimates:
        cosines = [np.vdot(estimate, known) / np.linalg.norm(estimate) / np.linalg.norm(known) for known in candidates]
        chosen.append(int(np.argmax(cosines)))
    return np.array(chosen, np.int64)


def nearest_of_each(
    estimates: Float[np.ndarray, "n tokens width"], candidates: Float[np.ndarray, "_n k _tokens _width"]
) -> Int64[np.ndarray, " n"]:
    """For each estimate which of its own k candidates has the highest cosine of flattened tokens.

    Raises:
        ValueError: candidates of other estimates or of another encoder, none, or tokens that are not finite.
    """
    if candidates.shape[:1] + candidates.shape[2:] != estimates.shape or not candidates.shape[1]:
        raise ValueError(
            f"'estimates' is {estimates.shape} and 'candidates' {candidates.shape}: candidates must be (n, k, tokens, "
            "width) of the same stimuli and encoder, at least one of each."
        )
    # an estimate's own norm does not change the order
    known = unit_rows(candidates.reshape(-1, *candidates.shape[2:])).reshape(*candidates.shape[:2], -1)
    scores = np.einsum("nd,nkd->nk", estimates.reshape(len(estimates), -1).astype(np.float32), known)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(1))[0])
        raise ValueError(f"stimulus {row}: its estimate or one of its candidates has tokens that are NaN or infinite.")
    return scores.argmax(1)


def nearest_neighbour(
    indices: Int64[np.ndarray, "n samples neighbours"], similarities: Float[np.ndarray, "n samples neighbours"]
) -> Int64[np.ndarray, " n"]:
    """The nearest neighbour: the one with the highest similarity among those that all samples of a stimulus found.

    Args:
        indices: rows of the corpus, (n, S, K).
        similarities: the retrieval's own similarities, (n, S, K); the stimulus itself is never looked at.
    """
    best = similarities.reshape(len(similarities), -1).argmax(1)
    return indices.reshape(len(indices), -1)[np.arange(len(indices)), best]


def derangement(n: int, seed: int) -> Int64[np.ndarray, " n"]:
    """A random order of `n` rows in which no row keeps its place: betas shuffled so that every brain is a wrong one.

    Raises:
        ValueError: fewer than two rows cannot be deranged.
    """
    if n < 2:
        raise ValueError(f"'n' must be at least 2, for one row cannot change its place. {n} was provided.")
    order = np.random.default_rng(seed).permutation(n)
    deranged = np.empty(n, np.int64)
    deranged[order] = np.roll(order, 1)
    return deranged
