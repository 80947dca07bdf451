"""The committed figures: `python -m brainram_lib figures` draws them from saved results, making what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from brainram_lib.core.files import write_whole
from brainram_lib.evaluation.catalogue import metrics
from brainram_lib.evaluation.records import Record
from brainram_lib.experiments.experiment import ExperimentError, find, load
from brainram_lib.experiments.jobs import profile_of_row
from brainram_lib.experiments.results import RESULTS, Results
from brainram_lib.experiments.shown import labels_of, saved
from brainram_lib.pipeline.pictures import CHOSEN
from brainram_lib.systems import system_of
from brainram_lib.systems.finding import found
from brainram_lib.systems.scores import image_metrics
from brainram_lib.view.attribution import attribution_figure
from brainram_lib.view.cortex import inflated_map, on_cortex, regions_on_cortex
from brainram_lib.view.curves import loss_curves
from brainram_lib.view.denoising import denoising_figure
from brainram_lib.view.gallery import gallery, score_plot, with_guides
from brainram_lib.view.new_stimuli import new_stimuli_figure
from brainram_lib.view.retrieved import retrieved_figure
from brainram_lib.view.scaling import scaling_figure
from brainram_lib.view.tokens import weight_plot
from brainram_lib.workbench import Workbench

FOLDER = Path(__file__).resolve().parent.parent / "figures"
SHOWN = 24
# Figure 5: number of stimuli, and of images that each system retrieves for each.
ASKED, RETRIEVED = 8, 4
# Figures 2 and 4: rows of Table 1.
AS_PRINTED = "brainram-chosen"
COMPARED = {
    "gu": "Gu et al.",
    "mind-reader": "Mind Reader",
    "takagi": "Takagi &\nNishimoto",
    "brain-diffuser": "Brain-Diffuser",
    "mindeye": "MindEye",
    "ridge": "ridge",
    "ridge-guided": "ridge, guided\nby a neighbour",
    AS_PRINTED: "BrainRAM as\nprinted, hyper-\nparameters by\nvalidation",
    "brainram-plus": "BrainRAM-plus,\nguided too",
}
COMPARED_IMAGES = 12
# Lines of `recipe`: name of its rows -> name in the legend.
STAGES = {
    "ridge": "ridge",
    "printed": "BrainRAM as printed, hyperparameters by validation",
    "plus": "BrainRAM-plus",
}
RECIPE_METRICS = ("image_mse", "image_retrieval", "text_mse", "caption_retrieval")


class NotThere(Exception):
    """What a figure shows takes long to make and does not exist yet; the message says which command makes it."""


def scenes(workbench: Workbench) -> Figure:
    """The first test stimuli, each with a caption."""
    captions = [group[0] for group in workbench.captions("test")[:SHOWN]]
    return gallery({"stimulus": workbench.stimuli("test")[:SHOWN]}, wrap=6, captions=captions, title="Test stimuli")


def cortex(workbench: Workbench) -> Figure:
    """How much of the betas is signal, on the inflated cortex."""
    layout, data = workbench.layout, workbench.subject_data()
    outlines = regions_on_cortex(layout, data, ["nsdgeneral"])
    title = f"Signal and noise, subject {workbench.subject}"
    return inflated_map(on_cortex(layout, data, data.ncsnr), title, "ncsnr", outlines=outlines)


def ceilings(workbench: Workbench) -> Figure:
    """The best that the generator can do: from the autoencoder, both true tokens, and true text tokens alone."""
    stimuli = workbench.stimuli("test")[:SHOWN]
    tokens = workbench.tokens_of_system("ceiling")
    images, texts = (np.asarray(tokens[modality][:SHOWN, 0], np.float32) for modality in ("image", "text"))
    generator = workbench.generator
    rows = {"stimulus": stimuli, "autoencoder": generator.round_trip(stimuli)}
    rows["true tokens"] = workbench.reconstructions("ceiling")[:SHOWN]
    rows["true text alone"] = generator.generate(images, texts, "text alone", text_mix=1.0)
    return gallery(rows, title="Ceilings of the generator")


def reconstructions(workbench: Workbench) -> Figure:
    """The first test images, unselected, under every system that has pictures."""
    names = {
        "ridge": "ridge",
        "without RAM": "brainram-plus-no-ram",
        "nearest neighbour": "nearest-neighbour",
        "BrainRAM-plus": "brainram-plus",
        "true tokens": "ceiling",
    }
    rows = {"stimulus": workbench.stimuli("test")[:SHOWN]}
    rows |= {label: workbench.reconstructions(system)[:SHOWN] for label, system in names.items()}
    rows, small = with_guides(rows, {"BrainRAM-plus": workbench.guiding_images("brainram-plus")})
    title = f"Reconstructions, subject {workbench.subject}: the first {SHOWN} test images, unselected"
    return gallery(rows, title=title, small=small)


def table_one(workbench: Workbench) -> Figure:
    """Table 1 as dots and intervals: every row whose records are saved.

    Raises:
        NotThere: none of this subject and seed are.
    """
    try:
        experiment, results = saved("table1", workbench.profile.name, workbench.store.root)
    except ExperimentError as reason:
        raise NotThere(str(reason)) from reason
    asked = workbench.subject, workbench.seed
    records = [one.as_record() for one in results.records if (one.subject, one.seed) == asked]
    if not records:
        raise NotThere(f"Table 1 has no records of subject {asked[0]}, seed {asked[1]}: `experiment run table1`.")
    title = f"Table 1, subject {workbench.subject}: {workbench.profile.title}"
    return score_plot(records, image_metrics(workbench.run), title=title, labels=labels_of(experiment))


def training(workbench: Workbench) -> Figure:
    """Losses of Stage II. `denoising` shows the priors: one short epoch is no curve, and its loss has other units."""
    histories = {f"{m} RAM": workbench.fusion_history(m) for m in ("image", "text")}
    keys, title = ("mse", "val_mse", "val_mse_p"), "Squared error, whitened tokens"
    return loss_curves(histories, keys, title=title, ylabel="squared error")


def attribution(workbench: Workbench) -> Figure:
    """Which voxels drive the priors' estimates."""
    found = {f"{modality} tokens": workbench.attribution(modality) for modality in ("image", "text")}
    title = f"Which voxels drive the estimate, subject {workbench.subject}, the first test images"
    return attribution_figure(workbench.layout, workbench.subject_data(), found, title)


