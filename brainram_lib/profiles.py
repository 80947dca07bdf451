"""The two profiles as data: every size and hyper-parameter, with its source in the paper or the reason it differs.

`paper` holds the paper's numbers; where the paper is silent the comment says what was taken instead. `mini` is the
embedded world. No code asks which profile it runs: it reads these numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

MODALITIES = ("image", "text")


@dataclass(frozen=True)
class DataSettings:
    """Which betas, and how they are prepared (METHOD: z-score per session and voxel, mean over repetitions)."""

    sessions: int
    beta_version: str = "betas_fithrf_GLMdenoise_RR"
    roi: str = "nsdgeneral"
    normalisation: str = "session-z"
    validation_images: int = 300


@dataclass(frozen=True)
class ProjectorSettings:
    """Phi_proj (section 3.2). The paper gives no sizes."""

    hidden: int
    width: int
    blocks: int
    dropout: float
    voxel_dropout: float
    backbone: str = "mamba"
    linear_path: bool = False


@dataclass(frozen=True)
class NetworkSettings:
    """f of eq. 2. The paper gives no sizes."""

    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Stage1Settings:
    """Training and sampling of one prior (section 3.2, 4.2)."""

    projector: ProjectorSettings
    network: NetworkSettings
    epochs: int
    batch: int
    gamma: float = 0.8  # 4.2
    beta: float = 0.3  # 4.2
    temperature: float = 0.006  # not given; MindEye's
    mixco_alpha: float = 0.15  # Beta(alpha, alpha), not given; MindEye's
    peak_rate: float = 2.5e-4  # 4.2
    weight_decay: float = 1e-2  # AdamW's default (4.2)
    diffusion_steps: int = 100  # not given; the authors' code
    sample_steps: int = 100
    samples: int = 4  # S, 4.2
    global_token_weight: float = 1.0  # weight of token 0 in the squared error, as one of T


@dataclass(frozen=True)
class RetrievalSettings:
    """Neighbours (section 3.3, 4.2)."""

    neighbours: int = 4  # K per prior sample, 4.2
    # the text estimate's share where both estimates ask together; None: each modality asks alone, as in the paper
    text_weight: float | None = None
    query_whitening: float = 0.0  # floor of the whitening of queries over the corpus; 0: plain cosines, as in the paper
    word_weight: float = 0.0  # of the words read out of the text estimate; those of both embeddings add to 1
    candidates: int | None = None  # found for each sample, the K best by their image tokens stay; None: K are found
    token_weight: float = 0.0  # what a cosine of 1 of whitened image tokens adds to a candidate's similarity
    index: str = "Flat"


@dataclass(frozen=True)
class Stage2Settings:
    """The RAM and its training (section 3.3, 4.2)."""

    heads: int
    fusion_hidden: int
    epochs: int
    batch: int
    gamma: float = 0.2  # 4.2
    temperature: float = 0.006
    rate: float = 2.5e-4  # 4.2, constant
    weight_decay: float = 1e-2
    dropout: float = 0.0  # not given


@dataclass(frozen=True)
class GenerationSettings:
    """Versatile Diffusion, guided by image and text (section 3.1). The paper gives none of these numbers."""

    steps: int
    guidance_scale: float
    text_mix: float
    batch: int
    scheduler: str = "unipc"
    # of each sample's predictions, the share that a neighbour's image tokens guide instead of p + q; 0: as in the paper
    neighbour_share: float = 0.0
    checkpoint: str = "versatile-diffusion"  # the user's folder, fetched from shi-labs/versatile-diffusion


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
