"""Which image each trial of NSD-synthetic shows, and of which class every image is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.io
from jaxtyping import Int

from brainram_lib.nsd.design import whole_numbers
from brainram_lib.nsd.errors import DamagedFileError, DesignError, reading
from brainram_lib.nsd.synthetic.layout import SyntheticLayout

_AXES = {"masterordering": 2, "stimpattern": 3}
_CLASS = "Image class"
_AGAIN = "Fetch it again."


@dataclass(frozen=True)
class SyntheticExperiment:
    """The session.

    Attributes:
        ordering: the image of each trial, 0-based.
        kinds: the class of each image ('Spiral gratings'), in the order of their numbers.
    """

    ordering: Int[np.ndarray, " trials"]
    kinds: tuple[str, ...]

    @classmethod
    def read(cls, layout: SyntheticLayout) -> SyntheticExperiment:
        """Read and cross-check the design file and the table of images.

        Raises:
            MissingFileError: a file is not there.
            DamagedFileError: one cannot be read, or does not hold what it should.
            LockedFileError, UnreadableFileError: the file is not to blame.
            DesignError: the two contradict each other, or themselves.
        """
        path = layout.expdesign
        with reading(path, f"the design of NSD-synthetic, '{path}', is not there. Fetch it.", "is no MATLAB file"):
            fields = scipy.io.loadmat(path, variable_names=list(_AXES))
        if missing := [name for name in _AXES if name not in fields]:
            raise DamagedFileError(f"'{path}' has no {missing}; NSD-synthetic's holds {list(_AXES)}. {_AGAIN}")
        numbers = {name: whole_numbers(path, name, fields[name], axes) for name, axes in _AXES.items()}
        ordering, kinds = numbers["masterordering"].ravel() - 1, _read_kinds(layout)
        if numbers["stimpattern"].sum() != len(ordering):
            raise DesignError(
                f"'{path}': stimpattern has {numbers['stimpattern'].sum()} trials, masterordering {len(ordering)}. "
                f"{_AGAIN}"
            )
        if ordering.min() < 0 or ordering.max() >= len(kinds):
            raise DesignError(
                f"'{path}': masterordering must be 1-based and at most {len(kinds)}, the images that "
                f"'{layout.information.name}' lists. It runs from {ordering.min() + 1} to {ordering.max() + 1}. Take "
                "both files from one data set."
            )
        return cls(ordering, kinds)


def _read_kinds(layout: SyntheticLayout) -> tuple[str, ...]:
    path = layout.information
    absent = f"the table of NSD-synthetic's images, '{path}', is not there. Fetch it."
    with reading(path, absent, "is no table of images"):
        table = pd.read_csv(path)
    if _CLASS not in table.columns or not len(table) or table[_CLASS].isna().any():
        raise DamagedFileError(
            f"'{path}' must have one row an image and name its class in the column '{_CLASS}'. It has {len(table)} "
            f"rows and the columns {list(table.columns)[:8]}. {_AGAIN}"
        )
    return tuple(table[_CLASS].astype(str).str.strip())