def ram_weights(workbench: Workbench) -> Figure:
    """Which sources the RAM weights."""
    weights = {m: workbench.fusion_weights(m) for m in ("image", "text")}
    return weight_plot(weights, "Mean weights of the RAM, test images")


def denoising(workbench: Workbench) -> Figure:
    """Whether the priors denoise."""
    errors = {f"{m} prior": workbench.calibration(m)[0] for m in ("image", "text")}
    return denoising_figure(errors, "Error of x_0 against noise, validation images")


def new_stimuli(workbench: Workbench) -> Figure:
    """The first stimuli of every other kind, unselected, above their reconstructions by decoders of ordinary scenes."""
    names = {"ridge": "ridge", "without RAM": "brainram-plus-no-ram", "BrainRAM-plus": "brainram-plus"}
    rows, kinds = workbench.new_stimuli(names, each=2)
    title = f"New kinds of stimuli, subject {workbench.subject}: the first two of each, unselected"
    return new_stimuli_figure(rows, kinds, title)


def retrieved(workbench: Workbench) -> Figure:
    """Figure 5: the first test stimuli, unselected, and the images that MindEye and BrainRAM-plus find for each.

    Raises:
        NotThere: MindEye's images have not been retrieved yet.
    """
    if workbench.store.find(found(workbench.run, system_of("mindeye"))) is None:
        raise NotThere(
            "MindEye's retrieved images are not there: `python -m brainram_lib experiment run table2 --rows mindeye` "
            "trains it and queries the corpus."
        )
    names = {"MindEye": "mindeye", "BrainRAM-plus": "brainram-plus"}
    images = {title: workbench.retrieved_images(name, ASKED, RETRIEVED) for title, name in names.items()}
    title = f"Retrieved from the corpus, subject {workbench.subject}: the first {ASKED} test stimuli, unselected"
    return retrieved_figure(workbench.stimuli("test")[:ASKED], images, title)


