"""The workbench: what notebooks use. Arrays, tables and networks of one run, loaded, or made with what they need.

    wb = Workbench("mini", subject=1)
    wb.scores()          # everything, from betas to Table 1

Which stages there are says `pipeline.run`; which systems, the files of `systems/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Store, default_runs
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.pipeline.corpus import corpus_tokens
from brainram_lib.pipeline.pictures import CHOSEN, generator_of
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import Profile, profile_of
from brainram_lib.systems import system_of, systems
from brainram_lib.systems.scores import leads_of, records_of, score_tables, values_of
from brainram_lib.world.world import WorldSettings

if TYPE_CHECKING:
    from brainram_lib.attribution.gradients import Attribution
    from brainram_lib.core.checkpoints import Row
    from brainram_lib.encoders import ClipTokens
    from brainram_lib.evaluation.records import Record
    from brainram_lib.evaluation.tables import ScoreTable
    from brainram_lib.generation.generator import Generator
    from brainram_lib.retrieval.corpus import Corpus
    from brainram_lib.retrieval.index import Neighbours
    from brainram_lib.retrieval.tokens import TokenCache
    from brainram_lib.stage1.prior import Prior
    from brainram_lib.stage2.interface import Fusion
    from brainram_lib.view.browser import BrowserData

Tokens = Float[np.ndarray, "n samples tokens width"]


class Workbench:
    """One subject's run and its saved results.

    Args:
        profile: 'mini', 'paper', a JSON or TOML file of changes to one of them, or a `Profile`.
        subject: NSD's number of the subject.
        seed: of everything that is random in training and sampling.
        runs: folder of saved results; `runs` at the top of the checkout by default.
        nsd_root: the folder that holds `nsddata`; the embedded world makes its own.
        corpus_root: a corpus in clip-retrieval's format; the embedded world makes its own.
        world: the embedded world's sizes, where they are not the default.

    Raises:
        ValueError: an unknown profile or subject, a bad seed, or real files and no `nsd_root`.
    """

    def __init__(
        self,
        profile: str | Profile = "mini",
        subject: int = 1,
        seed: int = 0,
        runs: str | Path | None = None,
        nsd_root: str | Path | None = None,
        corpus_root: str | Path | None = None,
        world: WorldSettings | None = None,
    ) -> None:
        self.profile = profile if isinstance(profile, Profile) else profile_of(profile)
        places = [_place(name, value) for name, value in (("nsd_root", nsd_root), ("corpus_root", corpus_root))]
        self.run = run_of(self.profile, subject, seed, *places, world)
        self.subject, self.seed = subject, seed
        self.store = Store(_place("runs", runs) or default_runs())

    # --- data

    @cached_property
    def layout(self) -> NsdLayout:
        """NSD's files. The embedded world is written on first use."""
        return self.run.betas.layout(self.store)

    def subject_data(self) -> PreparedSubject:
        """The subject's betas with masks and regions, all images."""
        return self.run.betas.prepared(self.store)

    def betas(self) -> dict[str, Float[np.ndarray, "_n voxels"]]:
        """{'train': (n, voxels), 'test': (n, voxels)}, z-scored and averaged over repetitions."""
        return self.run.images.betas(self.store)

    def nsd_ids(self, split: str) -> Int[np.ndarray, " n"]:
        """The nsdIds of a split, the order of every array here."""
        return self.run.images.nsd_ids(self.store, split)

    def stimuli(self, split: str) -> UInt8[np.ndarray, "n height width 3"]:
        """The images that the subject saw."""
        return self.run.images.stimuli(self.store, split)

    def captions(self, split: str) -> list[list[str]]:
        """Their captions."""
        return self.run.images.captions(self.store, split)

    def targets(self, modality: str, split: str) -> Float[np.ndarray, "n tokens width"]:
        """CLIP's tokens of the stimuli, or of their captions (averaged over captions)."""
        return self.store.result(self.run.targets(modality)).array(split)

    # --- networks

    @property
    def encoder(self) -> ClipTokens:
        """CLIP."""
        return self.run.encoder.load()

    @cached_property
    def generator(self) -> Generator:
        """Versatile Diffusion."""
        return generator_of(self.profile.generation, self.run.generator, self.run.encoder)

    def prior(self, modality: str) -> Prior:
        """The trained diffusion prior of one modality."""
        return self.run.prior(modality).load(self.store)

    def fusion(self, modality: str) -> Fusion:
        """The trained fusion of one modality: the Retrieval-Augmented Module, unless the profile names another."""
        return self.run.fusion(modality).load(self.store)

    def prior_history(self, modality: str) -> list[Row]:
        """Losses of the prior's training, one row an epoch."""
        return self.store.result(self.run.prior(modality)).json("history")

    def fusion_history(self, modality: str) -> list[Row]:
        """Losses of the fusion's training, one row an epoch."""
        return self.store.result(self.run.fusion(modality)).json("history")

    # --- estimates

    def ridge(self, modality: str) -> Float[np.ndarray, "n tokens width"]:
        """The ridge baseline's estimates of the test images."""
        return self.store.result(self.run.ridge(modality)).array("test")

    def ridge_r2(self, modality: str) -> Float[np.ndarray, " tokens"]:
        """The ridge's r2 on the validation images, token by token."""
        return np.array(self.store.result(self.run.ridge(modality)).json("fit")["validation_r2"])

    def estimates(self, modality: str, split: str) -> Tokens:
        """S samples p of the prior for every stimulus."""
        return self.store.result(self.run.estimates(modality)).array(split)

    def refined(self, modality: str) -> Tokens:
        """The refined estimates p + q of the test stimuli."""
        return self.store.result(self.run.refined(modality)).array("test")

    def fusion_weights(self, modality: str) -> Float[np.ndarray, "n samples sources tokens"]:
        """The weights of p (row 0) and of each neighbour, for every token of the test stimuli."""
        return self.store.result(self.run.refined(modality)).array("weights")

    def tokens_of_system(self, system: str) -> dict[str, Tokens]:
        """What a system estimates, per modality; S is 1 for systems without samples.

        Raises:
            ValueError: an unknown system, or one without tokens.
        """
        stages = system_of(system).tokens
        if stages is None:
            raise ValueError(f"the system '{system}' shows images that exist and has no tokens.")
        found = {m: self.store.result(stage).array("test") for m, stage in stages(self.run).items()}
        return {m: tokens if tokens.ndim == 4 else tokens[:, None] for m, tokens in found.items()}

    def attribution(self, modality: str, token: int | None = None, neighbour: int | None = None) -> Attribution:
        """Which voxels drive the prior's estimates of the test images towards their targets.

        `token`: in that token alone. `neighbour`: which voxels made the neighbour of that rank (0 the first, of the
        first sample) be found, instead.
        """
        from brainram_lib.attribution.gradients import Attribution

        if token is not None and neighbour is not None:
            raise ValueError(f"give 'token' or 'neighbour', not both. {token} and {neighbour} were provided.")
        by_neighbour = neighbour is not None
        run = self.run
        stage = run.neighbour_attributions(modality, neighbour) if by_neighbour else run.attributions(modality, token)
        result = self.store.result(stage)
        return Attribution(np.array(result.array("values")), np.array(result.array("gained")))

    # --- retrieval

    @property
    def corpus(self) -> Corpus:
        """The image-text corpus. The embedded world's is written on first use."""
        return self.run.corpus.open(self.store.root)

    @property
    def corpus_tokens(self) -> TokenCache:
        """The corpus's pictures and captions as tokens, encoded once."""
        return corpus_tokens(self.run.corpus, self.run.encoder, self.store)

    def neighbours(self, modality: str, split: str) -> Neighbours:
        """K neighbours of every prior sample: rows of the corpus and similarities, (n, S, K)."""
        return self.run.neighbours(modality).found(self.store, split)

    def guiding_neighbours(self, system: str = "brainram") -> Int[np.ndarray, "n samples"] | None:
        """The corpus items that guided each image of a system beside its estimate; None where none did."""
        guide = getattr(system_of(system).images(self.run), "guide", None)
        return None if guide is None else np.array(self.store.result(guide).array("items"))

    def browser_data(self) -> BrowserData:
        """What the neighbour browser of notebook 04 shows."""
        from brainram_lib.view.browser import BrowserData

        return BrowserData(
            stimuli=self.stimuli("test"),
            captions=self.captions("test"),
            neighbours={modality: self.neighbours(modality, "test") for modality in MODALITIES},
            corpus_images=self.corpus.images,
            corpus_captions=lambda ids: [self.corpus.caption(int(item)) for item in ids],
            weights={modality: self.fusion_weights(modality) for modality in MODALITIES},
        )

    # --- images and scores

    def reconstructions(self, system: str = "brainram") -> UInt8[np.ndarray, "n height width 3"]:
        """The image of each test stimulus that a system shows; see `systems` for their names."""
        made = system_of(system).images
        if made is None:
            raise ValueError(f"the system '{system}' has no images.")
        return np.array(self.store.result(made(self.run)).array(CHOSEN))

    def samples(self, system: str = "brainram") -> UInt8[np.ndarray, "n draws height width 3"]:
        """All images of each test stimulus that a system generated, of which one is chosen."""
        return np.array(self.store.result(system_of(system).images(self.run)).array("samples"))

    def estimate_records(self, names: Sequence[str]) -> list[Record]:
        """Squared error, cosine and retrieval of some systems' tokens; nothing is generated for them."""
        chosen = [system_of(name) for name in names]
        return records_of(self.run, *values_of(self.run, self.store, chosen, estimates_alone=True))

    def records(self, names: Sequence[str] | None = None) -> list[Record]:
        """Scores of all systems, or of some."""
        chosen = systems() if names is None else [system_of(name) for name in names]
        return records_of(self.run, *values_of(self.run, self.store, chosen))

    def leads(self) -> list[Record]:
        """How much BrainRAM scores above ridge and above itself without RAM, image by image."""
        return leads_of(self.run, values_of(self.run, self.store, systems())[0])

    def score_tables(self, reported: bool = False) -> tuple[ScoreTable, ScoreTable, ScoreTable]:
        """Table 1, the lead image by image, and the token estimates; `reported` adds the papers' rows."""
        return score_tables(self.run, self.records(), self.leads(), reported)


def _place(name: str, value: str | Path | int | None) -> Path | None:
    """A folder as notebooks and command lines give it: papermill makes a number of a folder called 2024."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, Path, int)) or not str(value).strip():
        raise ValueError(f"'{name}' must be the name of a folder, or None. {value!r} was provided.")
    return Path(str(value)).expanduser()
