"""The house: data flows downward, so a room imports only from rooms below it. Read from the source, not by running."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "brainram_lib"
# From the top down. Rooms on one line do not import each other.
FLOORS = (
    ("__main__",),
    ("workbench", "rehearsal"),
    ("view",),
    ("evaluation", "generation", "attribution"),
    ("stage2",),
    ("retrieval",),
    ("stage1",),
    ("baselines",),
    ("encoders", "whitening"),
    ("nsd",),
    ("world",),
    (
        "store",
        "checkpoints",
        "profiles",
        "published",
        "errors",
        "environment",
        "notebooks",
        "notebook_engine",
        "measure",
        "devices",
        "rows",
    ),
)
# What the workbench's methods call; one room with it.
WORKBENCH = {"sources", "paper_needs", "stages", "search", "painting", "scoring", "figures", "report"}
FLOOR = {room: len(FLOORS) - depth for depth, rooms in enumerate(FLOORS) for room in rooms}
# The ground's own order: these lean on each other, and only so.
WITHIN_THE_GROUND = {
    ("notebooks", "notebook_engine"),
    ("checkpoints", "store"),
    ("checkpoints", "devices"),
    ("store", "errors"),
    ("store", "measure"),
    ("profiles", "errors"),
}
# File formats: the simulated world writes its sessions and corpus where and as the rooms that own the formats say.
FORMATS = {
    f"brainram_lib.{name}" for name in ("nsd.layout", "retrieval.images", "retrieval.layout", "retrieval.writing")
}
# The recipe of the shipped generator reaches up for the classes that it trains.
RECIPE = {f"brainram_lib.{name}" for name in ("encoders", "generation.dual_unet", "generation.versatile_diffusion")}


def excepted(module: str, target: str) -> bool:
    in_the_world = module.startswith("brainram_lib.world.")
    return (in_the_world and target in FORMATS) or (module == "brainram_lib.world.mini_generator" and target in RECIPE)


MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) for every import of this package in a file, wherever in the file it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("brainram_lib"):
            assert node.level == 0, f"{path.name}: imports are absolute, so that their direction can be read"
            found.append((node.module, tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names if alias.name.startswith("brainram_lib")]
    return found


def room_of(module: str, names: tuple[str, ...] = ()) -> str | None:
    first = (module.split(".")[1:] or [*names[:1], None])[0]
    return "workbench" if first in WORKBENCH else first


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def uphill(module: str, imported: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """The imports of `module` that do not point downward."""
    room = room_of(module)
    wrong = []
    for target, names in imported:
        other = room_of(target, names)
        if other in (None, room) or excepted(module, target) or (room, other) in WITHIN_THE_GROUND:
            continue
        if room is not None and FLOOR[other] >= FLOOR[room]:
            wrong.append(f"{module} imports {target}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path):
    room = room_of(name_of(path))
    assert room is None or room in FLOOR, f"'{room}' has no floor: give it one in this test and in CONTRIBUTING.md"
    assert uphill(name_of(path), imports_of(path)) == []


def test_an_import_that_points_upward_is_found():
    assert uphill("brainram_lib.nsd.reading", [("brainram_lib.stage1.prior", ("Prior",))])
    assert uphill("brainram_lib.evaluation.tables", [("brainram_lib.generation.pipeline", ("Generator",))])
    assert not uphill("brainram_lib.world.simulate", [("brainram_lib.nsd.layout", ("NsdLayout",))])
    assert not uphill("brainram_lib.stage2.ram", [("brainram_lib.store", ("Store",))])


@pytest.mark.parametrize("path", [PACKAGE / "__main__.py", PACKAGE / "notebooks.py"], ids=name_of)
def test_what_is_imported_late_exists(path):
    for module, names in imports_of(path):
        for name in names:
            there = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
            assert there, f"{path.name} imports {name} from {module}"


FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def pickles(source: str) -> list[str]:
    """What a source does that would load or write pickled objects."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in modules if name.split(".")[0] in FORBIDDEN]
        if isinstance(node, ast.Call):
            settings = {k.arg: ast.unparse(k.value) for k in node.keywords}
            called = ast.unparse(node.func)
            if settings.get("allow_pickle", "False") != "False" or called.endswith("read_pickle"):
                found.append(ast.unparse(node))
            if called == "torch.load" and settings.get("weights_only") != "True":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled(path):
    assert pickles(path.read_text()) == []


def test_pickles_are_found():
    assert pickles("import pickle") and pickles("np.load(p, allow_pickle=True)") and pickles("torch.load(p)")
    assert not pickles("torch.load(p, weights_only=True)") and not pickles("np.load(p, allow_pickle=False)")
