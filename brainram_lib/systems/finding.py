"""Systems as Table 2 scores them: the image of each is one of the corpus that its estimate found (section 5.2)."""

from __future__ import annotations

from dataclasses import replace

from brainram_lib.core.store import Stage
from brainram_lib.pipeline.controls import Handed
from brainram_lib.pipeline.found import OUTPUTS, Found, FoundImage, OutputNeighbours, Outputs
from brainram_lib.pipeline.prior import Estimates
from brainram_lib.pipeline.ram import Refined
from brainram_lib.pipeline.run import Run
from brainram_lib.stage1.settings import MEAN
from brainram_lib.systems.system import SHOWN, Finds, System, Tokens


def finding(system: System) -> System:
    """The same system, whose image of each stimulus is one of the corpus that its estimate found.

    Its tokens are compared with the test images' as usual. A system that shows existing images stays as it is.

    Raises:
        ValueError: it estimates no image tokens.
    """
    if system.kind == SHOWN:
        return system
    _check(system)
    return replace(system, tokens=lambda run: _compared(run, system), images=lambda run: _shown(run, system))


def found(run: Run, system: System) -> Found:
    """The images that a system's outputs find in the corpus.

    Raises:
        ValueError: it estimates no image tokens.
    """
    _check(system)
    settings = run.profile.retrieval
    duplicates = run.duplicates if settings.exclude_duplicates else None
    return Found(_finds(run, system).asking, run.corpus, run.encoder, settings.index, settings.nprobe, duplicates)


def outputs(run: Run, modality: str) -> Estimates:
    """p, drawn as often as in 5.2; where p is the mean of all draws, that mean."""
    sampling = run.profile.sampling
    if sampling.kind == MEAN:
        return run.estimates(modality)
    return Outputs(run.prior(modality), replace(sampling, samples=OUTPUTS), run.seed)


def refined_outputs(run: Run) -> Refined:
    """p + q of every output's image tokens, by the fusion as it was trained.

    Raises:
        ValueError: the fusion shares neighbours among the samples of a stimulus, and there are more samples here.
    """
    if run.profile.sampling.kind == MEAN:
        return run.refined("image")
    if run.profile.stage2.pooled:
        raise ValueError(
            f"'stage2.pooled' shares the neighbours of {run.profile.sampling.samples} samples, and Table 2 draws "
            f"{OUTPUTS}: the fusion has no weights for so many. Set it to false for this table."
        )
    trained = run.fusion("image")
    image, text = outputs(run, "image"), outputs(run, "text")
    handed = OutputNeighbours.of(trained.found, image, text)
    return Refined(Handed.to(trained, handed, estimates=image, beside=None if trained.beside is None else text))


def _check(system: System) -> None:
    if system.finds is None and system.tokens is None:
        raise ValueError(
            f"the system '{system.name}' estimates no image tokens, so that it finds no images. Leave it out of tables "
            "of retrieval."
        )


def _finds(run: Run, system: System) -> Finds:
    return Finds(system.tokens(run)["image"]) if system.finds is None else system.finds(run)


def _compared(run: Run, system: System) -> Tokens:
    """The tokens that Table 1 scores too, if it has any; else the image tokens to compare."""
    if system.tokens is not None:
        return system.tokens(run)
    finds = _finds(run, system)
    return {"image": finds.compared or finds.asking}


def _shown(run: Run, system: System) -> Stage:
    finds = _finds(run, system)
    chosen = FoundImage(found(run, system), finds.choosing or finds.asking)
    return run.shuffled(chosen) if system.shuffled else chosen
