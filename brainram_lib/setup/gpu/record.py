"""What a stage measured: rows in a small JSON with the card, the driver and the versions, and the table of them all."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from brainram_lib.core.files import write_json, write_whole
from brainram_lib.core.store import library
from brainram_lib.setup.rehearsal.report import machine

TABLE = "gpu.md"
DONE, PAUSED, FAILED = "done", "goes on", "failed"
VERSIONS = ("torch", "torchvision", "diffusers", "open_clip_torch", "mamba-ssm")
SMALL_NOTE = "**Small sizes: a rehearsal of the command. No number here means anything.**\n\n"


@dataclass(frozen=True)
class Row:
    """One number: what it is, its value (None: there is none, `note` says why), its unit."""

    what: str
    value: float | None
    unit: str
    note: str = ""


@dataclass
class Record:
    """One stage's result.

    Attributes:
        stage: its name. state: 'done', 'goes on' (call again), or 'failed' (`problem` says why; call again).
        rows: what was measured. kept: what the stage needs to go on.
        seconds: over all calls. calls: how many.
        host: card, driver, versions, commit, of the last call.
    """

    stage: str
    small: bool
    state: str = PAUSED
    rows: list[Row] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0
    calls: int = 0
    host: dict[str, Any] = field(default_factory=dict)

    def save(self, out: Path) -> None:
        """Write it to the folder of results, whole."""
        write_json(out / f"{self.stage}.json", asdict(self))

    @classmethod
    def load(cls, out: Path, stage: str, small: bool) -> Record:
        """What an earlier call left, or an empty record.

        Raises:
            ValueError: the folder holds results of the other sizes.
        """
        path = out / f"{stage}.json"
        if not path.is_file():
            return cls(stage, small)
        read = json.loads(path.read_text())
        if read["small"] != small:
            sizes = "small" if read["small"] else "true"
            raise ValueError(f"'{path}' was measured at {sizes} sizes. Name another folder with --out, or delete it.")
        return cls(**{**read, "rows": [Row(**row) for row in read["rows"]]})


def host() -> dict[str, Any]:
    """The card with its driver and memory, the machine, versions, and this library's commit."""
    found = {**machine(), "driver": None, "gpu_memory_gib": None, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        found |= {"gpu": about.name, "gpu_memory_gib": round(about.total_memory / 2**30, 1), "driver": _driver()}
    return found | {"system": platform.platform(), "versions": _versions(), "library": library()}


def _driver() -> str | None:
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True)
    return asked.stdout.strip().splitlines()[0] if asked.returncode == 0 and asked.stdout.strip() else None


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def write_table(out: Path, records: Sequence[Record]) -> Path:
    """Write `gpu.md` and return its path."""
    lines = ["# Measured on a GPU\n\n", SMALL_NOTE if any(one.small for one in records) else ""]
    lines += [f"{words}.\n\n" for words in dict.fromkeys(_in_words(one.host) for one in records if one.host)]
    lines.append("| stage | what | value | unit | note |\n| --- | --- | --- | --- | --- |\n")
    for record in records:
        lines += [_line(record.stage, row) for row in record.rows]
        took = f"{record.seconds:.0f} s in {record.calls} calls"
        words = record.problem if record.state == FAILED else took
        lines.append(f"| **{record.stage}** | {record.state} | | | {_cell(words)} |\n")
    with write_whole(out / TABLE) as partial:
        partial.write_text("".join(lines))
    return out / TABLE


def _line(stage: str, row: Row) -> str:
    value = "–" if row.value is None else f"{row.value:.4g}"
    return f"| {stage} | {_cell(row.what)} | {value} | {row.unit} | {_cell(row.note)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def _in_words(about: Mapping[str, Any]) -> str:
    card = about.get("gpu") or "no GPU"
    if about.get("gpu_memory_gib"):
        card += f" ({about['gpu_memory_gib']} GiB)"
    versions = ", ".join(f"{name} {number or 'none'}" for name, number in about["versions"].items())
    commit = about["library"]["commit"] or about["library"]["version"]
    return (
        f"{card}, driver {about['driver'] or 'none'}, CUDA {about['cuda'] or 'none'}; {about['cores']} CPU cores, "
        f"{about['memory_gib']} GiB; Python {about['python']}, {versions}; commit {commit}"
    )
