"""Scores of a decoder's image tokens for what was shown, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from brainram_lib.audits.new_stimuli import first, scores_by_kind
from brainram_lib.core.files import write_json
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.shown import USUAL, Shown, ShownTargets


@dataclass(frozen=True)
class KindScores(Stage):
    """Per-image scores: `values.json`, {kind: {metric: one value per image}}.

    Attributes:
        tokens: a decoder's. targets: the true ones. shown: whose kinds.
        pools: for ordinary images: among how many each must be found, one 'first_of_<pool>' each.
    """

    tokens: Stage
    targets: ShownTargets
    shown: Shown
    pools: tuple[int, ...] = ()

    def make(self, folder: Path, store: Store) -> None:
        """See `audits.new_stimuli`."""
        from brainram_lib.pipeline.tokens import samples_of

        made, real = samples_of(store, self.tokens).numpy(), self.targets.tokens(store)
        found = scores_by_kind(made, real, self.shown.kinds(store))
        if USUAL in found:
            found[USUAL] |= {f"first_of_{pool}": first(made.mean(1), real, pool) for pool in self.pools}
        plain = {kind: {name: one.tolist() for name, one in scores.items()} for kind, scores in found.items()}
        write_json(folder / "values.json", plain)

    def values(self, store: Store) -> dict[str, dict[str, Float[np.ndarray, " images"]]]:
        """By kind, in the order in which kinds were shown, and by metric."""
        found = store.result(self).json("values")
        kinds = [kind for kind in dict.fromkeys(self.shown.kinds(store)) if kind in found]
        return {kind: {name: np.array(one) for name, one in found[kind].items()} for kind in kinds}
