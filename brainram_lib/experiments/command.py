"""`python -m brainram_lib experiment ...`: plan, run, show, claims, pages, list."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainram_lib.core.store import Store, default_runs
from brainram_lib.evaluation.tables import ScoreTable
from brainram_lib.experiments import experiment as files
from brainram_lib.experiments.claims import claim_table, claims
from brainram_lib.experiments.pages import fill
from brainram_lib.experiments.results import Results, where
from brainram_lib.experiments.shown import as_json, of_table, saved, tables
from brainram_lib.profiles import profile_of

if TYPE_CHECKING:
    from brainram_lib.experiments.jobs import Asked, Places
    from brainram_lib.experiments.plan import Planned

Arguments = argparse.Namespace
EXPERIMENT = "a TOML file, or the name of one in experiments/"


def run_command(chosen: Arguments) -> None:
    """Run the rows of experiments over subjects and seeds: what is missing is made, then the records are written."""
    from brainram_lib.experiments.plan import whole_said
    from brainram_lib.experiments.processes import Processes
    from brainram_lib.experiments.runner import run, spoken
    from brainram_lib.experiments.slurm import options_of

    asked, places = _asked(chosen), _given_places(chosen)
    if chosen.slurm_options and not chosen.slurm:
        raise files.ExperimentError("'--slurm-options' go with '--slurm PARTITION', which was not given.")
    how = Processes(chosen.jobs, chosen.slurm, options_of(chosen.slurm_options))
    print(whole_said([one for planned in _planned(asked, places) for one in planned]), file=sys.stderr)
    for one, file in zip(asked, run(asked, places, how, chosen.out, spoken(sys.argv[1:])), strict=True):
        for table in tables(one.experiment, of_table(one.experiment, Results.read(file))):
            print(table.text())


def plan_command(chosen: Arguments) -> None:
    """Say what `experiment run` would make, row by row, and how long similar work took. Nothing is made."""
    from brainram_lib.experiments.plan import lines, whole_said
    from brainram_lib.experiments.runner import check

    asked, places = _asked(chosen), _given_places(chosen)
    for one in asked:
        check(one.experiment, places)
    planned = _planned(asked, places)
    for one, own in zip(asked, planned, strict=True):
        print("\n".join([f"{one.experiment.title}:", *lines(own)]))
    print(whole_said([one for own in planned for one in own]))


def _asked(chosen: Arguments) -> list[Asked]:
    """The experiments asked for, and which parts of them; of several, each takes those of the rows that it has."""
    from brainram_lib.experiments.jobs import Asked

    paths = [files.find(name) for name in chosen.experiments]
    found = [files.load(path) for path in paths]
    rows = [None] * len(found) if chosen.rows is None else files.parted(found, chosen.rows)
    return [
        Asked(one.of(chosen.subjects, chosen.seeds, own, chosen.profile), path)
        for one, path, own in zip(found, paths, rows, strict=True)
    ]


def _given_places(chosen: Arguments) -> Places:
    from brainram_lib.experiments.jobs import Places

    return Places(chosen.runs, chosen.nsd_root, chosen.corpus_root)


def _planned(asked: list[Asked], places: Places) -> list[list[Planned]]:
    """The plan of each experiment; what several need counts in the first."""
    from brainram_lib.experiments.plan import known_times, plan

    store, seen = Store(places.runs or default_runs()), set()
    times = {one.experiment.profile: known_times(profile_of(one.experiment.profile).name, store) for one in asked}
    return [plan(one.experiment, places, store, times[one.experiment.profile], seen) for one in asked]


def show_command(chosen: Arguments) -> None:
    """Print an experiment's saved records as tables: scores beside the paper's rows, differences, and their tests."""
    experiment, results = _saved(chosen)
    if chosen.format == "json":
        print(json.dumps(as_json(experiment, results, chosen.population), indent=1))
        return
    for table in tables(experiment, results, chosen.population):
        _print(table, chosen.format)


def claims_command(chosen: Arguments) -> None:
    """Say for each comparison in the paper's table whether it holds here, by the corrected test."""
    experiment, results = _saved(chosen)
    if chosen.format == "json":
        print(json.dumps([asdict(one) for one in claims(experiment, results, chosen.population)], indent=1))
        return
    _print(claim_table(experiment, results, chosen.population), chosen.format)


def pages_command(chosen: Arguments) -> None:
    """Fill the tables of Markdown pages, from `<!-- show NAME -->` to `<!-- end -->`, from the committed records."""
    for path in chosen.pages:
        print(f"'{path}': {'filled anew' if fill(path) else 'as it was'}")