def compared(workbench: Workbench) -> Figure:
    """Figures 2 and 4: the first test images, unselected, as every compared system shows them.

    Raises:
        NotThere: one of them has generated nothing yet; BrainRAM as printed is then left out.
    """
    table = load(find("table1")).of([workbench.subject], [workbench.seed], list(COMPARED), workbench.profile.name)
    profiles = {row.name: profile_of_row(table, row) for row in table.rows}
    images = {
        row.name: system_of(row.system).images(replace(workbench.run, profile=profiles[row.name])) for row in table.rows
    }
    missing = [name for name in COMPARED if workbench.store.find(images[name]) is None]
    # as printed it trains for hours, and the others need not wait for it
    if set(missing) - {AS_PRINTED}:
        raise NotThere(
            f"Images of {', '.join(missing)} are not there: `python -m brainram_lib experiment run table1 --rows "
            f"{' '.join(missing)}` trains and generates."
        )
    rows = {"stimulus": workbench.stimuli("test")[:COMPARED_IMAGES]}
    rows |= {
        title: np.array(workbench.store.result(images[name]).array(CHOSEN)[:COMPARED_IMAGES])
        for name, title in COMPARED.items()
        if name not in missing
    }
    title = f"Compared systems, subject {workbench.subject}: the first {COMPARED_IMAGES} test images, unselected"
    return gallery(rows, title=title)


def recipe(workbench: Workbench) -> Figure:
    """Stage I against the number of training images, from the records of the experiment `recipe`.

    For one subject, so that all points are from the same brain: the one with the longest lines.

    Raises:
        NotThere: it has not been run.
    """
    path = RESULTS / workbench.profile.name / "recipe.json"
    if not path.is_file():
        raise NotThere(f"'{path.name}' is not there: `python -m brainram_lib experiment run recipe` trains for hours.")
    found: dict[int, dict[str, dict[int, dict[str, Record]]]] = {}
    for one in Results.read(path).records:
        system, _, count = one.row.rpartition("-")
        if count.isdigit() and system in STAGES:
            points = found.setdefault(one.subject, {}).setdefault(STAGES[system], {})
            points.setdefault(int(count), {})[one.metric] = one.as_record()
    subject = max(found, key=lambda one: (min(map(len, found[one].values())), -one))
    title = f"Stage I against the number of training images, subject {subject}: {workbench.profile.title}"
    return scaling_figure(found[subject], metrics(RECIPE_METRICS), title)


FIGURES: dict[str, Callable[[Workbench], Figure]] = {
    "scenes": scenes,
    "cortex": cortex,
    "ceilings": ceilings,
    "reconstructions": reconstructions,
    "table1": table_one,
    "training": training,
    "denoising": denoising,
    "attribution": attribution,
    "ram_weights": ram_weights,
    "new_stimuli": new_stimuli,
    "retrieved": retrieved,
    "compared": compared,
    "recipe": recipe,
}


def draw_all(workbench: Workbench, folder: Path = FOLDER) -> list[Path]:
    """Draw every figure of `FIGURES` into `folder` as PNG; report why any is left out."""
    paths = []
    for name, draw in tqdm(FIGURES.items(), desc="figures", unit="figure"):
        path = folder / f"{name}.png"
        try:
            figure = draw(workbench)
        except NotThere as reason:
            tqdm.write(f"'{path.name}' was not drawn. {reason}")
            continue
        with write_whole(path) as partial:
            figure.savefig(partial, dpi=110)
        paths.append(path)
    return paths
