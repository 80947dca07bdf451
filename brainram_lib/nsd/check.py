"""`python -m brainram_lib nsd check`: what of NSD is there, what is missing, which notebook needs it, what to fetch.

File names to fetch are given relative to the root, as they are in NSD's own storage.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib

from brainram_lib.nsd import rois
from brainram_lib.nsd.behaviour import check_against_design
from brainram_lib.nsd.betas import session_files
from brainram_lib.nsd.captions import read_stim_info
from brainram_lib.nsd.design import SESSIONS_OF_SUBJECT, Design
from brainram_lib.nsd.errors import MissingFileError, MissingSessionError, NsdError, ShapeError
from brainram_lib.nsd.layout import (
    BETA_VERSIONS,
    CAPTION_SPLITS,
    DEFAULT_SPACE,
    DEFAULT_VERSION,
    HEMISPHERES,
    LAYERS,
    SUBJECTS,
    NsdLayout,
)
from brainram_lib.nsd.stimuli import count_stimuli

THERE, MISSING, DAMAGED = "there", "missing", "damaged"
CORTEX = ("01",)
TRAINING = ("02", "03", "04", "05", "06", "07", "08")
ALL = CORTEX + TRAINING


@dataclass(frozen=True)
class Finding:
    """One thing that the notebooks need, and how it was found.

    Attributes:
        thing: what it is, in words.
        status: 'there', 'missing' or 'damaged'.
        notebooks: the numbers of the notebooks that need it; none means that it is only compared with other files.
        fetch: the file names to fetch, relative to the root, if it is not there.
        note: what is wrong, or what was found.
    """

    thing: str
    status: str
    notebooks: tuple[str, ...]
    fetch: tuple[str, ...] = ()
    note: str = ""

    @property
    def stops(self) -> bool:
        """Whether some notebook cannot run."""
        return self.status == DAMAGED or (self.status == MISSING and bool(self.notebooks))


def check(
    layout: NsdLayout,
    subject: int,
    sessions: int = 37,
    version: str = DEFAULT_VERSION,
    space: str = DEFAULT_SPACE,
    source: str = "auto",
) -> list[Finding]:
    """Look at every file that the notebooks need for one subject; nothing large is read.

    `sessions` is cut to what the subject did (32 or 30 for some) and to what the design file has.
    """
    count = _sessions(layout, subject, sessions)
    findings = [
        _look(layout, "design", (layout.expdesign,), ALL, lambda: _design_note(layout, subject, count)),
        _look(
            layout, "region nsdgeneral", (layout.roi(subject, "nsdgeneral"),), ALL, lambda: _mask_note(layout, subject)
        ),
        *_betas(layout, subject, count, version, space, source),
        _look(layout, "stimuli", (layout.stimuli,), TRAINING, lambda: f"{count_stimuli(layout)} images"),
        _look(layout, "stimulus table", (layout.stim_info,), TRAINING, lambda: f"{len(read_stim_info(layout))} images"),
        *(_look(layout, f"captions, {split}", (layout.captions(split),), TRAINING) for split in CAPTION_SPLITS),
        _look(layout, "ncsnr", _ncsnr_paths(layout, subject, version, space), CORTEX),
        _look(layout, "behaviour table", (layout.responses(subject),), ()),
        *(_regions(layout, subject, name) for name in rois.REGION_FILES if name != "nsdgeneral"),
        *(_transforms(layout, subject, hemi) for hemi in HEMISPHERES),
    ]
    return findings


def table(findings: list[Finding]) -> str:
    """The findings as lines of text, followed by the names of the files to fetch."""
    width = max(len(finding.thing) for finding in findings)
    lines = [f"{'what':{width}}  {'status':8}  {'notebooks':11}  note"]
    for finding in findings:
        notebooks = _numbers(finding.notebooks)
        lines.append(f"{finding.thing:{width}}  {finding.status:8}  {notebooks:11}  {finding.note}".rstrip())
    wanted = [name for finding in findings for name in finding.fetch]
    if wanted:
        lines += ["", "to fetch (relative to the root):", *(f"  {name}" for name in wanted)]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--nsd-root", type=Path, required=True, help="the folder that holds nsddata, nsddata_betas, ..."
    )
    parser.add_argument("--subject", type=int, choices=SUBJECTS, required=True)
    parser.add_argument("--sessions", type=int, default=37, help="how many sessions you mean to use (37 or 40)")
    parser.add_argument("--version", choices=BETA_VERSIONS, default=DEFAULT_VERSION, help="which betas")
    parser.add_argument("--space", choices=("func1pt8mm", "fsaverage"), default=DEFAULT_SPACE)
    parser.add_argument("--source", choices=("auto", "hdf5", "nifti"), default="auto", help="which kind of beta files")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 if every notebook can run, 1 if not."""
    layout = NsdLayout(args.nsd_root)
    findings = check(layout, args.subject, args.sessions, args.version, args.space, args.source)
    print(table(findings))
    stopped = sorted({number for finding in findings if finding.stops for number in finding.notebooks})
    print(f"\nnotebooks that cannot run: {', '.join(stopped)}" if stopped else "\nevery notebook can run")
    return 1 if any(finding.stops for finding in findings) else 0


