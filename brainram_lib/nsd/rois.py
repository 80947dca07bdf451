"""Regions of interest by name.

A region file holds integers: -1 is outside this hemisphere's cortex, 0 unlabelled, 1 and above a label. A mask is
therefore **value > 0**, never != 0. Voxels are ordered as `np.flatnonzero(mask)`: C order of the (X, Y, Z) volume.

Names: a region file ('nsdgeneral', 'streams'), one of its labels ('V1v', 'FFA-1'), a group of labels ('V1' is V1v or
V1d), any of these in one hemisphere ('lh.V1'), and intersections ('nsdgeneral & lh.V1').
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int32

from brainram_lib.nsd.errors import DamagedFileError, RoiError, is_there, reading, shortened
from brainram_lib.nsd.layout import HEMISPHERES, NsdLayout
from brainram_lib.nsd.volumes import read_image

REGION_FILES: dict[str, tuple[str, ...]] = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
"""Region file -> names of its labels 1, 2, ...; a subject's own .ctab, where there is one, goes first.

The manual at hand only numbers the eccentricity bands of prf-eccrois; their names here are not confirmed.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "FFA": ("FFA-1", "FFA-2"),
    "FBA": ("FBA-1", "FBA-2"),
    "VWFA": ("VWFA-1", "VWFA-2"),
}
"""Names for several labels of one file together."""
UNSIGNED = (2**8 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1)
"""What -1 becomes in types without a sign."""
LARGEST_LABEL = 2**31 - 1


def read_labels(path: Path) -> tuple[Int32[np.ndarray, " ..."], Float[np.ndarray, "4 4"]]:
    """A region file's labels, signed, and its affine.

    Raises:
        MissingFileError: it is not there.
        DamagedFileError: it cannot be read to its end.
        LockedFileError, UnreadableFileError: the file is not to blame.
        ShapeError: its voxels are in another order than NSD's.
        RoiError: it holds fractions, values that are not finite, or a -1 that was saved without a sign.
    """
    values, affine, stored = read_image(path, f"the region file '{path}' is not there. Fetch it.")
    if values.dtype.kind not in "iufb":
        raise RoiError(f"'{path}' must hold whole numbers (labels). It holds {values.dtype}. Fetch NSD's own file.")
    if not np.isfinite(values).all():
        raise RoiError(f"'{path}' must hold whole numbers (labels). Some are NaN or infinite. Fetch NSD's own file.")
    largest = values.max(initial=0)
    if values.dtype.kind in "uf" and largest in UNSIGNED:
        raise RoiError(
            f"'{path}' is unsigned and holds {largest:.0f}: a -1 was saved without a sign. Fetch NSD's own file."
        )
    if np.abs(values, dtype=np.float64).max(initial=0) > LARGEST_LABEL or not np.array_equal(values, np.rint(values)):
        how = f"{stored} with a scaling" if stored != values.dtype else stored
        raise RoiError(
            f"'{path}' must hold whole numbers (labels). It holds {how}: fractions, or up to {largest:g}. Fetch NSD's "
            "own file."
        )
    return values.astype(np.int32), affine


def label_names(layout: NsdLayout, subject: int | str, file: str) -> dict[int, str]:
    """Label -> name of a region file: from the subject's .ctab (lines `int name`, 0 left out), or NSD's manual.

    Raises:
        RoiError: the file is not NSD's and has no .ctab.
        DamagedFileError: a line of the .ctab is not `int name`.
        LockedFileError, UnreadableFileError: it may not be read.
    """
    path = layout.ctab(subject, file)
    if is_there(path):
        with reading(path, damaged="is no table of labels"):
            lines = path.read_text(encoding="utf-8").splitlines()
        labels = dict(_label_of(path, line) for line in lines if line.strip())
        return {label: name for label, name in labels.items() if label > 0}
    if file not in REGION_FILES:
        raise RoiError(f"region file must be one of {sorted(REGION_FILES)}, or have '{path}'. {file!r} was provided.")
    return dict(enumerate(REGION_FILES[file], start=1))


def _label_of(path: Path, line: str) -> tuple[int, str]:
    match = re.fullmatch(r"\s*([+-]?[0-9]{1,9})\s+(\S.*)", line)
    if match is None:
        raise DamagedFileError(
            f"'{path}' must hold lines `int name`. {shortened(repr(line), 60)} stands there. Fetch it again."
        )
    return int(match[1]), match[2].strip()


def find(layout: NsdLayout, subject: int | str, name: str) -> tuple[str, tuple[int, ...] | None]:
    """The region file that holds `name`, and its labels there (None: every label above 0).

    Raises:
        RoiError: no region file has it.
    """
    if name in REGION_FILES:
        return name, None
    members = GROUPS.get(name, (name,))
    for file in REGION_FILES:
        labels = tuple(label for label, known in label_names(layout, subject, file).items() if known in members)
        if labels:
            return file, labels
    raise RoiError(f"region must be one of {known_names(layout, subject)}. {name!r} was provided.")


