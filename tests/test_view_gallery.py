import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from brainram_lib.evaluation.catalogue import MINI, metric
from brainram_lib.evaluation.records import Record
from brainram_lib.systems.scores import labels as registered_labels
from brainram_lib.view.colours import BOUND, DECODER
from brainram_lib.view.curves import loss_curves, lowest_said
from brainram_lib.view.gallery import gallery, score_plot, with_guides


def pictures(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 12, 3), np.uint8)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_gallery_shows_every_picture_in_labelled_rows(tmp_path):
    rows = {"ground truth": pictures(), "ridge": pictures(seed=1)}
    figure = gallery(rows, columns=4, wrap=3, captions=list("abcde"), title="Test images")
    (axes,) = figure.axes
    assert len(axes.images) == 8
    np.testing.assert_array_equal(axes.images[0].get_array(), rows["ground truth"][0])
    np.testing.assert_array_equal(axes.images[-1].get_array(), rows["ridge"][3])
    assert texts(figure).count("ground truth") == 2 and {"a", "b", "c", "d", "Test images"} <= set(texts(figure))
    figure.savefig(tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").stat().st_size > 1000


def test_gallery_pixels_are_enlarged_without_smoothing():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = 255, 0, 0
    canvas = FigureCanvasAgg(gallery({"x": image}))
    canvas.draw()
    colours = {tuple(pixel) for pixel in np.asarray(canvas.buffer_rgba())[:, -120:-12, :3].reshape(-1, 3)}
    assert (255, 0, 0) in colours and (0, 0, 0) in colours
    assert not any(0 < red < 255 and green == blue == 0 for red, green, blue in colours)


def test_guiding_neighbours_stand_small_below_the_images_that_they_guided():
    rows = {"stimulus": pictures(3), "BrainRAM": pictures(3, 1), "ridge": pictures(3, 2)}
    shown, small = with_guides(rows, {"BrainRAM": pictures(5, 3), "ridge": None})
    assert list(shown) == ["stimulus", "BrainRAM", "BrainRAM's guiding neighbour", "ridge"]
    np.testing.assert_array_equal(shown[small[0]], pictures(5, 3)[:3])
    (axes,) = gallery(shown, small=small).axes
    sizes = [image.get_extent()[1] - image.get_extent()[0] for image in axes.images]
    assert sizes == [128] * 6 + [64] * 3 + [128] * 3
    # in the middle of its column
    assert np.mean(axes.images[6].get_extent()[:2]) == np.mean(axes.images[3].get_extent()[:2])


def test_letters_of_a_wide_gallery_grow_with_it():
    sizes = [gallery({"x": pictures(n)}).axes[0].texts[0].get_fontsize() for n in (5, 12)]
    assert sizes[0] == 9 and sizes[1] == pytest.approx(9 * 12 * 132 / 1000)


def test_gallery_errors():
    with pytest.raises(ValueError, match=r"'small' must name some of the rows \['a'\]. 'b' was provided"):
        gallery({"a": pictures()}, small=["b"])
    with pytest.raises(ValueError, match="same images for every label"):
        gallery({"a": pictures(), "b": pictures(4)})
    with pytest.raises(ValueError, match="at least one. Got no rows"):
        gallery({})
    with pytest.raises(ValueError, match="row 'a' must be uint8 pictures"):
        gallery({"a": pictures()[..., :2]})
    with pytest.raises(ValueError, match="one text for each of the 5 images. 2 were provided"):
        gallery({"a": pictures()}, captions=["x", "y"])


def records():
    values = {"brainram": 0.9, "ridge": 0.7, "shuffled": 0.5, "ceiling": 0.95, "chance": 0.49}
    return [
        Record(system, name, value, value - 0.05, value + 0.05, 30, 1, 0)
        for system, value in values.items()
        for name in ("clip", "pixcorr")
    ]


def test_score_plot_has_a_panel_per_metric_with_chance_and_ceiling():
    chosen = (MINI[0], MINI[5])
    figure = score_plot(records(), chosen, "Subject 1", labels=registered_labels())
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["PixCorr ↑", "mini CLIP ↑ %"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["BrainRAM as printed", "Ridge", "Shuffled betas"]
    upright = [line.get_xdata()[0] for line in panels[1].lines if line.get_xdata()[0] == line.get_xdata()[-1]]
    assert {95.0, 49.0} <= {round(value, 6) for value in upright}


def test_no_panel_of_scores_is_cut():
    figure = score_plot(records(), (MINI[0], MINI[5]))
    limits = [axes.get_xlim() for axes in figure.axes if axes.get_title()]
    assert limits == [pytest.approx((-0.03, 1.03)), pytest.approx((-3, 103))]
    below = [Record("ridge", "pixcorr", -0.2, -0.3, -0.1, 30, 1, 0)]
    assert score_plot(below, MINI[:1]).axes[0].get_xlim()[0] == pytest.approx(-0.33)


def test_decoders_have_one_colour_and_bounds_another():
    (panel,) = score_plot(records(), MINI[5:6], labels=registered_labels()).axes
    dots = {line.get_color() for line in panel.lines if line.get_marker() == "o"}
    assert dots == {DECODER, "white"} and {line.get_markeredgecolor() for line in panel.lines} >= {DECODER, BOUND}


def test_score_plot_falls_back_on_known_chance_and_refuses_nothing():
    kept = [record for record in records() if record.system != "chance"]
    (panel,) = score_plot(kept, (MINI[5],)).axes
    assert any(list(line.get_xdata()) == [50.0, 50.0] for line in panel.lines)
    with pytest.raises(ValueError, match="'records' must hold scores of eff"):
        score_plot(records(), (metric("eff"),))


def test_loss_curves_mark_the_lowest_validation_value():
    history = [{"epoch": e, "train": 1 / (e + 1), "validation": 0.2 + (e - 3) ** 2 / 50} for e in range(7)]
    history[5].pop("validation")
    (panel,) = loss_curves({"image prior": history}, title="Stage I").axes
    assert panel.get_yscale() == "log" and panel.get_title() == "image prior"
    said = [text.get_text() for text in panel.get_legend().get_texts()]
    assert said == ["train", "validation (lowest 0.200, epoch 3)"]
    assert [3] in [list(line.get_xdata()) for line in panel.lines]


def test_loss_curves_fall_back_to_a_linear_axis_and_refuse_empty_histories():
    (panel,) = loss_curves({"x": [{"train": -1.0}, {"train": 2.0}]}).axes
    assert panel.get_yscale() == "linear"
    with pytest.raises(ValueError, match="history 'x' must hold one of train, validation. 0 rows"):
        loss_curves({"x": []})


def test_a_training_of_one_epoch_is_bars_with_their_numbers_and_no_curve():
    one, three = [{"mse": 2.0, "val_mse": 0.543}], [{"mse": 1.0, "val_mse": 0.5}] * 3
    figure = loss_curves({"image prior": one, "text prior": one}, ("mse", "val_mse", "other"))
    for panel in figure.axes:
        assert [round(bar.get_width(), 3) for bar in panel.patches] == [2.0, 0.543] and not panel.lines
        assert [text.get_text() for text in panel.texts] == ["2.000", "0.543"]
        assert [text.get_text() for text in panel.get_yticklabels()] == ["training", "validation"]
    bars, curve = loss_curves({"x": one, "y": three}, ("mse", "val_mse")).axes
    assert bars.patches and curve.lines and not curve.patches
    assert lowest_said({"image prior": one}) == "image prior: after its one epoch the validation error is 0.543."


def test_a_training_that_was_best_before_its_end_says_so():
    rows = {"image prior": [{"val_mse": 0.622}, {"val_mse": 0.628}], "image RAM": [{"val_mse": 0.6}, {"val_mse": 0.56}]}
    first, second = lowest_said(rows).splitlines()
    assert first == "image prior: the validation error is lowest after epoch 0, 0.622; after 1 more it is 0.628."
    assert second.endswith("lowest after epoch 1, 0.560; the last epoch was the best.")
