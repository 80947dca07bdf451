"""Which digits repeat on another machine: the estimates' scores made again from saved trainings, beside the saved ones.

    ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 \\
        python benchmarks/bench_repeat.py --runs runs [--train text]

The variables stand for another machine: other vector instructions and another number of threads add in another order.
Ridge, samples, search, refined estimates and scores are made again; the trainings are taken as they are, but for the
fusion of `--train`, which is trained again. The runs are copied by hard links, so they must lie on one file system
with `--work`, and stay as they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import pandas
import torch

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.pipeline.scores import EstimateScores
from brainram_lib.systems import system_of
from brainram_lib.systems.scores import stages_of
from brainram_lib.workbench import Workbench


def forget(workbench: Workbench, systems: tuple[str, ...], trained: list[str]) -> None:
    """Delete what is to be made again from a copied folder of results."""
    run = workbench.run
    stages = [run.neighbours("image"), *map(run.fusion, trained)]
    for modality in MODALITIES:
        stages += [run.ridge(modality), run.estimates(modality), run.refined(modality)]
    scored = [stage for name in systems for stage in stages_of(run, system_of(name))]
    for stage in stages + [stage for stage in scored if isinstance(stage, EstimateScores)]:
        shutil.rmtree(workbench.store.folder(stage), ignore_errors=True)


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of saved results of subject 1, seed 0")
    parser.add_argument("--work", type=Path, default=Path("runs_again"), help="folder of the copy; default: runs_again")
    parser.add_argument("--train", nargs="*", choices=MODALITIES, default=[], help="fusions that are trained again")
    given = parser.parse_args()
    shutil.copytree(given.runs, given.work, copy_function=os.link, symlinks=True)
    before, again = Workbench("mini", runs=given.runs), Workbench("mini", runs=given.work)
    method = before.profile.method
    systems = ("ridge", f"{method}-no-ram", method)
    saved = before.estimate_records(systems)
    if before.store.made:
        raise SystemExit(f"'{given.runs}' must hold subject 1's results; these were missing: {before.store.made}")
    forget(again, systems, given.train)
    rows = [
        {"system": a.system, "metric": a.metric, "saved": a.value, "again": b.value, "difference": b.value - a.value}
        for a, b in zip(saved, again.estimate_records(systems), strict=True)
    ]
    print(f"instructions {torch.backends.cpu.get_cpu_capability()}, threads {torch.get_num_threads()}")
    print(pandas.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
