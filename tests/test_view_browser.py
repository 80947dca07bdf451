"""The neighbour browser: its state in Python, its HTML, and that nobody's caption becomes markup."""

import re

import numpy as np
import pytest

from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.view.browser import OWN, BrowserData, NeighbourBrowser
from brainram_lib.view.cards import scale_top, token_grid, token_map
from brainram_lib.view.neighbours import neighbours_figure, neighbours_said, samples_said

N, S, TOKENS = 5, 3, {"image": 10, "text": 7}
K = {"image": 4, "text": 2}
NASTY = '<img src=x onerror="alert(1)"> $\\frac{1}$'


def corpus_images(ids):
    if 13 in ids:
        raise ImageRefused("item 13 <gone>")
    return np.full((len(ids), 8, 8, 3), int(ids[0]), np.uint8)


def made(modality, seed):
    rng = np.random.default_rng(seed)
    k = K[modality]
    scores = rng.normal(size=(N, S, k + 1, TOKENS[modality]))
    weights = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    similarity = -np.sort(-rng.random((N, S, k)), axis=-1).astype(np.float32)
    return Neighbours(rng.integers(20, 90, (N, S, k)), similarity), weights


def data(**changes):
    found = {modality: made(modality, seed) for seed, modality in enumerate(K)}
    given = {
        "stimuli": np.random.default_rng(5).integers(0, 256, (N, 6, 9, 3), np.uint8),
        "captions": [[f"stimulus caption {row}", NASTY] for row in range(N)],
        "neighbours": {modality: pair[0] for modality, pair in found.items()},
        "corpus_images": corpus_images,
        "corpus_captions": lambda ids: [f"web caption {item}" for item in ids],
        "weights": {modality: pair[1] for modality, pair in found.items()},
    }
    return BrowserData(**{**given, **changes})


def html(browser):
    return [child.value for child in browser.cards.children]


def test_shows_own_estimate_and_neighbours():
    shown = data()
    browser = NeighbourBrowser(shown, stimulus=2)
    pages = html(browser)
    assert len(pages) == 1 + K["image"] and OWN in pages[0]
    for rank, page in enumerate(pages[1:]):
        assert f"item {shown.neighbours['image'].ids[2, 0, rank]}" in page
        assert f"{shown.neighbours['image'].similarity[2, 0, rank]:.3f}" in page
        assert f"web caption {shown.neighbours['image'].ids[2, 0, rank]}" in page
        assert "data:image/png;base64," in page and page.count('title="token') == TOKENS["image"]
    assert "stimulus caption 2" in browser.stimulus_card.value


def test_every_control_changes_what_is_shown():
    browser = NeighbourBrowser(data())
    before = html(browser)
    browser.sample.value = 2
    assert html(browser) != before
    browser.stimulus.value = 4
    assert "stimulus caption 4" in browser.stimulus_card.value
    browser.k.value = 2
    assert len(html(browser)) == 3 and "2 not shown" in browser.shares.value
    browser.modality.value = "text"
    assert len(html(browser)) == 3 and "text token" in html(browser)[0]


def test_a_modality_with_fewer_neighbours_narrows_the_range():
    browser = NeighbourBrowser(data(), k=4)
    browser.modality.value = "text"
    assert (browser.k.max, browser.k.value, len(html(browser))) == (2, 2, 3)


def test_captions_are_escaped_and_nothing_is_fetched():
    browser = NeighbourBrowser(data(corpus_captions=lambda ids: [NASTY] * len(ids)))
    everything = "".join([browser.stimulus_card.value, browser.shares.value, *html(browser)])
    assert "<img src=x" not in everything and "&lt;img src=x" in everything
    assert not re.search(r'(src|href)="(?!data:)', everything) and "http" not in everything


def test_a_long_caption_is_cut():
    browser = NeighbourBrowser(data(corpus_captions=lambda ids: ["x" * 5000] * len(ids)))
    assert "x" * 300 not in html(browser)[1] and "…" in html(browser)[1]


def test_a_picture_that_is_gone_says_so():
    neighbours = {"image": Neighbours(np.full((N, S, 1), 13), np.ones((N, S, 1), np.float32))}
    browser = NeighbourBrowser(data(neighbours=neighbours, weights={}))
    assert len(html(browser)) == 1 and "no picture: item 13 &lt;gone&gt;" in html(browser)[0]
    assert "No RAM has weighed" in browser.shares.value


