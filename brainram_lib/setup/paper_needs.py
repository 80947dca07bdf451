"""What the profile `paper` needs on this machine, and what to do for whatever is missing.

`python -m brainram_lib doctor --profile paper` prints it. Each line is (whether all is well, a sentence); nothing is
downloaded, and no weights are loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.published import PUBLISHED, Published
from brainram_lib.core.store import default_runs
from brainram_lib.nsd.errors import NsdError, reading, shortened
from brainram_lib.profiles import Profile
from brainram_lib.setup.environment import LOCK, differing, guarded, installed_version, locked

Line = tuple[bool, str]
BLOCK = 1 << 20
# A safetensors file starts with this many bytes, which hold its header's length.
_LENGTH = 8
# The parts of a generator's folder that hold weights, and what its other folders must hold.
WEIGHT_PARTS = ("image_unet", "text_unet", "vae")
CONFIGS = (
    *(f"{part}/config.json" for part in WEIGHT_PARTS),
    "scheduler/scheduler_config.json",
    "image_encoder/config.json",
    "text_encoder/config.json",
)


@dataclass(frozen=True)
class Needs:
    """What the check is given.

    Attributes:
        nsd_root: the folder that holds nsddata.
        corpus_root: the image-text corpus.
        subject: NSD's number.
        checkpoint: a generator's folder, where it is not the pinned one in the hub's cache.
        runs: where results will be saved.
        hub: the hub's cache, where it is not the default.
        networks: folder of the metrics' networks, where it is not torch's hub cache.
    """

    nsd_root: Path | None = None
    corpus_root: Path | None = None
    subject: int = 1
    checkpoint: Path | None = None
    runs: Path | None = None
    hub: Path | None = None
    networks: Path | None = None


# What a stage needs on one subject, GB: of device memory, as `python benchmarks/bench_sizes.py` counts it (nothing was
# measured on a card), of the machine's memory and of disk. docs/paper.md has the sums; a test holds all three together.
GENERATION, STAGE2 = "generation's weights in half precision", "Stage II"
KERNEL, PLAIN = "Stage I with mamba-ssm", "Stage I without"
DEVICE_GB = {GENERATION: 2.4, STAGE2: 12.9, KERNEL: 32.6, PLAIN: 39.4}
HOST_GB = 64
RESULTS_GB = 155


def paper_report(profile: Profile, given: Needs) -> Iterator[Line]:
    """Every line of the check, as it is found."""
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or newer is needed)."
    yield from guarded("The installed packages", _packages)
    yield from guarded("The GPU, memory and disk", lambda: _machine(given))
    yield from guarded("mamba-ssm", _kernel)
    yield from guarded("CLIP", lambda: _encoder(profile, given.hub))
    yield from guarded("Versatile Diffusion", lambda: _generator(profile, given))
    yield from guarded("The metrics' networks", lambda: _metric_networks(profile, given.networks))
    yield from guarded("NSD", lambda: _nsd(profile, given))
    yield from guarded("Corpus", lambda: _corpus(profile, given.corpus_root))


def _packages() -> Iterator[Line]:
    """Installed versions against pyproject.toml's ranges; another version than the tested one only gets a mention."""
    from packaging.requirements import Requirement

    wrong = []
    try:
        needs = requires("brainram_lib") or []
    except PackageNotFoundError:
        yield (
            False,
            "brainram_lib itself is not installed here, so its packages cannot be compared. Run `pip install -e .`.",
        )
        return
    for text in needs:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = installed_version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            wrong.append(f"{needed} is needed, {found or 'nothing'} is installed")
    yield not wrong, f"Packages: {'; '.join(wrong)}. Run `pip install -e .`." if wrong else "All packages are in range."
    others = differing(locked()) if LOCK.is_file() else []
    if others:
        yield True, f"{len(others)} packages are not the tested versions, the first: {others[0]}"


def _machine(given: Needs) -> Iterator[Line]:
    import torch

    from brainram_lib.stage1.mamba import fused_scan

    kernel = fused_scan() is not None
    stages = "Estimated needs: " + ", ".join(f"{stage} {size} GB" for stage, size in DEVICE_GB.items())
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        unused = PLAIN if kernel else KERNEL
        enough = memory >= max(size for stage, size in DEVICE_GB.items() if stage != unused)
        advice = "" if enough else " Lower stage1.batch and stage2.batch, install mamba-ssm, or use a larger card."
        yield enough, f"GPU: {torch.cuda.get_device_name()}, {memory:.0f} GB. {stages}.{advice}"
    else:
        yield False, f"GPU: none that torch {torch.__version__} can use. {stages}."
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield (
        host >= HOST_GB,
        f"{host:.0f} GB of memory; one subject needs {HOST_GB} GB (docs/paper.md has the sum).",
    )
    free = shutil.disk_usage(_existing(given.runs or default_runs())).free / 1e9
    advice = "" if free >= RESULTS_GB else " Free some space, or save elsewhere with --runs."
    yield free >= RESULTS_GB, f"{free:.0f} GB free for results; one subject needs up to {RESULTS_GB} GB.{advice}"


