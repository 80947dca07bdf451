"""The same decoders with BrainRAM-plus's neighbour guidance: a lead is claimed over comparable systems alone."""

from __future__ import annotations

from brainram_lib.systems import brainram, plain, ridge
from brainram_lib.systems.system import DECODER, System, register

for order, name, title, tokens in (
    (21, "brainram-plus-no-ram-guided", "BrainRAM-plus, without RAM, guided by a neighbour", brainram.estimates),
    (26, "convex-mix-guided", "Convex mix, guided by a neighbour", plain.mixed),
    (
        27,
        "ridge-on-neighbours-guided",
        "Ridge on p and its neighbours, guided by a neighbour",
        plain.ridge_on_neighbours,
    ),
    (31, "ridge-guided", "Ridge, guided by a neighbour", ridge.tokens),
):
    register(
        System(
            name,
            title,
            "this workbench's control for neighbour guidance",
            DECODER,
            order,
            tokens,
            lambda run, tokens=tokens, name=name: run.generated(tokens(run), guided=True, label=f"generate, {name}"),
            listed=False,
        )
    )
