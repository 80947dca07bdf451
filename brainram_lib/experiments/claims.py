"""Does what the paper's table claims hold here? Each row against the reference, metric by metric, beside the paper."""

from __future__ import annotations

from dataclasses import dataclass

import pandas

from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.reported import IN_BRAINRAM, reported_records
from brainram_lib.experiments.experiment import Experiment, Row
from brainram_lib.experiments.results import Results, column, over_runs

# The paper's metric -> the stand-in of the embedded world; the others keep their name.
STAND_INS = {"alex2": "lite0_early", "alex5": "lite0_middle", "incep": "lite0_late"}
HOLDS, OPPOSITE, OPEN = "as in the paper", "the opposite", "not decided"


@dataclass(frozen=True)
class Claim:
    """One row against the reference on one metric.

    Attributes:
        row: title of the row. metric: title of the metric here.
        paper: the paper's difference, in its units. here: the measured one with its interval.
        verdict: 'as in the paper' or 'the opposite' where the interval leaves out 0, else 'not decided'.
    """

    row: str
    metric: str
    paper: float
    here: Record
    verdict: str


def claims(experiment: Experiment, results: Results) -> list[Claim]:
    """Every comparison that both the paper and the records have."""
    if experiment.paper_table is None or experiment.reference is None:
        return []
    printed = {(one.system, one.metric): one.value for one in reported_records(experiment.paper_table, IN_BRAINRAM)}
    differences = {
        (one.system.split(" over ")[0], one.metric): one
        for one in over_runs([one.as_record() for one in results.differences])
    }
    reference = experiment.row(experiment.reference)
    found = []
    for row in experiment.rows:
        if row.name == reference.name:
            continue
        for metric in dict.fromkeys(name for system, name in printed if system == row.reported):
            measured = differences.get((row.name, metric)) or differences.get((row.name, STAND_INS.get(metric, metric)))
            known = printed.get((reference.reported, metric))
            if measured is not None and known is not None:
                title = column(measured.metric, results.simulated).title
                found.append(_claim(row, title, printed[row.reported, metric] - known, measured))
    return found


def _claim(row: Row, metric: str, paper: float, measured: Record) -> Claim:
    apart = measured.low > 0 or measured.high < 0
    verdict = OPEN if not apart or paper == 0 else HOLDS if (measured.value > 0) == (paper > 0) else OPPOSITE
    return Claim(row.title, metric, paper, measured, verdict)


def claim_table(found: list[Claim]) -> pandas.DataFrame:
    """One line a comparison: the paper's difference, the measured one, and whether the claim holds here."""
    lines = [
        {
            "row": one.row,
            "metric": one.metric,
            "paper": f"{one.paper:+.3f}",
            "here": f"{one.here.value:+.3f} [{one.here.low:+.3f}, {one.here.high:+.3f}]",
            "verdict": one.verdict,
        }
        for one in found
    ]
    return pandas.DataFrame(lines, columns=["row", "metric", "paper", "here", "verdict"])


def said(found: list[Claim]) -> str:
    """The verdicts counted, in a sentence."""
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in (HOLDS, OPPOSITE, OPEN)}
    return (
        f"Of {len(found)} comparisons with the reference row, {counts[HOLDS]} come out as in the paper, "
        f"{counts[OPPOSITE]} the opposite way, and {counts[OPEN]} are not decided: their interval holds 0."
    )
