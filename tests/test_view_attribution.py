"""The figure of attributions: bars against a plain loop, one panel a map, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.attribution.gradients import Attribution
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.view import attribution
from brainram_lib.view.attribution import attribution_figure, by_region

N, VOXELS, VERTICES = 7, 11, 10242


@pytest.fixture
def subject(tmp_path):
    rois = np.zeros((3, VOXELS), bool)
    rois[0, :4], rois[1, 4:] = True, True
    np.save(tmp_path / "rois.npy", rois)
    np.save(tmp_path / "voxel_index.npy", np.arange(VOXELS))
    return PreparedSubject(tmp_path, {"rois": ["V1", "ventral", "floc-faces"], "subject": 1})


@pytest.fixture
def found():
    values = np.random.default_rng(0).normal(0.2, 0.1, (N, VOXELS)).astype(np.float32)
    return Attribution(values, values.sum(1))


@pytest.fixture
def maps(monkeypatch):
    """Stands in for the subject's transforms; keeps what was to be drawn."""
    drawn = []

    def on_cortex(layout, data, values):
        drawn.append(values)
        return np.resize(values, VERTICES), np.full(VERTICES, np.nan)

    monkeypatch.setattr(attribution, "on_cortex", on_cortex)
    monkeypatch.setattr(attribution, "regions_on_cortex", lambda *_: {})
    return drawn


def test_bars_are_means_of_the_regions_that_are_there(subject, found):
    bars = by_region(subject, found.values)
    assert list(bars) == ["V1", "ventral"]
    for image in range(N):
        assert bars["V1"][image] == pytest.approx(np.mean([found.values[image, v] for v in range(4)]))


def test_a_panel_for_each_map_in_multiples_of_the_average_voxel(subject, found, maps, tmp_path):
    figure = attribution_figure(NsdLayout(tmp_path), subject, {"image tokens": found, "text tokens": found}, "title")
    assert all(values.mean() == pytest.approx(1, rel=1e-5) for values in maps) and len(maps) == 2
    above = figure.subfigs[0].subfigs
    assert [part.get_suptitle() for part in above] == ["image tokens", "text tokens"]
    bars = figure.subfigs[1].axes[0]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["V1", "ventral"]
    assert bars.patches[0].get_height() == pytest.approx(found.values[:, :4].mean() / found.values.mean(), rel=1e-5)


def test_another_subjects_attributions_are_refused(subject, tmp_path):
    with pytest.raises(ValueError, match="'values' must have 11 voxels, as the prepared subject has. 12 were"):
        by_region(subject, np.ones((N, VOXELS + 1)))
    with pytest.raises(ValueError, match="'found' must hold one attribution or more"):
        attribution_figure(NsdLayout(tmp_path), subject, {}, "title")
