"""Does what the paper claims hold here? Each comparison that a table of the paper makes, tested on the same images.

A claim is a pair of rows and a metric with the direction of the paper's difference. Its verdict here:

- 'holds' or 'opposite': the difference remains (`Difference.remains`: the interval leaves out 0, and so does the
  sign-flip test at .05 after Holm's correction) and has the paper's direction, or the other;
- 'undecided': it does not remain. That is no evidence that two rows are equal.

The family of Holm's correction is all comparisons of the claims' table, on the metrics that both tables have and on
which the paper prints different numbers: fewer than the differences that `experiment show` prints. The paper prints no
interval: its own differences are taken as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.differences import p_text
from brainram_lib.evaluation.records import Difference, corrected
from brainram_lib.evaluation.reported import IN_BRAINRAM, reported_records
from brainram_lib.evaluation.tables import EMBEDDED, MISSING, ScoreTable, Section, number, with_interval
from brainram_lib.experiments import statistics
from brainram_lib.experiments.experiment import Claimed, Experiment
from brainram_lib.experiments.results import Results
from brainram_lib.experiments.shown import IMAGES, column, of_runs, over_what

# The paper's metric -> the stand-in of the embedded world; the others keep their name.
STAND_INS = {"alex2": "lite0_early", "alex5": "lite0_middle", "incep": "lite0_late"}
HOLDS, OPPOSITE, OPEN = "holds", "opposite", "undecided"
AHEAD, BEHIND = "+", "-"


@dataclass(frozen=True)
class Claim:
    """One pair of rows on one metric.

    Attributes:
        row, over: titles of the rows. said: where and in what words the paper compares them.
        metric: its name here.
        ahead: whether the paper prints `row` ahead of `over`; where less is better, that is below it.
        paper: the paper's difference. here: the measured one, with its test. corrected: its p after Holm's correction.
        verdict: 'holds', 'opposite' or 'undecided'.
    """

    row: str
    over: str
    said: str
    metric: str
    ahead: bool
    paper: float
    here: Difference
    corrected: float
    verdict: str


def claims(experiment: Experiment, results: Results, population: bool = False) -> list[Claim]:
    """Every comparison of the paper in which its numbers differ and for which there are records."""
    if experiment.paper_table is None or not results.images:
        return []
    claimed = claimed_by(experiment)
    pairs = list(dict.fromkeys((one.row, one.over) for one in claimed))
    measured = {(one.system, one.metric): one for one in statistics.differences(results.images, pairs, population)}
    found = [
        (claim, paper, here)
        for claim in claimed
        for name, paper in _printed(experiment, claim).items()
        for key in (f"{claim.row} over {claim.over}",)
        if (here := measured.get((key, name)) or measured.get((key, STAND_INS.get(name, name)))) is not None
    ]
    after = corrected([here for *_, here in found])
    return [_claim(experiment, results, *one, p) for one, p in zip(found, after, strict=True)]


def claimed_by(experiment: Experiment) -> list[Claimed]:
    """The pairs of the experiment's file, else the reference against every row that the paper also has."""
    rows = {row.name: row for row in experiment.rows}
    if experiment.claims:
        return [one for one in experiment.claims if one.row in rows and one.over in rows]
    reference = rows.get(experiment.reference or "")
    if reference is None or reference.reported is None:
        return []
    return [Claimed(reference.name, row.name) for row in experiment.rows if row.reported and row is not reference]


def claim_table(experiment: Experiment, results: Results, population: bool = False) -> ScoreTable:
    """The verdicts, one row per comparison and one column per metric; below them the numbers."""
    found = claims(experiment, results, population)
    title = f"Claims of {experiment.title}, {of_runs(results)}"
    title = f"{title} · {EMBEDDED}" if results.simulated else title
    if not found:
        return ScoreTable(title, (), (_why_none(experiment, results),))
    columns = {one.metric: column(one.metric, results.simulated) for one in found}
    notes = (
        said(found),
        f"{AHEAD}: the paper prints the first row ahead of the second on this metric, {BEHIND}: behind it.",
        f"In brackets: 95 % {over_what(results, population)}; p of the two-sided sign-flip test over images, then "
        f"after Holm's correction for these {len(found)} comparisons.",
        *_sources(found),
        *_unmeasured(experiment, found),
    )
    return ScoreTable(title, (_verdicts(found, columns), _numbers(found, columns)), notes)


