"""The same decoders with the neighbour guidance that BrainRAM has on `mini`: a lead is claimed over a system's like."""

from __future__ import annotations

from brainram_lib.systems import brainram, plain, ridge
from brainram_lib.systems.system import DECODER, System, register

for order, name, title, tokens in (
    (21, "brainram-no-ram-guided", "BrainRAM without RAM, guided by a neighbour", brainram.estimates),
    (26, "convex-mix-guided", "Convex mix, guided by a neighbour", plain.mixed),
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
