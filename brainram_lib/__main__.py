"""The stages without a notebook: `python -m brainram_lib --help`.

Each command calls one method of the `Workbench`, which loads its saved result or makes it and what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainram_lib.core.modalities import MODALITIES

if TYPE_CHECKING:
    from brainram_lib.workbench import Workbench

INTERRUPTED = 130
EXECUTED = "runs/notebooks at the top of the checkout"
FAILED = 1
Arguments = argparse.Namespace
# How the shipped models were trained: scenes, minutes on one CPU core (the decoder and the generator's last two
# phases had two), peak learning rate.
RECIPES = {
    "clip": (60_000, 51.0, 1e-3),
    "autoencoder": (60_000, 22.0, 2e-3),
    "decoder": (36_000, 30.0, 1e-3),
    "generator": (72_000, 514.0, 1.2e-3),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 after a named error, 130 after Ctrl-C.

    An error with a remedy is printed as its one sentence; `--traceback` shows where it was raised as well.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    chosen = _parser(arguments).parse_args(arguments)
    try:
        return chosen.handler(chosen) or 0
    except KeyboardInterrupt:
        print("\nInterrupted. Finished stages are kept; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, e.g. `head`, has gone; nothing is wrong, and nothing can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as problem:
        if chosen.traceback:
            raise
        print(f"brainram_lib: {_sentence(problem)}", file=sys.stderr)
        return FAILED
    except Exception as problem:  # what nobody foresaw: one line for the user, the place with --traceback
        if chosen.traceback:
            raise
        said = " ".join(str(problem).split())[:300]
        print(
            f"brainram_lib: {type(problem).__name__}: {said} (--traceback shows where; please report it)",
            file=sys.stderr,
        )
        return FAILED


def _sentence(problem: Exception) -> str:
    text = str(problem) or type(problem).__name__
    return text if type(problem) is not RuntimeError else f"{text} (--traceback shows where)"


def _workbench(chosen: Arguments) -> Workbench:
    from brainram_lib.workbench import Workbench

    places = {"runs": chosen.runs, "nsd_root": chosen.nsd_root, "corpus_root": chosen.corpus_root}
    return Workbench(profile=chosen.profile, subject=chosen.subject, seed=chosen.seed, **places)


# --- handlers: what a command does ---


def world_make(chosen: Arguments) -> None:
    """Write the embedded world's stimuli and the subject's simulated sessions in NSD's layout."""
    print(f"NSD layout: {_workbench(chosen).layout.root}")


def world_sprites(chosen: Arguments) -> None:
    """Draw the shipped sprite atlases anew from emoji fonts; without Noto's only that of unseen categories."""
    from brainram_lib.world.sprites import ATLAS, UNSEEN, build_atlas, build_unseen_atlas

    print(f"{build_unseen_atlas(chosen.openmoji)} sprites in {UNSEEN}")
    if chosen.noto is not None:
        print(f"{build_atlas(chosen.openmoji, chosen.noto)} sprites in {ATLAS}")


def world_train(chosen: Arguments) -> None:
    """Train a shipped model of the embedded world anew; after an interruption the same command resumes."""
    from brainram_lib.recipes import autoencoder, clip, generator
    from brainram_lib.recipes.training import Budget

    train = {
        "clip": clip.train,
        "autoencoder": autoencoder.train,
        "decoder": autoencoder.train_decoder,
        "generator": generator.train,
    }[chosen.model]
    budget = Budget(chosen.steps, chosen.minutes, chosen.rate)
    more = {"batch_factor": chosen.batch_factor} if chosen.model == "generator" else {}
    train(chosen.work, scenes=chosen.scenes, budget=budget, seed=chosen.seed, **more)


def world_train_prior(chosen: Arguments) -> None:
    """Train the network that the embedded world's priors of one modality start from; resumes after an interruption."""
    from brainram_lib.recipes import prior
    from brainram_lib.recipes.training import Budget
    from brainram_lib.workbench import Workbench

    budget, workbench = Budget(chosen.steps, chosen.minutes, chosen.rate), Workbench("mini", runs=chosen.runs)
    for modality in chosen.modality:
        prior.train(modality, workbench, chosen.work, budget, chosen.seed)


def world_train_probe(chosen: Arguments) -> None:
    """Train the shipped category probe anew, after the generator."""
    from brainram_lib.recipes.probe import train_probe
    from brainram_lib.workbench import Workbench

    probe = train_probe(chosen.work, chosen.scenes, Workbench("mini").generator)
    print(f"named on held-out scenes: {probe.held_out:.2f}")


