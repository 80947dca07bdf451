"""Retrieval and Stage II: neighbours of every sample, the fusion that is trained on them, refined estimates (3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from brainram_lib.core.files import write_array, write_blocks, write_json
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage, Store
from brainram_lib.pipeline.corpus import CORPORA, CorpusSource, Readouts, corpus_tokens
from brainram_lib.pipeline.data import SPLITS, finite, validation_rows
from brainram_lib.pipeline.duplicates import NearDuplicates
from brainram_lib.pipeline.prior import Estimates, PriorTraining
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.stage2.settings import Stage2Settings

if TYPE_CHECKING:
    from brainram_lib.pipeline.search import Search
    from brainram_lib.pipeline.tokens import CorpusTokens
    from brainram_lib.retrieval.index import Excluded, Neighbours
    from brainram_lib.stage2.fusions import Fusion
    from brainram_lib.stage2.training import RamExamples

BOTH = "both"


@dataclass(frozen=True)
class Retrieved(Stage):
    """K neighbours of every sample of both splits: rows of the corpus and similarities, (n, S, K).

    Attributes:
        image, text: the estimates that ask. A modality that asks alone has only its own.
        readouts: of the same corpus.
        settings: of the search.
        modality: which index is asked; 'both' where both estimates ask together.
        duplicates: of the stimuli, which may not be found; None where all items may. In the key only if given.
    """

    image: Estimates | None
    text: Estimates | None
    readouts: Readouts
    settings: RetrievalSettings
    modality: str
    duplicates: NearDuplicates | None = field(default=None, metadata={"keyed": False})
    # splits that have neighbours; controls that no fusion is trained on have those of the test stimuli alone
    splits: ClassVar[tuple[str, ...]] = SPLITS

    @property
    def name(self) -> str:
        return f"neighbours-{self.modality}"

    @property
    def corpus(self) -> CorpusSource:
        """What is searched."""
        return self.readouts.corpus

    @property
    def keyed_fields(self) -> dict[str, Any]:
        """See `Stage`.

        Raises:
            ValueError: the corpus has fewer items than are asked for, or a split has no estimates that could ask;
                raised here, before Stage I is trained.
        """
        if any(set(self.splits) - set(one.splits) for one in (self.image, self.text) if one is not None):
            raise ValueError(
                "'sampling.training' must be true where neighbours are searched for: Stage II trains on those of the "
                "training images. False was provided. Set sampling__training = true in the profile file, or choose a "
                "system that ends with Stage I."
            )
        for name in ("neighbours", "candidates"):
            asked, there = getattr(self.settings, name), self.corpus.size
            if asked is not None and there is not None and asked > there:
                raise ValueError(
                    f"'retrieval.{name}' must be {there} or less, for the corpus has {there} items. {asked} was "
                    f"provided. Set retrieval__{name} in the profile file, or search a larger corpus."
                )
        return super().keyed_fields

    def make(self, folder: Path, store: Store) -> None:
        """Search for both splits."""
        search = self.search(store)
        whitening = None if self.image is None else self.image.prior.load(store).whitening
        for split in self.splits:
            asked = self.asked(store, split), whitening, self.excluded(store, split)
            search.write(folder, split, self.modality, *asked)

    def asked(self, store: Store, split: str) -> dict[str, Float[np.ndarray, "n samples tokens width"]]:
        """The estimates that ask."""
        asking = {m: stage for m, stage in zip(MODALITIES, (self.image, self.text), strict=True) if stage is not None}
        return {modality: store.result(stage).array(split) for modality, stage in asking.items()}

    def excluded(self, store: Store, split: str) -> Excluded:
        """The items that may not be found: one array for all stimuli, or one for each."""
        return None if self.duplicates is None else self.duplicates.items(store)

    def search(self, store: Store) -> Search:
        """The corpus, searched as the settings say."""
        from brainram_lib.pipeline.search import Search

        return Search(
            self.settings,
            self.corpus.open(store.root),
            self.readouts.pooled(store),
            self.readouts.of_words(store) if self.settings.word_weight else None,
            corpus_tokens(self.corpus, self.readouts.encoder, store),
            store.root.absolute() / CORPORA / f"indices-{self.corpus.rows_key}",
        )

    def found(self, store: Store, split: str, pooled: bool = False) -> Neighbours:
        """The neighbours of a split, of each sample or pooled over the samples of a stimulus."""
        from brainram_lib.retrieval.index import Neighbours
        from brainram_lib.retrieval.neighbours import pooled_over_samples

        result = store.result(self)
        found = Neighbours(np.array(result.array(f"{split}_ids")), np.array(result.array(f"{split}_similarity")))
        return pooled_over_samples(found) if pooled else found

    def tokens(self, store: Store, prior: PriorTraining) -> CorpusTokens:
        """Tokens of all neighbours that were found, of a prior's modality and in its whitened units."""
        from brainram_lib.pipeline.tokens import CorpusTokens

        cache = corpus_tokens(self.corpus, self.readouts.encoder, store)
        ids = np.unique(np.concatenate([self.found(store, split).ids.ravel() for split in self.splits]))
        return CorpusTokens.of(cache, ids, prior.targets.modality, prior.load(store).whitening)


