"""Records that an earlier run wrote into the same file: kept if they are still what this experiment would give."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from brainram_lib.experiments.experiment import Experiment, ExperimentError
from brainram_lib.experiments.jobs import Job, Places, key_of, stages_of_job
from brainram_lib.experiments.places import place_of, row_of, run_of
from brainram_lib.experiments.results import Results


def earlier_records(experiment: Experiment, file: Path) -> Results | None:
    """What a file holds; None where there is none.

    Raises:
        ExperimentError: it holds the records of another experiment or profile, or something else.
    """
    if not file.exists():
        return None
    earlier = Results.read(file)
    for what, theirs, ours in (
        ("experiment", earlier.experiment, experiment.name),
        ("profile", Path(earlier.profile).stem, Path(experiment.profile).stem),
    ):
        if theirs != ours:
            raise ExperimentError(
                f"'{file}' holds records of {what} '{theirs}', and this run is of '{ours}'. Name another folder with "
                "--out, or delete the file."
            )
    return earlier


def with_earlier(results: Results, experiment: Experiment, whole: Experiment, file: Path, places: Places) -> Results:
    """The new records, and those in the file that are still valid; the ones left out are printed.

    Args:
        experiment: what was run. whole: the same with all rows of its file.
    """
    earlier = earlier_records(experiment, file)
    if earlier is None:
        return results
    if (earlier.simulated, earlier.reported) != (results.simulated, results.reported):
        raise ExperimentError(
            f"'{file}' holds records of {_data(earlier)}, and these are of {_data(results)}. Name another folder with "
            "--out, or delete the file."
        )
    old = [place for place in earlier.keys if place not in results.keys]
    true = list(_still_true(old, earlier, whole.of(profile=experiment.profile), places))
    if left := [place for place in old if place not in true]:
        print(
            f"Left out of '{file}', because the experiment's file has no such row, its settings, its data or the code "
            f"have changed since, or the scores of single images are missing: {', '.join(left)}. What is still there "
            "can be run again.",
            file=sys.stderr,
        )
    return results.joined(earlier, true)


def _still_true(old: Sequence[str], earlier: Results, whole: Experiment, places: Places) -> Iterator[str]:
    there = _with_images(earlier)
    rows = {row.name: row for row in whole.rows}
    for place in old:
        if place in there and (row := rows.get(row_of(place))) is not None:
            # a subject that the profile no longer has, or data that are no longer there
            with suppress(ValueError, OSError):
                if key_of(stages_of_job(whole, Job(row, *run_of(place)), places)) == earlier.keys[place]:
                    yield place


def _with_images(results: Results) -> set[str]:
    """The places whose per-image scores are saved."""
    if not results.images:
        return set()
    lines = results.images.lines
    return {place_of(*place) for place in set(zip(lines["row"], lines["subject"], lines["seed"], strict=True))}


def _data(results: Results) -> str:
    return "the embedded world" if results.simulated else "NSD" if results.reported else "data of the user's own"
