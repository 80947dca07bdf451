"""The Natural Scenes Dataset's file names: one method per path, relative to one root.

Nothing here opens a file. The reader of the real data set and the writer of the embedded world use the same names, so
whatever runs on one runs on the other. Source: the layout of NSD's data manual (Allen et al., 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from brainram_lib.nsd.errors import LayoutError

SUBJECTS = (1, 2, 3, 4, 5, 6, 7, 8)
HEMISPHERES = ("lh", "rh")
BETA_VERSIONS = ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR")
DEFAULT_VERSION = "betas_fithrf_GLMdenoise_RR"
SPACES = ("func1pt8mm", "fsaverage", "nativesurface")
DEFAULT_SPACE = "func1pt8mm"
CAPTION_SPLITS = ("train2017", "val2017")
LAYERS = ("layerB1", "layerB2", "layerB3")


def _one_of(what: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise LayoutError(f"{what} must be one of {list(allowed)}. {value!r} was provided.")


def subject_folder(subject: int) -> str:
    """NSD's name of a subject: 1 -> 'subj01'.

    Raises:
        LayoutError: NSD has no such subject (there are 1 to 8).
    """
    _one_of("subject", subject, SUBJECTS)
    return f"subj{subject:02d}"


def _folder(root: object) -> Path:
    """A root as a path; `~` is the home folder, and a number is a folder's name."""
    if isinstance(root, bool) or not isinstance(root, (str, int, PathLike)) or not str(root).strip():
        raise LayoutError(f"root must name NSD's folder. {root!r} was provided.")
    try:
        return Path(str(root)).expanduser()
    except RuntimeError as problem:
        raise LayoutError(
            f"root begins with a home folder that is not known ({problem}). {root!s} was given."
        ) from None