def test_shares_sum_to_one():
    page = data().page(1, "image", 2, 3)
    assert page.shares.sum() == pytest.approx(1, abs=1e-5) and len(page.shares) == K["image"] + 1


def test_token_maps():
    assert token_grid("image", 10) == (1, 3) and token_grid("image", 257) == (1, 16)
    assert token_grid("image", 12) == (0, 12) and token_grid("text", 77) == (0, 12) and token_grid("text", 7) == (0, 7)
    drawn = token_map(np.linspace(0, 0.5, 10), "image", 0.5)
    assert "token 0 (global): 0.00" in drawn and 'title="token 9: 0.500"' in drawn and "#fde725" in drawn


def test_all_maps_have_one_scale():
    shown = data()
    tops = {shown.page(n, modality, sample, 1).top for n in (0, 4) for modality in K for sample in (0, 2)}
    assert tops == {scale_top(shown.weights)}
    figures = [neighbours_figure(shown, n, modality, k=2) for n, modality in ((0, "image"), (3, "text"))]
    drawn = [axes.images[0].norm for figure in figures for axes in figure.axes if axes.images and axes.images[0].cmap]
    assert {norm.vmax for norm in drawn if norm.vmax < 1.1} == tops
    assert scale_top({"a": np.full((2, 2, 4, 3), 0.25)}) == 0.5 and scale_top({}) == 1


def test_the_sentence_names_whom_the_ram_listened_to():
    weights = np.full((N, S, 5, 10), 0.1)
    weights[:, :, 2] = 0.6
    said = neighbours_said(data(weights={"image": weights}), 1, "image")
    assert "The largest weight is on neighbour 2, 60% averaged over the tokens; it leads in 100% of them." in said
    assert said.endswith("An even split would be 20%.")
    assert neighbours_said(data(weights={}), 1, "text").endswith("no RAM has weighed these neighbours.")


@pytest.mark.parametrize("modality", ["image", "text"])
def test_figure_has_stimulus_and_neighbours(modality, tmp_path):
    figure = neighbours_figure(data(corpus_captions=lambda ids: [NASTY] * len(ids)), 1, modality, 2, 2)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "stimulus 1" and "neighbour 2\nsimilarity" in titles[2] and OWN in titles[3]


def test_wrong_choices_and_arrays_are_refused():
    with pytest.raises(ValueError, match="'modality' must be one of"):
        neighbours_figure(data(), 0, "sound")
    with pytest.raises(ValueError, match="'stimulus' must lie between 0 and 4. 5 was provided"):
        neighbours_figure(data(), 5, "image")
    with pytest.raises(ValueError, match="'k' must lie between 1 and 2. 4 was provided"):
        neighbours_figure(data(), 0, "text")
    with pytest.raises(ValueError, match="5 stimuli need as many groups of captions. 1 were"):
        data(captions=[["one"]])
    with pytest.raises(ValueError, match=r"image weights must have shape \(5, 3, 5, T\)"):
        data(weights={"image": np.ones((N, S, 4, 10)) / 4})
    with pytest.raises(ValueError, match="must sum to one over the 5 sources"):
        data(weights={"image": np.ones((N, S, 5, 10))})


def test_a_single_sample_is_no_choice():
    neighbours, weights = made("image", 0)
    one = Neighbours(neighbours.ids[:, :1], neighbours.similarity[:, :1])
    browser = NeighbourBrowser(data(neighbours={"image": one, "text": made("text", 1)[0]}, weights={}))
    assert browser.sample.layout.display == "none" and browser.stimulus.layout.display is None
    browser.modality.value = "text"
    assert browser.sample.layout.display is None


def test_the_sentence_says_whether_samples_agree():
    ids = np.array([[[1, 2], [2, 1], [1, 2]], [[1, 2], [3, 4], [5, 2]]])
    found = Neighbours(ids, np.ones(ids.shape, np.float32))
    said = samples_said(found, "image")
    assert "the 3 samples of a stimulus find 3.5 different items on average (2 if all agreed, 6 " in said
    alone = Neighbours(ids[:, :1], np.ones((2, 1, 2), np.float32))
    assert "no samples to compare" in samples_said(alone, "text")