def _saved(chosen: Arguments) -> tuple[files.Experiment, Results]:
    experiment, results = saved(chosen.experiment, chosen.profile, chosen.runs or default_runs(), chosen.results)
    return experiment, results.of_runs(chosen.subjects, chosen.seeds)


def _print(table: ScoreTable, how: str) -> None:
    print({"text": table.text, "markdown": table.markdown, "latex": table.latex}[how]())


def list_command(chosen: Arguments) -> None:
    """List the experiments: their rows, subjects and seeds, and whether they have records."""
    for path in files.listed():
        one = files.load(path)
        try:
            results = Results.read(where(one.name, profile_of(one.profile).name, chosen.runs or default_runs()))
            state = f"{len(results.records)} records of {results.made[:10]}"
        except files.ExperimentError:
            state = "not run yet"
        print(
            f"{one.title}: '{one.name}', {len(one.rows)} rows, subjects {list(one.subjects)}, seeds {list(one.seeds)}"
        )
        print(f"    {'; '.join(row.title for row in one.rows)}")
        print(f"    {state}")


def job_command(chosen: Arguments) -> None:
    """One row for one subject and seed: what a job of `experiment run --jobs` does."""
    from brainram_lib.experiments.local import end_with_parent
    from brainram_lib.experiments.runner import run_job

    end_with_parent()
    experiment = files.load(Path(chosen.experiment)).of(profile=chosen.profile)
    run_job(experiment, chosen.row, chosen.subject, chosen.seed, _given_places(chosen))


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("experiment", help="tables as data: plan, run, show, claims, pages, list")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    plan, run = (_several(inner, name, handler) for name, handler in (("plan", plan_command), ("run", run_command)))
    _places(plan)
    where_to = run.add_mutually_exclusive_group()
    where_to.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes on this machine; default: 1")
    where_to.add_argument("--slurm", metavar="PARTITION", help="submit the jobs to a partition instead")
    options = {"metavar": "NAME=VALUE", "nargs": "+", "default": []}
    run.add_argument("--slurm-options", **options, help="of sbatch, for --slurm: gres=gpu:1 mem=64G cpus-per-task=8")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="of the records; default: runs/experiments/PROFILE")
    _places(run)
    for name, handler in (("show", show_command), ("claims", claims_command)):
        _show(_command(inner, name, handler))
    pages = inner.add_parser("pages", help=pages_command.__doc__, description=pages_command.__doc__)
    pages.set_defaults(handler=pages_command)
    pages.add_argument("pages", type=Path, nargs="+", metavar="PAGE")
    every = inner.add_parser("list", help=list_command.__doc__, description=list_command.__doc__)
    every.set_defaults(handler=list_command)
    every.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")
    job = _command(inner, "job", job_command)
    job.add_argument("--row", required=True)
    job.add_argument("--subject", type=int, required=True)
    job.add_argument("--seed", type=int, required=True)
    _places(job)


def _several(commands: Any, name: str, handler: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=handler.__doc__, description=handler.__doc__)
    parser.set_defaults(handler=handler)
    parser.add_argument("experiments", nargs="+", metavar="experiment", help=f"{EXPERIMENT}; several share one queue")
    parser.add_argument("--subjects", type=int, nargs="+", help="default: those of the file")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the file")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some of the rows; default: all")
    return parser


def _show(show: argparse.ArgumentParser) -> None:
    show.add_argument("--results", type=Path, metavar="FOLDER", help="of the records; default: your own, else results/")
    for name in ("json", "markdown", "latex"):
        show.add_argument(f"--{name}", dest="format", action="store_const", const=name, default="text")
    show.add_argument("--population", action="store_true", help="intervals that hold for other subjects too")
    show.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")
    show.add_argument("--profile", help="default: that of the file")
    show.add_argument("--subjects", type=int, nargs="+", help="default: all that have records")
    show.add_argument("--seeds", type=int, nargs="+", help="default: all that have records")


def _command(commands: Any, name: str, handler: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=handler.__doc__, description=handler.__doc__)
    parser.set_defaults(handler=handler)
    parser.add_argument("experiment", help=EXPERIMENT)
    return parser


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="default: that of the file")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")
    parser.add_argument("--nsd-root", type=Path, metavar="FOLDER", help="NSD's files; mini makes its own")
    parser.add_argument("--corpus-root", type=Path, metavar="FOLDER", help="image-text corpus; mini makes its own")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more; {text!r} was given")
    return int(text)
