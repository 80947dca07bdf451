"""Settings are checked when they are made, and every message names the setting, what it must be, and what came."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest

from brainram_lib.core.settings import Settings, number
from brainram_lib.profiles import MINI, PAPER, changed


@dataclass(frozen=True)
class Inner(Settings):
    depth: int = number(2, low=1)


@dataclass(frozen=True)
class Sizes(Settings):
    width: int = number(8, low=1)
    share: float = number(0.5, low=0, high=1)
    rate: float = number(1e-3, above=0)
    kind: str = number("mamba", one_of=("mamba", "mlp"))
    text: str = "x"
    flag: bool = False
    maybe: float | None = number(None, low=0)
    pair: tuple[int, int] | None = number(None, low=1)
    many: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("name", "wrong", "must"),
    [
        ("width", 0, "a whole number, at least 1. 0 was"),
        ("width", 1.5, "a whole number"),
        ("width", True, "a whole number"),
        ("width", "8", "a whole number"),
        ("width", None, "a whole number"),
        ("share", -0.1, "a finite number, at least 0 and at most 1"),
        ("share", 1.1, "a finite number, at least 0 and at most 1"),
        ("share", float("nan"), "a finite number"),
        ("rate", float("inf"), "a finite number, above 0"),
        ("rate", 0, "a finite number, above 0"),
        ("rate", False, "a finite number"),
        ("kind", "lstm", "text, one of mamba, mlp. 'lstm' was"),
        ("text", 3, "text"),
        ("flag", 1, "true or false"),
        ("maybe", -1.0, "a finite number or None, at least 0"),
        ("maybe", "x", "a finite number or None"),
        ("pair", (1,), "a list or None"),
        ("pair", (1, 2, 3), "a list or None"),
        ("pair", (0, 3), "a list or None, at least 1"),
        ("pair", [1, 2], "a list or None"),
        ("many", (1, "2"), "a list"),
        ("many", 1, "a list"),
        ("inner", {"depth": 2}, "a Inner"),
    ],
)
def test_a_wrong_type_or_range_is_named(name, wrong, must):
    with pytest.raises(ValueError, match=f"'{name}' of Sizes must be {must}"):
        replace(Sizes(), **{name: wrong})


@pytest.mark.parametrize(
    "right",
    [
        {"width": np.int64(3)},
        {"share": 1},
        {"share": np.float32(0.25)},
        {"maybe": 0},
        {"maybe": None},
        {"pair": (1, 9)},
        {"many": ()},
        {"inner": Inner(3)},
    ],
)
def test_right_values_pass_as_they_came(right):
    made = Sizes(**right)
    assert {name: getattr(made, name) for name in right} == right


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        Sizes().width = 3


@pytest.mark.parametrize("profile", [MINI, PAPER], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("stage1__epochs", 0),
        ("stage1__projector__dropout", 1.0),
        ("stage1__precision", "fp16"),
        ("stage2__fusion", "sum"),
        ("stage2__batch", 1),
        ("sampling__samples", 0),
        ("split__validation", 0),
        ("split__images", [0, 3]),
        ("retrieval__text_weight", 1.5),
        ("generation__scheduler", "euler"),
        ("corpus__foreign_share", -0.1),
    ],
)
def test_a_profile_cannot_hold_a_wrong_setting(profile, path, wrong):
    with pytest.raises(ValueError, match=f"'{path.split('__')[-1]}' of .* must be"):
        changed(profile, **{path: wrong})
