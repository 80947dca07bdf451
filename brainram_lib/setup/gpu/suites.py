"""What runs as processes of their own: the tests, some files at a time, and the rehearsal of the paper's profile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from brainram_lib.setup.gpu.record import DONE, PAUSED, Record, Row
from brainram_lib.setup.gpu.sizes import GpuSizes
from brainram_lib.setup.rehearsal.run import RECORD as REHEARSAL

ROOT = Path(__file__).resolve().parents[3]
# Where moves between devices show first.
FIRST = (
    "test_gpu_card.py",
    "test_devices_moves.py",
    "test_stage1_mamba.py",
    "test_core_loop.py",
    "test_stages_streams.py",
    "test_generation_sampling.py",
)
TOGETHER, GRACE = 8, 20.0
# Of a file's tests the count of each outcome, and the names of those that failed.
COUNTS = ("passed", "failed", "skipped")


def run_tests(sizes: GpuSizes, record: Record, work: Path, until: float) -> None:
    """The test files that are left, a few in a process; those that a deadline cuts off are run again, fewer together.

    Raises:
        FileNotFoundError: no tests are here; an installed package has none.
    """
    files = _files(sizes)
    found = record.kept.setdefault("files", {})
    while left := [name for name in files if name not in found]:
        seconds = until - time.time()
        if seconds < GRACE:
            break
        some = left[: record.kept.setdefault("together", TOGETHER)]
        counted = _tested(some, work, seconds)
        if counted is None and len(some) > 1:
            record.kept["together"] = len(some) // 2
            break
        found |= counted or {some[0]: {**dict.fromkeys(COUNTS, 0), "failed": 1, "names": ["took too long"]}}
    record.rows = _rows(files, found)
    record.state = DONE if all(name in found for name in files) else PAUSED


def _files(sizes: GpuSizes) -> list[str]:
    folder = ROOT / "tests"
    if not folder.is_dir():
        raise FileNotFoundError(f"there are no tests at '{folder}': run the command in a checkout of the project.")
    if sizes.tests is not None:
        return list(sizes.tests)
    every = sorted(str(path.relative_to(folder)) for path in folder.rglob("test_*.py"))
    first = [name for name in FIRST if name in every]
    return first + [name for name in every if name not in first]


def _tested(names: Sequence[str], work: Path, seconds: float) -> dict[str, dict] | None:
    """{file: counts} of one process; None where it was stopped."""
    report = work.absolute() / "tests.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    paths = [str(ROOT / "tests" / name) for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", f"--junitxml={report}", *paths]
    if not _finished(command, seconds) or not report.is_file():
        return None
    found = {name: {**dict.fromkeys(COUNTS, 0), "names": []} for name in names}
    for case in ElementTree.parse(report).iter("testcase"):
        name = _file_of(case.get("classname", ""), names)
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[name][outcome] += 1
        if outcome == "failed":
            found[name]["names"].append(case.get("name"))
    return found


def _file_of(classname: str, names: Sequence[str]) -> str:
    """'tests.hostile.test_pictures' -> 'hostile/test_pictures.py'."""
    return next((one for one in names if one.removesuffix(".py").split("/")[-1] in classname.split(".")), names[0])


def _rows(files: Sequence[str], found: dict[str, dict]) -> list[Row]:
    totals = {one: sum(counts[one] for counts in found.values()) for one in COUNTS}
    failed = [f"{name}: {', '.join(counts['names'][:5])}" for name, counts in found.items() if counts["names"]]
    rows = [Row(f"tests {one}", totals[one], "") for one in COUNTS]
    return [*rows, Row("files", len(found), "", f"of {len(files)}"), *(Row("failed", None, "", one) for one in failed)]


def run_rehearsal(sizes: GpuSizes, record: Record, work: Path, until: float) -> None:
    """The rehearsal of the paper's profile, as far as the time goes; its own record says what is done."""
    folder = work.absolute() / "rehearsal"
    command = [sys.executable, "-m", "brainram_lib", "rehearsal", "--out", str(folder), "--sizes", sizes.name]
    ended = _finished(command, until - time.time(), expected=(0,))
    path = folder / REHEARSAL
    steps = json.loads(path.read_text())["steps"] if path.is_file() else []
    record.rows = [
        Row(step["step"], step["wall_seconds"], "s", f"GPU memory {step['peak_gpu_gib']} GiB")
        for step in steps
        if step["done"]
    ]
    record.state = DONE if ended else PAUSED


def _finished(command: Sequence[str], seconds: float, expected: Sequence[int] = (0, 1)) -> bool:
    """Run a process for at most so long, then stop it as Ctrl-C does; whether it ended by itself.

    Raises:
        RuntimeError: it ended with another status than is expected.
    """
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True)
    try:
        status = process.wait(max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        _stop(process)
        return False
    except KeyboardInterrupt:
        _stop(process)
        raise
    if status not in expected:
        raise RuntimeError(f"'{' '.join(command[1:5])} ...' ended with status {status}; its own message stands above.")
    return True


def _stop(process: subprocess.Popen) -> None:
    """Ask the process and those that it started to stop, then make them."""
    for asked, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, asked)
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