def world_report(chosen: Arguments) -> None:
    """Measure what the embedded world and the method on it reach, next to what they must reach."""
    from brainram_lib.recipes.report import report_text, world_report

    print(report_text(world_report(_workbench(chosen))))


def figures(chosen: Arguments) -> None:
    """Draw the committed figures from saved results, making what is missing."""
    from brainram_lib.figures import FOLDER, draw_all

    for path in draw_all(_workbench(chosen), chosen.out or FOLDER):
        print(path)


def nsd_check(chosen: Arguments) -> int:
    """Say which parts of NSD are present and which are missing, which notebook needs them, and what to fetch."""
    from brainram_lib.nsd.check import run

    return run(chosen)


def prepare(chosen: Arguments) -> None:
    """Prepare the subject's betas: z-score, split, mean over repetitions. Says how many of them the profile uses."""
    betas = _workbench(chosen).betas()
    print(f"(n_train, n_voxels) = {betas['train'].shape}, (n_test, n_voxels) = {betas['test'].shape}")


def prior(chosen: Arguments) -> None:
    """Stage I: train the projector and the diffusion prior, estimate the test images' tokens, say what was learned."""
    from brainram_lib.view.curves import found_said

    workbench = _workbench(chosen)
    for modality in chosen.modality:
        print(f"{modality} estimates (n, samples, tokens, width) = {workbench.estimates(modality, 'test').shape}")
        history = {f"{modality} prior": workbench.prior_history(modality)}
        print(found_said(history, workbench.profile.split.validation))


def ram(chosen: Arguments) -> None:
    """Stage II: retrieve neighbours, train the RAM, and refine the test images' estimates."""
    workbench = _workbench(chosen)
    for modality in chosen.modality:
        print(f"{modality} refined (n, samples, tokens, width) = {workbench.refined(modality).shape}")


def reconstruct(chosen: Arguments) -> None:
    """Generate the test images of one system."""
    workbench = _workbench(chosen)
    system = chosen.system or workbench.profile.method
    print(f"{system} (n, height, width, 3) = {workbench.reconstructions(system).shape}")


def scores(chosen: Arguments) -> None:
    """Score every system; print the tables, as text or markdown, or the records as JSON."""
    workbench = _workbench(chosen)
    if chosen.json:
        print(json.dumps([asdict(record) for record in workbench.records()], indent=1))
    else:
        tables = workbench.score_tables()
        print("\n".join(table.markdown() if chosen.markdown else table.text() for table in tables), end="")


def audit(chosen: Arguments) -> None:
    """Print what a reviewer asks: near-duplicates, retrieval, the split, ceilings, brain agreement, new stimuli."""
    how = {"images": not chosen.tokens, "folds": chosen.folds, "held_out": chosen.held_out}
    found = _workbench(chosen).audits(chosen.audits or None, **how)
    if chosen.json:
        said = {one.name: [asdict(record) for record in one.records] for one in found}
        print(json.dumps(said, indent=1))
    else:
        tables = [table for one in found for table in one.tables]
        print("\n".join(table.markdown() if chosen.markdown else table.text() for table in tables), end="")
    for sentence in (said for one in found for said in one.skipped):
        print(f"Not audited. {sentence}", file=sys.stderr)


def score(chosen: Arguments) -> None:
    """Score a folder of reconstructions that others made, named by nsdId, with the same metrics and intervals."""
    table = _workbench(chosen).submitted(chosen.folder, chosen.preset, chosen.blurry)
    print(table.markdown() if chosen.markdown else table.text(), end="")


def doctor(chosen: Arguments) -> int:
    """Check the environment, or with `--profile paper` all that real NSD needs: GPU, disk, files, weights, corpus."""
    from brainram_lib.profiles import profile_of
    from brainram_lib.setup.environment import report

    profile = profile_of(chosen.profile)
    if profile.source == "embedded-world":
        lines = report()
    else:
        from brainram_lib.setup.paper_needs import Needs, paper_report

        given = Needs(chosen.nsd_root, chosen.corpus_root, chosen.subject, chosen.checkpoint, chosen.runs)
        lines = paper_report(profile, given)
    bad = False
    for well, sentence in lines:
        print(f"{'ok' if well else '!!'} {sentence}", flush=True)
        bad |= not well
    return FAILED if bad else 0


def notebook_run(chosen: Arguments) -> None:
    """Execute notebooks in the order given, with parameters, and keep the executed copies."""
    from brainram_lib.setup.notebooks import parameters_of, parse_parameters, run_notebook

    parsed = [parse_parameters(chosen.parameters, parameters_of(path), path.name) for path in chosen.notebooks]
    for path, parameters in zip(chosen.notebooks, parsed, strict=True):
        run_notebook(path, _executed(chosen.out) / path.name, parameters)
    print(f"Executed: {', '.join(str(_executed(chosen.out) / path.name) for path in chosen.notebooks)}")


