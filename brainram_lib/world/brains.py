"""Simulated brains: how every voxel of a subject responds to a picture, and what a scanner then measures.

signal = e * early + m * middle + l * late + c * categories, each part standardised over reference scenes; the shares
(e, m, l, c) follow the voxel's area. The measured beta of trial t in session s is, in percent signal change,

    beta = mean + scale * (gain_s * (signal * k / sqrt(1 + k^2) + noise / sqrt(1 + k^2)) + offset_s)

with k the voxel's true ncsnr, that is the signal's standard deviation over the noise's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int, Int16, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.world.cortex import FIELD_RADIUS, ROI_LABELS, VoxelSheet
from brainram_lib.world.scenes import Scene, render, scene_of, stream
from brainram_lib.world.visual import (
    COLOUR_MAPS,
    EARLY_GRID,
    EARLY_MAPS,
    LATE_FEATURES,
    MIDDLE_GRID,
    MIDDLE_MAPS,
    early_maps,
    network_maps,
)
from brainram_lib.world.vocabulary import COCO_CATEGORIES, LIGHTS, PLACES

BETA_SCALE = 300
REFERENCE_SCENES = 128
# Share of a voxel's tuning variance that it has in common with adjacent voxels on the cortex.
_SMOOTH = 0.7
_BATCH = 32

# Shares of the four parts of a voxel's signal, and the median ncsnr, by area.
PARTS = ("early", "middle", "late", "categories")
SHARES: dict[str, tuple[float, float, float, float]] = {
    "V1": (1.0, 0.0, 0.0, 0.0),
    "V2": (0.95, 0.3, 0.0, 0.0),
    "V3": (0.8, 0.55, 0.1, 0.0),
    "hV4": (0.5, 0.7, 0.3, 0.1),
    "midventral": (0.35, 0.7, 0.5, 0.2),
    "midlateral": (0.35, 0.7, 0.5, 0.2),
    "midparietal": (0.45, 0.7, 0.4, 0.15),
    "ventral": (0.1, 0.3, 0.75, 0.5),
    "lateral": (0.05, 0.25, 0.75, 0.5),
    "parietal": (0.2, 0.4, 0.75, 0.3),
    "patch": (0.05, 0.15, 0.65, 0.7),
}
RELIABILITY: dict[str, float] = {
    "V1": 0.55, "V2": 0.54, "V3": 0.52, "hV4": 0.54, "midventral": 0.50, "midlateral": 0.46, "midparietal": 0.42,
    "ventral": 0.46, "lateral": 0.40, "parietal": 0.34, "patch": 0.54,
}  # fmt: skip

# COCO's supercategories: the late areas respond similarly to the categories of one.
SUPERCATEGORIES: dict[str, tuple[str, ...]] = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "stop sign"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "teddy bear"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": (
        "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "skateboard", "surfboard",
        "tennis racket",
    ),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": (
        "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    ),
    "furniture": ("chair", "couch", "potted plant", "bed", "toilet", "sink"),
    "electronic": ("tv", "laptop", "mouse", "keyboard", "cell phone"),
    "indoor": ("book", "clock", "vase", "scissors", "toothbrush"),
}  # fmt: skip
_SIGNS = ("stop sign", "book", "keyboard", "clock", "tv", "laptop", "cell phone", "traffic light")
# What the patches of each floc file prefer: (names, strength), besides their voxels' own tuning.
PREFERRED: dict[str, tuple[tuple[tuple[str, ...], float], ...]] = {
    "floc-faces": ((("person",), 4.0), (SUPERCATEGORIES["animal"], 1.2)),
    "floc-bodies": ((("person",), 4.0), (SUPERCATEGORIES["animal"], 2.0)),
    "floc-places": (),
    "floc-words": ((_SIGNS, 3.0),),
}
FOOD_STRENGTH = 1.0
"""Ventral voxels near the fusiform prefer food, as reported for NSD by Jain et al. (2023) and others."""
SEMANTIC_DIMENSIONS, _ALIKE = 16, 0.5


def semantic_names() -> tuple[str, ...]:
    """The names that the category tuning covers: the object categories, then places, then lights."""
    return (*(c.name for c in COCO_CATEGORIES), *(f"place:{p.name}" for p in PLACES), *(f"light:{x}" for x in LIGHTS))


@cache
def semantic_space() -> Float[np.ndarray, "dimensions names"]:
    """A unit vector for each name, the same in all brains: far fewer dimensions than names, as in the late areas.

    Names of one supercategory (or two places, or two lights) have a cosine of about _ALIKE^2 / (1 + _ALIKE^2).
    """
    rng = stream("semantic space")
    group = {name: kind for kind, members in SUPERCATEGORIES.items() for name in members}
    kinds = [group.get(name, name.split(":")[0]) for name in semantic_names()]
    centres = {kind: rng.standard_normal(SEMANTIC_DIMENSIONS) for kind in dict.fromkeys(kinds)}
    vectors = np.stack([_ALIKE * centres[kind] + rng.standard_normal(SEMANTIC_DIMENSIONS) for kind in kinds], 1)
    return (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32)


def semantic_drive(scenes: Sequence[Scene]) -> Float[np.ndarray, "n names"]:
    """How strongly each name of `semantic_names` is in each scene: an object by its size, a place or a light as 1."""
    column = {name: k for k, name in enumerate(semantic_names())}
    drive = np.zeros((len(scenes), len(column)), np.float32)
    for row, scene in zip(drive, scenes, strict=True):
        for shown in scene.objects:
            k = column.get(shown.category.name)
            if k is not None:
                row[k] = max(row[k], 0.5 + shown.size / 72)
        row[column[f"light:{scene.light}"]] = 1.0
        if f"place:{scene.place.name}" in column:
            row[column[f"place:{scene.place.name}"]] = 1.0
    return drive


def area_names(sheet: VoxelSheet) -> list[str]:
    """For each voxel the key of SHARES: 'patch' in any floc region, else the retinotopic area, else the stream."""
    visual = [name.rstrip("vd") for name in ROI_LABELS["prf-visualrois"]]
    names = []
    for i in range(len(sheet.index)):
        if sheet.labels["prf-visualrois"][i]:
            names.append(visual[sheet.labels["prf-visualrois"][i] - 1])
        elif any(sheet.labels[file][i] for file in PREFERRED):
            names.append("patch")
        else:
            names.append(ROI_LABELS["streams"][sheet.labels["streams"][i] - 1])
    return names


def receptive_fields(prf: Float[np.ndarray, "voxels 3"], side: int) -> Float[Tensor, "voxels pixels"]:
    """Gaussian weights over a side x side grid that covers the picture; each voxel's sum to one."""
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(centres * FIELD_RADIUS, -centres * FIELD_RADIUS)
    size = np.maximum(prf[:, 2:], FIELD_RADIUS / side)
    distance = (x.ravel() - prf[:, :1]) ** 2 + (y.ravel() - prf[:, 1:2]) ** 2
    weights = np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * size**2))
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def smoothing(position: Float[np.ndarray, "voxels 3"], width: float = 5.0) -> Float[np.ndarray, "voxels voxels"]:
    """Gaussian weights between voxels by distance in mm; every row has unit norm, so white noise keeps its variance."""
    square = ((position[:, None] - position[None]) ** 2).sum(-1)
    kernel = np.exp(-square / (2 * width**2)).astype(np.float32)
    return kernel / np.linalg.norm(kernel, axis=1, keepdims=True)


