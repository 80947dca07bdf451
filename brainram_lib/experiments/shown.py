"""An experiment's tables from its saved records: scores, differences on the same images, and the tests behind them.

No library that runs networks is loaded, and no folder of runs is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from brainram_lib.core.store import library
from brainram_lib.evaluation import catalogue
from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.differences import lead_table, p_table
from brainram_lib.evaluation.labels import Labels
from brainram_lib.evaluation.records import Difference, Record, corrected
from brainram_lib.evaluation.tables import OVER_IMAGES, ScoreTable, score_table
from brainram_lib.experiments import statistics
from brainram_lib.experiments.experiment import Experiment, ExperimentError, find, load
from brainram_lib.experiments.places import in_words
from brainram_lib.experiments.results import Results, said_together, where
from brainram_lib.profiles import profile_of

IMAGES = "the scores of single images"
# Columns after those of the image metrics; those that records lack are left out.
_BEHIND = (catalogue.PROBE[0], *catalogue.ESTIMATES, *catalogue.IDENTIFICATION)


def saved(name: str, profile: str | None, runs: Path, folder: Path | None = None) -> tuple[Experiment, Results]:
    """An experiment and its saved records, found as `results.where` does.

    Raises:
        ExperimentError: there is no such experiment, or there are no records of it.
    """
    experiment = load(find(name))
    file = where(experiment.name, profile_of(profile or experiment.profile).name, runs, folder)
    return experiment, of_table(experiment, Results.read(file))


def of_table(experiment: Experiment, results: Results) -> Results:
    """The records of the experiment's rows."""
    return results.of_rows({row.name for row in experiment.rows})


def tables(experiment: Experiment, results: Results, population: bool = False) -> list[ScoreTable]:
    """The measured rows with the paper's beside them, each row's difference from the reference, and the tests.

    `population`: intervals that hold for other subjects too (`evaluation.joint`).
    """
    shown = means(experiment, results, population)
    columns = _columns(shown, results.simulated)
    over = over_what(results, population)
    how = {"embedded": results.simulated, "labels": labels_of(experiment)}
    made = [
        score_table(
            shown,
            columns,
            f"{experiment.title}, {of_runs(results)}",
            paper_table=experiment.paper_table if results.reported else None,
            rows=[row.name for row in experiment.rows],
            notes=(
                *_notes(experiment, results),
                *said_together(results.said, {subject for subject, _ in _runs(results)}),
                *experiment.notes,
            ),
            over=over,
            **how,
        )
    ]
    against = leads(experiment, results, population)
    if against:
        reference = f"{experiment.row(experiment.reference).title}, {of_runs(results)}"
        made.append(lead_table(against, columns, f"Difference from {reference}", over=over, **how))
        if results.images:
            made.append(p_table(against, columns, f"Tests of the differences from {reference}", **how))
    return made


def means(experiment: Experiment, results: Results, population: bool = False) -> list[Record]:
    """Scores over subjects, seeds and images; those of a single run as they were recorded."""
    rows = {row.name for row in experiment.rows}
    records = [one.as_record() for one in results.records if one.row in rows]
    if population and not results.images:
        raise ExperimentError(f"intervals for other subjects need {IMAGES}, which are not beside these records.")
    if not results.images or (len(_runs(results)) == 1 and not population):
        return _untitled(over_runs(records), results)
    return _untitled([one for one in statistics.scores(results.images, population) if one.system in rows], results)


def leads(experiment: Experiment, results: Results, population: bool = False) -> list[Record]:
    """Every row's difference from the reference, with its test where the scores of single images are there."""
    rows = [row.name for row in experiment.rows]
    if experiment.reference not in rows:
        return []
    if not results.images:
        return _untitled(over_runs([one.as_record() for one in results.differences if one.row in rows]), results)
    pairs = [(row, experiment.reference) for row in rows if row != experiment.reference]
    return _untitled(statistics.differences(results.images, pairs, population), results)


def _untitled(records: list[Record], results: Results) -> list[Record]:
    """With several runs, no record names one, so that a row with a single run is not titled differently."""
    return records if len(_runs(results)) == 1 else [replace(one, subject=0, seed=0) for one in records]


def as_json(experiment: Experiment, results: Results, population: bool = False) -> dict[str, Any]:
    """{'records': of each run, 'means': over runs, 'differences': with p and corrected p}."""
    against = leads(experiment, results, population)
    tested = [one for one in against if isinstance(one, Difference)]
    after = dict(zip(tested, corrected(tested), strict=True))
    extra = {one: {"p_corrected": p, "remains": one.remains(p)} for one, p in after.items()}
    return {
        "records": [asdict(one) for one in results.records],
        "means": [asdict(one) for one in means(experiment, results, population)],
        "differences": [asdict(one) | extra.get(one, {}) for one in against],
    }


