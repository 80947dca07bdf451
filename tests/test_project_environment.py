"""pyproject.toml, requirements.lock, environment.yml and the imports of the package agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from brainram_lib.setup import environment
from brainram_lib.setup.environment import DOCS_LOCK, differing, docs_lock_lines, incomplete, lock_lines, locked, normal

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Needed without being imported: what each is for.
NOT_IMPORTED = {
    "accelerate": "diffusers loads weights with little memory through it",
    "plotly": "nilearn draws the surface that one turns with the mouse through it",
    "transformers": "diffusers' text encoders and open_clip's Hugging Face tokenizers",
    "ipykernel": "the notebooks' kernel",
    "jupyterlab": "`make lab`",
}

# Where a module is not called as the distribution that brings it.
DISTRIBUTION = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "mpl_toolkits": "matplotlib",
    "open_clip": "open-clip-torch",
    "selective_scan_cuda": "mamba-ssm",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def requirements(extra: str | None = None) -> dict[str, Requirement]:
    texts = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return {normal(Requirement(text).name): Requirement(text) for text in texts}


def imported_distributions() -> set[str]:
    """The distributions whose modules the package imports, anywhere in its files."""
    modules = set()
    for path in (ROOT / "brainram_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    outside = modules - set(sys.stdlib_module_names) - {"brainram_lib", "__future__"}
    return {DISTRIBUTION.get(module, normal(module)) for module in outside}


def test_every_import_is_declared():
    optional = {name for extra in ("gpu", "dev", "docs") for name in requirements(extra)}
    assert imported_distributions() - set(requirements()) - optional == set()


def test_every_requirement_is_imported_or_has_a_reason():
    assert set(requirements()) - imported_distributions() == set(NOT_IMPORTED) - imported_distributions()


@pytest.mark.parametrize("extra", [None, "dev"])
def test_the_lock_is_within_the_ranges(extra):
    pins = locked()
    for name, requirement in requirements(extra).items():
        assert name in pins, f"{name} is missing from the lock; run `make lock`"
        assert requirement.specifier.contains(pins[name]), f"{requirement} is not met by {pins[name]}"


def test_the_documentations_lock_is_within_the_ranges_and_beside_the_other():
    pins = locked(DOCS_LOCK)
    assert all(one.specifier.contains(pins[name]) for name, one in requirements("docs").items())
    assert not set(pins) & set(locked()), "what both need stands in requirements.lock"


@pytest.mark.parametrize("lock", [environment.LOCK, DOCS_LOCK], ids=lambda lock: lock.stem)
def test_the_lock_names_versions_only(lock):
    assert not re.search(r"file:|https?:|@ |--", lock.read_text())


def test_the_lock_has_the_pair_that_was_tested():
    assert {"torch": "2.14.0", "torchvision": "0.29.0"}.items() <= locked().items()


def test_ranges_admit_the_gpu_machine():
    assert requirements()["torch"].specifier.contains("2.11.0")
    assert requirements()["torchvision"].specifier.contains("0.26.0")
    assert not requirements()["transformers"].specifier.contains("4.57.0")


def test_conda_installs_the_project_itself():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    plain = [item for item in conda["dependencies"] if isinstance(item, str)]
    assert pip == ["-e .[dev]"]
    assert [re.split("[=<>]", item)[0] for item in plain] == ["python", "pip"], "packages belong into pyproject.toml"
    minimum = PROJECT["requires-python"].removeprefix(">=")
    assert f"python={minimum}" in plain and f"python{minimum}" in (ROOT / "Makefile").read_text()


def test_lock_lines_hold_requirements_and_what_they_need(tmp_path):
    text = '[project]\ndependencies = ["pytest>=9"]\n[project.optional-dependencies]\ndev = ["tqdm"]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    names = [line.split("==")[0] for line in lock_lines(tmp_path / "pyproject.toml")]
    assert names == sorted(names) and {"pytest", "pluggy", "iniconfig", "tqdm"} <= set(names)


def test_the_documentations_lock_has_what_it_adds(monkeypatch):
    every = {("dev",): ["numpy==2.4.6"], ("dev", "docs"): ["furo==1", "numpy==2.4.6"]}
    monkeypatch.setattr(environment, "lock_lines", lambda extras=("dev",): every[extras])
    assert docs_lock_lines() == ["furo==1"]


def test_a_lock_line_without_a_version_is_refused(tmp_path):
    (tmp_path / "requirements.lock").write_text("# fine\nnumpy==2.4.6\nscipy>=1\n")
    with pytest.raises(ValueError, match="'scipy>=1' was found; run `make lock`"):
        locked(tmp_path / "requirements.lock")


class Installed:
    """A stand-in for an installed distribution; `files` is None where its RECORD was never written."""

    def __init__(self, version: str, files: list[str] | None) -> None:
        self.version, self.files = version, files


def test_half_installed_and_differing_packages_are_named(monkeypatch):
    there = {"whole": Installed("1.0+cu130", ["a.py"]), "half": Installed("2.0", None), "old": Installed("3.0", [])}
    monkeypatch.setattr(environment, "_distribution", there.get)
    pins = {"whole": "1.0", "half": "2.0", "old": "3.1", "gone": "4.0"}
    assert incomplete(pins) == ["half==2.0"]
    assert differing(pins) == ["old is 3.0; 3.1 was tested.", "gone is not installed; 4.0 was tested."]
