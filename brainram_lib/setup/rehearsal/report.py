"""What a rehearsal measured, as `rehearsal.md`: steps, stages with their arrays, and sizes on disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from brainram_lib.core.files import write_whole
from brainram_lib.core.measure import GIB
from brainram_lib.core.store import RECORD as STAGE_RECORD

REPORT = "rehearsal.md"
PREAMBLE = """\
# Rehearsal of the profile `paper`, sizes `{sizes}`

Random betas, pictures and weights in files of the real formats: what is shown is that it runs, how long and in how
much memory. **No score of a rehearsal means anything.** Shortened against the paper's profile: see
`rehearsal_profile.json`.

{machine}.

A step is a process; its memory is the most that it or its notebook's kernel held. A stage is a saved result. CPU
time adds all cores, and does not grow when other programs take turns. GPU memory of a step is the card's (nvidia-smi),
of a stage torch's.
"""
MEASURES = ("time", "CPU time", "peak memory", "peak GPU memory")
FOLDERS = {
    "nsd": "NSD subject",
    "hub": "CLIP and Versatile Diffusion in the hub's cache, float16",
    "torch": "the metrics' networks",
    "corpus": "corpus",
    "runs": "saved results",
}


def machine() -> dict[str, Any]:
    """CPU cores, memory, GPU and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "gpu": _gpu_name(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def _gpu_name() -> str | None:
    if not shutil.which("nvidia-smi"):
        return None
    asked = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return asked.stdout.strip().splitlines()[0] if asked.returncode == 0 and asked.stdout.strip() else None


def write_report(root: Path, record: Mapping[str, Any]) -> Path:
    """Write `rehearsal.md` beside the record and return its path."""
    host = record["machine"]
    words = f"CPU cores: {host['cores']}, {host['memory_gib']} GiB of memory, GPU: {host['gpu'] or 'none'}, "
    words += f"Python {host['python']}, torch {host['torch']}"
    parts = [PREAMBLE.format(sizes=record["sizes"], machine=words)]
    parts += ["## Steps\n", _table(("step", *MEASURES), map(_step_row, record["steps"]))]
    parts += ["## Stages\n", _table(("stage", *MEASURES, "arrays"), _stages(root))]
    parts += ["## On disk\n", _table(("folder", "what", "size"), _folders(root))]
    with write_whole(root / REPORT) as partial:
        partial.write_text("\n".join(parts))
    return root / REPORT


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _step_row(row: Mapping[str, Any]) -> list[str]:
    again = f" (begun {row['attempts']} times; the last)" if row["attempts"] > 1 else ""
    return [row["step"] + again, *_measures(row)]


def _measures(row: Mapping[str, Any]) -> list[str]:
    gpu = row["peak_gpu_gib"]
    times = [_spoken(row["wall_seconds"]), _spoken(row["cpu_seconds"])]
    return [*times, f"{row['peak_memory_gib']:.1f} GiB", "-" if gpu is None else f"{gpu:.1f} GiB"]


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _stages(root: Path) -> Iterator[list[str]]:
    """The saved results in the order in which they were made."""
    paths = [path for path in (root / "runs").rglob(STAGE_RECORD) if ".partial" not in path.parent.name]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        stage = json.loads(path.read_text())
        yield [stage["stage"], *_measures(stage), "; ".join(_arrays(path.parent))]


def _arrays(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        yield f"{path.stem} {array.dtype} {array.shape}"


def _folders(root: Path) -> Iterator[list[str]]:
    for name, what in FOLDERS.items():
        held = sum(path.stat().st_blocks * 512 for path in (root / name).rglob("*") if path.is_file()) / GIB
        yield [f"{name}/", what, f"{held:.2f} GiB"]
