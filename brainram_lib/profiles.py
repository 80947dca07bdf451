"""The two profiles as data: every size and hyper-parameter, with its source in the paper or the reason it differs.

`paper` holds the paper's numbers; where the paper is silent the comment says what was taken instead. `mini` is the
embedded world. No code asks which profile it runs: it reads these numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from brainram_lib.generation.settings import GenerationSettings
from brainram_lib.nsd.settings import DataSettings
from brainram_lib.retrieval.settings import RetrievalSettings
from brainram_lib.stage1.settings import NetworkSettings, ProjectorSettings, Stage1Settings
from brainram_lib.stage2.settings import Stage2Settings


@dataclass(frozen=True)
class Profile:
    """Everything that differs between the embedded world and the real thing."""

    name: str
    title: str
    subjects: tuple[int, ...]
    data: DataSettings
    stage1: Stage1Settings
    retrieval: RetrievalSettings
    stage2: Stage2Settings
    generation: GenerationSettings
    encoder: str
    metrics: str
    embedded_world: bool
    corpus_pairs: int  # of the embedded world's corpus
    images: tuple[int, int] | None = None  # training and test images used, the first by nsdId; None: all of them


PAPER = Profile(
    name="paper",
    title="Natural Scenes Dataset",
    subjects=(1, 2, 5, 7),  # 4.1
    data=DataSettings(sessions=37),  # 8,859 / 982 images, 4.2
    stage1=Stage1Settings(
        projector=ProjectorSettings(hidden=1024, width=768, blocks=4, dropout=0.15, voxel_dropout=0.0),
        network=NetworkSettings(width=768, depth=3, heads=12),
        epochs=180,  # 4.2
        batch=32,  # 4.2
    ),
    retrieval=RetrievalSettings(),
    stage2=Stage2Settings(heads=12, fusion_hidden=64, epochs=120, batch=256),  # 4.2
    generation=GenerationSettings(steps=20, guidance_scale=3.5, text_mix=0.4, batch=4),
    encoder="ViT-L-14-quickgelu",
    metrics="paper",
    embedded_world=False,
    corpus_pairs=0,
)

MINI = Profile(
    name="mini",
    title="embedded world (mini): not comparable with the paper's numbers",
    subjects=(1, 2, 5, 7),
    data=DataSettings(sessions=14, validation_images=300),
    stage1=Stage1Settings(
        projector=ProjectorSettings(hidden=256, width=64, blocks=2, dropout=0.3, voxel_dropout=0.3, linear_path=True),
        network=NetworkSettings(width=128, depth=1, heads=4),
        epochs=3,
        batch=64,
        gamma=0.5,
        temperature=0.1,
        peak_rate=1e-3,
        sample_steps=2,
        global_token_weight=4.0,
    ),
    retrieval=RetrievalSettings(
        text_weight=0.65, query_whitening=0.03, word_weight=0.8, candidates=16, token_weight=6.0
    ),
    stage2=Stage2Settings(
        heads=4, fusion_hidden=32, epochs=8, batch=256, gamma=0.1, temperature=0.1, rate=1e-3, dropout=0.3
    ),
    generation=GenerationSettings(
        steps=5,
        guidance_scale=3.0,
        text_mix=0.8,
        batch=64,
        neighbour_share=0.5,
        checkpoint="world/assets/mini_generator",
    ),
    encoder="mini",
    metrics="mini",
    embedded_world=True,
    corpus_pairs=24_000,
)

PROFILES = {profile.name: profile for profile in (MINI, PAPER)}


def profile_of(name: str) -> Profile:
    """The profile called `name`, or the one in the JSON file `name`: {"base": "paper", "stage1__epochs": 2, ...}.

    Raises:
        ValueError: there is none of that name, or the file names no base or a setting that profiles do not have.
        FileNotFoundError: there is no such file.
    """
    if name.endswith(".json"):
        return _from_file(Path(name))
    if name not in PROFILES:
        raise ValueError(
            f"'profile' must be one of {sorted(PROFILES)}, or a JSON file of changes to one. '{name}' was provided."
        )
    return PROFILES[name]


def _from_file(path: Path) -> Profile:
    if not path.is_file():
        raise FileNotFoundError(f"there is no profile file '{path}'. It holds a base and changes to it, as JSON.")
    try:
        settings = dict(json.loads(path.read_text()))
        base = PROFILES[settings.pop("base")]
    except (ValueError, TypeError, KeyError) as problem:
        raise ValueError(
            f"'{path}' must hold a JSON object whose 'base' is one of {sorted(PROFILES)} ({problem!r})."
        ) from problem
    settings = {"name": path.stem} | settings
    return changed(base, **{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()})


def default_runs() -> Path:
    """Where results are saved unless the user says otherwise: `runs` at the top of the checkout."""
    return Path(__file__).resolve().parent.parent / "runs"


def changed(profile: Profile, **changes: object) -> Profile:
    """A profile with some numbers changed, named by dotted paths with '__': `stage1__epochs=2`.

    Raises:
        ValueError: a path that the profile does not have.
    """
    for path, value in changes.items():
        profile = _changed(profile, path.split("__"), value)
    return profile


def _changed(settings: object, path: list[str], value: object) -> object:
    names = {field.name for field in fields(settings)}
    if path[0] not in names:
        raise ValueError(f"'{path[0]}' is not a setting of {type(settings).__name__}. It has {sorted(names)}.")
    inner = value if len(path) == 1 else _changed(getattr(settings, path[0]), path[1:], value)
    return replace(settings, **{path[0]: inner})
