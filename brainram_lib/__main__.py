"""`python -m brainram_lib --help`: the command line, put together of `brainram_lib.commands` and what packages add."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

INTERRUPTED = 130
FAILED = 1


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


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    from brainram_lib.commands import checks, notebooks, stages, world
    from brainram_lib.setup import own

    parser = argparse.ArgumentParser(
        prog="python -m brainram_lib",
        description="BrainRAM's stages; each makes what it needs, and reuses what is there.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (world, stages, checks, own, notebooks):
        group.add_to(commands)
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


if __name__ == "__main__":
    sys.exit(main())
