"""Reading betas: this library's readers beside the usual routes, on a synthetic subject of NSD's real size.

    python benchmarks/bench_nsd_reading.py --root data/full_size --sessions 4 --repeats 3 --output runs/nsd_reading.json

Writes the subject first (1.4 GB a session) if it is not there. Every measurement is a process of its own, routes
alternate, and the ratio is taken within each round; the table gives the median ratio. `cold` drops the files' pages
from the cache first, `warm` reads them once before. Peak memory is the process's high-water mark less its state after
imports and less the result's size. All routes must give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from brainram_lib.core.files import write_json
from brainram_lib.nsd import betas, rois
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.world.full_size import write_full_size

READERS = {
    ("hdf5", "ours"): betas.read_hdf5,
    ("hdf5", "usual"): betas.read_hdf5_reference,
    ("nifti", "ours"): betas.read_nifti,
    ("nifti", "usual"): betas.read_nifti_reference,
}
REQUIRED_RATIO = {"hdf5": 10.0, "nifti": 2.0}
REQUIRED_BYTES = 2 << 30


def memory(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the high-water mark) of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def set_cache(paths: list[Path], state: str) -> None:
    """Fill the page cache with the files, or drop them from it."""
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            if state == "cold":
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                block = bytearray(1 << 22)
                while stream.readinto(block):
                    pass


def measure(root: Path, sessions: int, kind: str, route: str, state: str) -> dict[str, float | str]:
    """Read all sessions once, in this process."""
    layout = NsdLayout(root)
    ext = "hdf5" if kind == "hdf5" else "nii.gz"
    paths = [layout.betas_session(1, session, ext=ext) for session in range(1, sessions + 1)]
    mask = rois.read_mask(layout, 1, "nsdgeneral")
    set_cache(paths, state)
    before = memory("VmRSS")
    started = time.perf_counter()
    parts = [READERS[kind, route](path, mask) for path in paths]
    seconds = time.perf_counter() - started
    peak = memory("VmHWM") - before - sum(part.nbytes for part in parts)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    return {"seconds": seconds, "peak_above_result": max(0, peak), "digest": digest}


def measure_apart(arguments: argparse.Namespace, kind: str, route: str, state: str) -> dict[str, float | str]:
    """`measure` in a process of its own."""
    words = ["--root", str(arguments.root), "--sessions", str(arguments.sessions), "--measure", kind, route, state]
    done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One row for each kind of file and state of the cache."""
    rows = []
    rounds = [(kind, state) for kind in arguments.kinds for state in ("warm", "cold")]
    for kind, state in tqdm(rounds, desc="measurements"):
        pairs = [
            {route: measure_apart(arguments, kind, route, state) for route in ("ours", "usual")}
            for _ in range(arguments.repeats)
        ]
        rows.append({"kind": kind, "cache": state, "sessions": arguments.sessions, **summary(pairs)})
    return rows


def summary(pairs: list[dict[str, dict]]) -> dict[str, object]:
    """Medians over rounds, and whether every route gave the same bytes."""
    found: dict[str, object] = {
        f"{route}_seconds": statistics.median(pair[route]["seconds"] for pair in pairs) for route in ("ours", "usual")
    }
    found["ratio"] = statistics.median(pair["usual"]["seconds"] / pair["ours"]["seconds"] for pair in pairs)
    for route in ("ours", "usual"):
        found[f"{route}_peak_above_result"] = max(pair[route]["peak_above_result"] for pair in pairs)
    found["equal"] = len({run["digest"] for pair in pairs for run in pair.values()}) == 1
    return found


def passes(row: dict[str, object]) -> bool:
    """Whether a row is as fast, as small and as exact as it must be."""
    small = row["ours_peak_above_result"] <= REQUIRED_BYTES
    return small and row["equal"] and row["ratio"] >= REQUIRED_RATIO[row["kind"]]


def show(rows: list[dict[str, object]]) -> None:
    """Print the table."""
    print(f"{'file':6} {'cache':6} {'ours s':>8} {'usual s':>8} {'ratio':>7} {'ours MiB':>9} {'usual MiB':>9}")
    for row in rows:
        seconds = f"{row['ours_seconds']:8.2f} {row['usual_seconds']:8.2f} {row['ratio']:7.1f}"
        mib = [row[f"{route}_peak_above_result"] / (1 << 20) for route in ("ours", "usual")]
        verdict = f"{'equal' if row['equal'] else 'DIFFERENT'}{'' if passes(row) else ', MISSED'}"
        print(f"{row['kind']:6} {row['cache']:6} {seconds} {mib[0]:9.0f} {mib[1]:9.0f}  {verdict}")


def main() -> int:
    """Write what is missing, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=sorted(REQUIRED_RATIO), default=sorted(REQUIRED_RATIO))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("KIND", "ROUTE", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.root, arguments.sessions, *arguments.measure)))
        return 0
    write_full_size(arguments.root, arguments.sessions)
    rows = compare(arguments)
    show(rows)
    if arguments.output:
        write_json(arguments.output, rows)
    return 0 if all(passes(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