def over_runs(records: Sequence[Record]) -> list[Record]:
    """Records of one run as they are; of several subjects or seeds, their mean with Student's interval over runs.

    For records without the scores of single images; runs then count as independent, which subjects' images are not.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for one in records:
        groups.setdefault((one.system, one.metric), []).append(one)
    return [group[0] if len(group) == 1 else _mean(group) for group in groups.values()]


def _mean(group: Sequence[Record]) -> Record:
    values = np.array([one.value for one in group])
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    mean, first = float(values.mean()), group[0]
    return Record(first.system, first.metric, mean, mean - half, mean + half, first.n, 0, 0)


def labels_of(experiment: Experiment) -> Labels:
    """Titles of the rows, and which of them are bounds."""
    titles = {row.name: row.title for row in experiment.rows}
    return Labels(titles, frozenset(row.name for row in experiment.rows if row.bound))


def _columns(records: Sequence[Record], simulated: bool) -> list[Metric]:
    present = {one.metric for one in records}
    return [metric for metric in _known(simulated) if metric.name in present]


def column(name: str, simulated: bool) -> Metric:
    """The column of a metric; on the embedded world one whose network has a stand-in carries the stand-in's title."""
    return next(metric for metric in _known(simulated) if metric.name == name)


def _known(simulated: bool) -> tuple[Metric, ...]:
    return (*(catalogue.MINI if simulated else catalogue.PAPER), *_BEHIND)


def _runs(results: Results) -> list[tuple[int, int]]:
    return sorted({(one.subject, one.seed) for one in results.records})


def of_runs(results: Results) -> str:
    subjects, seeds = (sorted({run[place] for run in _runs(results)}) for place in (0, 1))
    words = [
        f"{name}{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
        for name, found in (("subject", subjects), ("seed", seeds))
    ]
    return ", ".join(words)


def over_what(results: Results, population: bool) -> str:
    """What intervals are over, in words."""
    runs = _runs(results)
    subjects = len({subject for subject, _ in runs})
    if len(runs) == 1 or not results.images:
        return OVER_IMAGES if len(runs) == 1 else "Student's interval over runs"
    whose = f"of the mean over {subjects} subjects" if subjects > 1 else "of one subject"
    if population:
        return f"interval over images, seeds and subjects, {whose}"
    if len(runs) == subjects:
        return f"interval over images, {whose}; with one seed each, another training is not in it"
    return f"interval over images and seeds, {whose}" + (", who are fixed" if subjects > 1 else "")


def _notes(experiment: Experiment, results: Results) -> list[str]:
    runs, notes = _runs(results), []
    if len(runs) > 1:
        notes.append(f"Mean over {len(runs)} runs (subjects and seeds).")
        notes += _fewer(experiment, results, len(runs))
    notes += [f"No scores of {in_words([place])}, which failed: {why}" for place, why in results.failed.items()]
    if silent := _without_images(results):
        notes.append(f"{IMAGES.capitalize()} are missing, and so are these rows: {', '.join(silent)}. Run them again.")
    own = {name: getattr(results, name) for name in ("command", "made", "library")}
    made = [f"Made {_maker_in_words(own)}"]
    made += [f"{in_words(one['places'])} before, {_maker_in_words(one)}" for one in results.before]
    return [*notes, f"{'; '.join(made)}."]


def _maker_in_words(maker: Mapping[str, Any]) -> str:
    """What made records: command, day, version and commit."""
    version, commit = maker["library"].get("version"), maker["library"].get("commit")
    today = library()["version"]
    older = f"; this is version {today}" if version != today else ""
    by = f"by `{maker['command']}` " if maker["command"] else ""
    return f"{by}on {maker['made'][:10]}, version {version}, commit {commit}{older}"


def _without_images(results: Results) -> list[str]:
    """Rows that have records but no per-image scores, where other rows have them."""
    if not results.images:
        return []
    there = set(results.images.lines["row"])
    return [f"'{row}'" for row in dict.fromkeys(one.row for one in results.records) if row not in there]


def _fewer(experiment: Experiment, results: Results, runs: int) -> list[str]:
    """The rows that have fewer runs than the table, so that their means are over other runs."""
    places: dict[str, set[tuple[int, int]]] = {}
    for one in results.records:
        places.setdefault(one.row, set()).add((one.subject, one.seed))
    few = [f"{experiment.row(row).title} ({len(found)})" for row, found in places.items() if len(found) < runs]
    return [f"Rows of fewer runs; their differences are over those alone: {'; '.join(few)}."] if few else []