@dataclass(frozen=True)
class Tuning:
    """What a subject's voxels are tuned to. All weights vary partly smoothly over the cortex.

    Attributes:
        shares: (voxels, 4) of PARTS, rows of unit norm.
        early, middle, late, categories: weights over the maps, features and names.
        ncsnr: the true signal-to-noise ratio of each voxel.
    """

    shares: Float[np.ndarray, "voxels 4"]
    early: Float[np.ndarray, "voxels maps"]
    middle: Float[np.ndarray, "voxels channels"]
    late: Float[np.ndarray, "voxels features"]
    categories: Float[np.ndarray, "voxels names"]
    ncsnr: Float[np.ndarray, " voxels"]


def make_tuning(sheet: VoxelSheet, rng: np.random.Generator, reliability: float = 1.0) -> Tuning:
    """Draw a subject's tuning; `reliability` multiplies every voxel's ncsnr (0.05 to 0.95 by default)."""
    areas = area_names(sheet)
    kernel = smoothing(sheet.position)

    def weights(count: int) -> Float[np.ndarray, "voxels count"]:
        white = rng.standard_normal((2, len(areas), count)).astype(np.float32)
        return np.float32(np.sqrt(_SMOOTH)) * (kernel @ white[0]) + np.float32(np.sqrt(1 - _SMOOTH)) * white[1]

    early = weights(EARLY_MAPS)
    # Energies excite; colours and luminance may excite or inhibit.
    early[:, COLOUR_MAPS:] = 0.4 + 0.8 * early[:, COLOUR_MAPS:]
    shares = np.array([SHARES[name] for name in areas], np.float32)
    shares /= np.linalg.norm(shares, axis=1, keepdims=True)
    ncsnr = np.array([RELIABILITY[name] for name in areas]) * np.exp(0.38 * rng.standard_normal(len(areas)))
    ncsnr = np.clip(ncsnr, 0.05, 0.95) * reliability
    categories = _category_tuning(sheet, areas, weights(SEMANTIC_DIMENSIONS) @ semantic_space())
    return Tuning(shares, early, weights(MIDDLE_MAPS), weights(LATE_FEATURES), categories, ncsnr)


