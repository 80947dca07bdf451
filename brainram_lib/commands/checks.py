"""`python -m brainram_lib nsd check`, `doctor` and `rehearsal`: whether all is there that a profile needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brainram_lib.commands.options import Arguments, command, data_options, runs_option

FAILED = 1


def nsd_check(chosen: Arguments) -> int:
    """Say which parts of NSD are present and which are missing, which notebook needs them, and what to fetch."""
    from brainram_lib.nsd.check import run

    return run(chosen)


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


def rehearsal(chosen: Arguments) -> None:
    """Rehearse the paper's profile on files of the true sizes with random contents; resumes after an interruption."""
    from brainram_lib.setup.rehearsal.run import main as run

    run(chosen.out.absolute(), chosen.sizes, chosen.step)


class NsdCheckParser(argparse.ArgumentParser):
    """Adds its options only when it is chosen, because the package that defines them loads slowly."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse."""
        from brainram_lib.nsd.check import add_arguments

        add_arguments(self)
        return super().parse_known_args(args, namespace)


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    nsd = commands.add_parser("nsd", help="the Natural Scenes Dataset's files")
    command(nsd.add_subparsers(required=True, parser_class=NsdCheckParser), "check", nsd_check)
    checked = command(commands, "doctor", doctor)
    data_options(checked)
    runs_option(checked)
    checked.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="generator; default: in the hub's cache")
    rehearsed = command(commands, "rehearsal", rehearsal)
    rehearsed.add_argument("--out", type=Path, default=Path("runs/rehearsal"), help="default: runs/rehearsal")
    rehearsed.add_argument("--sizes", choices=("full", "small"), default="full", help="default: full (20 GiB of disk)")
    rehearsed.add_argument("--step", choices=("subject", "weights", "corpus"), help="write these files alone")
