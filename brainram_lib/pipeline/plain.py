"""Plain ways to use neighbours, beside which a trained fusion must earn its place: a convex mix, and a ridge.

Both see what the fusion sees, the same samples p and the same neighbours, and make their choices on the validation
images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brainram_lib.core.files import write_blocks, write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.data import finite, validation_rows
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import Retrieved

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 64
SHARES = tuple(float(share) for share in np.linspace(0, 1, 21))


@dataclass(frozen=True)
class OfNeighbours(Stage):
    """What a plain alternative is given: the same as a fusion.

    Attributes:
        estimates: p. found: its neighbours.
        pooled: whether the samples of a stimulus share them.
        validation: training images on which choices are made and nothing is fitted.
    """

    estimates: Estimates
    found: Retrieved
    pooled: bool
    validation: int


@dataclass(frozen=True)
class Mixed(OfNeighbours):
    """(1 - w) p + w mean_k c_k for every sample of the test stimuli, (n, S, T, D); one w, by validation error."""

    @property
    def name(self) -> str:
        return f"mixed-{self.estimates.prior.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Choose w in the prior's whitened units, then mix."""
        count = len(store.result(self.estimates).array("train"))
        _, held = validation_rows(count, self.validation)
        errors = np.zeros(len(SHARES))
        for p, c, target in _whitened(self, store, "train", held):
            goal = target[:, None]
            errors += [float(((1 - share) * p + share * c - goal).square().sum()) for share in SHARES]
        share = SHARES[int(errors.argmin())]
        write_json(folder / "share.json", {"share": share, "errors": dict(zip(map(str, SHARES), errors, strict=True))})
        write_blocks(folder / "test.npy", *self._mixed(store, share))

    def _mixed(self, store: Store, share: float) -> tuple[int, Iterator[np.ndarray]]:
        count = len(store.result(self.estimates).array("test"))
        restored = self.estimates.prior.load(store).whitening.restored
        parts = _whitened(self, store, "test", np.arange(count))
        blocks = (restored((1 - share) * p + share * c).half().cpu().numpy() for p, c, _ in parts)
        return count, (finite(block, self.name) for block in blocks)


@dataclass(frozen=True)
class RidgeOnNeighbours(OfNeighbours):
    """Ridge per token from [p, mean_k c_k], both means over the samples, to the target; alpha by validation r2.

    One estimate per stimulus, (n, T, D).
    """

    @property
    def name(self) -> str:
        return f"ridge-on-neighbours-{self.estimates.prior.targets.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Fit one ridge per token on the fitting images, in the prior's whitened units."""
        from brainram_lib.core.ridge import fit_ridge

        known, goal = self._rows(store, "train")
        asked, _ = self._rows(store, "test")
        fit, held = validation_rows(len(known), self.validation)
        estimates = np.empty((len(asked), *goal.shape[1:]), np.float32)
        for token in range(goal.shape[1]):
            pairs = [(known[rows, token], goal[rows, token : token + 1]) for rows in (fit, held)]
            ridge = fit_ridge(*pairs[0], *pairs[1])
            estimates[:, token] = ridge.predict(asked[:, token])[:, 0]
        restored = self.estimates.prior.load(store).whitening.restored
        write_blocks(folder / "test.npy", len(asked), _restored(restored, estimates, self.name))

    def _rows(
        self, store: Store, split: str
    ) -> tuple[Float[np.ndarray, "n tokens two_widths"], Float[np.ndarray, "n tokens width"] | None]:
        count = len(store.result(self.estimates).array(split))
        parts = list(_whitened(self, store, split, np.arange(count)))
        inputs = [np.concatenate([one.mean(1).cpu().numpy() for one in pair[:2]], -1) for pair in parts]
        goals = [pair[2].cpu().numpy() for pair in parts]
        return np.concatenate(inputs), np.concatenate(goals)


def _restored(restored: object, estimates: np.ndarray, name: str) -> Iterator[np.ndarray]:
    import torch

    for start in range(0, len(estimates), CHUNK):
        yield finite(restored(torch.from_numpy(estimates[start : start + CHUNK])).half().cpu().numpy(), name, start)


def _whitened(
    stage: OfNeighbours, store: Store, split: str, rows: np.ndarray
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(p, mean neighbour, target), whitened, CHUNK stimuli at a time: (m, S, T, D) twice, and (m, T, D)."""
    import torch

    from brainram_lib.core.rows import as_tensor
    from brainram_lib.core.whitening import whitened_by

    prior = stage.estimates.prior
    estimates, targets = (store.result(one).array(split) for one in (stage.estimates, prior.targets))
    ids = torch.from_numpy(stage.found.found(store, split, stage.pooled).ids)
    tokens, whitened = stage.found.tokens(store, prior), whitened_by(prior.load(store).whitening)
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        found = torch.stack([tokens(ids[chosen, sample]).mean(1) for sample in range(ids.shape[1])], 1)
        yield whitened(as_tensor(estimates[chosen])), found, whitened(as_tensor(targets[chosen]))
