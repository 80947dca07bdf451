"""Maps on the cortex: outlines against a plain loop, one figure of each kind, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from brainram_lib.view import cortex
from brainram_lib.view.cortex import boundary, flat_map, inflated_map, interactive_map, region_map, value_range
from brainram_lib.view.subject import histogram

VERTICES = 10242


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=VERTICES), rng.normal(size=VERTICES)
    left[3000:] = np.nan
    return left, right


@pytest.fixture(scope="module")
def region():
    mask = np.zeros(VERTICES, bool)
    mask[:700] = True
    return mask, ~mask


def test_a_rim_crosses_every_triangle_that_is_partly_inside():
    rng = np.random.default_rng(1)
    faces = np.array([rng.permutation(11)[:3] for _ in range(29)])
    mask = rng.random(11) > 0.5
    crossed, edges = boundary(faces, mask)
    expected = [k for k, face in enumerate(faces) if 0 < mask[face].sum() < 3]
    assert crossed.tolist() == expected
    for k, pair in zip(crossed, edges, strict=True):
        cut = {frozenset(e) for e in zip(faces[k], np.roll(faces[k], 1), strict=True) if mask[e[0]] != mask[e[1]]}
        assert {frozenset(edge) for edge in pair} == cut


def test_the_range_leaves_outliers_and_nothing_out():
    left, right = np.full(VERTICES, np.nan), np.arange(VERTICES, dtype=float)
    right[-1] = 1e9
    low, high = value_range((left, right))
    assert 0 < low < high < VERTICES and value_range((left, right - 5000), symmetric=True)[0] < 0
    with pytest.raises(ValueError, match="at least one finite value"):
        value_range((left, left))


def test_a_map_has_a_panel_for_each_view_and_names_its_unit(values, region):
    figure = inflated_map(values, "title", "percent", outlines={"V1": region}, views=("medial",))
    assert len(figure.axes) == 3 and figure.axes[-1].get_ylabel() == "percent"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["V1"]


def test_regions_are_named_in_the_legend(region):
    figure = region_map({"a": region, "b": region[::-1]}, "regions", views=("lateral",))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_flat_map_labels_its_outlines(values, region):
    figure = flat_map(values, "title", "percent", outlines={"V1": region})
    assert "V1" in [text.get_text() for text in figure.axes[0].texts]


def test_the_interactive_map_loads_nothing_from_the_network(values):
    page = interactive_map(values, "title").html
    assert "<script src=" not in page and "cdn.plot" not in page.split("<body")[0].split("<script")[0]


def test_bad_maps_and_views_are_refused(values):
    with pytest.raises(ValueError, match="a map must have"):
        inflated_map((values[0][:-1], values[1][:-1]), "title", "unit")
    with pytest.raises(ValueError, match="view must be one of .*'above' was provided"):
        inflated_map(values, "title", "unit", views=("above",))


def test_histograms_leave_voxels_without_a_value_out():
    figure = histogram({"early": np.array([0.1, np.nan, 0.4]), "high": np.array([0.2, 0.3])}, "x", "title", chance=0)
    assert figure.axes[0].get_legend() is not None


def test_a_hemisphere_keeps_the_proportions_of_its_mesh():
    values = tuple(np.linspace(0, 1, 10_242) for _ in range(2))
    figure = inflated_map(values, "ramp", "none", views=("ventral",))
    mesh = cortex._mesh("infl", "left")[0]
    axes = figure.axes[0]
    for limits, column in zip((axes.get_xlim(), axes.get_ylim(), axes.get_zlim()), mesh.T, strict=True):
        assert limits == pytest.approx((column.min(), column.max()))
