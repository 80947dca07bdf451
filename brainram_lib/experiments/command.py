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
    from brainram_lib.experiments.jobs import Places
    from brainram_lib.experiments.plan import Planned

Arguments = argparse.Namespace


def run_command(chosen: Arguments) -> None:
    """Run an experiment's rows over subjects and seeds: what is missing is made, then the records are written."""
    from brainram_lib.experiments.plan import whole_said
    from brainram_lib.experiments.processes import Processes
    from brainram_lib.experiments.runner import run, spoken
    from brainram_lib.experiments.slurm import options_of

    path, experiment, places = _chosen(chosen)
    if chosen.slurm_options and not chosen.slurm:
        raise files.ExperimentError("'--slurm-options' go with '--slurm PARTITION', which was not given.")
    how = Processes(chosen.jobs, chosen.slurm, options_of(chosen.slurm_options))
    print(whole_said(_planned(experiment, places)), file=sys.stderr)
    file = run(experiment, path, places, how, chosen.out, spoken(sys.argv[1:]))
    for table in tables(experiment, of_table(experiment, Results.read(file))):
        print(table.text())


def plan_command(chosen: Arguments) -> None:
    """Say what `experiment run` would make, row by row, and how long its like took. Nothing is made."""
    from brainram_lib.experiments.plan import said
    from brainram_lib.experiments.runner import check

    _, experiment, places = _chosen(chosen)
    check(experiment, places)
    print(f"{experiment.title}:")
    print(said(_planned(experiment, places)))


def _chosen(chosen: Arguments) -> tuple[Path, files.Experiment, Places]:
    """The experiment's file, what of it is asked for, and where things are."""
    from brainram_lib.experiments.jobs import Places

    path = files.find(chosen.experiment)
    experiment = files.load(path).of(chosen.subjects, chosen.seeds, chosen.rows, chosen.profile)
    return path, experiment, Places(chosen.runs, chosen.nsd_root, chosen.corpus_root)


def _planned(experiment: files.Experiment, places: Places) -> list[Planned]:
    from brainram_lib.experiments.plan import known_times, plan

    store = Store(places.runs or default_runs())
    return plan(experiment, places, store, known_times(profile_of(experiment.profile).name, store))


def show_command(chosen: Arguments) -> None:
    """Print an experiment's saved records as tables: scores beside the paper's rows, differences, and their tests."""
    experiment, results = _saved(chosen)
    if chosen.format == "json":
        print(json.dumps(as_json(experiment, results, chosen.population), indent=1))
        return
    for table in tables(experiment, results, chosen.population):
        _print(table, chosen.format)


def claims_command(chosen: Arguments) -> None:
    """Say of each comparison that the paper's table makes whether it holds here, by the corrected test."""
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
    """The experiments there are: their rows, subjects and seeds, and whether records of them are there."""
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
    from brainram_lib.experiments.jobs import Places
    from brainram_lib.experiments.runner import run_job

    experiment = files.load(Path(chosen.experiment)).of(profile=chosen.profile)
    places = Places(chosen.runs, chosen.nsd_root, chosen.corpus_root)
    run_job(experiment, chosen.row, chosen.subject, chosen.seed, places)


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("experiment", help="tables as data: plan, run, show, claims, pages, list")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = _command(inner, "plan", plan_command)
    _which(plan)
    _places(plan)
    run = _command(inner, "run", run_command)
    _which(run)
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


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subjects", type=int, nargs="+", help="default: those of the file")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the file")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some of the rows; default: all")


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
    parser.add_argument("experiment", help="a TOML file, or the name of one in experiments/")
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
