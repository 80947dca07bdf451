"""The house: data flows downward, so a package imports only from packages below it, and no file in a circle."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "brainram_lib"
# From the top down. Packages on one line do not import each other.
LAYERS = (
    ("__main__",),
    ("commands",),
    ("figures",),
    ("setup", "experiments"),
    ("recipes",),
    ("workbench",),
    ("view", "systems"),
    ("pipeline",),
    ("profiles", "audits"),
    ("evaluation", "generation", "attribution"),
    ("stage2", "study"),
    ("retrieval",),
    ("stage1", "peers"),
    ("encoders",),
    ("world",),
    ("nsd",),
    ("core", "additions"),
)
LAYER = {package: len(LAYERS) - depth for depth, packages in enumerate(LAYERS) for package in packages}
# The simulated world writes its corpus in the format that `retrieval` owns.
FORMATS = {f"brainram_lib.retrieval.{name}" for name in ("images", "layout", "writing")}
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


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path) for path in MODULES}


def package_of(module: str) -> str | None:
    return (module.split(".")[1:] or [None])[0]


def targets_of(imported: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """The files that are imported: `from package import file` means the file."""
    files = []
    for module, names in imported:
        inner = [f"{module}.{name}" for name in names if f"{module}.{name}" in FILES]
        files += inner or [module]
    return files


def upward(module: str, imported: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """The imports of `module` that do not point downward."""
    own = package_of(module)
    wrong = []
    for target in targets_of(imported):
        other = package_of(target)
        if other in (None, own) or (own == "world" and target in FORMATS):
            continue
        if own is not None and LAYER[other] >= LAYER[own]:
            wrong.append(f"{module} imports {target}")
    return wrong


def circle_in(arrows: dict[str, list[str]]) -> list[str] | None:
    """Files that import each other in a circle, or None."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str] | None:
        if name in trail:
            return trail[trail.index(name) :]
        if name in done:
            return None
        found = next((c for other in arrows.get(name, []) if (c := walk(other, [*trail, name]))), None)
        done.add(name)
        return found

    return next((circle for name in arrows if (circle := walk(name, []))), None)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path):
    package = package_of(name_of(path))
    assert package is None or package in LAYER, f"'{package}' has no layer: give it one here and in CONTRIBUTING.md"
    assert upward(name_of(path), imports_of(path)) == []


def test_no_file_imports_itself_in_a_circle():
    """Late imports and imports for type checking count: a circle is not hidden by them."""
    assert circle_in({name_of(path): targets_of(imports_of(path)) for path in MODULES}) is None


def test_upward_imports_and_circles_are_found():
    assert upward("brainram_lib.nsd.reading", [("brainram_lib.stage1.prior", ("Prior",))])
    assert upward("brainram_lib.evaluation.tables", [("brainram_lib.generation.sampling", ("generate",))])
    assert not upward("brainram_lib.world.world", [("brainram_lib.nsd.layout", ("NsdLayout",))])
    assert not upward("brainram_lib.stage2.ram", [("brainram_lib.core.files", ("write_json",))])
    assert circle_in({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c"]
    assert circle_in({"a": ["b", "c"], "b": ["c"], "c": []}) is None


def test_what_is_imported_late_exists():
    for path in MODULES:
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
