"""The workbench that notebooks use: arrays, tables and networks of one run, loaded or made with all they need.

    wb = Workbench("mini", subject=1)
    wb.records()         # everything, from betas to Table 1

The stages are defined in `pipeline.run`, the systems in the files of `systems/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Store, default_runs
from brainram_lib.pipeline.arrays import RunArrays, Tokens
from brainram_lib.pipeline.found import IMAGES, closeness
from brainram_lib.pipeline.pictures import CHOSEN, GuidingPicture
from brainram_lib.pipeline.run import run_of
from brainram_lib.profiles import Profile, profile_of
from brainram_lib.systems import system_of, systems
from brainram_lib.systems.audits import AUDITS, Audit, Subject
from brainram_lib.systems.audits.stimuli import gallery_of
from brainram_lib.systems.finding import found
from brainram_lib.systems.outside import load_systems
from brainram_lib.systems.scores import (
    leads_of,
    records_of,
    retrieval_notes,
    score_tables,
    submitted_table,
    values_of,
)
from brainram_lib.systems.system import System
from brainram_lib.world.world import WorldSettings

if TYPE_CHECKING:
    from brainram_lib.evaluation.records import Record
    from brainram_lib.evaluation.tables import ScoreTable
    from brainram_lib.view.browser import BrowserData


class Workbench(RunArrays):
    """One subject's run and its saved results. If no system is named, the profile's method is meant.

    Args:
        profile: 'mini', 'paper', a JSON or TOML file of changes to one of them, or a `Profile`.
        subject: NSD's number of the subject.
        seed: for everything that is random in training and sampling.
        runs: folder of saved results; `runs` at the top of the checkout by default.
        nsd_root: the folder that holds `nsddata`; the embedded world makes its own.
        corpus_root: a corpus in clip-retrieval's format; the embedded world makes its own.
        world: the embedded world's sizes, if not the default ones.

    Attributes:
        own_systems: the systems that the profile's own files outside the package register.

    Raises:
        ValueError: an unknown profile or subject, a bad seed, a profile of real data without `nsd_root`, or a user's
            own data or systems that cannot be used.
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
        self.own_systems = load_systems(self.profile.systems)
        places = [_place(name, value) for name, value in (("nsd_root", nsd_root), ("corpus_root", corpus_root))]
        self.subject, self.seed = subject, seed
        run = run_of(self.profile, subject, seed, *places, world)
        super().__init__(run, Store(_place("runs", runs) or default_runs()))

    def tokens_of_system(self, system: str) -> dict[str, Tokens]:
        """A system's estimated tokens, per modality; S is 1 for systems without samples.

        Raises:
            ValueError: an unknown system, or one without tokens.
        """
        stages = system_of(system).tokens
        if stages is None:
            raise ValueError(f"the system '{system}' shows images that exist and has no tokens.")
        found = {m: self.store.result(stage).array("test") for m, stage in stages(self.run).items()}
        return {m: tokens if tokens.ndim == 4 else tokens[:, None] for m, tokens in found.items()}

    def guiding_neighbours(self, system: str | None = None) -> Int[np.ndarray, "n samples"] | None:
        """The guiding neighbours, (n, S): the corpus item that guided each draw; None if none did."""
        guide = getattr(self._system(system).images(self.run), "guide", None)
        return None if guide is None else np.array(self.store.result(guide).array("items"))

    def guiding_images(self, system: str | None = None) -> UInt8[np.ndarray, "n height width 3"] | None:
        """The unaltered image of the guiding neighbour of each image that a system shows; None if none guides."""
        made = self._system(system).images(self.run)
        if getattr(made, "guide", None) is None:
            return None
        return np.array(self.store.result(GuidingPicture(made)).array(CHOSEN))

    def _system(self, system: str | System | None) -> System:
        return system if isinstance(system, System) else system_of(system or self.profile.method)

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

    def reconstructions(self, system: str | System | None = None) -> UInt8[np.ndarray, "n height width 3"]:
        """The image of each test stimulus that a system shows; see `systems` for their names."""
        made = self._system(system).images
        if made is None:
            raise ValueError(f"the system '{system}' has no images.")
        return np.array(self.store.result(made(self.run)).array(CHOSEN))

    def retrieved(self, system: str, count: int = IMAGES) -> Int[np.ndarray, "n count"]:
        """The corpus items that a system's estimates find for each test stimulus (Table 2), the nearest first."""
        return np.array(self.store.result(found(self.run, self._system(system))).array("items")[:, :count])

    def retrieved_images(
        self, system: str, stimuli: int, count: int
    ) -> UInt8[np.ndarray, "stimuli count height width 3"]:
        """The images of the first items of the first test stimuli."""
        items = self.retrieved(system, count)[:stimuli]
        return self.corpus.images(items.ravel()).reshape(*items.shape, *[self.corpus.image_size] * 2, 3)

    def closeness(self, system: str, count: int) -> Float[np.ndarray, "n count"]:
        """CLIP's cosine between the first items' images and the true stimulus, for reports."""
        of = found(self.run, self._system(system))
        return closeness(self.store, of, self.retrieved(system, count), self.run.targets("image"))

    def samples(self, system: str | None = None) -> UInt8[np.ndarray, "n draws height width 3"]:
        """All images that a system generated for each test stimulus; one of them is chosen."""
        return np.array(self.store.result(self._system(system).images(self.run)).array("samples"))

    def estimate_records(self, names: Sequence[str]) -> list[Record]:
        """Squared error, cosine and retrieval of some systems' tokens; no images are generated for them."""
        chosen = [system_of(name) for name in names]
        return records_of(self.run, *values_of(self.run, self.store, chosen, estimates_alone=True))

    def records(self, names: Sequence[str] | None = None) -> list[Record]:
        """Scores of all systems, or of some."""
        chosen = systems(self.profile.method) if names is None else [system_of(name) for name in names]
        return records_of(self.run, *values_of(self.run, self.store, chosen))

    def leads(self) -> list[Record]:
        """BrainRAM's lead over ridge, and over itself without the RAM, image by image."""
        return leads_of(self.run, values_of(self.run, self.store, systems(self.profile.method))[0])

    def score_tables(self, reported: bool = False) -> tuple[ScoreTable, ScoreTable, ScoreTable]:
        """Table 1, the lead image by image, and the token estimates; `reported` adds the papers' rows."""
        notes = retrieval_notes(self.run, self.store, systems(self.profile.method))
        return score_tables(self.run, self.records(), self.leads(), reported, notes)

    def audits(
        self,
        names: Sequence[str] | None = None,
        images: bool = True,
        folds: int = 1,
        held_out: Sequence[str] = ("ridge",),
    ) -> list[Audit]:
        """Audits that a reviewer would ask for, by name (`systems.audits.AUDITS`), or all of them.

        `images=False`: nothing is generated; existing tokens and images are audited. `folds`: how many parts of the
        stimuli's clusters are held out in turn; the systems `held_out` are retrained for each.

        Raises:
            ValueError: an unknown audit, or a held-out system that estimates no tokens.
        """
        chosen = list(AUDITS) if names is None else list(names)
        if unknown := [name for name in chosen if name not in AUDITS]:
            raise ValueError(f"'audit' must be one of {', '.join(AUDITS)}. '{unknown[0]}' was provided.")
        if silent := [name for name in held_out if system_of(name).tokens is None]:
            raise ValueError(
                f"'held_out' must be systems that estimate tokens. '{silent[0]}' was provided, which has none."
            )
        subject = Subject(self.run, self.store, images, folds, tuple(held_out))
        return [AUDITS[name](subject) for name in chosen]

    def new_stimuli(
        self, systems: Mapping[str, str], each: int = 2
    ) -> tuple[dict[str, UInt8[np.ndarray, "n height width 3"]], list[str]]:
        """Stimuli of kinds that were not trained on, the first `each` of every kind, and systems' images of them.

        `systems`: label -> name. The labelled rows of a gallery, 'stimulus' first, and the kind of each column.
        """
        return gallery_of(Subject(self.run, self.store), systems, each)

    def submitted(self, folder: str | Path, preset: str = "brainram", blurry: str | Path | None = None) -> ScoreTable:
        """Scores of a folder of reconstructions made elsewhere; see `evaluation.submitted` for what it may hold.

        `preset`: which published evaluation to follow (`evaluation.presets`). `blurry`: a folder of the blurry images
        that the preset 'mindeye2' blends in.
        """
        places = [
            None if place is None else place.absolute()
            for place in (_place("folder", folder), _place("blurry", blurry))
        ]
        return submitted_table(self.run, self.store, places[0], preset, places[1])


def _place(name: str, value: str | Path | int | None) -> Path | None:
    """A folder as notebooks and command lines give it: papermill turns a folder called 2024 into a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, Path, int)) or not str(value).strip():
        raise ValueError(f"'{name}' must be the name of a folder, or None. {value!r} was provided.")
    return Path(str(value)).expanduser()