def _kernel() -> Iterator[Line]:
    """Whether mamba-ssm is there, and if not, why; it is optional, so none of these lines is a failure."""
    from brainram_lib.stage1.mamba import why_no_fused_scan

    found, why = installed_version("mamba-ssm"), why_no_fused_scan()
    if not why:
        yield True, f"mamba-ssm {found} with its compiled part: on a GPU the projector runs through its kernel."
        return
    if why.startswith("ModuleNotFoundError") and ("selective_scan_cuda" in why or "mamba_ssm" in why):
        state = f"mamba-ssm {found} is installed without its compiled part" if found else "mamba-ssm is not installed"
    else:
        state = (
            f"mamba-ssm is there but does not import ({why}), so it counts as absent. Install the build for torch "
            f"{installed_version('torch')}, or remove it"
        )
    yield (
        True,
        f"{state}. It is optional: the plain path computes the same with more memory; docs/paper.md says more.",
    )


def _encoder(profile: Profile, hub: Path | None) -> Iterator[Line]:
    pinned = PUBLISHED.get(profile.encoder)
    if pinned is None:
        yield True, f"CLIP '{profile.encoder}': nothing pinned is needed."
        return
    yield _pinned_line(f"CLIP {profile.encoder}", pinned, hub)
    if not pinned.missing(hub):
        yield from _whole_files(pinned.snapshot(hub), pinned.files)


def _pinned_line(title: str, pinned: Published, hub: Path | None) -> Line:
    missing = pinned.missing(hub)
    if not missing:
        return True, f"{title}: {pinned.repo} at {pinned.revision[:12]}."
    others = pinned.other_revisions(hub)
    seen = (
        f" The cache holds {', '.join(one[:12] for one in others)}, which is not the pinned revision." if others else ""
    )
    size = f"{pinned.gigabytes:.1f} GB, {pinned.licence}"
    return False, f"{title}: {', '.join(missing)} not at hand ({size}).{seen} Fetch it: {pinned.command()}"


def _generator(profile: Profile, given: Needs) -> Iterator[Line]:
    name = profile.generation.checkpoint
    folder = given.checkpoint or (Path(name) if Path(name).is_dir() else None)
    pinned = PUBLISHED.get(name)
    if folder is None and pinned is not None:
        if pinned.missing(given.hub):
            yield _pinned_line("Versatile Diffusion", pinned, given.hub)
            return
        folder = pinned.snapshot(given.hub)
    elif folder is None:
        yield False, f"Versatile Diffusion: no folder '{name}'. Name yours with --checkpoint."
        return
    revision = folder.name if pinned and folder.name == pinned.revision else "a folder of yours, of no known revision"
    absent = [config for config in CONFIGS if not (folder / config).is_file() and not _stands_in(folder, config)]
    absent += [f"{part}/ weights" for part in WEIGHT_PARTS if not _weights_in(folder / part)]
    fetch = f" Fetch it: {pinned.command()}" if pinned else ""
    if absent:
        yield False, f"Versatile Diffusion in '{folder}' lacks {', '.join(absent)}.{fetch}"
        return
    yield True, f"Versatile Diffusion in '{folder}' ({revision})."
    yield from _whole_files(folder, tuple(f"{part}/{_weights_in(folder / part).name}" for part in WEIGHT_PARTS))


def _stands_in(folder: Path, config: str) -> bool:
    """A generator that this library saved says in a separate file how many tokens guide it."""
    return config.split("/")[0].endswith("_encoder") and (folder / "dual_guided.json").is_file()


def _weights_in(part: Path) -> Path | None:
    found = [
        path for ending in ("safetensors", "bin") for path in sorted(part.glob(f"diffusion_pytorch_model*{ending}"))
    ]
    return found[0] if found else None


def _whole_files(folder: Path, names: tuple[str, ...]) -> Iterator[Line]:
    for name in names:
        try:
            whole = is_whole(folder / name)
        except NsdError as problem:
            yield False, str(problem)
            continue
        if not whole:
            yield False, f"'{folder / name}' is cut short. Delete it and fetch it again."


def is_whole(path: Path) -> bool:
    """Whether a file of weights ends where its own table says: safetensors by its header, torch's file as a zip.

    Raises:
        UnreadableFileError: it may not be read.
        DamagedFileError: its table cannot be read.
    """
    with reading(path, damaged="has no table of weights", remedy="Delete it and fetch it again."):
        if path.suffix != ".safetensors":
            with path.open("rb") as stream:
                return zipfile.is_zipfile(stream)
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH), "little")
            size = path.stat().st_size
            if length == 0 or _LENGTH + length > size:
                return False
            entries = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return _LENGTH + length + max(ends, default=0) == size


