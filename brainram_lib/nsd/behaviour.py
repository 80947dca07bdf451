"""The behaviour table: what a subject answered on each trial, and which image NSD says it was."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainram_lib.nsd.design import Trials
from brainram_lib.nsd.errors import DamagedFileError, MissingFileError, MixedRootsError, reading
from brainram_lib.nsd.layout import NsdLayout

_COLUMNS = {"SESSION", "73KID"}


def read_responses(layout: NsdLayout, subject: int) -> pd.DataFrame:
    """responses.tsv: one row a trial, in order; `73KID` is the 1-based id of the image.

    Raises:
        MissingFileError: there is no behaviour table.
        DamagedFileError: it has no column SESSION or 73KID, or they do not hold numbers.
        UnreadableFileError: it may not be read.
    """
    path = layout.responses(subject)
    with reading(path, f"the behaviour table '{path}' is not there. Fetch it.", "is no table of responses"):
        table = pd.read_csv(path, sep="\t")
    missing = _COLUMNS - set(table.columns)
    if missing:
        raise DamagedFileError(f"'{path}' has no column {sorted(missing)}. Fetch it again.")
    for name in sorted(_COLUMNS):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DamagedFileError(f"'{path}' must hold numbers in column {name}; it holds text. Fetch it again.")
    return table


def check_against_design(layout: NsdLayout, subject: int, trials: Trials) -> None:
    """The behaviour table and the design must name the same image for each trial; a missing table is not an error.

    Raises:
        MixedRootsError: they differ, so the files come from different data sets.
    """
    try:
        table = read_responses(layout, subject)
    except MissingFileError:
        return
    for session in np.unique(trials.session).tolist():
        shown = table.loc[table["SESSION"] == session, "73KID"].to_numpy() - 1
        expected = trials.of_session(session).nsd_id
        if not np.array_equal(shown, expected):
            raise MixedRootsError(
                f"session {session} of '{layout.responses(subject)}' shows other images than '{layout.expdesign}' "
                f"({len(shown)} and {len(expected)} trials). Two data sets are mixed under one root: separate them."
            )
