"""One meaning for each word: a neighbour is an item of the corpus that was found for an estimate.

The *nearest neighbour* is the most similar one of a stimulus, a baseline; a *guiding neighbour* guides the generator
beside the estimate. Voxels and pixels beside each other are adjacent.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("brainram_lib", "notebooks", "experiments", "docs", "benchmarks")
READ = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + [
    path
    for place in PLACES
    for path in sorted((ROOT / place).rglob("*"))
    if path.suffix in (".py", ".ipynb", ".md", ".toml") and path.name != "log.md"
]
OTHER_MEANINGS = re.compile(
    r"nearest neighbours|neighbouring|most similar neighbour|neighbour (pixel|voxel|vert)",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_neighbour_has_one_meaning(path):
    found = [match[0] for match in OTHER_MEANINGS.finditer(path.read_text(encoding="utf-8"))]
    assert found == [], "say nearest neighbour, guiding neighbour, or adjacent"


def test_other_meanings_are_found():
    assert OTHER_MEANINGS.search("its K nearest neighbours") and OTHER_MEANINGS.search("neighbouring voxels")
    assert not OTHER_MEANINGS.search("the nearest neighbour, of the neighbours that were found")