def _category_tuning(sheet: VoxelSheet, areas: list[str], weights: np.ndarray) -> Float[np.ndarray, "voxels names"]:
    """The voxels' own tuning plus what each kind of patch prefers."""
    column = {name: k for k, name in enumerate(semantic_names())}
    tuned = weights.copy()
    for file, preferences in PREFERRED.items():
        member = sheet.labels[file] > 0
        for names, strength in preferences:
            for name in names:
                tuned[member, column[name]] += strength
    places = [k for name, k in column.items() if name.startswith("place:")]
    tuned[np.ix_(sheet.labels["floc-places"] > 0, places)] *= 3
    ventral = np.array([area == "ventral" for area in areas])
    tuned[np.ix_(ventral, [column[name] for name in SUPERCATEGORIES["food"]])] += FOOD_STRENGTH
    return tuned


def _as_batch(pictures: UInt8[np.ndarray, "n height width 3"]) -> UInt8[Tensor, "n 3 height width"]:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)


@cache
def _reference() -> tuple[tuple[Float[Tensor, " _c"], Float[Tensor, " _c"]], ...]:
    """Mean and standard deviation over reference scenes of the early maps, the middle maps and the late features."""
    pictures = _as_batch(np.stack([render(scene_of("brain", i)) for i in range(REFERENCE_SCENES)]))
    early, middle, late = [], [], []
    for batch in pictures.split(_BATCH):
        early.append(early_maps(batch).mean((2, 3)))
        maps, heads = network_maps(batch)
        middle.append(maps.mean((2, 3)))
        late.append(heads.mean(2))
    parts = (torch.cat(part) for part in (early, middle, late))
    return tuple((part.mean(0), part.std(0).clamp(min=1e-4)) for part in parts)


