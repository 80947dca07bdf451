"""How large the stages are: the true sizes, and the smallest that take every path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainram_lib.generation.checkpoint import AUTOENCODER, IMAGE_UNET
from brainram_lib.profiles import MINI, PAPER, Profile, changed
from brainram_lib.setup.rehearsal.sizes import SMALL as SMALL_REHEARSAL
from brainram_lib.world.world import WorldSettings

Shape = tuple[int, int]


@dataclass(frozen=True)
class GpuSizes:
    """What is measured how large and how long.

    Attributes:
        name: 'full' or 'small', also of the rehearsal.
        profile: whose Stage I, Stage II and generation are measured.
        voxels: of a subject. shapes: tokens and width by modality.
        matrix: side of the matrices whose product is the card's peak.
        seconds: that each speed is measured for.
        unet, vae: of the generator. stimuli, samples: whose images it makes.
        equal: rows that CPU and card compute both.
        scenes: of the models' training. steps: of it, all phases together. batch_factor: how much larger its batches
            are than a CPU's. recogniser: steps of that of the last phase.
        report: scenes of the report.
        mini, world: the embedded world's profile and sizes, for its trainings; None: the default sizes.
        minutes: of each prior's training.
        tests: test files; None: all.
    """

    name: str
    profile: Profile
    voxels: int
    shapes: Mapping[str, Shape]
    matrix: int
    seconds: float
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    stimuli: int
    samples: int
    equal: int
    scenes: int
    steps: int
    batch_factor: int
    recogniser: int
    report: int
    mini: Profile
    world: WorldSettings | None
    minutes: float
    tests: tuple[str, ...] | None

    @property
    def small(self) -> bool:
        """Whether numbers mean nothing."""
        return self.name == "small"


FULL = GpuSizes(
    name="full",
    profile=PAPER,
    voxels=15_724,
    shapes={"image": (257, 768), "text": (77, 768)},
    matrix=8192,
    seconds=30.0,
    unet=IMAGE_UNET,
    vae=AUTOENCODER,
    stimuli=100,
    samples=4,
    equal=16,
    scenes=72_000,
    # half an hour on an H100, where a step takes 100 ms with any batch up to 512 (docs/gpu.md)
    steps=18_000,
    batch_factor=8,
    recogniser=1_900,
    report=300,
    mini=MINI,
    world=None,
    minutes=30.0,
    tests=None,
)
SMALL = GpuSizes(
    name="small",
    profile=changed(
        PAPER,
        stage1__batch=4,
        stage1__projector__hidden=24,
        stage1__projector__width=16,
        stage1__projector__blocks=1,
        stage1__network__width=16,
        stage1__network__depth=1,
        stage1__network__heads=2,
        stage2__batch=4,
        stage2__heads=2,
        stage2__fusion_hidden=8,
        generation__steps=2,
        generation__batch=2,
    ),
    voxels=23,
    shapes={"image": (5, 16), "text": (3, 16)},
    matrix=64,
    seconds=0.1,
    unet={**SMALL_REHEARSAL.unet, "cross_attention_dim": 16},
    vae=SMALL_REHEARSAL.vae,
    stimuli=3,
    samples=2,
    equal=2,
    scenes=310,
    steps=8,
    batch_factor=2,
    recogniser=2,
    report=4,
    mini=changed(MINI, data__sessions=3, split__validation=6, corpus__pairs=24),
    world=WorldSettings(
        name="gpu-small", subjects=(1,), voxels=(60,), sessions=3, trials_per_session=40, images=40, shared=10
    ),
    minutes=0.02,
    tests=("test_measure.py",),
)
