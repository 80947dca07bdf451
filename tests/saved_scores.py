"""An experiment's records with the scores of its images, as tests of tables, tests and claims use them."""

from __future__ import annotations

import numpy as np

from brainram_lib.evaluation.records import records_of
from brainram_lib.experiments.per_image import PerImage, lines_of
from brainram_lib.experiments.results import Results, RowRecord

TABLE = """
name = "table4"
title = "A table"
reference = "ram"
paper_table = "4"
[[row]]
name = "average"
system = "ridge"
reported = "Average"
[[row]]
name = "cross"
system = "ridge"
reported = "Cross-Attention"
[[row]]
name = "twin"
system = "ridge"
[[row]]
name = "ram"
system = "ridge"
reported = "RAM"
"""
IMAGES = 70
ONE_RUN, RUNS = ((1, 0),), tuple((subject, seed) for subject in (1, 2, 5, 7) for seed in (0, 1))


def scores_of(run):
    """Scores of one run: 'average' trails 'ram' in PixCorr and leads in SSIM; 'twin' is 'ram' and lacks SSIM."""
    rng = np.random.default_rng(run)
    hard, noise = np.random.default_rng(0).normal(0, 0.1, IMAGES), rng.normal(0, 0.05, size=(3, 3, IMAGES))
    ram = {"pixcorr": 0.6 + hard + noise[0, 0], "ssim": 0.5 + noise[0, 1], "clip": (noise[0, 2] > 0) * 1.0}
    worse = {"pixcorr": ram["pixcorr"] - 0.1 + noise[1, 0], "ssim": 0.6 + noise[1, 1], "clip": (noise[1, 2] > 0) * 1.0}
    # 2.2 standard errors ahead: p is about .03, which a correction for six comparisons does not leave below .05
    ahead = noise[2, 0] - noise[2, 0].mean() + 2.2 * noise[2, 0].std() / np.sqrt(IMAGES)
    near = ram | {"pixcorr": ram["pixcorr"] + 0.1 * ahead}
    twin = {name: ram[name] for name in ("pixcorr", "clip")}
    return {"average": worse, "cross": near, "twin": twin, "ram": ram}


def results_of(table, runs=ONE_RUN, **of):
    values = {run: scores_of(run) for run in runs}
    lines = [
        lines_of(row, *run, np.arange(IMAGES) * 10, scores)
        for run, rows in values.items()
        for row, scores in rows.items()
    ]
    records = [
        RowRecord.of(table.name, row, one)
        for (subject, seed), rows in values.items()
        for row, scores in rows.items()
        for one in records_of("ridge", scores, subject=subject, seed=seed)
    ]
    said = {"profile": "mini", "simulated": True, "command": "x", "images": PerImage.of(lines)} | of
    return Results.of(table, records, [], {one.place: "key" for one in records}, **said)