def _look(
    layout: NsdLayout,
    thing: str,
    paths: tuple[Path, ...],
    notebooks: tuple[str, ...],
    note: Callable[[], str] = lambda: "",
) -> Finding:
    missing = [path for path in paths if not path.exists()]
    names = tuple(str(path.relative_to(layout.root)) for path in missing)
    if missing:
        return Finding(thing, MISSING, notebooks, names)
    try:
        return Finding(thing, THERE, notebooks, note=note())
    except MissingFileError as problem:
        return Finding(thing, THERE, notebooks, note=f"not checked: {problem}")
    except (NsdError, OSError, EOFError) as problem:
        again = tuple(str(path.relative_to(layout.root)) for path in paths)
        return Finding(thing, DAMAGED, notebooks, again, str(problem))


def _sessions(layout: NsdLayout, subject: int, sessions: int) -> int:
    count = min(sessions, SESSIONS_OF_SUBJECT[subject])
    try:
        return min(count, Design.read(layout).n_sessions)
    except NsdError:
        return count


def _design_note(layout: NsdLayout, subject: int, sessions: int) -> str:
    design = Design.read(layout)
    trials = design.trials(subject, sessions)
    check_against_design(layout, subject, trials)
    return f"{len(trials.train_ids)} training and {len(trials.test_ids)} test images in {sessions} sessions"


def _mask_note(layout: NsdLayout, subject: int) -> str:
    mask = rois.read_mask(layout, subject, "nsdgeneral")
    return f"{int(mask.sum())} voxels of {' x '.join(map(str, mask.shape))}"


def _betas(layout: NsdLayout, subject: int, sessions: int, version: str, space: str, source: str) -> Iterator[Finding]:
    there = 0
    for session in range(1, sessions + 1):
        thing = f"betas, session {session:02d}"
        try:
            files = session_files(layout, subject, session, version, space, source)
        except MissingSessionError:
            yield Finding(thing, MISSING, ALL, _wanted(layout, subject, session, version, space, source))
            continue
        finding = _look(layout, thing, files, ALL, lambda files=files: _betas_note(layout, subject, files))
        if finding.status == THERE:
            there += 1
        else:
            yield finding
    if there:
        yield Finding(f"betas, {there} of {sessions} sessions", THERE, ALL, note=f"{version}, {space}")


def _wanted(layout: NsdLayout, subject: int, session: int, version: str, space: str, source: str) -> tuple[str, ...]:
    if space == "fsaverage":
        paths = [layout.betas_session(subject, session, version, space, "mgh", hemi) for hemi in HEMISPHERES]
    else:
        ext = "nii.gz" if source == "nifti" else "hdf5"
        paths = [layout.betas_session(subject, session, version, space, ext)]
    return tuple(str(path.relative_to(layout.root)) for path in paths)


def _betas_note(layout: NsdLayout, subject: int, files: tuple[Path, ...]) -> str:
    """Open the file and compare its volume with the mask's, without reading betas."""
    if files[0].suffix == ".hdf5":
        with h5py.File(files[0]) as file:
            shape = file["betas"].shape[:0:-1] if "betas" in file else ()
    else:
        try:
            shape = nib.load(files[0]).shape[:3]
        except nib.filebasedimages.ImageFileError as problem:
            raise NsdError(str(problem)) from problem
    mask = layout.roi(subject, "nsdgeneral")
    if files[0].suffix != ".mgh" and mask.exists() and nib.load(mask).shape != tuple(shape):
        raise ShapeError(f"volumes are {tuple(shape)}, the mask {nib.load(mask).shape}: of different subjects")
    return ""


def _ncsnr_paths(layout: NsdLayout, subject: int, version: str, space: str) -> tuple[Path, ...]:
    hemispheres = HEMISPHERES if space == "fsaverage" else (None,)
    return tuple(layout.ncsnr(subject, version, space, hemi=hemi) for hemi in hemispheres)


def _regions(layout: NsdLayout, subject: int, name: str) -> Finding:
    paths = tuple(layout.roi(subject, name, hemi) for hemi in (None, *HEMISPHERES))
    return _look(layout, f"region {name}", paths, CORTEX)


def _transforms(layout: NsdLayout, subject: int, hemi: str) -> Finding:
    paths = [layout.volume_to_layer(subject, hemi, layer) for layer in LAYERS]
    return _look(layout, f"surface transforms, {hemi}", (*paths, layout.white_to_fsaverage(subject, hemi)), CORTEX)


def _numbers(notebooks: tuple[str, ...]) -> str:
    if len(notebooks) > 1:
        return f"{notebooks[0]}-{notebooks[-1]}"
    return notebooks[0] if notebooks else "-"
