"""The two profiles as data: every size and hyper-parameter, with its source in the paper or the reason it differs.

`paper` holds the paper's numbers; where the paper is silent, the comment says what was used instead. `mini` is the
embedded world. No code checks which profile it runs: it reads these numbers, and the source that the profile names.

There are two methods: 'brainram' is the paper's as printed, 'brainram-plus' has this workbench's additions
(`additions`). A profile has one of them, and `with_method` gives the same profile with the other.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from brainram_lib.additions import ADDITIONS, BRAINRAM, METHODS, PLUS
from brainram_lib.core.settings import Settings, number
from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.peers.settings import (
    LowLevelSettings,
    MeshSettings,
    MindEyeSettings,
    MindReaderSettings,
    PeerSettings,
)
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, SamplingSettings, Stage1Settings
from brainram_lib.stage2.settings import Stage2Settings


@dataclass(frozen=True)
class SplitSettings(Settings):
    """Which images are for training and validation.

    Attributes:
        validation: how many training images nothing is fitted on, spread over the nsdIds.
        images: how many training and test images are used, the first by nsdId; None: all of them.
        clusters: k-means clusters of the stimuli of which a fifth is held out of training; None: none is.
        held_out: which fifth.
    """

    validation: int = number(300, low=1)
    images: tuple[int, int] | None = number(None, low=1)
    clusters: int | None = number(None, low=2)
    held_out: int = number(0, low=0, high=4)


@dataclass(frozen=True)
class CorpusSettings(Settings):
    """The corpus that a source makes if the user gives none.

    Attributes:
        pairs: how many image-text pairs; 0 where a source makes none.
        foreign_share: the share of captions in another language.
        planted_test, planted_train: of how many test and training stimuli it holds a near-duplicate: those of the
            lowest nsdIds, of subject 1 for training. What the audit must find.
    """

    pairs: int = number(0, low=0)
    foreign_share: float = number(0.0, low=0, high=1)
    planted_test: int = number(0, low=0)
    planted_train: int = number(0, low=0)


@dataclass(frozen=True)
class Profile(Settings):
    """Everything that differs between the embedded world and the real thing.

    Attributes:
        source: where stimuli and betas come from, a name of `pipeline.run.SOURCES`.
        encoder: the CLIP. metrics: a set of `evaluation.catalogue`.
        method: 'brainram', as printed, or 'brainram-plus'.
        folder: a user's own data (`study`), in place of the source; relative to the file if given in one.
        systems: Python files outside the package that register systems; relative to the file if given in one.
        own: paths of settings that the user has changed; `with_method` leaves them alone.
        peers: the compared systems' networks.
    """

    name: str
    title: str
    subjects: tuple[int, ...]
    data: DataSettings
    stage1: Stage1Settings
    stage2: Stage2Settings
    generation: GenerationSettings
    encoder: str
    metrics: str
    source: str
    split: SplitSettings = SplitSettings()
    sampling: SamplingSettings = SamplingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    corpus: CorpusSettings = CorpusSettings()
    method: str = number(BRAINRAM, one_of=METHODS)
    folder: str | None = None
    systems: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    peers: PeerSettings = PeerSettings()


PAPER = Profile(
    name="paper",
    title="Natural Scenes Dataset",
    subjects=(1, 2, 5, 7),  # 4.1
    data=DataSettings(sessions=37),  # 8,859 / 982 images, 4.2
    stage1=Stage1Settings(
        # not given; hidden width and first dropout are those of MindEye, from which the released code was forked
        # dropout of the first layer as in MindEye's and the authors' code
        projector=ProjectorSettings(
            hidden=4096, width=768, blocks=4, dropout=0.15, voxel_dropout=0.0, first_dropout=0.5
        ),
        clip=None,  # none in the authors' code
        network=NetworkSettings(width=768, depth=3, heads=12),
        epochs=180,  # 4.2
        batch=32,  # 4.2
    ),
    stage2=Stage2Settings(heads=12, fusion_hidden=64, epochs=120, batch=256),  # 4.2
    generation=GenerationSettings(steps=20, guidance_scale=3.5, text_mix=0.4, batch=4),
    encoder="ViT-L-14-quickgelu",
    metrics="paper",
    source="nsd",
    # as published; peers/settings.py names each source
    peers=PeerSettings(
        MindEyeSettings(hidden=4096, projector_hidden=2048, prior_depth=6, prior_heads=12, epochs=240),
        LowLevelSettings(hidden=4096, channels=64, side=16, epochs=120),
        MindReaderSettings(channels=64, stages=4, epochs=40),
        MeshSettings(channels=32, epochs=100),
    ),
)

_MINI_AS_PRINTED = Profile(
    name="mini",
    title="embedded world (mini): not comparable with the paper's numbers",
    subjects=(1, 2, 5, 7),
    data=DataSettings(sessions=14),
    stage1=Stage1Settings(
        projector=ProjectorSettings(hidden=256, width=64, blocks=2, dropout=0.15, voxel_dropout=0.5),
        network=NetworkSettings(width=128, depth=1, heads=4),
        epochs=180,  # 4.2
        batch=32,  # 4.2
        validation_steps=10,
    ),
    stage2=Stage2Settings(heads=4, fusion_hidden=32, epochs=120, batch=256),  # 4.2
    generation=GenerationSettings(
        steps=5,
        guidance_scale=3.0,
        text_mix=0.8,
        batch=64,
        checkpoint="world/assets/mini_generator",
    ),
    encoder="mini",
    metrics="mini",
    source="embedded-world",
    corpus=CorpusSettings(pairs=24_000),
)


def with_method(profile: Profile, method: str, without: Sequence[str] = ()) -> Profile:
    """The same profile as printed ('brainram'), or with all additions except those in `without` ('brainram-plus').

    What the user has set (`Profile.own`) stays.

    Raises:
        ValueError: an unknown method or addition.
    """
    if method not in METHODS:
        raise ValueError(f"'method' must be one of {', '.join(METHODS)}. '{method}' was provided.")
    if unknown := sorted(set(without) - ADDITIONS.keys()):
        raise ValueError(f"'without' must be of {', '.join(ADDITIONS)}. '{unknown[0]}' was provided.")
    printed = _PRINTED[profile.source]
    changes: dict[tuple[str, ...], object] = {("method",): method}
    for name, addition in ADDITIONS.items():
        on = method == PLUS and name not in without
        for path, added in addition.settings(profile.source).items():
            if path not in profile.own:
                steps = tuple(path.split("__"))
                changes[steps] = added if on else _at(printed, steps)
    return _changed(profile, changes)


def _at(profile: Profile, steps: Sequence[str]) -> object:
    value: Any = profile
    for name in steps:
        value = getattr(value, name)
    return value


def profile_of(name: str) -> Profile:
    """The profile called `name`, or the one in the JSON or TOML file `name`: {"base": "paper", "stage1__epochs": 2}.

    Raises:
        ValueError: there is no profile of that name; or the file names no base, has an unknown setting, or a value that
            a setting cannot have.
        FileNotFoundError: there is no such file.
    """
    if Path(name).suffix in (".json", ".toml"):
        return _from_file(Path(name))
    if name not in PROFILES:
        raise ValueError(
            f"'profile' must be one of {sorted(PROFILES)}, or a JSON or TOML file of changes to one. '{name}' was "
            "provided."
        )
    return PROFILES[name]


def _from_file(path: Path) -> Profile:
    if not path.is_file():
        raise FileNotFoundError(f"there is no profile file '{path}'. It holds a base and changes to it.")
    try:
        text = path.read_text(encoding="utf-8")
        settings = dict(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))
        base = PROFILES[settings.pop("base")]
    except (ValueError, TypeError, KeyError) as problem:
        raise ValueError(
            f"'{path}' must hold an object whose 'base' is one of {sorted(PROFILES)} ({str(problem)[:200]!r})."
        ) from problem
    try:
        return changed(base, **({"name": path.stem} | _located(settings, path.absolute().parent)))
    except ValueError as problem:
        raise ValueError(f"'{path}': {problem}") from problem


def _located(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a file with its own files' names in full."""
    found = dict(settings)
    if isinstance(found.get("folder"), str):
        found["folder"] = str(folder / found["folder"])
    if isinstance(found.get("systems"), list):
        found["systems"] = [str(folder / name) if isinstance(name, str) else name for name in found["systems"]]
    return found


