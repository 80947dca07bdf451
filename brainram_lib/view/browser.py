"""Browse what retrieval found and what the RAM took from it: a widget for JupyterLab (as a figure: `view.neighbours`).

Weights are Z~ of eq. 10: for each token t a softmax over the K + 1 sources (the prior's own estimate p first, then the
neighbours), so that over the sources they sum to one; q_tj = sum_k Z~_kt U_ktj (eq. 11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

import ipywidgets as widgets
import numpy as np
from jaxtyping import Float, Int64, UInt8

from brainram_lib.retrieval.images import ImageRefused
from brainram_lib.retrieval.index import Neighbours
from brainram_lib.view import cards

OWN = "own estimate p"
# p and four neighbours fit in one row of a 1,280-pixel window that also shows JupyterLab's file list.
COLUMNS = "repeat(auto-fill, minmax(154px, 1fr))"
SIMILARITY_COLOUR, WEIGHT_COLOUR, OWN_COLOUR = "#5a6fb0", "#3b528b", "#21918c"


@dataclass(frozen=True)
class BrowserData:
    """What the browser shows, for n stimuli, S prior samples, K neighbours and, per modality, T tokens.

    `stimuli` (n, H, W, 3); `captions`, those of each stimulus; `neighbours[modality]`, ids and similarity (n, S, K);
    `weights[modality]`, (n, S, K + 1, T), row 0 the prior's own estimate (a modality without weights shows none);
    `corpus_images(ids)` and `corpus_captions(ids)` look items of the corpus up; if they raise, the error is shown in
    place of the item. A modality may have no samples or no neighbours (S or K of 0); a sentence then says so.

    Raises:
        ValueError: no stimulus or modality, arrays whose axes disagree, or weights that do not sum to one over the
            sources.
    """

    stimuli: UInt8[np.ndarray, "n height width 3"]
    captions: Sequence[Sequence[str]]
    neighbours: Mapping[str, Neighbours]
    corpus_images: Callable[[Int64[np.ndarray, " m"]], UInt8[np.ndarray, "m side side 3"]]
    corpus_captions: Callable[[Int64[np.ndarray, " m"]], Sequence[str]]
    weights: Mapping[str, Float[np.ndarray, "_n _samples _sources _tokens"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.stimuli)
        if np.ndim(self.stimuli) != 4 or self.stimuli.shape[3] != 3 or self.stimuli.dtype != np.uint8 or not count:
            raise ValueError(
                f"stimuli must be uint8 (n, height, width, 3), n at least 1. {self.stimuli.dtype} "
                f"{self.stimuli.shape} was provided."
            )
        if not self.neighbours:
            raise ValueError("neighbours of at least one modality are needed. None were provided.")
        if len(self.captions) != count:
            raise ValueError(f"{count} stimuli need as many groups of captions. {len(self.captions)} were provided.")
        for modality, found in self.neighbours.items():
            if found.ids.ndim != 3 or len(found.ids) != count:
                raise ValueError(f"{modality} neighbours must have shape ({count}, S, K). {found.ids.shape} came.")
            if found.similarity.shape != found.ids.shape:
                raise ValueError(
                    f"{modality} neighbours need a similarity for each of {found.ids.shape}. "
                    f"{found.similarity.shape} were provided."
                )
        for modality, given in self.weights.items():
            if modality not in self.neighbours:
                raise ValueError(f"weights of '{modality}' need its neighbours. There are those of {self.modalities}.")
            self._check_weights(modality, given)

    def _check_weights(self, modality: str, given: np.ndarray) -> None:
        stimuli, samples, k = self.neighbours[modality].ids.shape
        if given.ndim != 4 or given.shape[:3] != (stimuli, samples, k + 1):
            expected = f"({stimuli}, {samples}, {k + 1}, T)"
            raise ValueError(f"{modality} weights must have shape {expected}. {given.shape} was provided.")
        if not np.allclose(np.asarray(given, np.float32).sum(axis=2), 1, atol=2e-2):
            raise ValueError(f"{modality} weights must sum to one over the {k + 1} sources: each token's shares.")

    @cached_property
    def top(self) -> float:
        """Upper end of the colour scale for all weights shown, over every stimulus, sample and modality."""
        return cards.scale_top(self.weights)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have neighbours."""
        return tuple(self.neighbours)

    def shape(self, modality: str) -> tuple[int, int]:
        """(samples, neighbours) of one modality."""
        return self.neighbours[modality].ids.shape[1:]

    def page(self, stimulus: int, modality: str, sample: int, k: int) -> Page:
        """The first k neighbours of one sample of one stimulus, looked up.

        Raises:
            ValueError: a choice that these data do not have.
        """
        self.require_modality(modality)
        samples, most = self.shape(modality)
        if not samples or not most:
            raise ValueError(self.nothing(modality))
        _require("stimulus", stimulus, 0, len(self.stimuli) - 1)
        _require("sample", sample, 0, samples - 1)
        _require("k", k, 1, most)
        found = self.neighbours[modality]
        ids = np.asarray(found.ids[stimulus, sample, :k], np.int64)
        weights = self.weights.get(modality)
        return Page(
            modality,
            ids,
            np.asarray(found.similarity[stimulus, sample, :k], np.float32),
            tuple(self._picture(item) for item in ids),
            self._captions(ids),
            None if weights is None else np.asarray(weights[stimulus, sample], np.float32),
            self.top,
        )

    def nothing(self, modality: str) -> str:
        """A sentence that a modality has no samples or neighbours; empty if it has both."""
        samples, most = self.shape(modality)
        return "" if samples and most else f"{modality}: {samples} samples with {most} neighbours; nothing to show."

    def require_modality(self, modality: str) -> None:
        """Raise ValueError unless there are neighbours of the modality."""
        if modality not in self.neighbours:
            raise ValueError(f"'modality' must be one of {self.modalities}. '{modality}' was provided.")

    def _picture(self, item: np.int64) -> np.ndarray | str:
        try:
            image = self.corpus_images(np.array([item], np.int64))[0]
        except ImageRefused as problem:
            return str(problem)
        except Exception as problem:  # a file from the web, or a failing disk, can raise anything in a decoder
            return f"{type(problem).__name__}: {problem}"
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            return f"item {item} is no uint8 RGB picture"
        return image

    def _captions(self, ids: Int64[np.ndarray, " m"]) -> tuple[str, ...]:
        """A caption for every id; a missing one is empty, and an error of the look-up is shown in place of all."""
        try:
            found = [as_text(caption) for caption in self.corpus_captions(ids)]
        except Exception as problem:
            found = [f"(no caption: {type(problem).__name__}: {problem})"] * len(ids)
        return tuple((found + [""] * len(ids))[: len(ids)])


