"""What `brainram-plus` adds to the paper's method: each addition has a name, a reason, and settings that it changes.

`profiles.with_method` switches them on and off; an experiment's row leaves one out to show what it is worth.
docs/results.md says how much, on the embedded world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BRAINRAM, PLUS = "brainram", "brainram-plus"
METHODS = (BRAINRAM, PLUS)
# Sources of data (`pipeline.source`).
EMBEDDED, NSD = "embedded-world", "nsd"


@dataclass(frozen=True)
class Addition:
    """One addition.

    Attributes:
        reason: why, in a sentence.
        everywhere: path of a setting -> its value with the addition; without it, the profile's value holds.
        sized: the same for settings that depend on the size of the data, by the profile's source. The values for 'nsd'
            have not been tested: they are those of the embedded world, scaled.
    """

    reason: str
    everywhere: Mapping[str, object]
    sized: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def settings(self, source: str) -> dict[str, object]:
        """The settings that it changes in a profile with this source."""
        return {**self.everywhere, **self.sized.get(source, {})}


ADDITIONS: dict[str, Addition] = {
    "whitening": Addition(
        "CLIP's tokens vary mostly with place and light; what tells one object from another lies in directions of a "
        "tenth of that spread, to which a plain squared error gives little weight and which the noise of eq. 1 hides",
        {"stage1__units": "whitened"},
    ),
    "residual-prior": Addition(
        "the prior diffuses what a ridge estimate misses, preconditioned after Karras et al. (2022): it is the ridge "
        "where there is only noise and x where there is little, and learns the rest",
        {
            "stage1__process": "residual",
            "stage1__projector__linear_path": True,
            "stage1__network__kind": "transformer",
            "stage1__clip": 1.0,
        },
        {
            EMBEDDED: {
                "stage1__network__width": 192,
                "stage1__network__depth": 4,
                "stage1__network__heads": 6,
                "stage1__projector__dropout": 0.3,
                "stage1__projector__voxel_dropout": 0.3,
                "stage1__epochs": 1,
                "stage1__batch": 16,
                "stage1__peak_rate": 3e-4,
            },
            NSD: {
                "stage1__network__width": 768,
                "stage1__network__depth": 6,
                "stage1__epochs": 60,
                "stage1__batch": 8,
                "stage1__peak_rate": 3e-4,
            },
        },
    ),
    "free-rows": Addition(
        "images and captions of the corpus need no betas to teach a prior what token sets look like: with simulated "
        "conditions they train the network that a subject's training begins with, or three quarters of its batches",
        {"stage1__free_captions": 6},
        {
            EMBEDDED: {"stage1__start": "world/assets/mini_prior"},
            NSD: {"stage1__free_share": 0.75, "stage1__free_items": 100_000},
        },
    ),
    "contrast-on-a-head": Addition(
        "a contrastive term on the estimates themselves pushes them beyond the truth; on a head behind the projector "
        "it shapes the condition and leaves the estimates to the squared error",
        {
            "stage1__contrast": "head",
            "stage1__temperature": 0.1,
            "stage1__gamma": 0.1,
            "stage1__beta": 0.05,
        },
    ),
    "mean-estimate": Addition(
        "a draw of the prior lies further from the truth than the mean of all draws by the posterior's whole variance, "
        "and Stage II, retrieval and generator want the mean",
        {"sampling__kind": "mean", "sampling__steps": 18},
    ),
    "choosing-ram": Addition(
        "F_i of eq. 9 sees the mean of all u and can weigh a neighbour's rank only; here every neighbour is seen, with "
        "what speaks for it, and some are random in training, so that weights learn trust",
        {
            "stage2__fusion": "choosing-ram",
            "stage2__gamma": 0.03,
            "stage2__temperature": 0.1,
            "stage2__schedule": "one-cycle",
            "stage2__dropout": 0.1,
            "stage2__random_share": 0.25,
            "stage2__closeness": 0.03,
        },
        {
            EMBEDDED: {"stage2__epochs": 3, "stage2__batch": 64, "stage2__rate": 1e-3},
            NSD: {"stage2__epochs": 30, "stage2__batch": 64, "stage2__width": 256},
        },
    ),
    "joint-search": Addition(
        "the text estimate says more about the objects, the image estimate more about the place: both query together",
        {"retrieval__text_weight": 0.65, "retrieval__query_whitening": 0.03},
    ),
    "words": Addition(
        "the words read out of the text estimate say most plainly which objects were seen",
        {"retrieval__word_weight": 0.8},
    ),
    "choice-by-tokens": Addition(
        "of 16 items the four whose image tokens resemble the estimate's: they say where things stand",
        {"retrieval__candidates": 16, "retrieval__token_weight": 6.0},
    ),
    "neighbour-guidance": Addition(
        "p + q is an expectation, and what is only likely is generated as a blur; a neighbour is one coherent image",
        {"generation__neighbour_share": 0.5},
    ),
}
