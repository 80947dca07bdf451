"""Where the visual areas of the embedded world lie: on fsaverage5, the mesh that nilearn ships.

Nothing is read from an atlas. The early areas are strips along the calcarine sulcus, laid out on the spherical mesh as
textbooks draw them: V1 around the sulcus, then V2, V3 and hV4 outwards, with eccentricity growing from the occipital
pole forwards and the polar angle reversing at every border. The higher areas are patches around locations reported in
the literature (MNI coordinates). Positions are plausible, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int, Int16
from nilearn import datasets, surface

VERTICES = 10242
FIELD_RADIUS = 4.2
"""Half the width of a picture in degrees of visual angle; NSD shows its pictures 8.4 degrees wide."""

# Label names in NSD's order: label k of a file is the k-th name here, from 1.
ROI_LABELS: dict[str, tuple[str, ...]] = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
ECCENTRICITY_EDGES = (0.5, 1.0, 2.0, 4.0)

# Left-hemisphere MNI seed (mm), radius of the patch (degrees on the spherical mesh).
PATCHES: dict[str, tuple[tuple[float, float, float], float]] = {
    "OFA": ((-40, -78, -12), 5.0),
    "FFA-1": ((-40, -62, -16), 5.0),
    "FFA-2": ((-40, -46, -20), 5.0),
    "EBA": ((-48, -72, 4), 8.0),
    "FBA-1": ((-46, -57, -16), 4.0),
    "FBA-2": ((-44, -40, -18), 4.0),
    "OPA": ((-34, -82, 24), 6.0),
    "PPA": ((-26, -46, -10), 7.0),
    "RSC": ((-14, -56, 10), 6.0),
    "OWFA": ((-46, -68, -12), 3.5),
    "VWFA-1": ((-50, -54, -10), 4.0),
    "VWFA-2": ((-52, -44, -12), 3.5),
}
# Where each stream lies beyond the early areas: a vertex belongs to the nearest of these left-hemisphere MNI seeds.
STREAM_SEEDS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "midventral": ((-28, -72, -10),),
    "midlateral": ((-40, -84, 2), (-32, -94, 2)),
    "midparietal": ((-22, -88, 24), (-28, -92, 14)),
    "ventral": ((-34, -56, -16), (-32, -42, -18), (-14, -56, 4)),
    "lateral": ((-48, -68, 8), (-52, -56, 8), (-42, -80, 12)),
    "parietal": ((-26, -74, 36), (-26, -62, 50), (-10, -76, 34), (-32, -84, 16)),
}
# nsdgeneral is one stretch of cortex: the named areas and what lies between them.
NSDGENERAL_VERTICES = 1150
_BRIDGE, _EARLY_WEIGHT = 7.5, 0.03
_POLE, _FORWARD, _UPWARD = (-12, -100, -4), (-14, -62, 6), (-20, -92, 22)
# How far the strips reach along the calcarine sulcus from the occipital pole, in degrees on the spherical mesh.
_ALONG = (-9.0, 27.0)
# Outer borders of V1, V2, V3 and hV4, in degrees across the sulcus.
_BORDERS = (8.0, 14.0, 19.5, 27.0)
_SIZES = {"V1": (0.25, 0.12), "V2": (0.35, 0.18), "V3": (0.5, 0.24), "hV4": (0.9, 0.35)}


@dataclass(frozen=True)
class Hemisphere:
    """One hemisphere of the embedded world's cortex, on fsaverage5.

    Attributes:
        name: 'lh' or 'rh'.
        pial, white: vertex positions in mm, MNI.
        labels: per ROI file of `ROI_LABELS`, the label of each vertex (0 = none).
        extent: 0 in the named areas, growing with distance from them, 1 at the rim of nsdgeneral: a subject's
            nsdgeneral takes the voxels of smallest extent.
        prf: x and y of the receptive field's centre (right and up positive) and its standard deviation, degrees.
    """

    name: str
    pial: Float[np.ndarray, "vertices 3"]
    white: Float[np.ndarray, "vertices 3"]
    labels: dict[str, Int16[np.ndarray, " vertices"]]
    extent: Float[np.ndarray, " vertices"]
    prf: Float[np.ndarray, "vertices 3"]

    def at_depth(self, depth: float) -> Float[np.ndarray, "vertices 3"]:
        """Positions in mm at a share `depth` of the way from the pial surface (0) to the white surface (1)."""
        return self.pial * (1 - depth) + self.white * depth


def _mesh(kind: str, hemi: str) -> Float[np.ndarray, "vertices 3"]:
    meshes = datasets.fetch_surf_fsaverage("fsaverage5")
    side = {"lh": "left", "rh": "right"}[hemi]
    return np.asarray(surface.load_surf_mesh(meshes[f"{kind}_{side}"]).coordinates, dtype=np.float64)


def _seed(point: tuple[float, float, float], hemi: str, middle: np.ndarray, sphere: np.ndarray) -> np.ndarray:
    """The direction on the sphere of the vertex nearest to a left-hemisphere MNI point, mirrored for 'rh'."""
    mirrored = np.array(point, dtype=np.float64) * (1 if hemi == "lh" else -1, 1, 1)
    return sphere[np.argmin(((middle - mirrored) ** 2).sum(1))]


def _angle(directions: np.ndarray, seed: np.ndarray) -> Float[np.ndarray, " vertices"]:
    return np.degrees(np.arccos(np.clip(directions @ seed, -1, 1)))


def _strip_axes(hemi: str, middle: np.ndarray, sphere: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees along the calcarine sulcus (forwards positive) and across it (upwards positive), per vertex."""
    pole, forward, upward = (_seed(point, hemi, middle, sphere) for point in (_POLE, _FORWARD, _UPWARD))
    tangent = forward - (forward @ pole) * pole
    tangent /= np.linalg.norm(tangent)
    normal = np.cross(pole, tangent)
    normal *= np.sign(normal @ upward)
    along = np.degrees(np.arctan2(sphere @ tangent, sphere @ pole))
    across = np.degrees(np.arcsin(np.clip(sphere @ normal, -1, 1)))
    return along, across


