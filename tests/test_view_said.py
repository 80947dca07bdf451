"""Sentences below galleries, plots of scores and plots of tokens: each follows the data, also when it is unwelcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainram_lib.attribution.gradients import Attribution
from brainram_lib.evaluation.catalogue import MINI
from brainram_lib.evaluation.records import Record
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.systems.scores import labels
from brainram_lib.view import attribution
from brainram_lib.view.curves import fall_said, found_said
from brainram_lib.view.gallery_said import gallery_said, guided_said, likeness, neighbours_said, scores_said
from brainram_lib.view.sampling import distance_figure, distance_said, spread_said
from brainram_lib.view.tokens import r2_plot, r2_said, weight_plot, weights_said


def pictures(seed, n=3):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 12, 3), np.uint8)


def test_likeness_is_the_correlation_of_each_pair():
    one, other = pictures(0), pictures(1)
    other[2] = 7
    found = likeness(one, other)
    for k in range(2):
        assert found[k] == pytest.approx(np.corrcoef(one[k].ravel(), other[k].ravel())[0, 1])
    assert found[2] == 0 and likeness(one, one) == pytest.approx(1)
    with pytest.raises(ValueError, match="cannot be compared pixel by pixel"):
        likeness(one, one[:, :8])


def test_a_gallery_says_how_like_the_stimulus_each_row_is():
    truth = pictures(0)
    said = gallery_said({"stimulus": truth, "same": truth, "other": 255 - truth}, 9)
    assert said.startswith("The first 3 of 9 images, unselected.")
    assert "stimulus: same 1.00, other -1.00; another stimulus " in said
    assert gallery_said({"stimulus": truth[:1], "same": truth[:1]}, 9).endswith("same 1.00.")


def test_images_that_copy_their_guide_are_called_so():
    truth, guide = pictures(0), pictures(1)
    assert guided_said(guide, guide, truth).endswith("100% of them are more like the guiding neighbour.")
    assert guided_said(truth, guide, truth).endswith("0% of them are more like the guiding neighbour.")
    assert guided_said(truth, None, truth).startswith("No neighbour guided")


def test_neighbours_are_compared_with_those_of_other_stimuli():
    truth = pictures(0)
    said = neighbours_said(truth, [truth, 255 - truth], np.array([[0.9, 0.5], [0.7, 0.3]]), 8)
    assert "correlation with the stimulus: 1.00, -1.00 for neighbours 1 to 2, " in said
    assert " for another stimulus's neighbours. Over all stimuli" in said
    assert "similarity falls from 0.80 (neighbour 1) to 0.40 (neighbour 2)" in said


def test_scores_say_where_a_system_leads_and_where_it_does_not():
    scores = {"pixcorr": (0.7, 0.6), "ssim": (0.5, 0.9), "lite0_late": (0.52, 0.5)}
    records = [
        Record(system, metric, value, value - 0.03, value + 0.03, 30, 1, 0)
        for metric, values in scores.items()
        for system, value in zip(("brainram", "ridge"), values, strict=True)
    ]
    records += [Record("ceiling", metric, 1, 1, 1, 30, 1, 0) for metric in scores]
    said = scores_said(records, MINI, "brainram", labels())
    assert said == (
        "BrainRAM as printed is ahead of every other system on PixCorr; its interval overlaps with the best other "
        "system's on Lite0 late; Ridge is ahead on SSIM."
    )
    assert scores_said(records[:2], MINI, "ridge", labels()).startswith("Ridge is ahead of every other system on no")


def test_r2_says_which_token_is_best_and_is_drawn_below_zero():
    values = {"image": np.array([0.5, -0.25, 0.75])}
    said = r2_said(values)
    assert "0.50 for token 0, from -0.25 (token 1) to 0.75 (token 2)" in said and "33% of the tokens" in said
    assert r2_plot(values, "title").axes[0].get_ylim()[0] == -0.25


def test_weights_are_marked_on_one_scale_and_said():
    given = np.broadcast_to(np.array([0.1, 0.6, 0.3])[None, None, :, None], (4, 2, 3, 5))
    said = weights_said({"ram, image": given})
    assert said.startswith("ram, image: p has 0.10 of the weight on average, the neighbours from 0.30 (neighbour 2)")
    assert "to 0.60 (neighbour 1)" in said and said.endswith("standard deviation over images is 0.000.")
    assert "each neighbour 0.20, an even split being 0.20" in weights_said({"average": np.full((4, 2, 5, 3), 0.2)})
    figure = weight_plot({f"{name}, {m}": given for name in "ab" for m in ("image", "text")}, "title")
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4 and len({axes.images[0].norm.vmax for axes in panels}) == 1
    bar = figure.axes[-1]
    assert [text.get_text() for text in bar.get_yticklabels()][::4] == ["0.00", "0.60"]


def test_a_prior_says_what_it_finds_and_warns_where_that_is_chance():
    row = {"val_top1": 0.4, "val_sample_top1": 0.25}
    assert found_said({"image prior": [{"val_top1": 0.1}, row]}, 300) == (
        "image prior: of 300 validation images the mean estimate finds 40.0% first, one sample 25.0%."
    )
    chance = found_said({"image prior": [row | {"val_sample_top1": 3 / 300}]}, 300)
    assert "one sample 1.0%. That is no more than chance" in chance and "'stage1.token_size'." in chance
    assert "chance" not in found_said({"image prior": [row | {"val_sample_top1": 4 / 300}]}, 300)


def test_losses_say_whether_they_fell():
    rows = {"image prior": [{"info_nce": 2.0, "mixco": 1.0}, {"info_nce": 1.5, "mixco": 1.25}]}
    assert fall_said(rows, ("info_nce", "mixco")) == (
        "image prior: InfoNCE (eq. 3) fell from 2.000 to 1.500, MixCo (eq. 5) rose from 1.000 to 1.250 over 2 epochs."
    )
    assert "was 2.000 in the one epoch." in fall_said({"x": rows["image prior"][:1]}, ("info_nce",))


def test_the_way_to_a_sample_says_whether_it_leads_to_the_target(tmp_path):
    errors = np.stack([np.full((2, 5), value) for value in (0.5, 0.25, 1.0)])
    said = distance_said(errors, np.full((2, 5), 0.75))
    assert "first estimate misses the target by 0.50 (the condition alone by 0.75), the sample by 1.00" in said
    assert "number 2 is closest, 0.25; 0% of the samples end nearer" in said
    figure = distance_figure(errors, errors[0], "image", "title")
    assert [axes.get_title() for axes in figure.subfigs[0].axes[:3]] == [
        "estimate 1\n0.50", "estimate 2\n0.25", "the sample\n1.00",
    ]  # fmt: skip
    figure.savefig(tmp_path / "way.png", dpi=30)
    with pytest.raises(ValueError, match="a way needs two estimates"):
        distance_figure(errors[:1], errors[0], "image", "title")
    images = np.stack([np.full((2, 4, 4, 3), level, np.uint8) for level in (10, 30)])
    images[:, 0] = 0
    assert spread_said(images) == (
        "The 2 images differ from their mean by 0.0 of 255 levels per pixel at the first estimate, by 10.0 at the "
        "samples."
    )


def test_attributions_name_the_regions_that_say_most_and_nothing(monkeypatch):
    values = np.array([[3.0, 0.9, 0.0], [3.2, 1.0, 0.0], [2.8, 1.1, 0.0]])
    monkeypatch.setattr(
        attribution, "by_region", lambda data, one: dict(zip(("V1", "V2", "words"), one.T, strict=True))
    )
    said = attribution.attribution_said(
        PreparedSubject(Path(), {}), {"image tokens": Attribution(values, values.sum(1))}
    )
    assert said.startswith("image tokens: a voxel of V1 contributes 2.2") and "one of words 0.00" in said
    assert said.endswith("the intervals of words include 0.")