def said(found: Sequence[Claim]) -> str:
    """The verdicts counted, in a sentence."""
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in (HOLDS, OPPOSITE, OPEN)}
    return (
        f"Of the {len(found)} comparisons that the paper prints and that can be measured here: {counts[HOLDS]} as in "
        f"the paper, {counts[OPPOSITE]} the opposite way, {counts[OPEN]} undecided."
    )


def _why_none(experiment: Experiment, results: Results) -> str:
    if not claimed_by(experiment) or experiment.paper_table is None:
        return "The paper compares no two of these rows."
    if not results.images:
        return f"No claim can be tested: {IMAGES} are not saved beside these records. `experiment run` saves them."
    return "No claim can be tested: there are no records of both rows of any."


def _printed(experiment: Experiment, claim: Claimed) -> dict[str, float]:
    """{metric: the paper's difference}, without the metrics on which it prints both rows equal."""
    rows: dict[str, dict[str, float]] = {}
    for one in reported_records(experiment.paper_table, IN_BRAINRAM):
        rows.setdefault(one.system, {})[one.metric] = one.value
    first, second = (rows.get(experiment.row(name).reported or "", {}) for name in (claim.row, claim.over))
    apart = {name: round(value - second[name], 6) for name, value in first.items() if name in second}
    return {name: value for name, value in apart.items() if value}


def _claim(experiment: Experiment, results: Results, claim: Claimed, paper: float, here: Difference, p: float) -> Claim:
    up = column(here.metric, results.simulated).direction == "up"
    same = (here.value > 0) == (paper > 0)
    verdict = OPEN if not here.remains(p) else HOLDS if same else OPPOSITE
    titles = experiment.row(claim.row).title, experiment.row(claim.over).title
    return Claim(*titles, claim.said, here.metric, (paper > 0) == up, paper, here, p, verdict)


def _verdicts(found: Sequence[Claim], columns: dict[str, Metric]) -> Section:
    index = list(dict.fromkeys(f"{one.row} over {one.over}" for one in found))
    cells = pandas.DataFrame(MISSING, index=index, columns=[metric.heading for metric in columns.values()])
    for one in found:
        sign = AHEAD if one.ahead else BEHIND
        cells.loc[f"{one.row} over {one.over}", columns[one.metric].heading] = f"{sign} {one.verdict}"
    return Section("the paper's direction, and here", cells, cells.apply(lambda text: text.str.endswith(HOLDS)))


def _numbers(found: Sequence[Claim], columns: dict[str, Metric]) -> Section:
    lines = {
        f"{one.row} over {one.over}, {columns[one.metric].heading}": {
            "paper": number(one.paper, columns[one.metric]),
            "here": with_interval(one.here, columns[one.metric]),
            "p": p_text(one.here.p),
            "corrected p": p_text(one.corrected),
            "subjects of this sign": f"{one.here.agreeing} of {one.here.subjects}",
            "verdict": one.verdict,
        }
        for one in found
    }
    cells = pandas.DataFrame.from_dict(lines, orient="index")
    return Section("the numbers", cells, pandas.DataFrame(False, index=cells.index, columns=cells.columns))


def _sources(found: Sequence[Claim]) -> list[str]:
    texts: dict[str, dict[str, None]] = {}
    for one in found:
        texts.setdefault(one.said, {})[f"{one.row} over {one.over}"] = None
    if len(texts) == 1:
        return [f"The paper, {text}." for text in texts if text]
    return [f"{'; '.join(pairs)}: the paper, {text}." for text, pairs in texts.items() if text]


def _unmeasured(experiment: Experiment, found: Sequence[Claim]) -> list[str]:
    """The pairs that the paper compares and that have no records here."""
    there = {(one.row, one.over) for one in found}
    titles = {row.name: row.title for row in experiment.rows}
    pairs = [(titles[one.row], titles[one.over]) for one in claimed_by(experiment)]
    missing = [f"{row} over {over}" for row, over in pairs if (row, over) not in there]
    return [f"No records of both rows: {'; '.join(missing)}."] if missing else []
