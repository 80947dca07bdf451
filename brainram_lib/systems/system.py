"""What a system is: a name, a source, and the stages that give its tokens or its images. One registry for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from brainram_lib.core.store import Stage
from brainram_lib.pipeline.run import Run

DECODER, SHOWN, BOUND = "decoder", "shown", "bound"
Tokens = Mapping[str, Stage]


@dataclass(frozen=True)
class Finds:
    """The image tokens with which a system finds images (Table 2): stages whose `test.npy` is (n, [samples,] T, D).

    Attributes:
        asking: token 0 of each sample queries the corpus.
        choosing: the mean of its samples chooses one of the images found; None: that of `asking`.
        compared: with the test images, where the system has no `tokens`; None: `asking`.
    """

    asking: Stage
    choosing: Stage | None = None
    compared: Stage | None = None


@dataclass(frozen=True)
class System:
    """One row of a table.

    Attributes:
        name: as records and the command line call it.
        title: as tables print it.
        source: what defines it: a section of the paper, another paper, or this workbench.
        kind: 'decoder'; 'shown' (an image that exists, as it is); 'bound' (ceiling, shuffled: does not compete).
        order: its place in tables, the smallest first.
        tokens: the stages of its token estimates by modality, whose `test.npy` is (n, [samples,] T, D); None without.
        images: the stage of its images, whose `chosen.npy` has one for each stimulus; None without.
        shuffled: whether its tokens are handed to the wrong brains before they are scored.
        listed: whether it is in every table; if not, only where a row or a command names it.
        method: which of the two methods it belongs to; None for neither.
        finds: with what it finds images; None: with its image tokens.
    """

    name: str
    title: str
    source: str
    kind: str
    order: int
    tokens: Callable[[Run], Tokens] | None = None
    images: Callable[[Run], Stage] | None = None
    shuffled: bool = False
    listed: bool = True
    method: str | None = None
    finds: Callable[[Run], Finds] | None = None


_REGISTRY: dict[str, System] = {}


def register(system: System) -> System:
    """Make a system known to tables, plots, the command line and notebooks. Registering it again replaces it.

    Raises:
        ValueError: an unknown kind, or neither tokens nor images.
    """
    if system.kind not in (DECODER, SHOWN, BOUND):
        raise ValueError(f"'kind' of '{system.name}' must be {DECODER}, {SHOWN} or {BOUND}. '{system.kind}' was given.")
    if system.tokens is None and system.images is None:
        raise ValueError(f"the system '{system.name}' has neither tokens nor images: there is nothing to score.")
    _REGISTRY[system.name] = system
    return system


def forget(names: Iterable[str]) -> None:
    """Unregister systems: a file of the user's own that changed registers its own anew."""
    for name in names:
        _REGISTRY.pop(name, None)


def systems(method: str | None = None) -> tuple[System, ...]:
    """Every system in the order of the tables, or those that stand in every table of a profile of one method."""
    chosen = [
        system for system in _REGISTRY.values() if method is None or (system.listed and system.method in (None, method))
    ]
    return tuple(sorted(chosen, key=lambda system: system.order))


def system_of(name: str) -> System:
    """The system of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in _REGISTRY:
        raise ValueError(f"'system' must be one of {', '.join(one.name for one in systems())}. '{name}' was provided.")
    return _REGISTRY[name]
