"""The neighbour browser under any order of changes: no observer raises, and what is shown belongs together."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.view.browser import BrowserData, NeighbourBrowser
from brainram_lib.view.neighbours import neighbours_figure

N, SIDE = 3, 8
# What `Neighbours` itself refuses under test, where its signature is checked.
UNEVEN = SimpleNamespace(ids=np.zeros((N, 2, 3), int), similarity=np.zeros((N, 2, 2)))


def found(samples, k):
    ids = np.arange(N * samples * k).reshape(N, samples, k) + 100
    return Neighbours(ids, np.full(ids.shape, 0.5, np.float32))


def weights(samples, k, tokens=5):
    return np.full((N, samples, k + 1, tokens), 1 / (k + 1), np.float32)


def data(shapes, weighed=True, **changes):
    given = {
        "stimuli": np.zeros((N, SIDE, SIDE, 3), np.uint8),
        "captions": [["a"]] * N,
        "neighbours": {modality: found(*shape) for modality, shape in shapes.items()},
        "corpus_images": lambda ids: np.zeros((len(ids), SIDE, SIDE, 3), np.uint8),
        "corpus_captions": lambda ids: [f"caption {item}" for item in ids],
        "weights": {modality: weights(*shape) for modality, shape in shapes.items()} if weighed else {},
    }
    return BrowserData(**given | changes)


def pages(browser):
    return "".join(child.value for child in browser.cards.children)


def assert_consistent(browser):
    """The controls lie in the modality's ranges, and the cards are those of the controls' values."""
    modality = browser.modality.value
    samples, most = browser.data.shape(modality)
    assert (browser.sample.max, browser.k.max) == (max(samples - 1, 0), max(most, 1))
    assert 0 <= browser.sample.value <= browser.sample.max and 1 <= browser.k.value <= browser.k.max
    assert f"stimulus {browser.stimulus.value}" in browser.stimulus_card.value
    if not samples or not most:
        assert not browser.cards.children and "nothing to show" in browser.shares.value
        return
    ids = browser.data.neighbours[modality].ids[browser.stimulus.value, browser.sample.value]
    shown = pages(browser)
    assert [f"item {item} of" in shown for item in ids] == [rank < browser.k.value for rank in range(most)]
    assert len(browser.cards.children) == browser.k.value + (modality in browser.data.weights)


SHAPES = {
    "same": ((4, 4), (4, 4)),
    "fewer neighbours": ((4, 8), (4, 3)),
    "fewer samples": ((4, 4), (2, 4)),
    "fewer of both": ((4, 8), (2, 3)),
    "more of both": ((2, 3), (4, 8)),
    "one of both": ((4, 8), (1, 1)),
    "from one of both": ((1, 1), (4, 8)),
    "no samples": ((4, 8), (0, 8)),
    "no neighbours": ((4, 8), (4, 0)),
    "from nothing": ((0, 0), (4, 8)),
}
each_shape = pytest.mark.parametrize("name", SHAPES)


def modalities(name):
    return dict(zip(("image", "text"), SHAPES[name], strict=True))


@each_shape
@pytest.mark.parametrize("weighed", [True, False])
def test_switching_with_the_sliders_at_their_ends(name, weighed):
    browser = NeighbourBrowser(data(modalities(name), weighed))
    for modality in ("text", "image", "text"):
        browser.stimulus.value = N - 1
        browser.sample.value, browser.k.value = browser.sample.max, browser.k.max
        assert_consistent(browser)
        browser.modality.value = modality
        assert_consistent(browser)


@each_shape
@pytest.mark.parametrize("order", list(itertools.permutations(("modality", "sample", "k"))), ids="-".join)
def test_any_order_of_changes_ends_consistent(name, order):
    browser = NeighbourBrowser(data(modalities(name)), stimulus=1)
    for modality, sample, k in (("text", 3, 8), ("image", 0, 1), ("text", 1, 3), ("image", 99, 99), ("text", -5, -5)):
        for control in order:
            getattr(browser, control).value = {"modality": modality, "sample": sample, "k": k}[control]
            assert_consistent(browser)


def test_each_change_is_drawn_once():
    asked = []
    shown = data(modalities("fewer of both"), corpus_captions=lambda ids: asked.append(len(ids)) or ["c"] * len(ids))
    browser = NeighbourBrowser(shown)
    browser.sample.value, browser.k.value = 3, 8
    asked.clear()
    browser.modality.value = "text"
    assert asked == [3]


def test_a_random_walk_over_all_controls():
    browser, rng = NeighbourBrowser(data(modalities("fewer of both"))), np.random.default_rng(0)
    for _ in range(60):
        control = rng.choice(["stimulus", "sample", "k", "modality"])
        value = str(rng.choice(["image", "text"])) if control == "modality" else int(rng.integers(-3, 12))
        getattr(browser, control).value = value
        assert_consistent(browser)


def test_ranges_that_somebody_widened_are_put_right():
    browser = NeighbourBrowser(data(modalities("fewer of both")))
    browser.k.max, browser.sample.max, browser.stimulus.max = 50, 50, 50
    for control in (browser.k, browser.sample, browser.stimulus):
        control.value = 50
    assert_consistent(browser)
    assert browser.stimulus.value == N - 1


def test_a_button_that_is_let_go_stays_chosen():
    browser = NeighbourBrowser(data(modalities("fewer of both")), modality="text")
    browser.modality.value = None
    assert browser.modality.value == "text"
    assert_consistent(browser)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"k": 0}, "'k' must be at least 1. 0 was provided"),
        ({"k": -3}, "'k' must be at least 1"),
        ({"stimulus": 99}, "'stimulus' must lie between 0 and 2. 99 was provided"),
        ({"stimulus": -1}, "'stimulus' must lie between 0 and 2"),
        ({"modality": "sound"}, "'modality' must be one of"),
    ],
)
def test_choices_that_the_data_do_not_have_are_refused_at_the_start(choice, words):
    with pytest.raises(ValueError, match=words):
        NeighbourBrowser(data(modalities("same")), **choice)


def test_a_k_above_the_most_is_the_most():
    assert NeighbourBrowser(data(modalities("fewer of both")), modality="text", k=8).k.value == 3


@pytest.mark.parametrize("problem", [ImageRefused("gone"), OSError("disk"), KeyError("key"), IndexError("row")])
def test_a_corpus_that_fails_is_shown_and_does_not_raise(problem):
    def failing(ids):
        raise problem

    browser = NeighbourBrowser(data(modalities("same"), corpus_images=failing, corpus_captions=failing))
    browser.modality.value = "text"
    assert pages(browser).count("no picture") == 4 and "no caption" in pages(browser)


@pytest.mark.parametrize("image", [None, np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE, 3))])
def test_what_is_no_picture_is_said_to_be_none(image):
    browser = NeighbourBrowser(data(modalities("same"), corpus_images=lambda ids: [image] * len(ids)))
    assert pages(browser).count("is no uint8 RGB picture") == 4


@pytest.mark.parametrize("caption", [None, float("nan"), 3.5, "half \ud83d", "a\0b", "$x$ \\frac{", "שלום"])
def test_odd_captions_are_shown_by_widget_and_figure(caption, tmp_path):
    own = [[caption if isinstance(caption, str) else "a"]] * N
    shown = data(modalities("same"), corpus_captions=lambda ids: [caption] * len(ids), captions=own)
    pages(NeighbourBrowser(shown)).encode()
    neighbours_figure(shown, 0, "image", k=2).savefig(tmp_path / "figure.png", dpi=30)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("captions", [[], ["only one"]])
def test_missing_captions_leave_their_place_empty(captions):
    shown = data(modalities("same"), corpus_captions=lambda ids: captions, captions=[[]] * N)
    assert len(NeighbourBrowser(shown).cards.children) == 5
    neighbours_figure(shown, 0, "image", k=3)


def test_similarities_that_are_not_finite_draw_an_empty_bar():
    ids = np.arange(N * 2).reshape(N, 1, 2)
    similarity = np.tile(np.array([np.nan, -np.inf], np.float32), (N, 1, 1))
    shown = data({}, neighbours={"image": Neighbours(ids, similarity)})
    assert "nan%" not in pages(NeighbourBrowser(shown)) and "width:0.0%" in pages(NeighbourBrowser(shown))


@pytest.mark.parametrize("name", ["no samples", "no neighbours"])
def test_a_figure_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match="nothing to show"):
        neighbours_figure(data(modalities(name)), 0, "text")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stimuli": np.zeros((0, SIDE, SIDE, 3), np.uint8), "captions": []}, "n at least 1"),
        ({"stimuli": np.zeros((N, SIDE, SIDE), np.uint8)}, r"uint8 \(n, height, width, 3\)"),
        ({"neighbours": {}}, "at least one modality"),
        ({"weights": {"sound": np.ones((N, 1, 2, 3))}}, "weights of 'sound' need its neighbours"),
        ({"neighbours": {"image": UNEVEN}}, "a similarity for each"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        BrowserData.__post_init__(broken(changes))


def broken(changes):
    """BrowserData without the signature's own check, which only tests have."""
    shown = object.__new__(BrowserData)
    for name, value in {**vars(data({"image": (1, 1)})), **changes}.items():
        object.__setattr__(shown, name, value)
    return shown
