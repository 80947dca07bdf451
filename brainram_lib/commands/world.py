"""`python -m brainram_lib world`: the embedded world and its shipped models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brainram_lib.commands.options import (
    Arguments,
    command,
    modality_option,
    runs_option,
    seed_option,
    stage,
    workbench_of,
)

# How the shipped models were trained: scenes, minutes on one CPU core (the decoder and the generator's last two
# phases had two), peak learning rate.
RECIPES = {
    "clip": (60_000, 51.0, 1e-3),
    "autoencoder": (60_000, 22.0, 2e-3),
    "decoder": (36_000, 30.0, 1e-3),
    "generator": (72_000, 514.0, 1.2e-3),
}


def make(chosen: Arguments) -> None:
    """Write the embedded world's stimuli and the subject's simulated sessions in NSD's layout."""
    print(f"NSD layout: {workbench_of(chosen).layout.root}")


def sprites(chosen: Arguments) -> None:
    """Draw the shipped sprite atlases anew from emoji fonts; without Noto's only that of unseen categories."""
    from brainram_lib.world.sprites import ATLAS, UNSEEN, build_atlas, build_unseen_atlas

    print(f"{build_unseen_atlas(chosen.openmoji)} sprites in {UNSEEN}")
    if chosen.noto is not None:
        print(f"{build_atlas(chosen.openmoji, chosen.noto)} sprites in {ATLAS}")


def train(chosen: Arguments) -> None:
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


def train_prior(chosen: Arguments) -> None:
    """Train the network that the embedded world's priors of one modality start from; resumes after an interruption."""
    from brainram_lib.recipes import prior
    from brainram_lib.recipes.training import Budget
    from brainram_lib.workbench import Workbench

    budget, workbench = Budget(chosen.steps, chosen.minutes, chosen.rate), Workbench("mini", runs=chosen.runs)
    for modality in chosen.modality:
        prior.train(modality, workbench, chosen.work, budget, chosen.seed)


def train_probe(chosen: Arguments) -> None:
    """Train the shipped category probe anew, after the generator."""
    from brainram_lib.recipes.probe import train_probe
    from brainram_lib.workbench import Workbench

    probe = train_probe(chosen.work, chosen.scenes, Workbench("mini").generator)
    print(f"named on held-out scenes: {probe.held_out:.2f}")


def report(chosen: Arguments) -> None:
    """Measure what the embedded world and the method on it reach, next to what they must reach."""
    from brainram_lib.recipes.report import report_text, world_report

    print(report_text(world_report(workbench_of(chosen))))


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser("world", help="the embedded world and its shipped models")
    commands = parser.add_subparsers(required=True)
    stage(commands, "make", make)
    stage(commands, "report", report)
    drawn = command(commands, "sprites", sprites)
    drawn.add_argument("--openmoji", type=Path, required=True, metavar="FONT", help="OpenMoji's colour font")
    drawn.add_argument("--noto", type=Path, metavar="FONT", help="Noto Color Emoji; default: leave that atlas alone")
    for model in RECIPES:
        _add_training(command(commands, f"train-{model}", train), model)
    start = command(commands, "train-prior", train_prior)
    modality_option(start)
    seed_option(start)
    runs_option(start)
    start.add_argument("--work", type=Path, default=Path("runs/mini_models"), help="checkpoints")
    start.add_argument("--steps", type=int, default=100_000, help="at most; default: 100000")
    start.add_argument("--minutes", type=float, default=45.0, help="at most, each; default: 45")
    start.add_argument("--rate", type=float, default=1e-3, help="peak learning rate; default: 0.001")
    probe = command(commands, "train-probe", train_probe)
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
    seed_option(parser)
    if model == "generator":
        parser.add_argument("--batch-factor", type=int, default=1, help="larger batches, for a GPU; default: 1")
