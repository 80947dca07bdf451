"""The numbers that papers print, each with its provenance, and what is known to be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pandas

from brainram_lib.evaluation.records import Record

FILE = Path(__file__).with_name("reported.csv")
IN_BRAINRAM = "as printed in BrainRAM"
BY_AUTHORS = "as printed by the system's authors"
LATER = "as printed in a later paper"
PROVENANCES = (IN_BRAINRAM, BY_AUTHORS, LATER)
TABLES = ("1", "2", "3", "4")
# Follows the name of a system whose numbers were not read where they were first printed.
SECOND_HAND = "†"

_SUBJECT_1 = "The paper's results are of subject 1 only."
_SPLIT = "The paper's split of 8,859 / 982 images is the 37-session release; all 40 sessions give 9,000 / 1,000."
_EARLIER = (
    "Rows of earlier systems printed in BrainRAM lie far below what those systems' own authors report; all that are "
    "known are given, each under where it was printed."
)
FOOTNOTES: dict[str, tuple[str, ...]] = {
    "1": (
        _SUBJECT_1,
        _SPLIT,
        _EARLIER,
        "Section 5.1 quotes CLIP gains of 20.3 % over Takagi et al. and 32.8 % over Brain-Diffuser; its Table 1 gives "
        "30.8 and 20.3.",
        "Published SSIM values are of two kinds: scikit-image before 0.20, called as this field did, averaged "
        "one-dimensional SSIMs over columns.",
    ),
    "2": (
        _SUBJECT_1,
        _SPLIT,
        _EARLIER,
        "Section 5.2 quotes +5.7 % brain retrieval over MindEye; that is over the paper's own row without RAM. Over "
        "MindEye it is 5.0.",
        "Section 5.2 calls this table 'Tab 5', which does not exist.",
        "Measured here: image retrieval, each brain looks among images; brain retrieval, each image among brains. In "
        "MindEye's released code the similarity comes out transposed (`batchwise_cosine_similarity`), which swaps the "
        "two labels; printed rows made with that code may stand under each other's name.",
    ),
    "3": (
        _SUBJECT_1,
        "The row with image guidance only repeats Incep, CLIP and Eff of the first row (85.1, 90.1, .823), which is "
        "probably a slip.",
    ),
    "4": (_SUBJECT_1,),
}


def reported(table: str) -> pandas.DataFrame:
    """Rows of one of the paper's tables.

    Columns: system, metric, value (as printed), unit, provenance, subjects, split, place (table, file or figure),
    second_hand ('yes' where the number was not read where it was first printed).

    Raises:
        ValueError: the paper has no such table.
    """
    if table not in TABLES:
        raise ValueError(f"'table' must be one of {', '.join(TABLES)}. '{table}' was provided.")
    rows = pandas.read_csv(FILE, dtype=str, keep_default_na=False)
    return rows[rows.table == table].drop(columns="table").reset_index(drop=True)


def reported_records(table: str, provenance: str) -> list[Record]:
    """The same as records (percentages as shares; no interval, so low and high repeat the value; n, subject, seed 0).

    Raises:
        ValueError: no such table or provenance.
    """
    if provenance not in PROVENANCES:
        raise ValueError(f"'provenance' must be one of {', '.join(PROVENANCES)}. '{provenance}' was provided.")
    rows = reported(table)
    records = []
    for row in rows[rows.provenance == provenance].itertuples():
        value = float(row.value) / (100 if row.unit == "%" else 1)
        records.append(Record(row.system, row.metric, value, value, value, 0, 0, 0))
    return records


def second_hand(table: str, provenance: str) -> set[str]:
    """The systems of a section whose numbers are quoted from another place."""
    rows = reported(table)
    return set(rows[(rows.provenance == provenance) & (rows.second_hand == "yes")].system)


def provenance_notes(table: str) -> list[str]:
    """Footnotes: where each system's numbers from other papers were printed, and for which subjects and images."""
    rows = reported(table)
    others = rows[rows.provenance != IN_BRAINRAM]
    notes = []
    for (provenance, subjects, split, place, quoted), part in others.groupby(
        ["provenance", "subjects", "split", "place", "second_hand"], sort=False
    ):
        marked = f"; {SECOND_HAND} quoted second-hand" if quoted else ""
        names = "; ".join(dict.fromkeys(part.system))
        notes.append(f"{names}, {provenance}: subjects {subjects}; images: {split}; {place}{marked}.")
    return notes
