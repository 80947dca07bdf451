"""How published evaluations score reconstructions, as named presets: resizing, direction of comparison, blending.

Each follows the code or the paper that its name says, as far as that is public; `differences` says where it does not.
docs/scoring.md shows them side by side. Numbers of different presets do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from brainram_lib.evaluation.catalogue import Metric
from brainram_lib.evaluation.images import Resizing

OWN, RESIZED = "own", "resized"
# One-dimensional SSIMs averaged over columns are not measured by any preset.
_SSIM = (
    "SSIM is the two-dimensional one; with scikit-image before 0.20 that code's call averaged one-dimensional SSIMs "
    "over columns"
)


@dataclass(frozen=True)
class Preset:
    """One way to score.

    Attributes:
        name: as the command line calls it.
        source: whose code or paper it follows.
        resizing: of pixels and of the networks' input.
        clip: 'own': CLIP's own preprocessing (bicubic, from the image as it is); 'resized': as the other networks.
        among: whether two-way identification compares over the real images or over the reconstructions.
        comparisons: the kinds of metrics that the source measures; None: all.
        layers: layer of a metric -> the layer that the source takes instead.
        images: test images that the source scores.
        blend: the share of the reconstruction where a blurry one is blended in before all metrics; None: never.
        differences: what is done differently from the source.
    """

    name: str
    source: str
    resizing: Resizing
    images: int
    clip: Literal["own", "resized"] = RESIZED
    among: Literal["reals", "reconstructions"] = "reals"
    comparisons: tuple[str, ...] | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    blend: float | None = None
    differences: tuple[str, ...] = ()

    def metrics(self, of: tuple[Metric, ...]) -> tuple[Metric, ...]:
        """The metrics of a set that the source measures, with the layers that it uses."""
        kept = [one for one in of if self.comparisons is None or one.comparison in self.comparisons]
        return tuple(replace(one, layer=self.layers.get(one.layer, one.layer)) for one in kept)

    def said(self) -> list[str]:
        """What a table says below its rows."""
        notes = [f"Preset {self.name}, after {self.source}: {self.resizing.said()}; {self._clip_said()}."]
        if self.among == "reconstructions":
            notes.append("Two-way identification compares over reconstructions: of each real image, its own wins.")
        notes += [f"Otherwise than there: {one}." for one in self.differences]
        return notes

    def _clip_said(self) -> str:
        return "CLIP has its own preprocessing" if self.clip == OWN else "CLIP's input is resized as the others'"


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "brainram",
            "section 4.3 of BrainRAM",
            Resizing(),
            images=982,
            clip=OWN,
            differences=(
                "the paper does not say how images are resized; sizes are MindEye's, shrinking smooths first",
                _SSIM,
            ),
        ),
        Preset(
            "mindeye",
            "Reconstruction_Metrics.py of MedARC-AI/fMRI-reconstruction-NSD",
            # its set-up pins torchvision 0.15.2, whose tensor Resize does not smooth
            Resizing(antialias=False),
            images=982,
            differences=(_SSIM,),
        ),
        Preset(
            "mindeye2",
            "final_evaluations.ipynb of MedARC-AI/MindEyeV2",
            # torch 2.0.1, and so the same
            Resizing(antialias=False),
            images=1000,
            blend=0.75,
            differences=("blended images are rounded to 8 bits", _SSIM),
        ),
        Preset(
            "brain-diffuser",
            "eval_extract_features.py and evaluate_reconstruction.py of ozcelikfu/brain-diffuser",
            Resizing(first=None, network=224, pixel_interpolation="bicubic"),
            images=982,
            differences=("resizing works on floats and does not round to 8 bits as PIL's does", _SSIM),
        ),
        Preset(
            "takagi",
            "codes/utils of yu-takagi/StableDiffusionReconstruction",
            Resizing(first=None, network=299, crop=True),
            images=982,
            clip=OWN,
            among="reconstructions",
            comparisons=("two_way",),
            layers={"conv2": "pool2", "conv5": "pool5"},
            differences=(
                "one image of each stimulus is scored; there, correlations of five samples are averaged",
                "resizing works on floats and does not round to 8 bits as PIL's does",
            ),
        ),
    )
}


def preset_of(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"'preset' must be one of {', '.join(PRESETS)}. '{name}' was provided.")
    return PRESETS[name]