def _metric_networks(profile: Profile, folder: Path | None) -> Iterator[Line]:
    from brainram_lib.evaluation import catalogue
    from brainram_lib.evaluation.backbones import NETWORKS, weights_path

    names = dict.fromkeys(metric.backbone for metric in catalogue.metric_set(profile.metrics))
    for network in (NETWORKS[name] for name in names if name in NETWORKS):
        path = weights_path(network, folder)
        if not path.is_file():
            yield False, f"{network.title}: fetch {network.source} to '{path}'."
            continue
        try:
            yield _checksum_line(network.title, path)
        except NsdError as problem:
            yield False, f"{network.title}: {problem}"


def _checksum_line(title: str, path: Path) -> Line:
    """torchvision writes the first eight digits of a file's SHA-256 into its name; others are printed, to be noted."""
    found, stem = sha256(path), path.name.split(".")[0]
    expected = stem.rsplit("-", 1)[1] if "-" in stem else None
    if expected is None:
        return True, f"{title}: '{path.name}', SHA-256 {found[:12]} (no published checksum is known here; note yours)."
    if not found.startswith(expected):
        return (
            False,
            f"{title}: '{path}' must have a SHA-256 that starts {expected}, it starts {found[:8]}. Fetch it again.",
        )
    return True, f"{title}: '{path.name}', checksum as in its name."


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        UnreadableFileError: it may not be read, or the disk failed.
    """
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _nsd(profile: Profile, given: Needs) -> Iterator[Line]:
    from brainram_lib.nsd.check import check
    from brainram_lib.nsd.layout import NsdLayout

    if profile.folder is not None:
        yield from _own_data(Path(profile.folder), profile.data.normalisation)
        return
    if given.subject not in profile.subjects:
        yield (
            False,
            f"NSD: 'subject' must be one of {list(profile.subjects)} on the profile '{profile.name}'. {given.subject} "
            "was provided; name one with --subject.",
        )
        return
    if given.nsd_root is None:
        yield False, "NSD: say where it is with --nsd-root; docs/paper.md says how to get it."
        return
    if not given.nsd_root.is_dir():
        yield False, f"NSD: there is no folder '{given.nsd_root}'."
        return
    data = profile.data
    findings = check(NsdLayout(given.nsd_root), given.subject, data.sessions, data.beta_version)
    stopping = [finding for finding in findings if finding.stops]
    sessions = [finding for finding in stopping if finding.thing.startswith("betas, session") and finding.fetch]
    if sessions:
        ends = dict.fromkeys([sessions[0].fetch[0], sessions[-1].fetch[-1]])
        yield False, f"NSD, betas: {len(sessions)} sessions are missing or damaged. Fetch {' to '.join(ends)}"
    for finding in (one for one in stopping if one not in sessions):
        note = f" ({finding.note})" if finding.note else ""
        fetch = f". Fetch {', '.join(finding.fetch)}" if finding.fetch else ""
        yield False, f"NSD, {finding.thing}: {finding.status}{note}{fetch}"
    if not stopping:
        yield True, f"NSD: every file that the notebooks need for subject {given.subject} is there."


def _own_data(folder: Path, normalisation: str) -> Iterator[Line]:
    from brainram_lib.study.check import report
    from brainram_lib.study.study import Study

    try:
        yield from report(Study(folder), normalisation)
    except ValueError as problem:
        yield False, f"Data: {problem}"


def _corpus(profile: Profile, folder: Path | None) -> Iterator[Line]:
    import open_clip

    from brainram_lib.retrieval.corpus import Corpus

    if folder is None:
        yield False, "Corpus: say where it is with --corpus-root; docs/paper.md says how to lay one out."
        return
    config = open_clip.get_model_config(profile.encoder)
    if config is None:
        yield False, f"Corpus: 'encoder' must be one of open_clip's models to compare widths. '{profile.encoder}' came."
        return
    try:
        corpus = Corpus(folder, config["vision_cfg"]["image_size"])
        widths = [corpus.embeddings(modality)[0].shape[1] for modality in MODALITIES]
        corpus.image(0)
    except (OSError, ValueError) as problem:
        yield False, f"Corpus: {shortened(problem)}"
        return
    well = widths == [config["embed_dim"]] * len(widths)
    advice = "" if well else f" {profile.encoder} has width {config['embed_dim']}: embed the corpus with it."
    yield well, f"Corpus: {len(corpus):,} pairs, embeddings {widths} wide, the first picture opens.{advice}"


def _existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    folder = folder.absolute()
    while not os.path.exists(folder):  # unlike Path.exists, no error where a folder may not be entered
        folder = folder.parent
    return folder