@dataclass(frozen=True)
class FusionTraining(Stage):
    """The fusion of one modality's estimates with their neighbours (Table 4), trained (eq. 12).

    Attributes:
        estimates: p. found: its neighbours.
        beside: the other modality's p, where the fusion asks what speaks for a neighbour; else None.
        settings: which fusion, its size and training.
        validation: training images that are monitored, not trained on.
        seed: of weights and batches.
    """

    estimates: Estimates
    found: Retrieved
    beside: Estimates | None
    settings: Stage2Settings
    validation: int
    seed: int
    together: ClassVar[bool] = True
    VERSION: ClassVar[int] = 3

    @property
    def modality(self) -> str:
        """Of the tokens."""
        return self.estimates.prior.targets.modality

    @property
    def name(self) -> str:
        return f"fusion-{self.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """Train on the fitting images, monitor the validation images."""
        from brainram_lib.core import parallel
        from brainram_lib.core.loop import finished
        from brainram_lib.stage2.training import train_fusion

        count = len(store.result(self.estimates).array("train"))
        fit, held = (self.examples(store, "train", rows) for rows in validation_rows(count, self.validation))
        label, tokens = f"Stage II, {self.modality} {self.settings.fusion}", self.tokens(store)
        fusion, history = train_fusion(self.settings, fit, held, tokens, folder, self.seed, label)
        if not parallel.first():
            return
        write_weights(folder / "fusion.safetensors", fusion)
        write_json(folder / "history.json", history)
        finished(folder)

    def examples(self, store: Store, split: str, rows: Int[np.ndarray, " n"] | None = None) -> RamExamples:
        """What the fusion is given of a split, or of some of its stimuli."""
        import torch

        from brainram_lib.core.rows import Rows
        from brainram_lib.core.whitening import whitened_by
        from brainram_lib.stage2.evidence import Evidence
        from brainram_lib.stage2.training import RamExamples

        def whitened(stage: Stage, prior: PriorTraining) -> Rows:
            return Rows(store.result(stage).array(split), rows, whitened_by(prior.load(store).whitening))

        asking = [self.estimates] if self.beside is None else [self.estimates, self.beside]
        p = {one.prior.targets.modality: whitened(one, one.prior) for one in asking}
        evidence = None
        if self.beside is not None:
            evidence = Evidence(p, {one.prior.targets.modality: self.found.tokens(store, one.prior) for one in asking})
        ids = torch.from_numpy(self.neighbours(store, split).ids[slice(None) if rows is None else rows])
        targets = whitened(self.estimates.prior.targets, self.estimates.prior)
        return RamExamples(p[self.modality], ids, targets, evidence)

    def neighbours(self, store: Store, split: str) -> Neighbours:
        """Of each sample, or pooled over the samples of a stimulus."""
        return self.found.found(store, split, self.settings.pooled)

    def tokens(self, store: Store) -> CorpusTokens:
        """See `Retrieved.tokens`."""
        return self.found.tokens(store, self.estimates.prior)

    def errors(self, store: Store) -> Float[np.ndarray, "n samples neighbours"]:
        """Mean squared error of each neighbour's tokens to the test targets, whitened: from the truth, for reports."""
        import torch

        from brainram_lib.core.rows import as_tensor
        from brainram_lib.core.whitening import whitened_by

        whitened = whitened_by(self.estimates.prior.load(store).whitening)
        targets = store.result(self.estimates.prior.targets).array("test")
        ids, tokens = torch.from_numpy(self.neighbours(store, "test").ids), self.tokens(store)
        found = []
        for row, target in zip(ids, targets, strict=True):
            found.append((tokens(row) - whitened(as_tensor(target))).square().mean((-2, -1)).cpu().numpy())
        return np.stack(found)

    def load(self, store: Store) -> Fusion:
        """The trained fusion, on a GPU where there is one."""
        from safetensors.torch import load_file

        from brainram_lib.core.devices import accelerator
        from brainram_lib.stage2.fusions import build

        ids = self.neighbours(store, "test").ids
        shape = store.result(self.estimates).array("test").shape[2:]
        fusion = build(self.settings, ids.shape[-1], *shape)
        fusion.load_state_dict(load_file(store.result(self).folder / "fusion.safetensors"))
        return fusion.eval().to(accelerator())