def known_names(layout: NsdLayout, subject: int | str) -> list[str]:
    """Every name that `read_mask` takes, without hemispheres and intersections."""
    labels = [name for file in REGION_FILES for name in label_names(layout, subject, file).values()]
    return [*REGION_FILES, *(name for name in labels if name not in REGION_FILES), *GROUPS]


def read_mask(layout: NsdLayout, subject: int, name: str) -> Bool[np.ndarray, "x y z"]:
    """The voxels of a region in func1pt8mm, e.g. 'nsdgeneral', 'lh.V1', 'nsdgeneral & PPA'.

    Raises:
        RoiError: a name is not known, or two files of the intersection have different shapes.
        MissingFileError: a region file is not there.
    """
    terms = [_term_mask(layout, subject, term.strip()) for term in name.split("&")]
    shapes = {term.shape for term in terms}
    if len(shapes) > 1:
        raise RoiError(f"the regions of '{name}' have shapes {sorted(shapes)}: they must be one subject's.")
    return np.logical_and.reduce(terms)


def read_affine(layout: NsdLayout, subject: int, name: str) -> Float[np.ndarray, "4 4"]:
    """Voxel to millimetre of the first region of `name`."""
    hemi, region = _hemisphere(name.split("&")[0].strip())
    return read_labels(layout.roi(subject, find(layout, subject, region)[0], hemi))[1]


def read_surface_mask(layout: NsdLayout, name: str) -> Bool[np.ndarray, " vertices"]:
    """The vertices of a region on fsaverage: the left hemisphere's, then the right's.

    Raises:
        RoiError: the name is not known.
        MissingFileError: a hemisphere's label file is not there.
    """
    wanted, region = _hemisphere(name)
    file, labels = find(layout, "fsaverage", region)
    parts = []
    for hemi in HEMISPHERES:
        values = read_labels(layout.surface_label("fsaverage", hemi, file))[0].ravel()
        part = values > 0 if labels is None else np.isin(values, labels)
        parts.append(part & (wanted in (None, hemi)))
    return np.concatenate(parts)


def masks_within(
    layout: NsdLayout, subject: int, voxel_index: np.ndarray, shape: tuple[int, ...]
) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """Every region that is on disk, restricted to the voxels `voxel_index` (flat, C order); plus 'lh' and 'rh'.

    Raises:
        RoiError: a region file has another shape than `shape`.
    """
    masks: dict[str, np.ndarray] = {}
    for file in REGION_FILES:
        for hemi in (None, *HEMISPHERES):
            path = layout.roi(subject, file, hemi)
            if is_there(path):
                values = _within(path, voxel_index, shape)
                prefix = "" if hemi is None else f"{hemi}."
                masks |= {prefix + name: mask for name, mask in _split(layout, subject, file, values).items()}
                if hemi is not None:
                    masks[hemi] = masks.get(hemi, np.zeros(len(voxel_index), bool)) | (values >= 0)
    return masks


def surface_masks_within(
    layout: NsdLayout, vertex_index: np.ndarray, hemisphere_sizes: tuple[int, ...]
) -> dict[str, Bool[np.ndarray, " vertices"]]:
    """`masks_within` on fsaverage: `vertex_index` counts the left hemisphere's vertices, then the right's."""
    left = vertex_index < hemisphere_sizes[0]
    masks: dict[str, np.ndarray] = {"lh": left, "rh": ~left}
    for file in REGION_FILES:
        paths = [layout.surface_label("fsaverage", hemi, file) for hemi in HEMISPHERES]
        if all(is_there(path) for path in paths):
            values = np.concatenate([read_labels(path)[0].ravel() for path in paths])[vertex_index]
            masks |= _split(layout, "fsaverage", file, values)
    return masks


def _within(path: Path, voxel_index: np.ndarray, shape: tuple[int, ...]) -> Int32[np.ndarray, " voxels"]:
    labels = read_labels(path)[0]
    if labels.shape != shape:
        raise RoiError(f"'{path}' has shape {labels.shape}, the betas {shape}: it is another subject's.")
    return labels.reshape(-1)[voxel_index]


def _split(layout: NsdLayout, subject: int | str, file: str, values: np.ndarray) -> dict[str, np.ndarray]:
    names = label_names(layout, subject, file)
    masks = {file: values > 0}
    masks |= {name: values == label for label, name in names.items() if name != file}
    for group, members in GROUPS.items():
        labels = [label for label, name in names.items() if name in members]
        if labels:
            masks[group] = np.isin(values, labels)
    return masks


def _hemisphere(term: str) -> tuple[str | None, str]:
    for hemi in HEMISPHERES:
        if term.startswith(f"{hemi}."):
            return hemi, term.removeprefix(f"{hemi}.")
    return None, term


def _term_mask(layout: NsdLayout, subject: int, term: str) -> Bool[np.ndarray, "x y z"]:
    hemi, name = _hemisphere(term)
    file, labels = find(layout, subject, name)
    values = read_labels(layout.roi(subject, file, hemi))[0]
    return values > 0 if labels is None else np.isin(values, labels)
