"""File names of NSD-synthetic, below the same root as NSD's own. Nothing here opens a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainram_lib.nsd.errors import LayoutError
from brainram_lib.nsd.layout import DEFAULT_SPACE, DEFAULT_VERSION, HEMISPHERES, SPACES, NsdLayout, subject_folder

EXPERIMENT = "nsdsynthetic"
VERSIONS = {"betas_fithrf": f"{EXPERIMENT}betas_fithrf", DEFAULT_VERSION: f"{EXPERIMENT}betas_fithrf_GLMdenoise_RR"}
"""NSD's beta version -> NSD-synthetic's folder of the same preparation."""


@dataclass(frozen=True)
class SyntheticLayout:
    """Every path of NSD-synthetic that is read here; none of them need exist.

    Attributes:
        nsd: the layout of the data set that it belongs to.
    """

    nsd: NsdLayout

    @property
    def root(self) -> Path:
        """The folder that holds `nsddata`."""
        return self.nsd.root

    @property
    def expdesign(self) -> Path:
        """nsdsynthetic_expdesign.mat: which image each trial shows (1-based), the same for every subject."""
        return self._experiment / f"{EXPERIMENT}_expdesign.mat"

    @property
    def information(self) -> Path:
        """nsdsyntheticimageinformation.csv: one row an image, in the order of their numbers, with its class."""
        return self._experiment / f"{EXPERIMENT}imageinformation.csv"

    @property
    def stimuli(self) -> Path:
        """nsdsynthetic_stimuli.hdf5: `imgBrick` of the images that all subjects saw."""
        return self._pictures / f"{EXPERIMENT}_stimuli.hdf5"

    def colour_stimuli(self, subject: int) -> Path:
        """nsdsynthetic_colorstimuli_subjAA.hdf5: `imgBrick` of the images whose colours were made for one subject."""
        return self._pictures / f"{EXPERIMENT}_colorstimuli_{subject_folder(subject)}.hdf5"

    def betas(
        self, subject: int, version: str = DEFAULT_VERSION, space: str = DEFAULT_SPACE, ext: str = "hdf5"
    ) -> tuple[Path, ...]:
        """The file of the session's betas: ext 'hdf5' or 'nii.gz'; on a surface one .mgh a hemisphere.

        Raises:
            LayoutError: a subject, space or kind of file that there is not, or a version of betas that NSD-synthetic
                was not prepared in.
        """
        if version not in VERSIONS:
            raise LayoutError(f"NSD-synthetic has betas of the versions {list(VERSIONS)}. {version!r} was asked for.")
        if space not in SPACES or ext not in ("hdf5", "nii.gz"):
            raise LayoutError(f"betas are in {list(SPACES)}, hdf5 or nii.gz. {space!r}, {ext!r} were asked for.")
        folder = self.root / "nsddata_betas" / "ppdata" / subject_folder(subject) / space / VERSIONS[version]
        if space == DEFAULT_SPACE:
            return (folder / f"betas_{EXPERIMENT}.{ext}",)
        return tuple(folder / f"{hemi}.betas_{EXPERIMENT}.mgh" for hemi in HEMISPHERES)

    @property
    def _experiment(self) -> Path:
        return self.root / "nsddata" / "experiments" / EXPERIMENT

    @property
    def _pictures(self) -> Path:
        return self.root / "nsddata_stimuli" / "stimuli" / EXPERIMENT
