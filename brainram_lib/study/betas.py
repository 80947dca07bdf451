"""Arrays of betas in .npy or .npz files, memory-mapped where possible, and masks of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from brainram_lib.core.files import read_array
from brainram_lib.study.errors import StudyError
from brainram_lib.study.tables import SESSION, SPLIT, STIMULUS

BETAS = "betas"


@dataclass(frozen=True)
class Betas:
    """The files of one subject's betas, one after the other.

    Attributes:
        files: where they lie. parts: (trials, voxels) of each. beside: arrays that .npz files hold beside the betas.
    """

    files: tuple[Path, ...]
    parts: tuple[np.ndarray, ...]
    beside: tuple[Mapping[str, np.ndarray], ...]

    @property
    def columns(self) -> dict[str, np.ndarray] | None:
        """What .npz files say about their trials, concatenated; None if a file does not name the stimuli.

        Raises:
            StudyError: it is not a list with one value for every trial of its file.
        """
        known = set.intersection(*(set(arrays) for arrays in self.beside))
        if STIMULUS not in known:
            return None
        for path, part, arrays in zip(self.files, self.parts, self.beside, strict=True):
            for name in sorted(known):
                if arrays[name].shape != part.shape[:1]:
                    raise StudyError(
                        f"'{name}' in '{path}' must have one value for each of the {len(part)} trials of '{BETAS}'. It "
                        f"has the shape {arrays[name].shape}. Save it as an array of {len(part)}."
                    )
        return {name: np.concatenate([arrays[name] for arrays in self.beside]) for name in known}

    @property
    def shape(self) -> tuple[int, int]:
        """(trials, voxels) in all."""
        return sum(len(part) for part in self.parts), self.parts[0].shape[1]

    @property
    def file_of_trial(self) -> Int[np.ndarray, " trials"]:
        """Which file each trial lies in, from 1; this is its session if no table gives one."""
        return np.repeat(np.arange(1, len(self.parts) + 1), [len(part) for part in self.parts])

    def rows(self, chosen: Int[np.ndarray, " n"]) -> Float32[np.ndarray, "n voxels"]:
        """Some trials, in ascending order."""
        ends = np.cumsum([0, *(len(part) for part in self.parts)])
        found = []
        for start, stop, part in zip(ends[:-1], ends[1:], self.parts, strict=True):
            found.append(np.asarray(part[chosen[(chosen >= start) & (chosen < stop)] - start], np.float32))
        return np.concatenate(found)


def open_betas(files: Sequence[Path]) -> Betas:
    """Open files of betas; .npy is mapped, .npz read.

    Raises:
        StudyError: a file is not there, is not a numeric array (trials, voxels), or differs from the first in the
            number of voxels.
    """
    opened = [_opened(path) for path in files]
    parts = tuple(part for part, _ in opened)
    for path, part in zip(files, parts, strict=True):
        if part.ndim != 2 or part.dtype.kind not in "fiu" or not part.size:
            raise StudyError(
                f"'{path}' must hold numbers of shape (trials, voxels). It holds {part.dtype} {part.shape}."
            )
        if part.shape[1] != parts[0].shape[1]:
            raise StudyError(
                f"'{path}' has {part.shape[1]} voxels and '{files[0]}' {parts[0].shape[1]}: a subject's files must "
                "have the same."
            )
    return Betas(tuple(files), parts, tuple(arrays for _, arrays in opened))


def read_rois(path: Path, voxels: int) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """Masks of regions by name, from a .npz.

    Raises:
        StudyError: a mask's length is not the number of voxels, or it holds values other than 0 and 1.
    """
    found = {}
    for name, mask in load_npz(path).items():
        if mask.shape != (voxels,) or mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
            raise StudyError(
                f"'{name}' in '{path}' must be a mask (true or false) over the {voxels} voxels of the betas. It is "
                f"{mask.dtype} {mask.shape}."
            )
        found[name] = mask.astype(bool)
    return found


def load_array(path: Path) -> np.ndarray:
    """A .npy, memory-mapped.

    Raises:
        StudyError: it is not there or is not an array.
    """
    return read_array(path, StudyError, ". data.toml names it.")


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name.

    Raises:
        StudyError: it is not there, is damaged, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: _stored(stored, name, path) for name in stored.files}
    except StudyError:
        raise
    except FileNotFoundError as problem:
        raise StudyError(f"there is no '{path}'. data.toml names it.") from problem
    except Exception as problem:  # zipfile and numpy raise many kinds of errors on damaged bytes
        raise StudyError(
            f"'{path}' cannot be read as a .npz ({str(problem)[:200]}). Save it with numpy.savez."
        ) from problem


def _stored(stored: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        return stored[name]
    except ValueError as problem:
        if "Object arrays" not in str(problem):
            raise
        raise StudyError(
            f"'{name}' in '{path}' holds Python objects, as a pandas column of text does, and nothing is unpickled. "
            f"Save text as {name}.astype(str), numbers as {name}.astype(float)."
        ) from problem


def _opened(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if path.suffix.lower() != ".npz":
        return load_array(path), {}
    arrays = load_npz(path)
    if BETAS not in arrays:
        raise StudyError(f"'{path}' must hold an array called '{BETAS}'. It holds {sorted(arrays)}.")
    return arrays[BETAS], {name: arrays[name] for name in (STIMULUS, SESSION, SPLIT) if name in arrays}
