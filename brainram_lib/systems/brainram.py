"""The two methods, told apart by name: BrainRAM as printed, and BrainRAM-plus with this workbench's additions.

Each also without Stage II (Table 3). On any profile `brainram` is as printed and `brainram-plus` has the additions.
"""

from __future__ import annotations

from brainram_lib.additions import BRAINRAM, PLUS
from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.finding import outputs, refined_outputs
from brainram_lib.systems.system import DECODER, Finds, System, Tokens, register


def refined(run: Run) -> Tokens:
    """p + q of both modalities."""
    return {modality: run.refined(modality) for modality in MODALITIES}


def estimates(run: Run) -> Tokens:
    """p of both modalities."""
    return {modality: run.estimates(modality) for modality in MODALITIES}


def finds(run: Run) -> Finds:
    """p + q of as many outputs as 5.2 draws."""
    return Finds(refined_outputs(run))


def stage1_finds(run: Run) -> Finds:
    """p of as many outputs."""
    return Finds(outputs(run, "image"))


def images(run: Run) -> Stage:
    """Guided by p + q and, where the profile says so, by a guiding neighbour."""
    return run.generated(refined(run), guided=True, label=f"generate, {run.profile.method}")


def stage1_images(run: Run) -> Stage:
    """Guided by p alone."""
    return run.generated(estimates(run), label=f"generate, {run.profile.method}-no-ram")


for order, method, title, source in (
    (8, BRAINRAM, "BrainRAM as printed", "section 3"),
    (10, PLUS, "BrainRAM-plus", "section 3 and this workbench's additions"),
):
    register(
        System(
            method,
            title,
            source,
            DECODER,
            order,
            lambda run, method=method: refined(run.of_method(method)),
            lambda run, method=method: images(run.of_method(method)),
            method=method,
            finds=lambda run, method=method: finds(run.of_method(method)),
        )
    )
    register(
        System(
            f"{method}-no-ram",
            f"{title}, without RAM",
            "section 4.5, Table 3",
            DECODER,
            order + 10,
            lambda run, method=method: estimates(run.of_method(method)),
            lambda run, method=method: stage1_images(run.of_method(method)),
            method=method,
            finds=lambda run, method=method: stage1_finds(run.of_method(method)),
        )
    )