def _executed(folder: Path | None) -> Path:
    """The folder of executed notebooks: by default at the top of the checkout, wherever the command is typed."""
    from brainram_lib.core.store import default_runs

    return folder or default_runs() / "notebooks"


def notebook_times(chosen: Arguments) -> None:
    """Read how long executed notebooks took, and keep it in a small JSON that the documents are compared with."""
    from brainram_lib.setup.times import FILE, write_times

    out = chosen.out or FILE
    print("\n".join([*write_times(_executed(chosen.folder), out), f"Written: {out}"]))


def site(chosen: Arguments) -> None:
    """Build the documentation site from README, docs, notebooks and docstrings; `make docs` sets up what it needs."""
    from brainram_lib.setup.site.build import build

    print(f"Open {build(chosen.out, _executed(chosen.executed)) / 'index.html'}")


def rehearsal(chosen: Arguments) -> None:
    """Rehearse the paper's profile on files of the true sizes with random contents; resumes after an interruption."""
    from brainram_lib.setup.rehearsal.run import main as run

    run(chosen.out.absolute(), chosen.sizes, chosen.step)


# --- the parser ---


class NsdCheckParser(argparse.ArgumentParser):
    """Adds its options only when it is chosen, because the package that defines them loads slowly."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse."""
        from brainram_lib.nsd.check import add_arguments

        add_arguments(self)
        return super().parse_known_args(args, namespace)


class SystemNames:
    """The registered systems, looked up only when help is printed: they load slowly.

    Any name passes the parser, because a profile's file may add systems; the registry refuses unknown ones.
    """

    def __iter__(self) -> Iterator[str]:
        from brainram_lib.systems import systems

        return (system.name for system in systems())

    def __contains__(self, name: object) -> bool:
        return True


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    from brainram_lib.setup.own import add_to as add_own

    parser = argparse.ArgumentParser(
        prog="python -m brainram_lib",
        description="BrainRAM's stages; each makes what it needs, and reuses what is there.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_world(commands.add_parser("world", help="the embedded world and its shipped models"))
    nsd = commands.add_parser("nsd", help="the Natural Scenes Dataset's files")
    _command(nsd.add_subparsers(required=True, parser_class=NsdCheckParser), "check", nsd_check)
    _stage(commands, "prepare", prepare)
    _modality(_stage(commands, "prior", prior))
    _modality(_stage(commands, "ram", ram))
    _stage(commands, "reconstruct", reconstruct).add_argument(
        "--system", choices=SystemNames(), metavar="SYSTEM", help="%(choices)s; default: the profile's method"
    )
    printed = _stage(commands, "scores", scores).add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print the records as JSON")
    printed.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    scored = _stage(commands, "score", score)
    scored.add_argument("folder", type=Path, help="images called by their nsdId, or images.npy and nsd_ids.npy")
    scored.add_argument("--preset", default="brainram", help="brainram, mindeye, mindeye2, brain-diffuser or takagi")
    scored.add_argument("--blurry", type=Path, metavar="FOLDER", help="blurry images that 'mindeye2' blends in")
    scored.add_argument("--markdown", action="store_true", help="print the table as markdown")
    audited = _stage(commands, "audit", audit)
    audited.add_argument(
        "audits", nargs="*", metavar="AUDIT", help="duplicates, retrieval, split, ceiling, brain, stimuli; default: all"
    )
    audited.add_argument("--tokens", action="store_true", help="generate nothing: tokens and images that exist alone")
    audited.add_argument("--folds", type=int, default=1, choices=range(1, 6), help="held-out parts; default: 1")
    audited.add_argument(
        "--held-out", nargs="+", default=["ridge"], choices=SystemNames(), metavar="SYSTEM",
        help="systems that are trained again without clusters of stimuli; default: ridge",
    )  # fmt: skip
    shown = audited.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print the records as JSON")
    shown.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    drawn = _stage(commands, "figures", figures)
    drawn.add_argument("--out", type=Path, metavar="FOLDER", help="default: figures/")
    checked = _command(commands, "doctor", doctor)
    _data(checked)
    _runs(checked)
    checked.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="generator; default: in the hub's cache")
    add_own(commands)
    rehearsed = _command(commands, "rehearsal", rehearsal)
    rehearsed.add_argument("--out", type=Path, default=Path("runs/rehearsal"), help="default: runs/rehearsal")
    rehearsed.add_argument("--sizes", choices=("full", "small"), default="full", help="default: full (20 GiB of disk)")
    rehearsed.add_argument("--step", choices=("subject", "weights", "corpus"), help="write these files alone")
    notebook = commands.add_parser("notebook", help="notebooks without a browser").add_subparsers(required=True)
    _add_notebook_run(_command(notebook, "run", notebook_run))
    timed = _command(notebook, "times", notebook_times)
    timed.add_argument("folder", type=Path, nargs="?", help=f"default: {EXECUTED}")
    timed.add_argument("--out", type=Path, metavar="FILE", help="default: results/times.json")
    built = _command(commands, "site", site)
    built.add_argument("--out", type=Path, default=Path("site"), metavar="FOLDER", help="default: site")
    built.add_argument(
        "--executed", type=Path, metavar="FOLDER", help=f"executed copies of notebooks; default: {EXECUTED}"
    )  # fmt: skip
    if next((word for word in arguments if not word.startswith("-")), None) not in commands.choices:
        _add_late(commands)
    return parser