class Responder:
    """Answers pictures with the noise-free signal of a subject's voxels."""

    def __init__(self, sheet: VoxelSheet, tuning: Tuning) -> None:
        self.tuning = tuning
        (early_mean, early_std), (middle_mean, middle_std), (late_mean, late_std) = _reference()
        # Voxels without a share in a part skip its computation.
        self._uses = [torch.from_numpy(np.flatnonzero(tuning.shares[:, k] > 0)) for k in range(2)]
        prfs = [sheet.prf[use.numpy()] for use in self._uses]
        self._early_field = receptive_fields(prfs[0], EARLY_GRID)
        self._middle_field = receptive_fields(prfs[1], MIDDLE_GRID)
        self._means = [early_mean, middle_mean, late_mean]
        self._early = torch.from_numpy(tuning.early)[self._uses[0]] / early_std
        self._middle = torch.from_numpy(tuning.middle)[self._uses[1]] / middle_std
        self._late = torch.from_numpy(tuning.late) / late_std
        self._categories = torch.from_numpy(tuning.categories)
        # The right side of the picture comes first into the left hemisphere, and the other way round.
        self._contralateral = torch.from_numpy(sheet.hemi == 0).float() * 0.4 + 0.3

    @torch.no_grad()
    def parts(
        self, pictures: UInt8[np.ndarray, "n height width 3"], drive: Float[np.ndarray, "n names"]
    ) -> Float[Tensor, "4 n voxels"]:
        """The four parts of PARTS for one batch, before they are standardised and mixed.

        Args:
            pictures: what is shown. drive: which names of `semantic_names` they show, and how strongly.
        """
        batch = _as_batch(pictures)
        out = torch.zeros(4, len(batch), len(self._late))
        middle, late = network_maps(batch)
        for k, (maps, field, weights) in enumerate(
            [(early_maps(batch), self._early_field, self._early), (middle, self._middle_field, self._middle)]
        ):
            centred = (maps - self._means[k][:, None, None]).flatten(2)
            out[k][:, self._uses[k]] = ((centred @ field.T) * weights.T).sum(1)
        sides = [(late[..., side] - self._means[2]) @ self._late.T for side in (0, 1)]
        out[2] = sides[1] * self._contralateral + sides[0] * (1 - self._contralateral)
        out[3] = torch.from_numpy(drive) @ self._categories.T
        return out

    def signal(
        self, pictures: UInt8[np.ndarray, "n height width 3"], scenes: Sequence[Scene], progress: str = "signal"
    ) -> Float[np.ndarray, "n voxels"]:
        """The noise-free signal, standardised per voxel over these pictures."""
        parts = self.all_parts(pictures, semantic_drive(scenes), progress)
        return self.standard(parts)(parts).numpy()

    def standard(self, parts: Float[Tensor, "4 n voxels"]) -> Standard:
        """The units in which the signal of these pictures has mean 0 and standard deviation 1."""
        return Standard.of(parts, torch.from_numpy(self.tuning.shares).T[:, None])

    def all_parts(
        self,
        pictures: UInt8[np.ndarray, "n height width 3"],
        drive: Float[np.ndarray, "n names"],
        progress: str = "signal",
    ) -> Float[Tensor, "4 n voxels"]:
        """`parts` for any number of pictures."""
        starts = range(0, len(pictures), _BATCH)
        batches = [
            self.parts(pictures[start : start + _BATCH], drive[start : start + _BATCH])
            for start in tqdm(starts, desc=f"{progress}: simulate the visual system", unit="batch")
        ]
        return torch.cat(batches, 1)


@dataclass(frozen=True)
class Standard:
    """How parts become a signal: standardised, mixed by the voxels' shares, standardised again.

    Attributes:
        parts, mixed: means and standard deviations over the pictures that this was computed from.
        shares: (4, 1, voxels).
    """

    parts: tuple[Tensor, Tensor]
    mixed: tuple[Tensor, Tensor]
    shares: Float[Tensor, "4 1 voxels"]

    @classmethod
    def of(cls, parts: Float[Tensor, "4 n voxels"], shares: Float[Tensor, "4 1 voxels"]) -> Standard:
        """The standard of these pictures."""
        own = _moments(parts)
        return cls(own, _moments((_in_units(parts, own) * shares).sum(0)), shares)

    def __call__(self, parts: Float[Tensor, "4 n voxels"]) -> Float[Tensor, "n voxels"]:
        """The signal of any pictures, in these units."""
        return _in_units((_in_units(parts, self.parts) * self.shares).sum(0), self.mixed)


