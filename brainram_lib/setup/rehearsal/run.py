"""Running a rehearsal: every step in a process of its own, measured. What is done is not done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainram_lib.core.files import write_json
from brainram_lib.core.measure import GIB
from brainram_lib.encoders import load_encoder
from brainram_lib.profiles import profile_of
from brainram_lib.retrieval.writing import write_corpus
from brainram_lib.setup.rehearsal.pictures import corpus_items
from brainram_lib.setup.rehearsal.report import machine, write_report
from brainram_lib.setup.rehearsal.sizes import SMALL, Sizes, sizes_of
from brainram_lib.setup.rehearsal.subject import SUBJECT, write_subject
from brainram_lib.setup.rehearsal.watch import Watch
from brainram_lib.setup.rehearsal.weights import write_clip, write_generator, write_metric_networks, write_profile

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
RECORD = "rehearsal.json"
PROFILE = "rehearsal_profile.json"
# Side of the corpus's pictures, as img2dataset usually stores them.
CORPUS_SIDE = 256
INTERRUPTED = 130


class RehearsalError(RuntimeError):
    """A rehearsal cannot start, or one of its steps failed; the message says which and what to do."""


def rehearse(root: Path, sizes: Sizes, notebooks: Sequence[Path] | None = None) -> Path:
    """Write the files under `root`, run the notebooks on them, and return the report, `rehearsal.md`.

    Stopped, it goes on at the step that was not done; files and stages of that step are kept.

    Args:
        root: the rehearsal's folder.
        sizes: how large.
        notebooks: which; 01 to 05 if not given.

    Raises:
        RehearsalError: too little room on the disk or in memory, a folder of other sizes, or a step that failed.
        KeyboardInterrupt: after the running step has stopped.
    """
    root = Path(root).absolute()
    record = _begin(root, sizes)
    steps = _steps(root, sizes, _spine() if notebooks is None else notebooks)
    for name, command in steps.items():
        row = next((row for row in record["steps"] if row["step"] == name), None)
        if row is not None and row["done"]:
            print(f"{name}: done before")
            continue
        if row is None:
            record["steps"].append(row := {"step": name, "done": False, "attempts": 0})
        row["attempts"] += 1
        write_json(root / RECORD, record)
        print(f"{name}:", flush=True)
        row |= _measured(name, command, environment(root))
        row["done"] = True
        write_json(root / RECORD, record)
    return write_report(root, record)


def write_step(root: Path, sizes: Sizes, name: str) -> None:
    """One writing step, in this process: 'subject', 'weights' or 'corpus'.

    Raises:
        ValueError: another name.
    """
    if name == "subject":
        write_subject(root / "nsd", sizes)
    elif name == "weights":
        write_profile(root / PROFILE, sizes)
        write_clip(root / "hub", sizes.encoder)
        write_generator(root / "hub", sizes)
        write_metric_networks(root / "torch/hub/checkpoints", profile_of(str(root / PROFILE)).metrics)
    elif name == "corpus":
        encoder = load_encoder(sizes.encoder)
        items = corpus_items(sizes.corpus, CORPUS_SIDE)
        write_corpus(root / "corpus", items, encoder, encoder.image_size, sizes.shard)
    else:
        raise ValueError(f"'step' must be one of subject, weights, corpus. '{name}' was provided.")


def environment(root: Path) -> dict[str, str]:
    """The environment of every step: the rehearsal's own caches instead of the user's, and no network."""
    places = {"HF_HUB_CACHE": str(root / "hub"), "TORCH_HOME": str(root / "torch"), "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **places}


def _spine() -> list[Path]:
    found = sorted(NOTEBOOKS.glob("0[1-5]_*.ipynb"))
    if len(found) != 5:
        raise RehearsalError(f"notebooks 01 to 05 are not in '{NOTEBOOKS}'. Rehearse in a checkout of the project.")
    return found


def _steps(root: Path, sizes: Sizes, notebooks: Sequence[Path]) -> dict[str, list[str]]:
    """Step -> command."""
    program = [sys.executable, "-m", "brainram_lib"]
    steps = {
        f"write {name}": [*program, "rehearsal", "--out", str(root), "--sizes", sizes.name, "--step", name]
        for name in ("subject", "weights", "corpus")
    }
    places = {"profile": root / PROFILE, "subject": SUBJECT, "nsd_root": root / "nsd", "runs": root / "runs"}
    for path in notebooks:
        given = places | ({"corpus_root": root / "corpus"} if "corpus_root" in path.read_text() else {})
        pairs = [text for name, value in given.items() for text in ("-p", name, str(value))]
        steps[path.name] = [*program, "notebook", "run", str(path), "--out", str(root / "notebooks"), *pairs]
    return steps


def _begin(root: Path, sizes: Sizes) -> dict[str, Any]:
    """The record of a rehearsal that goes on, or a new one."""
    path = root / RECORD
    record = json.loads(path.read_text()) if path.exists() else None
    if record is not None and record["sizes"] != sizes.name:
        raise RehearsalError(
            f"'{root}' holds a rehearsal of the sizes '{record['sizes']}'; '{sizes.name}' was asked for. Name another "
            "folder, or delete it."
        )
    host = machine()
    # memory first: room on the disk can be made, memory cannot
    if host["memory_gib"] < sizes.memory:
        raise RehearsalError(
            f"a rehearsal of the sizes '{sizes.name}' holds up to {sizes.memory:.0f} GiB; this machine has "
            f"{host['memory_gib']}. --sizes small needs {SMALL.memory:.0f}."
        )
    root.mkdir(parents=True, exist_ok=True)
    check_room(root, sizes)
    return record or {"sizes": sizes.name, "machine": host, "steps": []}


def check_room(root: Path, sizes: Sizes) -> None:
    """Refuse to start on a disk that cannot hold the rehearsal; what is there already counts.

    Raises:
        RehearsalError: says how much is needed and how much is free.
    """
    there = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file()) / GIB
    free = shutil.disk_usage(root).free / GIB
    if there + free < sizes.disk:
        raise RehearsalError(
            f"a rehearsal of the sizes '{sizes.name}' needs {sizes.disk:.0f} GiB on the disk of '{root}'; {there:.1f} "
            f"are there already and {free:.1f} are free. Free some, or name a folder on another disk with --out."
        )


def _measured(name: str, command: Sequence[str], variables: Mapping[str, str]) -> dict[str, float | None]:
    """Run one step; its wall time and the most memory that one of its processes held."""
    started, worked = time.time(), _children_worked()
    process = subprocess.Popen(command, env=dict(variables))
    watch = Watch(process.pid)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        watch.stop()
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise RehearsalError(
            f"step '{name}' failed with status {status}; its own message stands above. What is done is kept: the same "
            "command goes on with this step."
        )
    took = {"wall_seconds": time.time() - started, "cpu_seconds": _children_worked() - worked}
    most = {"peak_memory_gib": round(watch.memory, 2), "peak_gpu_gib": watch.gpu}
    return {name: round(seconds, 1) for name, seconds in took.items()} | most


def _children_worked() -> float:
    """CPU time of the steps so far and of all that they started and waited for, s."""
    spent = os.times()
    return spent.children_user + spent.children_system


def main(root: Path, name: str, step: str | None) -> None:
    """What `python -m brainram_lib rehearsal` does: the whole rehearsal, or one writing step of it."""
    sizes = sizes_of(name)
    if step is None:
        print(rehearse(root, sizes).read_text())
    else:
        write_step(root, sizes, step)