def _require(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"'{name}' must lie between {low} and {high}. {value} was provided.")


def as_text(caption: object) -> str:
    """A caption that a browser, a figure and Jupyter's messages can hold: no NULs, no half characters, no None."""
    text = "" if caption is None or caption != caption else str(caption)
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Page:
    """What is shown: neighbours with their pictures (or why there is none), captions, and weights (K + 1, T).

    `top`: upper end of the colour scale of the weights.
    """

    modality: str
    ids: Int64[np.ndarray, " k"]
    similarity: Float[np.ndarray, " k"]
    pictures: tuple[np.ndarray | str, ...]
    captions: tuple[str, ...]
    weights: Float[np.ndarray, "sources tokens"] | None
    top: float = 1.0

    @property
    def shares(self) -> Float[np.ndarray, " sources"] | None:
        """Weight of every source, averaged over tokens; the weights sum to one."""
        return None if self.weights is None else self.weights.mean(axis=1)


class NeighbourBrowser(widgets.VBox):
    """Choose a stimulus, a modality, a prior sample and K; see the neighbours and what the RAM took from each.

    Controls: `stimulus`, `modality`, `sample`, `k`. Shown: `stimulus_card`, `cards` (own estimate, then neighbours, one
    HTML widget each), `shares`. Everything is a function of the controls' values. Modalities may differ in numbers of
    samples and neighbours: the sliders' ranges follow the modality, and values above the new range are set to its end.

    Raises:
        ValueError: a stimulus or modality that the data do not have, or a k below 1; a k above the maximum becomes the
            maximum.
    """

    def __init__(self, data: BrowserData, stimulus: int = 0, modality: str | None = None, k: int | None = None) -> None:
        self.data = data
        first = modality or data.modalities[0]
        data.require_modality(first)
        _require("stimulus", stimulus, 0, len(data.stimuli) - 1)
        if k is not None and k < 1:
            raise ValueError(f"'k' must be at least 1. {k} was provided.")
        samples, most = (max(1, count) for count in data.shape(first))
        self.stimulus = widgets.IntSlider(stimulus, 0, len(data.stimuli) - 1, description="stimulus", layout=_wide())
        self.modality = widgets.ToggleButtons(
            options=data.modalities, value=first, description="modality", style={"button_width": "90px"}
        )
        self.sample = widgets.IntSlider(0, 0, samples - 1, description="sample s", layout=_wide())
        self.k = widgets.IntSlider(min(k or most, most), 1, most, description="K shown", layout=_wide())
        self.stimulus_card = widgets.HTML(layout=widgets.Layout(width="190px", flex="0 0 auto"))
        self.shares = widgets.HTML()
        self.cards = widgets.GridBox(layout=widgets.Layout(grid_template_columns=COLUMNS))
        controls = widgets.VBox([self.modality, self.stimulus, self.sample, self.k])
        # beside the stimulus, or below it in a narrow window
        beside = widgets.VBox([controls, self.shares], layout=widgets.Layout(flex="1 1 300px"))
        top = widgets.HBox([self.stimulus_card, beside], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([widgets.HTML(cards.STYLE), top, self.cards])
        self._chosen, self._fitting = first, False
        for control in (self.stimulus, self.modality, self.sample, self.k):
            control.observe(self._changed, "value")
        self._fit()
        self._show()

    def _changed(self, _change: object) -> None:
        """One observer for all controls: updates first the ranges, then what is shown, each once per change."""
        if self._fitting:
            return
        self._fitting = True
        try:
            self._fit()
        finally:
            self._fitting = False
        self._show()

    def _fit(self) -> None:
        """Set the ranges to the modality's; moving a slider's end also moves a value that lies beyond it."""
        if self.modality.value is None:  # the chosen button was deselected
            self.modality.value = self._chosen
        self._chosen = self.modality.value
        samples, most = self.data.shape(self._chosen)
        for slider, low, high in (
            (self.stimulus, 0, len(self.data.stimuli) - 1),
            (self.sample, 0, max(0, samples - 1)),
            (self.k, 1, max(1, most)),
        ):
            _set_range(slider, low, high)
        self.sample.disabled, self.k.disabled = samples < 2, most < 2
        # a single sample is no choice, and a slider that cannot be moved looks broken
        self.sample.layout.display = "none" if samples < 2 else None

    def _show(self) -> None:
        """Make everything before showing anything, so that what is shown is consistent."""
        stimulus, modality = self.stimulus.value, self._chosen
        card, nothing = _stimulus_card(self.data, stimulus), self.data.nothing(modality)
        if nothing:
            shown, shares = [], f'<div class="bram bram-note">{escape(nothing)}</div>'
        else:
            page = self.data.page(stimulus, modality, self.sample.value, self.k.value)
            shown = [_own_card(page)] if page.weights is not None else []
            shown += [_neighbour_card(page, rank) for rank in range(len(page.ids))]
            shares = _share_chart(page)
        self.stimulus_card.value = card
        # one widget per card, created anew: their number follows K
        self.cards.children = [widgets.HTML(html) for html in shown]
        self.shares.value = shares


def _wide() -> widgets.Layout:
    return widgets.Layout(width="auto", max_width="420px")


def _set_range(slider: widgets.IntSlider, low: int, high: int) -> None:
    """Set both ends, in an order in which the smaller never passes the larger."""
    if low > slider.max:
        slider.max, slider.min = high, low
    else:
        slider.min, slider.max = low, high


def _stimulus_card(data: BrowserData, stimulus: int) -> str:
    caption = cards.shown_caption(as_text(next(iter(data.captions[stimulus]), "")))
    image = cards.picture(data.stimuli[stimulus], f"stimulus {stimulus}")
    return cards.card(f"stimulus {stimulus}", image, f'<div class="bram-caption">{caption}</div>')


def _own_card(page: Page) -> str:
    share = float(page.shares[0])
    note = f"weights on p itself, by {page.modality} token"
    return cards.card(
        OWN,
        cards.bar("weight", share, f"{100 * share:.0f} %", OWN_COLOUR),
        cards.token_map(page.weights[0], page.modality, page.top),
        f'<div class="bram-caption">{note}</div>',
        own=True,
    )


def _neighbour_card(page: Page, rank: int) -> str:
    similarity, found = float(page.similarity[rank]), page.pictures[rank]
    finite = page.similarity[np.isfinite(page.similarity)]
    image = cards.picture(None, found) if isinstance(found, str) else cards.picture(found, f"neighbour {rank + 1}")
    # a cosine fills its share of the bar; z-scored sums of both modalities exceed 1 and are drawn against the largest
    share = similarity / max(1.0, float(finite.max(initial=0)))
    filled = share if np.isfinite(share) else 0.0
    parts = [image, cards.bar("similarity", filled, f"{similarity:.3f}", SIMILARITY_COLOUR)]
    if page.weights is not None:
        share = float(page.shares[rank + 1])
        parts.append(cards.bar("weight", share, f"{100 * share:.0f} %", WEIGHT_COLOUR))
        parts.append(cards.token_map(page.weights[rank + 1], page.modality, page.top))
    caption = cards.shown_caption(page.captions[rank])
    parts.append(f'<div class="bram-caption">{caption}</div>')
    parts.append(f'<div class="bram-item">item {page.ids[rank]} of the corpus</div>')
    return cards.card(f"neighbour {rank + 1}", *parts)


def _share_chart(page: Page) -> str:
    if page.weights is None:
        return '<div class="bram bram-note">No RAM has weighed these neighbours.</div>'
    names, shares = _names(len(page.ids)), page.shares[: len(page.ids) + 1]
    if (hidden := len(page.shares) - len(shares)) > 0:
        names, shares = [*names, f"{hidden} not shown"], np.append(shares, page.shares[-hidden:].sum())
    legend = (
        '<div class="bram bram-note">Weights averaged over the tokens. In all maps dark is 0, yellow '
        f"{page.top:.2f} or more; an even split would be {1 / len(page.weights):.2f}.</div>"
    )
    return cards.share_chart(names, shares) + legend


def _names(k: int) -> list[str]:
    return [OWN, *(f"neighbour {rank}" for rank in range(1, k + 1))]
