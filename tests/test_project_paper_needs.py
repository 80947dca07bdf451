"""What the profile `paper` needs: every missing or damaged thing is a line that says what to do."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brainram_lib.__main__ import main
from brainram_lib.core.published import CLIP_VIT_L14, VERSATILE_DIFFUSION
from brainram_lib.encoders import load_encoder
from brainram_lib.profiles import PAPER, changed
from brainram_lib.setup import paper_needs
from brainram_lib.setup.paper_needs import (
    CONFIGS,
    DEVICE_GB,
    GENERATION,
    HOST_GB,
    KERNEL,
    PLAIN,
    RESULTS_GB,
    STAGE2,
    WEIGHT_PARTS,
    Needs,
    is_whole,
    paper_report,
)
from brainram_lib.world.corpus import make_mini_corpus

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/paper.md").read_text()
WEIGHTS = {"weight": torch.arange(6.0)}


def lines(part: str, profile=PAPER, **given: object) -> list[tuple[bool, str]]:
    """The report's lines that speak of `part`."""
    report = paper_needs.__dict__[part]
    arguments = {"_encoder": ("hub",), "_metric_networks": ("networks",), "_corpus": ("corpus_root",)}.get(part)
    if arguments:
        return list(report(profile, *(given.get(name) for name in arguments)))
    return list(report(profile, Needs(**given)))


def write_generator(folder: Path) -> Path:
    for config in CONFIGS:
        (folder / config).parent.mkdir(parents=True, exist_ok=True)
        (folder / config).write_text("{}")
    for part in WEIGHT_PARTS:
        torch.save(WEIGHTS, folder / part / "diffusion_pytorch_model.bin")
    return folder


def test_clip_is_missing_of_another_revision_cut_short_or_there(tmp_path):
    [(well, sentence)] = lines("_encoder", hub=tmp_path)
    assert not well and CLIP_VIT_L14.command() in sentence and "cache holds" not in sentence
    path = CLIP_VIT_L14.home(tmp_path) / "snapshots" / ("cd" * 20) / CLIP_VIT_L14.files[0]
    path.parent.mkdir(parents=True)
    save_file(WEIGHTS, path)
    [(well, sentence)] = lines("_encoder", hub=tmp_path)
    assert not well and "The cache holds cdcdcdcdcdcd, which is not the pinned revision." in sentence
    path.parent.rename(CLIP_VIT_L14.snapshot(tmp_path))
    assert [well for well, _ in lines("_encoder", hub=tmp_path)] == [True]
    path = CLIP_VIT_L14.snapshot(tmp_path) / CLIP_VIT_L14.files[0]
    path.write_bytes(path.read_bytes()[:-4])
    assert [well for well, _ in lines("_encoder", hub=tmp_path)] == [True, False]
    assert "is cut short. Delete it and fetch it again." in lines("_encoder", hub=tmp_path)[1][1]


def test_the_generator_is_missing_incomplete_or_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [(well, sentence)] = lines("_generator", hub=tmp_path)
    assert not well and VERSATILE_DIFFUSION.command() in sentence
    folder = write_generator(VERSATILE_DIFFUSION.snapshot(tmp_path))
    [(well, sentence)] = lines("_generator", hub=tmp_path)
    assert well and VERSATILE_DIFFUSION.revision in sentence
    own = write_generator(tmp_path / "own")
    [(well, sentence)] = lines("_generator", checkpoint=own)
    assert well and "of no known revision" in sentence
    (own / "vae/diffusion_pytorch_model.bin").unlink()
    (own / "scheduler/scheduler_config.json").unlink()
    [(well, sentence)] = lines("_generator", checkpoint=own)
    assert not well and "lacks scheduler/scheduler_config.json, vae/ weights" in sentence
    whole = (folder / "text_unet/diffusion_pytorch_model.bin").read_bytes()
    (folder / "text_unet/diffusion_pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    assert [well for well, _ in lines("_generator", hub=tmp_path)] == [True, False]


def test_whole_files_are_told_from_those_cut_short(tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.bin")
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    for name in ("a.bin", "a.safetensors"):
        assert is_whole(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-8])
        assert not is_whole(tmp_path / name)


def test_metric_networks_are_fetched_and_their_checksums_compared(tmp_path):
    missing = lines("_metric_networks", networks=tmp_path)
    assert len(missing) == 4 and not any(well for well, _ in missing)
    assert f"fetch https://download.pytorch.org/models/alexnet-owt-7be5be79.pth to '{tmp_path}" in missing[0][1]
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"another file")
    (tmp_path / "swav_800ep_pretrain.pth.tar").write_bytes(b"some file")
    found = lines("_metric_networks", networks=tmp_path)
    assert not found[0][0] and "must have a SHA-256 that starts 7be5be79" in found[0][1]
    assert found[3] == (True, found[3][1]) and hashlib.sha256(b"some file").hexdigest()[:12] in found[3][1]


