"""An ncsnr that is faulty, absent, or absent in some voxels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hostile_nsd import changed_volume

from brainram_lib.nsd.check import DAMAGED, check
from brainram_lib.nsd.errors import NcsnrError, NsdError, ShapeError
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.noise import noise_ceiling
from brainram_lib.nsd.prepare import prepare_subject
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.view.cortex import on_cortex
from brainram_lib.view.subject import by_area, ceiling, histogram, roi_table

pytestmark = pytest.mark.filterwarnings("ignore:ncsnr:UserWarning")


def with_ncsnr(layout: NsdLayout, change: Callable[[np.ndarray], np.ndarray] | None) -> PreparedSubject:
    if change is None:
        layout.ncsnr(1).unlink()
    else:
        changed_volume(layout.ncsnr(1), change)
    return prepare_subject(layout, 1, layout.root / "out", sessions=2)


FAULTY = {
    "all NaN": (lambda v: np.full_like(v, np.nan), NcsnrError, "no finite value"),
    "infinite": (lambda v: np.full_like(v, np.inf), NcsnrError, "no finite value"),
    "negative": (lambda v: v - 2, NcsnrError, "negative values, down to -"),
    "zero": (np.zeros_like, NcsnrError, "nothing but zero"),
    "another subject's": (lambda v: v[1:], ShapeError, "of different subjects"),
    "one value": (lambda v: v[:1, :1, :1], ShapeError, "of different subjects"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_ncsnr_is_named_when_prepared_and_by_the_check(layout, name):
    change, error, words = FAULTY[name]
    with pytest.raises(error, match=words):
        with_ncsnr(layout, change)
    finding = next(one for one in check(layout, 1, sessions=2) if one.thing == "ncsnr")
    assert finding.status == DAMAGED and words.split(",")[0] in finding.note and finding.fetch


@pytest.mark.filterwarnings("default:ncsnr:UserWarning")
def test_an_absent_ncsnr_is_a_warning_and_every_view_says_what_it_can(layout):
    with pytest.warns(UserWarning, match="ncsnr.nii.gz', is not there. Fetch it and prepare the subject again"):
        data = with_ncsnr(layout, None)
    assert roi_table(data)["median ncsnr"].isna().all() and np.isnan(ceiling(data)).all()
    legend = histogram(by_area(data, data.ncsnr), "ncsnr", "title").axes[0]
    assert "no finite value" in " ".join(text.get_text() for text in legend.texts)
    with pytest.raises(NsdError, match="was prepared without NSD's ncsnr"):
        on_cortex(layout, data, data.ncsnr)


def test_single_voxels_without_ncsnr_do_not_disturb_the_others(layout):
    def some(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values.ravel()[::3], values.ravel()[1::7] = np.inf, np.nan
        return values

    data = with_ncsnr(layout, some)
    found = ceiling(data)
    assert np.array_equal(np.isnan(found), np.isnan(data.ncsnr)) and np.nanmax(found) == 100
    histogram(by_area(data, found), "ceiling", "title")


@pytest.mark.parametrize("values", [{}, {"a": np.array([])}, {"a": np.array([np.nan]), "b": np.arange(5.0)}])
def test_histograms_take_areas_without_values(values):
    labels = histogram(values, "x", "title").axes[0].get_legend_handles_labels()[1]
    assert len(labels) == len(values)


def test_noise_ceilings_have_their_limits():
    found = noise_ceiling(np.array([0.0, np.inf, np.nan, 1.0]), 2)
    np.testing.assert_allclose(found, [0, 1, np.nan, 2 / 3])
    with pytest.raises(NsdError, match="must not be negative"):
        noise_ceiling(np.array([0.5, -0.5]), 3)
    with pytest.raises(NsdError, match="at least 1"):
        noise_ceiling(np.array([0.5]), np.array([], int))
