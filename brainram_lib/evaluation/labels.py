"""How systems are called where scores are shown, in the order of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHANCE = "chance"


@dataclass(frozen=True)
class Labels:
    """Titles of systems.

    Attributes:
        titles: {name: title}, in the order of the rows; a system without a title comes last, under its name.
        bounds: systems that bound a table and do not compete for its best value.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    bounds: frozenset[str] = frozenset({CHANCE})

    def title(self, system: str) -> str:
        """Of a system, or of '<one> over <other>'."""
        return " over ".join(self.titles.get(name, name) for name in system.split(" over "))