def _retinotopy(along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label of 'prf-visualrois' and pRF (contralateral x, y, size) of the strips.

    Within a hemisphere V1 maps the polar angle from the lower vertical meridian (its upper border) to the upper one
    (its lower border); V2 runs back to the horizontal meridian, V3 out again, and hV4 from the upper to the lower.
    """
    reach = np.clip((along - _ALONG[0]) / 14, 0.25, 1)
    ring = np.abs(across) / reach
    band = np.digitize(ring, _BORDERS)
    inside = (along > _ALONG[0]) & (along < _ALONG[1]) & ((band < 3) | ((band == 3) & (across < 0)))
    dorsal = across > 0
    labels = np.where(band == 3, 7, 2 * band + 1 + dorsal) * inside
    edges = (0.0, *_BORDERS)
    share = (ring - np.take(edges, np.minimum(band, 3))) / np.diff((*edges, 99.0))[np.minimum(band, 3)]
    # Polar angle: 0 = horizontal meridian, +90 = upper vertical, -90 = lower vertical.
    upper = np.select([band == 0, band == 1, band == 2, band == 3], [share, 1 - share, share, 1 - 2 * share]) * 90
    polar = np.radians(np.where(dorsal, -upper, upper))
    eccentricity = 0.25 * np.exp(np.log(FIELD_RADIUS / 0.25) * np.clip((along - _ALONG[0]) / 34, 0, 1.05))
    base, slope = np.array([_SIZES[name] for name in ("V1", "V2", "V3", "hV4")])[np.minimum(band, 3)].T
    prf = np.stack([eccentricity * np.cos(polar), eccentricity * np.sin(polar), base + slope * eccentricity], 1)
    return labels.astype(np.int16), prf


def _patches(hemi: str, middle: np.ndarray, sphere: np.ndarray) -> Int[np.ndarray, " vertices"]:
    """Index into PATCHES of each vertex by the smallest distance over radius, -1 outside all of them."""
    ratios = np.stack([_angle(sphere, _seed(point, hemi, middle, sphere)) / r for point, r in PATCHES.values()])
    return np.where(ratios.min(0) < 1, ratios.argmin(0), -1)


def _stream_labels(hemi: str, middle: np.ndarray, sphere: np.ndarray) -> Int[np.ndarray, " vertices"]:
    """Label of 'streams' (2 to 7) of each vertex beyond the early areas, by the nearest seed."""
    seeds = [(name, point) for name, points in STREAM_SEEDS.items() for point in points]
    angles = np.stack([_angle(sphere, _seed(point, hemi, middle, sphere)) for _, point in seeds])
    return np.array([ROI_LABELS["streams"].index(name) + 1 for name, _ in seeds])[angles.argmin(0)]


def _extent(
    early: np.ndarray, patch: np.ndarray, hemi: str, middle: np.ndarray, sphere: np.ndarray
) -> Float[np.ndarray, " vertices"]:
    """0 in a named area; elsewhere it grows as fewer seeds and early vertices lie around a vertex.

    Their density (Gaussian, _BRIDGE degrees wide) ranks the vertices; NSDGENERAL_VERTICES are below 1.
    """
    points = [point for point, _ in PATCHES.values()] + [point for seeds in STREAM_SEEDS.values() for point in seeds]
    seeds = np.stack([_seed(point, hemi, middle, sphere) for point in points])
    sources, weights = np.concatenate([seeds, sphere[early]]), np.full(len(seeds) + early.sum(), _EARLY_WEIGHT)
    weights[: len(seeds)] = 1
    angles = np.degrees(np.arccos(np.clip(sphere @ sources.T, -1, 1)))
    named = early | (patch >= 0)
    density = np.exp(-(angles**2) / (2 * _BRIDGE**2)) @ weights + named * len(sphere)
    rank = np.empty(len(sphere))
    rank[np.argsort(-density, kind="stable")] = np.arange(len(sphere))
    return np.where(named, 0.0, rank / NSDGENERAL_VERTICES)


def _higher_prf(hemi: str, middle: np.ndarray) -> Float[np.ndarray, "vertices 3"]:
    """Large receptive fields on the contralateral side whose centres drift slowly over the cortex."""
    across, up = middle[:, 1] / 18.0, middle[:, 2] / 14.0
    x = 0.9 + 0.7 * np.sin(across) * np.cos(up)
    y = 1.0 * np.sin(0.8 * across + up + (0.3 if hemi == "lh" else 0.9))
    return np.stack([x, y, np.full(len(middle), 2.0)], 1)


@cache
def hemisphere(name: str) -> Hemisphere:
    """The cortex of one hemisphere, 'lh' or 'rh', with every area laid out on it."""
    pial, white, sphere = _mesh("pial", name), _mesh("white", name), _mesh("sphere", name)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    middle = (pial + white) / 2
    retinotopic, prf = _retinotopy(*_strip_axes(name, middle, sphere))
    early = retinotopic > 0
    patch = np.where(early, -1, _patches(name, middle, sphere))
    stream = _stream_labels(name, middle, sphere)
    extent = _extent(early, patch, name, middle, sphere)
    prf = np.where(early[:, None], prf, _higher_prf(name, middle)) * (1 if name == "lh" else -1, 1, 1)
    streams = np.where(early & (retinotopic < 7), 1, np.where(retinotopic == 7, 2, stream))
    labels = {"prf-visualrois": retinotopic, "streams": streams.astype(np.int16)}
    labels["streams"][extent >= 1] = 0
    labels["nsdgeneral"] = (extent < 1).astype(np.int16)
    radius = np.hypot(prf[:, 0], prf[:, 1])
    labels["prf-eccrois"] = np.where(early, np.digitize(radius, ECCENTRICITY_EDGES) + 1, 0).astype(np.int16)
    for file in ("floc-faces", "floc-bodies", "floc-places", "floc-words"):
        labels[file] = _file_labels(patch, file)
    return Hemisphere(name, pial, white, labels, extent, prf)


def _file_labels(patch: Int[np.ndarray, " vertices"], file: str) -> Int16[np.ndarray, " vertices"]:
    """The labels of one floc file from the indices into PATCHES."""
    lookup = np.array([ROI_LABELS[file].index(name) + 1 if name in ROI_LABELS[file] else 0 for name in PATCHES] + [0])
    return lookup[patch].astype(np.int16)


@dataclass(frozen=True)
class VoxelSheet:
    """A subject's nsdgeneral voxels: where they are in the volume, on the cortex and in the visual field.

    Attributes:
        shape: of the volume, (X, Y, Z).
        affine: voxel index (from 0) to mm.
        index: 0-based voxel coordinates, in C order of the volume (the order of a boolean mask).
        hemi: 0 left, 1 right. vertex: the vertex whose mid-depth point is nearest, in its hemisphere.
        position: mm of that vertex.
        labels, prf: as in `Hemisphere`, per voxel.
    """

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    index: Int[np.ndarray, "voxels 3"]
    hemi: Int[np.ndarray, " voxels"]
    vertex: Int[np.ndarray, " voxels"]
    position: Float[np.ndarray, "voxels 3"]
    labels: dict[str, Int16[np.ndarray, " voxels"]]
    prf: Float[np.ndarray, "voxels 3"]

    def volume(self, values: np.ndarray, fill: float = 0) -> np.ndarray:
        """Per-voxel values as a volume (X, Y, Z), `fill` elsewhere."""
        volume = np.full(self.shape, fill, dtype=values.dtype)
        volume[tuple(self.index.T)] = values
        return volume


def grid(subject: int) -> tuple[tuple[int, int, int], Float[np.ndarray, "4 4"]]:
    """A subject's functional volume, (shape, affine): voxels of about 4 mm around fsaverage5; all subjects differ."""
    shape = (42 + subject, 55 + subject, 37 + subject)
    size = 3.75 + 0.05 * (subject % 3)
    origin = -np.array(shape) / 2 * size + np.array([0.0, -18.0, 15.0]) + 0.3 * (subject % 4)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = origin
    return shape, affine


def to_voxels(affine: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Points in mm as fractional voxel coordinates counted from 0."""
    inverse = np.linalg.inv(affine)
    return points @ inverse[:3, :3].T + inverse[:3, 3]


def cortex_voxels(name: str, sheet: VoxelSheet) -> Int[np.ndarray, "n 3"]:
    """0-based coordinates of the voxels that one hemisphere's grey matter passes through, each once."""
    side = hemisphere(name)
    points = np.concatenate([to_voxels(sheet.affine, side.at_depth(depth)) for depth in (0.25, 0.5, 0.75)])
    return np.unique(np.round(points).astype(int), axis=0)


def _candidates(name: str, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels that the grey matter of nsdgeneral passes through: coordinates, nearest vertex, its extent."""
    side = hemisphere(name)
    near = np.flatnonzero(side.extent < 1.6)
    points = np.concatenate([to_voxels(affine, side.at_depth(depth)[near]) for depth in (0.25, 0.5, 0.75)])
    voxels = np.round(points).astype(int)
    vertices = np.tile(near, 3)
    # A voxel belongs to the vertex whose point lies nearest to its centre.
    order = np.argsort(((points - voxels) ** 2).sum(1), kind="stable")
    unique, first = np.unique(voxels[order], axis=0, return_index=True)
    vertex = vertices[order][first]
    return unique, vertex, side.extent[vertex]


def voxel_sheet(subject: int, n_voxels: int) -> VoxelSheet:
    """Choose a subject's `n_voxels` nsdgeneral voxels: those deepest inside the areas, of both hemispheres.

    Raises:
        ValueError: more voxels are asked for than the areas hold.
    """
    shape, affine = grid(subject)
    parts = [_candidates(name, affine) for name in ("lh", "rh")]
    hemi = np.repeat([0, 1], [len(part[0]) for part in parts])
    voxels, vertex, extent = (np.concatenate([part[k] for part in parts]) for k in range(3))
    # A midline voxel that both hemispheres touch goes to the left one.
    _, first = np.unique(voxels, axis=0, return_index=True)
    if n_voxels > len(first):
        raise ValueError(f"n_voxels must be at most {len(first)} for subject {subject}. {n_voxels} was asked for.")
    # The jitter gives every subject slightly different borders, as in real brains.
    jitter = np.random.default_rng([subject, 77]).normal(0, 0.04, len(first))
    chosen = first[np.argsort(extent[first] + jitter, kind="stable")[:n_voxels]]
    chosen = chosen[np.lexsort(voxels[chosen].T[::-1])]
    return _sheet(shape, affine, voxels[chosen], hemi[chosen], vertex[chosen])


def _sheet(shape: tuple, affine: np.ndarray, index: np.ndarray, hemi: np.ndarray, vertex: np.ndarray) -> VoxelSheet:
    sides = [hemisphere("lh"), hemisphere("rh")]

    def gather(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack(arrays)[hemi, vertex]

    labels = {name: gather([side.labels[name] for side in sides]) for name in sides[0].labels}
    labels["nsdgeneral"] = np.ones(len(index), np.int16)
    position = gather([side.at_depth(0.5) for side in sides])
    return VoxelSheet(shape, affine, index, hemi, vertex, position, labels, gather([side.prf for side in sides]))