def write_weights(path: Path, module: object) -> None:
    """A module's weights as safetensors, whole."""
    from safetensors.torch import save_file

    from brainram_lib.core.files import write_whole

    with write_whole(path) as partial:
        save_file({name: weight.contiguous() for name, weight in module.state_dict().items()}, partial)


@dataclass(frozen=True)
class Refined(Stage):
    """p + q of every sample of the test stimuli, in CLIP's units, and the weights that the fusion gave."""

    fusion: FusionTraining

    @property
    def name(self) -> str:
        return f"refined-{self.fusion.modality}"

    def make(self, folder: Path, store: Store) -> None:
        """A chunk of stimuli at a time."""
        from brainram_lib.stage2.training import refined_blocks

        training = self.fusion
        whitening = training.estimates.prior.load(store).whitening
        examples = training.examples(store, "test")
        weights: list[np.ndarray] = []

        def blocks() -> Iterator[np.ndarray]:
            for refined, weight in refined_blocks(training.load(store), examples, training.tokens(store)):
                if weight is not None:
                    weights.append(weight.cpu().numpy())
                yield finite(whitening.restored(refined).half().cpu().numpy(), self.name)

        write_blocks(folder / "test.npy", len(examples), blocks())
        if weights:
            write_array(folder / "weights.npy", np.concatenate(weights))


@dataclass(frozen=True)
class GuidingNeighbours(Stage):
    """The guiding neighbours: corpus items whose tokens guide a system's samples beside its estimate, (n, S).

    Sample s gets the s-th best of the items that the stimulus's samples found, by agreement with the mean of the
    system's own image estimate. Choosing among samples thus also chooses among neighbours.

    Attributes:
        estimate: the system's image tokens. found: the neighbours to choose from.
        prior: whose whitening makes tokens comparable.
        count: how many for each stimulus.
    """

    estimate: Stage
    found: Retrieved
    prior: PriorTraining
    count: int

    def make(self, folder: Path, store: Store) -> None:
        """Compare the tokens of all that was found with the estimate."""
        from brainram_lib.core.whitening import whitened_by
        from brainram_lib.pipeline.tokens import samples_of
        from brainram_lib.retrieval.reranking import best_by_tokens

        whitened = whitened_by(self.prior.load(store).whitening)
        cache = corpus_tokens(self.found.corpus, self.found.readouts.encoder, store)
        items = best_by_tokens(
            self.found.found(store, "test"),
            whitened(samples_of(store, self.estimate).mean(1)).cpu(),
            lambda items: whitened(cache.tokens_of(items, "image")),
            self.count,
        )
        write_array(folder / "items.npy", items)
