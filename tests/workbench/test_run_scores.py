"""The scores of a run: records, leads, tables, and which images systems choose among."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_run import TINY, WORLD, again

from brainram_lib.__main__ import main
from brainram_lib.evaluation.records import Record
from brainram_lib.evaluation.tables import EMBEDDED
from brainram_lib.generation.selection import agreement
from brainram_lib.systems import systems
from brainram_lib.workbench import Workbench


def test_records_hold_every_system_and_metric(records):
    assert all(isinstance(one, Record) for one in records)
    assert list(dict.fromkeys(one.system for one in records)) == [
        *(one.name for one in systems("brainram-plus")),
        "chance",
    ]
    needed = {"pixcorr", "ssim", "lite0_early", "lite0_middle", "lite0_late", "clip", "probe_category"}
    assert {one.metric for one in records if one.system == "brainram-plus"} == needed | {
        *("image_mse", "image_cosine", "text_mse", "text_cosine"),
        *("image_retrieval", "brain_retrieval", "caption_retrieval", "global_two_way"),
    }
    for one in records:
        assert one.low <= one.value + 1e-9 and one.value <= one.high + 1e-9, one
        assert (one.subject, one.seed) == (1, 0)


def test_some_systems_and_estimates_alone_can_be_asked_for(finished):
    assert {one.system for one in finished.records(["ridge"])} == {"ridge", "chance"}
    estimates = finished.estimate_records(["ridge", "ceiling"])
    assert {one.system for one in estimates} == {"ridge", "ceiling", "chance"}
    assert "pixcorr" not in {one.metric for one in estimates}


def test_leads_are_differences_of_the_scores(finished, records):
    means = {(one.system, one.metric): one.value for one in records}
    leads = {(one.system, one.metric): one for one in finished.leads()}
    assert {system for system, _ in leads} == {
        f"brainram-plus over {other}" for other in ("ridge", "brainram-plus-no-ram")
    }
    for (name, metric), lead in leads.items():
        first, other = name.split(" over ")
        assert lead.value == pytest.approx(means[first, metric] - means[other, metric])


def test_the_tables_say_what_they_cannot_be_compared_with_and_keep_small_errors_apart(finished):
    images, lead, estimates = finished.score_tables()
    assert all(EMBEDDED in table.title for table in (images, lead, estimates))
    assert "| Ridge |" in images.markdown() and "| MindEye |" in finished.score_tables(reported=True)[0].markdown()
    assert "MindEye" not in images.markdown() and "| BrainRAM-plus over Ridge |" in lead.markdown()
    errors = estimates.sections[0].cells["Image tokens MSE ↓"]
    assert len(errors["Ridge"].split()[0]) == len(".00221") and errors["True tokens (ceiling)"] == ".00000"


def test_the_ceilings_estimates_are_perfect_and_shuffled_ones_are_not(records):
    rows = {(one.system, one.metric): one.value for one in records}
    assert rows["ceiling", "image_mse"] == 0 and rows["ceiling", "text_cosine"] == pytest.approx(1)
    assert rows["ceiling", "image_retrieval"] == rows["ceiling", "caption_retrieval"] == 1
    assert rows["shuffled", "image_mse"] > rows["brainram-plus", "image_mse"]


def test_only_brainram_is_guided_by_a_neighbour_for_each_sample(finished, runs):
    found, items = finished.neighbours("image", "test"), finished.guiding_neighbours("brainram-plus")
    assert (items[:, 0] != items[:, 1]).all()
    assert all(set(own) <= set(ids.ravel()) for own, ids in zip(items, found.ids, strict=True))
    for other in ("brainram-plus-no-ram", "ridge", "ceiling"):
        assert finished.guiding_neighbours(other) is None and finished.guiding_images(other) is None
    chosen = np.array(finished.store.result(finished._system("brainram-plus").images(finished.run)).array("index"))
    shown = finished.corpus.images(items[np.arange(len(items)), chosen])
    np.testing.assert_array_equal(finished.guiding_images("brainram-plus"), shown)
    alone = again(runs, generation__neighbour_share=0.0)
    assert alone.guiding_neighbours("brainram-plus") is None
    np.testing.assert_array_equal(alone.samples("ridge"), finished.samples("ridge"))
    assert alone.store.made == [], "the share of a neighbour is nothing to systems without one"
    assert not np.array_equal(alone.samples("brainram-plus"), finished.samples("brainram-plus"))


def test_ridge_chooses_among_as_many_images_and_the_ceiling_never(finished):
    ridge = finished.samples("ridge")
    assert ridge.shape == finished.samples("brainram-plus").shape and not np.array_equal(ridge[:, 0], ridge[:, 1])
    made = finished.encoder.image_tokens(ridge.reshape(-1, *ridge.shape[2:])).unflatten(0, ridge.shape[:2])
    agreed = agreement(made, torch.from_numpy(np.array(finished.ridge("image"))))
    np.testing.assert_array_equal(finished.reconstructions("ridge"), ridge[np.arange(len(ridge)), agreed.argmax(1)])
    assert finished.samples("ceiling").shape[1] == 1


def test_the_command_line_prints_the_records(records, runs, monkeypatch):
    class Same(Workbench):
        def __init__(self, **_):
            super().__init__(TINY, subject=1, runs=runs, world=WORLD)

    monkeypatch.setattr("brainram_lib.workbench.Workbench", Same)
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["scores", "--json"]) == 0
    assert json.loads(printed.getvalue()) == [asdict(one) for one in records]
