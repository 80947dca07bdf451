"""How long notebooks take: read from executed copies, never typed by hand, and kept in `results/times.json`.

papermill writes a notebook's duration into its executed copy. `run_notebook` adds where it ran, with which version of
the library, and which stages it had to make: the same notebook takes minutes when it trains, and seconds when it finds
everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.core.store import RECORD, library
from brainram_lib.setup.rehearsal.report import machine

FILE = Path(__file__).resolve().parents[2] / "results" / "times.json"
RUN = "brainram"
"""Key of a notebook's metadata."""
FIRST, AGAIN = "first", "again"
"""A run that had to make something, and one that found everything."""
PLAIN = {"subject", "runs"}
"""Parameters with which a time is still that of the notebook as it is."""


class TimesError(ValueError):
    """There is no time to read; the message says why and what to run."""


def note_run(copy: Path, runs: Path, started: float) -> None:
    """Write into an executed copy which machine it ran on, with which library version, and which stages it made.

    Args:
        copy: the executed notebook.
        runs: the folder of results that it used.
        started: when it started, seconds since the epoch.
    """
    notebook = json.loads(copy.read_text(encoding="utf-8"))
    about = {"machine": machine(), "library": library(), "made": stages_made(runs, started)}
    notebook["metadata"][RUN] = about
    with write_whole(copy) as partial:
        partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def stages_made(runs: Path, since: float) -> list[str]:
    """The names of the stages whose results were finished after `since`, in that order."""
    found = []
    for path in runs.rglob(RECORD):
        hidden = any(part.startswith(".") for part in path.relative_to(runs).parts)
        if not hidden and path.is_file() and path.stat().st_mtime >= since:
            found.append((path.stat().st_mtime, path.parent.parent.name))
    return [name for _, name in sorted(found)]


def time_of(copy: Path) -> tuple[str, dict[str, Any]]:
    """'first' or 'again', and what `results/times.json` holds of one executed notebook.

    Raises:
        TimesError: it stopped at an error, was not run by `notebook run`, or ran with other parameters.
    """
    metadata = json.loads(copy.read_text(encoding="utf-8"))["metadata"]
    run, about = metadata.get("papermill") or {}, metadata.get(RUN)
    if run.get("exception") or not run.get("duration"):
        raise TimesError(f"'{copy.name}' did not run to its end.")
    if about is None:
        raise TimesError(f"'{copy.name}' does not say where it ran. Run it with `python -m brainram_lib notebook run`.")
    others = sorted(set(run["parameters"]) - PLAIN)
    if others:
        raise TimesError(f"'{copy.name}' ran with {', '.join(others)}: only a run with the defaults is timed.")
    made = {"seconds": round(run["duration"], 1), "date": run["start_time"][:10]}
    return (FIRST if about["made"] else AGAIN), {**made, "subject": run["parameters"].get("subject", 1), **about}


def times_in(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Times of the executed notebooks in a folder by name and kind, and a sentence for each that has none."""
    found: dict[str, dict[str, Any]] = {}
    refused = []
    for copy in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        try:
            kind, entry = time_of(copy)
        except TimesError as problem:
            refused.append(str(problem))
        else:
            found.setdefault(copy.stem, {})[kind] = entry
    return found, refused


def saved_times(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """What `results/times.json` holds: notebook -> 'first' or 'again' -> entry. Empty where there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else {}


def joined(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The old times, replaced by new ones where there are both."""
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in sorted({*old, *new})}


def short(seconds: float) -> str:
    """A time as documents state it: '35 s', '7 min'."""
    return f"{round(seconds)} s" if seconds < 100 else f"{round(seconds / 60)} min"


def in_words(times: Mapping[str, Any]) -> str:
    """One notebook's times in a sentence, with machine, date and commit."""
    kinds = {FIRST: "{} making what was missing ({} results)", AGAIN: "{} when every result is there"}
    parts = [
        words.format(short(times[kind]["seconds"]), len(times[kind]["made"]))
        for kind, words in kinds.items()
        if kind in times
    ]
    about = times[FIRST if FIRST in times else AGAIN]
    host, commit = about["machine"], about["library"]["commit"] or about["library"]["version"]
    where = f"{host['cores']} cores, {host['memory_gib']:.0f} GiB, {host['gpu'] or 'no GPU'}"
    return f"{'; '.join(parts)}. Measured on {where}; {about['date']}, commit {commit}."


def write_times(folder: Path, out: Path = FILE) -> list[str]:
    """Keep the times of the executed notebooks in `folder`; a line for each, and a sentence for each that has none.

    Raises:
        TimesError: none of them has a time.
    """
    found, refused = times_in(folder)
    if not found:
        raise TimesError(f"no time can be read in '{folder}'. {' '.join(refused) or 'It holds no executed notebook.'}")
    write_json(out, joined(saved_times(out), found))
    lines = [
        f"{name:28} {kind:6} {entry['seconds']:8.1f} s   {len(entry['made'])} results made"
        for name, kinds in found.items()
        for kind, entry in kinds.items()
    ]
    return [*lines, *(f"Not taken. {sentence}" for sentence in refused)]