@dataclass(frozen=True)
class NsdLayout:
    """Every path of NSD below `root`; none of them need exist.

    Raises:
        LayoutError: `root` cannot be the name of a folder.

    All methods raise LayoutError for a subject, hemisphere, version or space that NSD does not have.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", _folder(self.root))

    # The experiment: the same files for all subjects.

    @property
    def expdesign(self) -> Path:
        """nsd_expdesign.mat: which image each trial shows (all values 1-based)."""
        return self.root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"

    @property
    def stim_info(self) -> Path:
        """nsd_stim_info_merged.csv: nsdId (0-based) to COCO id and split."""
        return self.root / "nsddata" / "experiments" / "nsd" / "nsd_stim_info_merged.csv"

    @property
    def stimuli(self) -> Path:
        """nsd_stimuli.hdf5: `imgBrick`, uint8 (n_images, height, width, 3), row = 0-based nsdId."""
        return self.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"

    def captions(self, split: str) -> Path:
        """COCO's caption file of `split` ('train2017' or 'val2017')."""
        _one_of("split", split, CAPTION_SPLITS)
        return self.root / "annotations" / f"captions_{split}.json"

    # One subject.

    def ppdata(self, subject: int) -> Path:
        """The subject's folder of preprocessed data."""
        return self.root / "nsddata" / "ppdata" / subject_folder(subject)

    def responses(self, subject: int) -> Path:
        """behav/responses.tsv: one row a trial."""
        return self.ppdata(subject) / "behav" / "responses.tsv"

    def volume(self, subject: int, name: str) -> Path:
        """A func1pt8mm volume by its name without extension, e.g. 'mean' or 'valid_session01'."""
        return self.ppdata(subject) / "func1pt8mm" / f"{name}.nii.gz"

    def brainmask(self, subject: int) -> Path:
        """The brain mask in func1pt8mm, (X, Y, Z)."""
        return self.volume(subject, "brainmask")

    def mean(self, subject: int) -> Path:
        """The mean functional volume in func1pt8mm, (X, Y, Z)."""
        return self.volume(subject, "mean")

    def valid_session(self, subject: int, session: int) -> Path:
        """The voxels with data in every volume of one session, (X, Y, Z)."""
        return self.volume(subject, f"valid_session{session:02d}")

    def roi_folder(self, subject: int) -> Path:
        """The folder of the func1pt8mm region volumes."""
        return self.ppdata(subject) / "func1pt8mm" / "roi"

    def roi(self, subject: int, name: str, hemi: str | None = None) -> Path:
        """The region volume `name` (e.g. 'nsdgeneral'), of both hemispheres or of `hemi` ('lh', 'rh')."""
        if hemi is not None:
            _one_of("hemi", hemi, HEMISPHERES)
        prefix = "" if hemi is None else f"{hemi}."
        return self.roi_folder(subject) / f"{prefix}{name}.nii.gz"

    # Surfaces.

    def transforms(self, subject: int) -> Path:
        """The folder of the subject's transform files."""
        return self.ppdata(subject) / "transforms"

    def volume_to_layer(self, subject: int, hemi: str, layer: str) -> Path:
        """{hemi}.func1pt8-to-{layer}.mgz: per native vertex its 1-based voxel coordinate (n_vertices x 3)."""
        _one_of("hemi", hemi, HEMISPHERES)
        _one_of("layer", layer, LAYERS)
        return self.transforms(subject) / f"{hemi}.func1pt8-to-{layer}.mgz"

    def white_to_fsaverage(self, subject: int, hemi: str) -> Path:
        """{hemi}.white-to-fsaverage.mgz: per fsaverage vertex the 1-based nearest native vertex."""
        _one_of("hemi", hemi, HEMISPHERES)
        return self.transforms(subject) / f"{hemi}.white-to-fsaverage.mgz"

    def freesurfer(self, subject: int | str) -> Path:
        """The FreeSurfer folder of a subject, or of 'fsaverage'."""
        name = subject if subject == "fsaverage" else subject_folder(int(subject))
        return self.root / "nsddata" / "freesurfer" / name

    def surface(self, subject: int | str, hemi: str, name: str) -> Path:
        """A FreeSurfer surface, e.g. surface(1, 'lh', 'white')."""
        _one_of("hemi", hemi, HEMISPHERES)
        return self.freesurfer(subject) / "surf" / f"{hemi}.{name}"

    def surface_label(self, subject: int | str, hemi: str, name: str) -> Path:
        """The regions `name` on the surface: label/{hemi}.{name}.mgz."""
        _one_of("hemi", hemi, HEMISPHERES)
        return self.freesurfer(subject) / "label" / f"{hemi}.{name}.mgz"

    def ctab(self, subject: int | str, name: str) -> Path:
        """The label names of the regions `name`: label/{name}.mgz.ctab, lines of `int name`."""
        return self.freesurfer(subject) / "label" / f"{name}.mgz.ctab"

    # Betas.

    def betas_folder(self, subject: int, version: str = DEFAULT_VERSION, space: str = DEFAULT_SPACE) -> Path:
        """The folder of one beta version in one space."""
        _one_of("version", version, BETA_VERSIONS)
        _one_of("space", space, SPACES)
        return self.root / "nsddata_betas" / "ppdata" / subject_folder(subject) / space / version

    def betas_session(
        self,
        subject: int,
        session: int,
        version: str = DEFAULT_VERSION,
        space: str = DEFAULT_SPACE,
        ext: str = "hdf5",
        hemi: str | None = None,
    ) -> Path:
        """The betas of one session (1-based): ext 'hdf5', 'nii.gz' (func1pt8mm) or 'mgh' (fsaverage, with `hemi`)."""
        _one_of("ext", ext, ("hdf5", "nii.gz", "mgh"))
        if session < 1:
            raise LayoutError(f"session is counted from 1. {session!r} was provided.")
        return self._betas_file(subject, f"betas_session{session:02d}", version, space, ext, hemi)

    def mean_beta(self, subject: int, session: int, version: str = DEFAULT_VERSION, space: str = DEFAULT_SPACE) -> Path:
        """The mean beta of one session, a volume."""
        return self._betas_file(subject, f"meanbeta_session{session:02d}", version, space, "nii.gz", None)

    def r2_session(
        self, subject: int, session: int, version: str = DEFAULT_VERSION, space: str = DEFAULT_SPACE
    ) -> Path:
        """The variance that the GLM explains in one session, a volume."""
        return self._betas_file(subject, f"R2_session{session:02d}", version, space, "nii.gz", None)

    def ncsnr(
        self,
        subject: int,
        version: str = DEFAULT_VERSION,
        space: str = DEFAULT_SPACE,
        split: int | None = None,
        hemi: str | None = None,
    ) -> Path:
        """The noise-ceiling signal-to-noise ratio; `split` 1 or 2 for the two halves of the trials."""
        name = "ncsnr" if split is None else f"ncsnr_split{split}"
        return self._betas_file(subject, name, version, space, "nii.gz" if space == "func1pt8mm" else "mgh", hemi)

    def _betas_file(self, subject: int, name: str, version: str, space: str, ext: str, hemi: str | None) -> Path:
        if (hemi is None) != (space == "func1pt8mm"):
            need = "no hemi" if space == "func1pt8mm" else "hemi 'lh' or 'rh'"
            raise LayoutError(f"files in '{space}' take {need}. {hemi!r} was provided.")
        if hemi is not None:
            _one_of("hemi", hemi, HEMISPHERES)
        prefix = "" if hemi is None else f"{hemi}."
        return self.betas_folder(subject, version, space) / f"{prefix}{name}.{ext}"