def _moments(values: Float[Tensor, "*parts n voxels"]) -> tuple[Tensor, Tensor]:
    return values.mean(-2, keepdim=True), values.std(-2, keepdim=True).clamp(min=1e-6)


def _in_units(values: Float[Tensor, "*parts n voxels"], moments: tuple[Tensor, Tensor]) -> Tensor:
    return (values - moments[0]) / moments[1]


@dataclass(frozen=True)
class Scanner:
    """The measurement of one subject: scale, noise, drift between sessions, and voxels that do not work.

    Attributes:
        mean, scale: percent signal change, per voxel. ncsnr: per voxel. kernel: smooths the noise that adjacent voxels
            share.
        dead: always 0. constant: one value in every trial. silent: 0 in the one session given beside it, so that a
            z-score within that session is NaN.
    """

    mean: Float[np.ndarray, " voxels"]
    scale: Float[np.ndarray, " voxels"]
    ncsnr: Float[np.ndarray, " voxels"]
    kernel: Float[np.ndarray, "voxels voxels"]
    dead: Int[np.ndarray, " dead"]
    constant: Int[np.ndarray, " constant"]
    silent: Int[np.ndarray, "silent 2"]
    seed: tuple[int, ...]

    SHARED_NOISE = 0.25

    def measure(self, signal: Float[np.ndarray, "trials voxels"], session: int) -> Int16[np.ndarray, "trials voxels"]:
        """Betas x 300 of the trials of one session (counted from 1), as NSD stores them."""
        rng = np.random.default_rng([*self.seed, session])
        white = rng.standard_normal((2, *signal.shape), dtype=np.float32)
        share = np.float32(self.SHARED_NOISE)
        noise = np.sqrt(1 - share) * white[0] + np.sqrt(share) * (white[1] @ self.kernel.T)
        mixed = (signal * self.ncsnr + noise) / np.sqrt(1 + self.ncsnr**2)
        gain = max(0.5, 1 + 0.06 * rng.standard_normal())
        offset = 0.3 * rng.standard_normal(signal.shape[1]) + 0.15 * rng.standard_normal()
        percent = self.mean + self.scale * (gain * mixed + offset)
        betas = np.clip(np.rint(percent * BETA_SCALE), -32000, 32000).astype(np.int16)
        betas[:, self.dead] = 0
        betas[:, self.constant] = BETA_SCALE
        betas[:, self.silent[self.silent[:, 1] == session, 0]] = 0
        return betas


def make_scanner(
    sheet: VoxelSheet, tuning: Tuning, sessions: int, rng: np.random.Generator, seed: tuple[int, ...]
) -> Scanner:
    """Draw a subject's scanner: mean about 1 and spread about 2 percent, a few voxels that do not work."""
    count = len(sheet.index)
    few = max(1, count // 400)
    broken = rng.permutation(count)[: 3 * few]
    silent = np.stack([broken[2 * few :], rng.integers(1, sessions + 1, few)], 1)
    return Scanner(
        mean=1 + 0.8 * rng.standard_normal(count),
        scale=2 * np.exp(0.25 * rng.standard_normal(count)),
        ncsnr=tuning.ncsnr,
        kernel=smoothing(sheet.position),
        dead=broken[:few],
        constant=broken[few : 2 * few],
        silent=silent,
        seed=seed,
    )


def brain_of(
    sheet: VoxelSheet, subject: int, seed: int, sessions: int, reliability: float = 1.0
) -> tuple[Responder, Scanner]:
    """One simulated subject: how the voxels respond and how they are measured, a function of (subject, seed)."""
    rng = stream("brain", seed, subject)
    tuning = make_tuning(sheet, rng, reliability)
    scanner = make_scanner(sheet, tuning, sessions, rng, (seed, subject))
    return Responder(sheet, tuning), scanner