def _add_late(commands: Any) -> None:
    """The commands of packages that load slowly: a notebook whose parameters are refused need not wait for them."""
    from brainram_lib.experiments.command import add_to as add_experiments
    from brainram_lib.setup.gpu.command import add_to as add_gpu
    from brainram_lib.setup.saved import add_to as add_runs

    add_experiments(commands)
    add_runs(commands)
    add_gpu(commands)


def _command(commands: Any, name: str, handler: Callable[[Arguments], int | None]) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=handler.__doc__, description=handler.__doc__)
    parser.set_defaults(handler=handler)
    return parser


def _stage(commands: Any, name: str, handler: Callable[[Arguments], int | None]) -> argparse.ArgumentParser:
    parser = _command(commands, name, handler)
    _data(parser)
    _seed(parser)
    _runs(parser)
    return parser


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="mini", help="mini (the embedded world) or paper; default: mini")
    parser.add_argument("--subject", type=int, default=1, help="default: 1")
    parser.add_argument("--nsd-root", type=Path, metavar="FOLDER", help="NSD's files; mini makes its own")
    parser.add_argument("--corpus-root", type=Path, metavar="FOLDER", help="image-text corpus; mini makes its own")


def _seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")


def _modality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--modality", nargs="+", choices=MODALITIES, default=MODALITIES, help="default: both")


def _add_world(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True)
    _stage(commands, "make", world_make)
    _stage(commands, "report", world_report)
    sprites = _command(commands, "sprites", world_sprites)
    sprites.add_argument("--openmoji", type=Path, required=True, metavar="FONT", help="OpenMoji's colour font")
    sprites.add_argument("--noto", type=Path, metavar="FONT", help="Noto Color Emoji; default: leave that atlas alone")
    for model in RECIPES:
        _add_training(_command(commands, f"train-{model}", world_train), model)
    start = _command(commands, "train-prior", world_train_prior)
    _modality(start)
    _seed(start)
    _runs(start)
    start.add_argument("--work", type=Path, default=Path("runs/mini_models"), help="checkpoints")
    start.add_argument("--steps", type=int, default=100_000, help="at most; default: 100000")
    start.add_argument("--minutes", type=float, default=45.0, help="at most, each; default: 45")
    start.add_argument("--rate", type=float, default=1e-3, help="peak learning rate; default: 0.001")
    probe = _command(commands, "train-probe", world_train_probe)
    probe.add_argument("--work", type=Path, default=Path("runs/mini_models"), help="rendered scenes")
    probe.add_argument("--scenes", type=int, default=10_000, help="default: 10000")


def _add_training(parser: argparse.ArgumentParser, model: str) -> None:
    scenes, minutes, rate = RECIPES[model]
    parser.set_defaults(model=model)
    parser.add_argument("--work", type=Path, default=Path("runs/mini_models"), help="checkpoints and rendered scenes")
    parser.add_argument("--scenes", type=int, default=scenes, help=f"pictures to train on; default: {scenes}")
    parser.add_argument("--steps", type=int, default=100_000, help="at most; default: 100000")
    parser.add_argument("--minutes", type=float, default=minutes, help=f"at most; default: {minutes:.0f}")
    parser.add_argument("--rate", type=float, default=rate, help=f"peak learning rate; default: {rate}")
    _seed(parser)
    if model == "generator":
        parser.add_argument("--batch-factor", type=int, default=1, help="larger batches, for a GPU; default: 1")


def _add_notebook_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, help=f"folder of the executed copies; default: {EXECUTED}")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter"
    )


if __name__ == "__main__":
    sys.exit(main())
