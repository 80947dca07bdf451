"""One small end-to-end run, from simulated NSD files to scores: its sizes, and the workbench on it."""

from __future__ import annotations

from brainram_lib.profiles import MINI, changed
from brainram_lib.systems import systems
from brainram_lib.systems.scores import stages_of
from brainram_lib.workbench import Workbench
from brainram_lib.world.world import WorldSettings

CHANGES = {
    "data__sessions": 3,
    "split__validation": 6,
    "stage1__epochs": 1,
    "stage1__batch": 8,
    "sampling__samples": 2,
    "sampling__steps": 2,
    "sampling__kind": "draw",
    "stage2__epochs": 1,
    "stage2__batch": 8,
    "retrieval__neighbours": 3,
    "generation__steps": 2,
    "corpus__pairs": 40,
}
TINY = changed(MINI, **CHANGES)
WORLD = WorldSettings(
    name="tiny", subjects=(1, 2), voxels=(60, 50), sessions=3, trials_per_session=40, images=40, shared=10
)


def make_all(workbench):
    """All that the tables need, without their intervals; returns what had to be made."""
    for one in systems("brainram-plus"):
        for stage in stages_of(workbench.run, one):
            workbench.store.result(stage)
    return workbench.store.made


def again(runs, **changes):
    """Another workbench on the same runs, which knows nothing of the first."""
    return Workbench(changed(TINY, **changes), subject=1, runs=runs, world=WORLD)
