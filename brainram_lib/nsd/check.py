"""`python -m brainram_lib nsd check`: which NSD files are there or missing, which notebook needs them, what to fetch.

File names to fetch are given relative to the root, as they are in NSD's own storage.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brainram_lib.nsd import rois
from brainram_lib.nsd.behaviour import check_against_design, read_responses
from brainram_lib.nsd.betas import session_files, volume_of
from brainram_lib.nsd.captions import count_captioned, read_stim_info
from brainram_lib.nsd.design import SESSIONS_OF_SUBJECT, Design
from brainram_lib.nsd.errors import (
    MissingFileError,
    MissingSessionError,
    MixedRootsError,
    NsdError,
    ShapeError,
    UnreadableFileError,
    is_there,
)
from brainram_lib.nsd.layout import (
    BETA_VERSIONS,
    CAPTION_SPLITS,
    DEFAULT_SPACE,
    DEFAULT_VERSION,
    HEMISPHERES,
    LAYERS,
    SUBJECTS,
    NsdLayout,
    subject_folder,
)
from brainram_lib.nsd.ncsnr_files import ncsnr_paths, read_ncsnr
from brainram_lib.nsd.stimuli import count_stimuli

THERE, MISSING, DAMAGED, UNREADABLE = "there", "missing", "damaged", "unreadable"
CORTEX = ("01",)
TRAINING = ("02", "03", "04", "05", "06", "07", "08")
ALL = CORTEX + TRAINING


@dataclass(frozen=True)
class Finding:
    """One thing that the notebooks need, and the state it is in.

    Attributes:
        thing: what it is, in words.
        status: 'there', 'missing', 'damaged', or 'unreadable': locked, forbidden, or on a disk that fails.
        notebooks: the numbers of the notebooks that need it; none means that it is only compared with other files.
        fetch: the file names to fetch, relative to the root, if it is missing or damaged.
        note: what is wrong, or what was found.
    """

    thing: str
    status: str
    notebooks: tuple[str, ...]
    fetch: tuple[str, ...] = ()
    note: str = ""

    @property
    def stops(self) -> bool:
        """Whether this keeps some notebook from running."""
        return self.status in (DAMAGED, UNREADABLE) or (self.status == MISSING and bool(self.notebooks))


def check(
    layout: NsdLayout,
    subject: int,
    sessions: int = 37,
    version: str = DEFAULT_VERSION,
    space: str = DEFAULT_SPACE,
    source: str = "auto",
) -> list[Finding]:
    """Look at every file that the notebooks need for one subject; for betas and stimuli, only the headers are read.

    `sessions` is limited to what the subject did (32 or 30 for some) and to what the design file has.

    Raises:
        NsdError: `sessions` is below 1, or NSD has no such subject.
    """
    # before its sessions are looked up
    subject_folder(subject)
    if sessions < 1:
        raise NsdError(f"sessions must be at least 1. {sessions} was provided.")
    count = _sessions(layout, subject, sessions)
    findings = [
        _look(layout, "design", (layout.expdesign,), ALL, lambda: _design_note(layout, subject, count)),
        _look(
            layout, "region nsdgeneral", (layout.roi(subject, "nsdgeneral"),), ALL, lambda: _mask_note(layout, subject)
        ),
        *_betas(layout, subject, count, version, space, source),
        _look(layout, "stimuli", (layout.stimuli,), TRAINING, lambda: f"{count_stimuli(layout)} images"),
        _look(layout, "stimulus table", (layout.stim_info,), TRAINING, lambda: f"{len(read_stim_info(layout))} images"),
        *(_captions(layout, split) for split in CAPTION_SPLITS),
        _look(
            layout,
            "ncsnr",
            ncsnr_paths(layout, subject, version, space),
            CORTEX,
            lambda: _ncsnr_note(layout, subject, version, space),
        ),
        _behaviour(layout, subject),
        *(_regions(layout, subject, name) for name in rois.REGION_FILES if name != "nsdgeneral"),
        *(_transforms(layout, subject, hemi) for hemi in HEMISPHERES),
    ]
    return findings


def table(findings: list[Finding]) -> str:
    """The findings as lines of text, followed by the names of the files to fetch."""
    width = max(len(finding.thing) for finding in findings)
    lines = [f"{'what':{width}}  {'status':10}  {'notebooks':11}  note"]
    for finding in findings:
        notebooks = _numbers(finding.notebooks)
        lines.append(f"{finding.thing:{width}}  {finding.status:10}  {notebooks:11}  {finding.note}".rstrip())
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
    missing = [path for path in paths if not is_there(path)]
    names = tuple(str(path.relative_to(layout.root)) for path in missing)
    if missing:
        return Finding(thing, MISSING, notebooks, names)
    try:
        return Finding(thing, THERE, notebooks, note=note())
    except MissingFileError as problem:
        return Finding(thing, THERE, notebooks, note=f"not checked: {problem}")
    except UnreadableFileError as problem:
        return Finding(thing, UNREADABLE, notebooks, note=str(problem))
    except NsdError as problem:
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
    try:
        check_against_design(layout, subject, trials)
    except MixedRootsError:
        raise
    except NsdError:  # named in the behaviour table's own line
        pass
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
    shapes = [volume_of(path) for path in files]
    try:
        mask = rois.read_mask(layout, subject, "nsdgeneral").shape
    except NsdError:  # named in the mask's own line
        return ""
    if files[0].suffix != ".mgh" and mask != shapes[0]:
        raise ShapeError(f"volumes are {shapes[0]}, the mask {mask}: of different subjects")
    return ""


def _behaviour(layout: NsdLayout, subject: int) -> Finding:
    """The behaviour table is only compared with the design: a missing one stops nothing, an unreadable one does."""

    def note() -> str:
        return f"{len(read_responses(layout, subject))} trials"

    found = _look(layout, "behaviour table", (layout.responses(subject),), (), note)
    return replace(found, notebooks=ALL) if found.stops else found


def _captions(layout: NsdLayout, split: str) -> Finding:
    def note() -> str:
        return f"of {count_captioned(layout, split)} images"

    return _look(layout, f"captions, {split}", (layout.captions(split),), TRAINING, note)


def _ncsnr_note(layout: NsdLayout, subject: int, version: str, space: str) -> str:
    """The file's shape and values among the voxels that would be prepared."""
    try:
        on_surface = space == "fsaverage"
        mask = (
            rois.read_surface_mask(layout, "nsdgeneral")
            if on_surface
            else rois.read_mask(layout, subject, "nsdgeneral")
        )
    except NsdError as problem:
        return f"not checked: {problem}"
    values = read_ncsnr(layout, subject, version, space, mask)
    return f"median {np.median(values[np.isfinite(values)]):.2f}"


def _regions(layout: NsdLayout, subject: int, name: str) -> Finding:
    paths = tuple(layout.roi(subject, name, hemi) for hemi in (None, *HEMISPHERES))

    def note() -> str:
        shapes = {rois.read_labels(path)[0].shape for path in paths}
        if len(shapes) > 1:
            raise ShapeError(f"the files have the shapes {sorted(shapes)}: of different subjects")
        return ""

    return _look(layout, f"region {name}", paths, CORTEX, note)


def _transforms(layout: NsdLayout, subject: int, hemi: str) -> Finding:
    paths = [layout.volume_to_layer(subject, hemi, layer) for layer in LAYERS]
    return _look(layout, f"surface transforms, {hemi}", (*paths, layout.white_to_fsaverage(subject, hemi)), CORTEX)


def _numbers(notebooks: tuple[str, ...]) -> str:
    if len(notebooks) > 1:
        return f"{notebooks[0]}-{notebooks[-1]}"
    return notebooks[0] if notebooks else "-"
