"""Pieces of the command line that commands share: how one is added, and the options of all stages."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainram_lib.core.modalities import MODALITIES

if TYPE_CHECKING:
    from brainram_lib.workbench import Workbench

Arguments = argparse.Namespace
Handler = Callable[[Arguments], int | None]


def command(commands: Any, name: str, handler: Handler) -> argparse.ArgumentParser:
    """Add a command, whose help is its handler's docstring."""
    parser = commands.add_parser(name, help=handler.__doc__, description=handler.__doc__)
    parser.set_defaults(handler=handler)
    return parser


def stage(commands: Any, name: str, handler: Handler) -> argparse.ArgumentParser:
    """Add a command with the options of a `Workbench`."""
    parser = command(commands, name, handler)
    data_options(parser)
    seed_option(parser)
    runs_option(parser)
    return parser


def data_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read: profile, subject and places."""
    parser.add_argument("--profile", default="mini", help="mini (the embedded world) or paper; default: mini")
    parser.add_argument("--subject", type=int, default=1, help="default: 1")
    parser.add_argument("--nsd-root", type=Path, metavar="FOLDER", help="NSD's files; mini makes its own")
    parser.add_argument("--corpus-root", type=Path, metavar="FOLDER", help="image-text corpus; mini makes its own")


def seed_option(parser: argparse.ArgumentParser) -> None:
    """Add the seed."""
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def runs_option(parser: argparse.ArgumentParser) -> None:
    """Add the folder of saved results."""
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where results are saved; default: runs/")


def modality_option(parser: argparse.ArgumentParser) -> None:
    """Add which of the two modalities."""
    parser.add_argument("--modality", nargs="+", choices=MODALITIES, default=MODALITIES, help="default: both")


def workbench_of(chosen: Arguments) -> Workbench:
    """The workbench that the options of `stage` describe."""
    from brainram_lib.workbench import Workbench

    places = {"runs": chosen.runs, "nsd_root": chosen.nsd_root, "corpus_root": chosen.corpus_root}
    return Workbench(profile=chosen.profile, subject=chosen.subject, seed=chosen.seed, **places)
