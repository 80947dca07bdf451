"""`python -m brainram_lib gpu`: parse, call, print."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

STAGES = (
    *("card", "train-generator", "train-prior-image", "train-prior-text"),
    *("steps", "equality", "tests", "generation", "rehearsal"),
)


def gpu(chosen: argparse.Namespace) -> int:
    """Measure and train on a GPU, stage by stage; each ends within minutes, and the same command goes on."""
    from brainram_lib.setup.gpu.record import FAILED, TABLE
    from brainram_lib.setup.gpu.run import run

    out = chosen.out or Path("runs/gpu-small" if chosen.small else "runs/gpu")
    work = chosen.work or out.with_name(f"{out.name}-work")
    records = run(out, work, chosen.small, chosen.only, chosen.limit)
    print((out / TABLE).read_text() if (out / TABLE).exists() else "Nothing was left to do.")
    return int(any(record.state == FAILED for record in records))


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("gpu", help=gpu.__doc__, description=gpu.__doc__)
    parser.set_defaults(handler=gpu)
    parser.add_argument("--small", action="store_true", help="smallest sizes, on a CPU too: whether every stage runs")
    parser.add_argument("--only", nargs="+", default=[], choices=STAGES, metavar="STAGE", help="%(choices)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="results, small files; default: runs/gpu")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="large files; default: OUT-work")
    parser.add_argument("--limit", type=float, default=540.0, help="seconds a stage may take in a call; default: 540")