def test_a_checksum_in_the_name_is_accepted(tmp_path):
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    (tmp_path / f"net-{digits}.pth").write_bytes(b"weights")
    assert paper_needs._checksum_line("Net", tmp_path / f"net-{digits}.pth") == (
        True, f"Net: 'net-{digits}.pth', checksum as in its name.",
    )  # fmt: skip


def test_nsd_is_asked_for_and_what_is_missing_is_named(tmp_path):
    assert lines("_nsd")[0][1].startswith("NSD: say where it is with --nsd-root")
    assert "there is no folder" in lines("_nsd", nsd_root=tmp_path / "gone")[0][1]
    missing = lines("_nsd", nsd_root=tmp_path)
    assert not any(well for well, _ in missing)
    text = "\n".join(sentence for _, sentence in missing)
    assert "Fetch nsddata/experiments/nsd/nsd_expdesign.mat" in text and "betas: 37 sessions are missing" in text
    assert "betas_session01.hdf5 to " in text and "betas_session37.hdf5" in text


def test_a_corpus_must_be_there_and_of_the_encoder_s_width(tmp_path):
    assert "--corpus-root" in lines("_corpus")[0][1]
    [(well, sentence)] = lines("_corpus", corpus_root=tmp_path)
    assert not well and "no corpus at" in sentence
    make_mini_corpus(tmp_path / "corpus", load_encoder("mini"), count=3)
    [(well, sentence)] = lines("_corpus", corpus_root=tmp_path / "corpus")
    assert not well and "ViT-L-14-quickgelu has width 768: embed the corpus with it" in sentence


def test_without_a_gpu_that_is_said_with_what_the_stages_need(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = list(paper_needs._machine(Needs(runs=tmp_path / "not/yet/there")))
    assert not found[0][0] and "GPU: none that torch" in found[0][1] and "Stage II" in found[0][1]
    assert "free for results" in found[2][1]


def test_the_page_has_the_numbers_of_the_check():
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("|")]
    table = {stage.strip(): size.strip() for stage, size in rows}
    page = {
        GENERATION: table["generation, half precision"].split(" ")[0],
        STAGE2: table["Stage II, image"],
        KERNEL: table["Stage I, image, mamba-ssm"],
        PLAIN: table["Stage I, image, plain scan"],
    }
    assert {stage: float(size) for stage, size in page.items()} == DEVICE_GB
    said = f"{DEVICE_GB[KERNEL]:.0f} GB instead of {DEVICE_GB[PLAIN]:.0f} GB for training the image prior"
    assert said in PAGE and f"{HOST_GB} GB are enough for" in PAGE and f"up to {RESULTS_GB} GB per subject" in PAGE


def test_the_benchmark_counts_the_numbers_of_the_check(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_sizes", ROOT / "benchmarks/bench_sizes.py")
    sizes = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_sizes", sizes)
    spec.loader.exec_module(sizes)
    counted = {row.stage: round(row.memory / 1e9, 1) for row in sizes.needs(PAPER, voxels=15_724)}
    assert DEVICE_GB == {
        GENERATION: counted["generation (weights alone)"],
        STAGE2: counted["Stage II, image"],
        KERNEL: counted["Stage I, image, mamba-ssm"],
        PLAIN: counted["Stage I, image, plain scan"],
    }


def test_a_package_outside_its_range_is_named(monkeypatch):
    monkeypatch.setattr(
        paper_needs, "requires", lambda name: ["numpy<1", "tqdm", "absent-package", "x; extra == 'dev'"]
    )
    [(well, sentence), *_] = paper_needs._packages()
    assert not well and "numpy<1 is needed" in sentence and "absent-package is needed, nothing is installed" in sentence
    assert "tqdm" not in sentence and "x is" not in sentence


def test_the_command_fails_while_anything_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--profile", "paper", "--nsd-root", str(tmp_path), "--subject", "2"]) == 1
    printed = capsys.readouterr().out
    for word in ("Python", "GPU", "mamba-ssm", "CLIP", "Versatile Diffusion", "AlexNet", "subj02", "Corpus"):
        assert word in printed
    assert "\n!! CLIP" in printed and "\nok Python" in f"\n{printed}"


@pytest.mark.parametrize("subject", [3, 9])
def test_a_subject_that_the_profile_lacks_is_a_line_of_its_own(tmp_path, subject):
    [(well, sentence)] = lines("_nsd", nsd_root=tmp_path, subject=subject)
    assert not well and f"'subject' must be one of [1, 2, 5, 7] on the profile 'paper'. {subject} was" in sentence


@pytest.mark.parametrize("profile", [PAPER, changed(PAPER, encoder="mini")], ids=["paper", "its own encoder"])
def test_every_line_is_a_sentence(profile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, sentence in paper_report(profile, Needs(hub=tmp_path, networks=tmp_path)):
        assert len(sentence) > 20 and "\n" not in sentence
