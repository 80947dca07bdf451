"""The stages in the order of their worth where time is short, and how they are run, kept and gone on with."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from brainram_lib.core.devices import accelerator
from brainram_lib.setup.gpu import equality, speed, suites, training
from brainram_lib.setup.gpu.record import DONE, FAILED, Record, host, write_table
from brainram_lib.setup.gpu.sizes import FULL, SMALL, GpuSizes

# Seconds that one stage may take in one call; the rest goes on in the next.
LIMIT = 540.0


@dataclass(frozen=True)
class Call:
    """What a stage is given: sizes, where it computes, the folder of results, one for large files, and its deadline."""

    sizes: GpuSizes
    device: torch.device
    out: Path
    work: Path
    until: float


def _card(call: Call, record: Record) -> None:
    """The card's own peak."""
    record.rows, record.state = speed.peak_rows(call.sizes, call.device), DONE


def _train_generator(call: Call, record: Record) -> None:
    """The mini generator, which limits every table of the embedded world."""
    training.train_generator(call.sizes, record, call.out, call.work, call.until)


def _train_prior_image(call: Call, record: Record) -> None:
    """The network of the image prior."""
    training.train_prior("image", call.sizes, record, call.out, call.work, call.until)


def _train_prior_text(call: Call, record: Record) -> None:
    """The network of the text prior."""
    training.train_prior("text", call.sizes, record, call.out, call.work, call.until)


def _steps(call: Call, record: Record) -> None:
    """A step of Stage I and of Stage II at true sizes; those that were measured before are kept."""
    done = record.kept.setdefault("kinds", 0)
    for number, rows in enumerate(speed.step_rows(call.sizes, call.device)):
        if number < done:
            continue
        record.rows += rows
        record.kept["kinds"] = number + 1
        if time.time() > call.until:
            return
    record.state = DONE


def _equality(call: Call, record: Record) -> None:
    """Whether the card computes what the CPU computes."""
    record.rows = equality.equality_rows(call.sizes, call.device)
    if wrong := equality.outside(record.rows):
        raise ValueError(f"{len(wrong)} of {len(record.rows)} differ from the CPU by more than their limit: {wrong}")
    record.state = DONE


def _tests(call: Call, record: Record) -> None:
    """The tests, those of devices first."""
    suites.run_tests(call.sizes, record, call.work, call.until)


def _generation(call: Call, record: Record) -> None:
    """Images a second of Versatile Diffusion."""
    record.rows, record.state = speed.generation_rows(call.sizes, call.device, call.until), DONE


def _rehearsal(call: Call, record: Record) -> None:
    """The paper's profile on files of the true sizes."""
    suites.run_rehearsal(call.sizes, record, call.work, call.until)


STAGES: dict[str, Callable[[Call, Record], None]] = {
    "card": _card,
    "train-generator": _train_generator,
    "train-prior-image": _train_prior_image,
    "train-prior-text": _train_prior_text,
    "steps": _steps,
    "equality": _equality,
    "tests": _tests,
    "generation": _generation,
    "rehearsal": _rehearsal,
}


def run(out: Path, work: Path, small: bool, only: Sequence[str] = (), limit: float = LIMIT) -> list[Record]:
    """Run the stages that are not done yet, or those of them that are named, and write the table.

    A stage that fails leaves its message and does not keep the others from running; what is done is not done again.

    Raises:
        ValueError: an unknown stage, or a folder that holds results of the other sizes.
        RuntimeError: true sizes without a GPU.
    """
    if unknown := sorted(set(only) - STAGES.keys()):
        raise ValueError(f"'only' must be of {', '.join(STAGES)}. '{unknown[0]}' was provided.")
    device, sizes = accelerator(), SMALL if small else FULL
    if not small and device.type != "cuda":
        raise RuntimeError("torch finds no GPU here, and true sizes need one. Rehearse on the CPU with --small.")
    out.mkdir(parents=True, exist_ok=True)
    records = [Record.load(out, name, small) for name in STAGES]
    for record in records:
        if record.state != DONE and (not only or record.stage in only):
            print(f"{record.stage}:", flush=True)
            _run_one(record, Call(sizes, device, out, work, time.time() + limit))
            write_table(out, [one for one in records if one.calls])
    return records


def _run_one(record: Record, call: Call) -> None:
    started = time.time()
    record.calls, record.problem, record.host = record.calls + 1, "", host()
    try:
        STAGES[record.stage](call, record)
    except Exception as problem:  # whatever a card, a driver or a network raises: the other stages are still wanted
        traceback.print_exc()
        record.state, record.problem = FAILED, f"{type(problem).__name__}: {str(problem)[:500]}"
    finally:
        record.seconds = round(record.seconds + time.time() - started, 1)
        record.save(call.out)
        if call.device.type == "cuda":
            torch.cuda.empty_cache()
    print(f"{record.stage}: {record.state}{f' ({record.problem})' if record.problem else ''}", flush=True)
