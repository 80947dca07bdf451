"""The embedded world's trainings on the card, in slices: each call trains until its time is up, the next goes on.

Weights go to the folder of results, never into the package, with the record of their recipe and what the shipped ones
and the new ones reach on the report's scenes (generator) or on validation images (priors). A file is below 16 MiB.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainram_lib.profiles import MINI, changed
from brainram_lib.recipes import generator, prior
from brainram_lib.recipes.recogniser import BUDGET as RECOGNISER
from brainram_lib.recipes.report import Scenes, model_rows
from brainram_lib.recipes.training import Budget, Paused
from brainram_lib.setup.gpu.record import DONE, PAUSED, Record, Row
from brainram_lib.setup.gpu.sizes import GpuSizes
from brainram_lib.workbench import Workbench

RATE, PRIOR_RATE, SEED = 1.2e-3, 1e-3, 0
# Minutes do not end the generator's training: its steps do.
DAY = 24 * 60.0
MOST = 16 * 2**20


def train_generator(sizes: GpuSizes, record: Record, out: Path, work: Path, until: float) -> None:
    """The mini generator's denoiser. The shipped one is measured first, the new one when its training is done."""
    budget = Budget(sizes.steps, DAY, RATE, until)
    recipe = {"recipe": "world train-generator", "scenes": sizes.scenes, "seed": SEED, **_of(budget)}
    recipe["batch_factor"] = sizes.batch_factor
    if "before" not in record.kept:
        record.kept |= recipe | {"before": _reached(sizes, work, MINI.generation.checkpoint)}
    folder = out / "weights/mini_generator"
    try:
        recogniser = Budget(sizes.recogniser, DAY, RECOGNISER.peak_rate)
        how = {"seed": SEED, "assets": folder, "recognised": recogniser, "batch_factor": sizes.batch_factor}
        generator.train(work, scenes=sizes.scenes, budget=budget, **how)
    except Paused as paused:
        record.state, record.kept["at"] = PAUSED, str(paused)
        record.rows = [Row("training", None, "", str(paused))]
        return
    _check_sizes(folder)
    record.kept["after"] = _reached(sizes, work, str(folder.absolute()))
    record.rows = [
        Row(f"{what}, {when}", None, "", said)
        for when in ("before", "after")
        for what, said in record.kept[when].items()
    ]
    record.state = DONE


def train_prior(modality: str, sizes: GpuSizes, record: Record, out: Path, work: Path, until: float) -> None:
    """The network that one modality's prior begins with, on subject 1's training images and the corpus."""
    budget = Budget(100_000, sizes.minutes, PRIOR_RATE, until)
    record.kept |= {"recipe": f"world train-prior --modality {modality}", "seed": SEED, **_of(budget)}
    workbench = Workbench(sizes.mini, runs=work / "runs", world=sizes.world)
    try:
        path = prior.train(modality, workbench, work, budget, SEED, out / "weights/mini_prior")
    except Paused as paused:
        record.state, record.kept["at"] = PAUSED, str(paused)
        record.rows = [Row("training", None, "", str(paused))]
        return
    _check_sizes(path.parent)
    # one start after the other on the same validation images
    errors = prior.errors_of_starts(modality, workbench, (prior.FOLDER, path.parent))
    names = ("before", "after")
    record.rows = [Row(f"validation error of the mean, {one}", e, "") for one, e in zip(names, errors, strict=True)]
    record.state = DONE


def _of(budget: Budget) -> dict[str, Any]:
    return {name: value for name, value in asdict(budget).items() if name != "until"}


def _reached(sizes: GpuSizes, work: Path, checkpoint: str) -> dict[str, str]:
    """The report's rows of a generator."""
    workbench = Workbench(changed(sizes.mini, generation__checkpoint=checkpoint), runs=work / "runs")
    rows = model_rows(workbench.encoder, workbench.generator, Scenes.of(sizes.report), workbench.profile.metrics)
    return {row.what: row.measured for row in rows}


def _check_sizes(folder: Path) -> None:
    large = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > MOST]
    if large:
        raise ValueError(f"'{large[0]}' has {large[0].stat().st_size >> 20} MiB; at most {MOST >> 20} come home.")
