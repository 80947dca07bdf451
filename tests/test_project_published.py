"""The pinned revisions: a cache laid out as the hub's, and the loaders that read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainram_lib import encoders
from brainram_lib.core.published import CLIP_VIT_L14, PUBLISHED, REVISION, VERSATILE_DIFFUSION, Published
from brainram_lib.encoders import ClipTokens
from brainram_lib.pipeline.weights import GeneratorWeights
from brainram_lib.profiles import PAPER

SOME = Published("toy", "owner/toy", "ab" * 20, ("part/*", "config.json"), 0.1, "MIT", "tests", "nowhere")


def fill(published: Published, cache: Path, revision: str | None = None) -> Path:
    """A snapshot in which every pattern has a file."""
    folder = published.home(cache) / "snapshots" / (revision or published.revision)
    for pattern in published.files:
        path = folder / pattern.replace("*", "some.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_what_the_paper_profile_reads_is_pinned_to_a_commit():
    assert {PAPER.encoder, PAPER.generation.checkpoint} == PUBLISHED.keys()
    for published in PUBLISHED.values():
        assert REVISION.fullmatch(published.revision) and published.source and published.licence
        assert f"--revision {published.revision}" in published.command() and published.repo in published.command()


def test_a_whole_snapshot_is_found_and_a_missing_part_is_named(tmp_path):
    folder = fill(SOME, tmp_path)
    assert SOME.require(tmp_path) == folder == tmp_path / "models--owner--toy" / "snapshots" / ("ab" * 20)
    (folder / "config.json").unlink()
    assert SOME.missing(tmp_path) == ["config.json"]
    with pytest.raises(
        FileNotFoundError, match="lacks config.json in the hub's cache. Fetch it: hf download owner/toy"
    ):
        SOME.require(tmp_path)


def test_another_revision_is_not_taken_and_is_named(tmp_path):
    fill(SOME, tmp_path, "cd" * 20)
    assert SOME.other_revisions(tmp_path) == ["cd" * 20]
    with pytest.raises(FileNotFoundError, match=rf"\(there is {'cd' * 20}\)"):
        SOME.require(tmp_path)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The hub's cache in a folder of the test, with a file for everything that is pinned."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return {published.name: fill(published, tmp_path / "hub") for published in PUBLISHED.values()}


def test_clip_is_read_from_the_pinned_snapshot(cached, monkeypatch):
    asked = {}

    class Stopped(Exception):
        pass

    def create_model(name, **settings):
        asked.update(settings, name=name)
        raise Stopped

    monkeypatch.setattr(encoders.open_clip, "create_model", create_model)
    with pytest.raises(Stopped):
        ClipTokens.from_open_clip(PAPER.encoder, "openai")
    assert asked["pretrained"] == str(cached[CLIP_VIT_L14.name] / CLIP_VIT_L14.files[0])
    assert asked["weights_only"] and asked["name"] == PAPER.encoder


def test_the_generator_is_read_from_the_pinned_snapshot(cached, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert GeneratorWeights(PAPER.generation.checkpoint).folder == cached[VERSATILE_DIFFUSION.name]
    own = tmp_path / "mine"
    (own / "scheduler").mkdir(parents=True)
    assert GeneratorWeights(str(own)).folder == own


def test_without_weights_the_loaders_say_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Fetch it: hf download timm/vit_large_patch14_clip_224.openai"):
        ClipTokens.from_open_clip(PAPER.encoder, "openai")
    with pytest.raises(FileNotFoundError, match="Fetch it: hf download shi-labs/versatile-diffusion"):
        _ = GeneratorWeights(PAPER.generation.checkpoint).folder
    with pytest.raises(FileNotFoundError, match="no generator is at 'elsewhere'"):
        _ = GeneratorWeights("elsewhere").folder