def changed(profile: Profile, **changes: object) -> Profile:
    """A profile with some numbers changed, named by paths with '__': `stage1__epochs=2`. Lists become tuples.

    Changing `method` applies that method's settings first (`with_method`), then the other changes. All changes are made
    together, so that settings that need each other are checked once.

    Raises:
        ValueError: a path that the profile does not have, or a value that the setting cannot have.
    """
    steps = {tuple(path.split("__")): value for path, value in changes.items()}
    start = with_method(profile, changes["method"]) if "method" in changes else profile
    return replace(_changed(start, steps), own=tuple(sorted({*profile.own, *changes})))


def _changed(settings: Any, changes: Mapping[tuple[str, ...], object]) -> Any:
    names = {field.name for field in fields(settings)}
    deeper: dict[str, dict[tuple[str, ...], object]] = {}
    made: dict[str, object] = {}
    for (first, *rest), value in changes.items():
        if first not in names:
            raise ValueError(f"'{first}' is not a setting of {type(settings).__name__}. It has {sorted(names)}.")
        if not rest:
            made[first] = tuple(value) if isinstance(value, list) else value
        elif not is_dataclass(getattr(settings, first)):
            raise ValueError(f"'{first}' of {type(settings).__name__} has no settings of its own, such as '{rest[0]}'.")
        else:
            deeper.setdefault(first, {})[tuple(rest)] = value
    inner = {name: _changed(getattr(settings, name), below) for name, below in deeper.items()}
    return replace(settings, **made, **inner)


_PRINTED = {profile.source: profile for profile in (_MINI_AS_PRINTED, PAPER)}
# `mini` has the additions by default, `paper` is as printed
MINI = with_method(_MINI_AS_PRINTED, PLUS)
PROFILES = {profile.name: profile for profile in (MINI, PAPER)}
