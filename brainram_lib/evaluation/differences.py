"""Tables of differences between systems on the same images, and of the tests that say which of them remain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.permutation import ALPHA
from brainram_lib.evaluation.records import Difference, Record, corrected
from brainram_lib.evaluation.tables import (
    EMBEDDED,
    NO_LABELS,
    OVER_IMAGES,
    ScoreTable,
    interval_note,
    measured_section,
)

HEADING = "image by image"
MEANING = "Mean difference of two systems' scores on the same images."
TEST = "the two-sided sign-flip test over images, after Holm's correction for this table's {count} comparisons"
REMAINS, DOES_NOT = "remains", ""


def lead_table(
    leads: Sequence[Record],
    columns: Sequence[Metric],
    title: str,
    *,
    embedded: bool,
    labels: Labels = NO_LABELS,
    notes: Sequence[str] = (),
    over: str = OVER_IMAGES,
) -> ScoreTable:
    """The differences of `records.leads`, 'difference [low, high]'; those that remain (`Difference`) are marked.

    The family that Holm's method corrects for is all that the table shows: every row and every column. No cell is
    marked as the best of its column, because rivals differ by row; differences without a test are not marked at all.
    """
    tested = _family(leads, columns)
    section = measured_section(leads, columns, labels, HEADING)
    marks = measured_section(leads, columns, labels, HEADING, shown=lambda one, _: tested.get(one, (0, DOES_NOT))[1])
    section = replace(section, best=marks.cells.eq(REMAINS))
    said = (MEANING, interval_note(leads, over), *_mark_note(leads, tested), *notes)
    return ScoreTable(_titled(title, embedded), (section,), said)


def p_table(
    leads: Sequence[Difference],
    columns: Sequence[Metric],
    title: str,
    *,
    embedded: bool,
    labels: Labels = NO_LABELS,
    notes: Sequence[str] = (),
) -> ScoreTable:
    """The tests behind `lead_table`: 'p, corrected p', and in how many subjects the difference has the mean's sign."""
    tested = _family(leads, columns)
    several = any(one.subjects > 1 for one in leads)
    section = measured_section(leads, columns, labels, "p, corrected p", shown=lambda one, _: _p_cell(one, tested))
    marks = measured_section(leads, columns, labels, HEADING, shown=lambda one, _: tested[one][1])
    said = (
        f"Of {TEST.format(count=len(tested))}; marked as in the table of differences.",
        *(["Behind it: subjects whose own difference has the sign of the mean."] if several else []),
        *notes,
    )
    return ScoreTable(_titled(title, embedded), (replace(section, best=marks.cells.eq(REMAINS)),), said)


def p_text(p: float) -> str:
    """A p as tables print it: '.0123', '1'; '<.0001' where four decimals would say 0, which no p of this test is."""
    if p < 0.00005:
        return "<.0001"
    return "1" if p >= 0.99995 else f"{p:.4f}".removeprefix("0")


def _family(leads: Sequence[Record], columns: Sequence[Metric]) -> dict[Record, tuple[float, str]]:
    """{difference: (corrected p, whether it remains)} of all that were tested and are shown."""
    shown = {metric.name for metric in columns}
    family = [one for one in leads if isinstance(one, Difference) and one.metric in shown]
    after = zip(family, corrected(family), strict=True)
    return {one: (p, REMAINS if one.remains(p) else DOES_NOT) for one, p in after}


def _mark_note(leads: Sequence[Record], tested: dict[Record, tuple[float, str]]) -> list[str]:
    if not tested:
        return ["Not tested: the scores of single images are not saved beside these records."]
    remaining = sum(remains == REMAINS for _, remains in tested.values())
    return [
        f"Marked (bold, in plain text a star): the {remaining} of {len(tested)} differences that remain. Their "
        f"interval leaves out 0, and p < {f'{ALPHA:g}'.removeprefix('0')} by {TEST.format(count=len(tested))}."
    ]


def _p_cell(one: Record, tested: dict[Record, tuple[float, str]]) -> str:
    agreeing = f", {one.agreeing} of {one.subjects}" if one.subjects > 1 else ""
    return f"{p_text(one.p)}, {p_text(tested[one][0])}{agreeing}"


def _titled(title: str, embedded: bool) -> str:
    return f"{title} · {EMBEDDED}" if embedded else title
