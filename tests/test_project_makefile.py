"""`make`'s set-up with a stand-in for Python: it says what is missing, and goes on after an interruption."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/bin/bash
echo "$*" >> "{log}"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *ensurepip*) exit {ensurepip} ;;
  *version_info\\[:2\\]*) echo 3.11 ;;
  *"-r requirements.lock"*) [ ! -e fail ] ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    for name in ("Makefile", "requirements.lock", "requirements-docs.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def stand_in(folder: Path, ensurepip: int = 0) -> Path:
    python = folder / "stand-in-python"
    python.write_text(STAND_IN.format(log=folder / "log", ensurepip=ensurepip))
    python.chmod(0o755)
    return python


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def installs(folder: Path) -> int:
    return (folder / "log").read_text().count("-r requirements.lock")


def test_a_missing_python_is_named(checkout):
    done = make(checkout, "test", "PYTHON=python-that-is-not-there")
    assert done.returncode and "'python-that-is-not-there' was not found" in done.stderr
    assert not (checkout / ".venv" / "made").exists()


@pytest.mark.parametrize(
    ("there", "taken"),
    [(["python3", "python3.12"], "python3.12"), (["python3.12", "python3.11"], "python3.11"), ([], "python3.11")],
)
def test_the_first_python_that_there_is_is_taken(checkout, there, taken):
    folder = checkout / "bin"
    folder.mkdir()
    for name in there:
        stand_in(folder).rename(folder / name)
    told = ["make", "--eval", "told: ; @echo taken: $(PYTHON)", "told"]
    program = shutil.which("make")
    done = subprocess.run(
        told, executable=program, cwd=checkout, capture_output=True, text=True, env={"PATH": str(folder)}
    )
    assert f"taken: {folder / taken if there else taken}" in done.stdout.splitlines()


def test_a_missing_venv_module_names_the_debian_package(checkout):
    done = make(checkout, "test", f"PYTHON={stand_in(checkout, ensurepip=1)}")
    assert done.returncode and "apt-get install python3.11-venv" in done.stderr


def test_an_interrupted_set_up_continues_and_a_finished_one_is_not_repeated(checkout):
    python = f"PYTHON={stand_in(checkout)}"
    (checkout / "fail").touch()
    assert make(checkout, "test", python).returncode
    assert (checkout / ".venv" / "made").exists() and not (checkout / ".venv" / "packages").exists()
    (checkout / "fail").unlink()
    assert make(checkout, "test", python).returncode == 0
    assert make(checkout, "test", python).returncode == 0
    log = (checkout / "log").read_text()
    assert installs(checkout) == 2 and log.count("-m venv .venv") == 1 and log.count("-m pytest") == 2


def test_a_new_lock_is_installed(checkout):
    python = f"PYTHON={stand_in(checkout)}"
    make(checkout, "test", python)
    stamp = (checkout / ".venv" / "packages").stat().st_mtime
    os.utime(checkout / "requirements.lock", (stamp + 60, stamp + 60))
    make(checkout, "test", python)
    assert installs(checkout) == 2


def test_the_documentations_packages_are_installed_for_the_documentation_alone(checkout):
    python = f"PYTHON={stand_in(checkout)}"
    make(checkout, "test", python)
    assert "requirements-docs.lock" not in (checkout / "log").read_text()
    assert make(checkout, "docs", python).returncode == 0
    assert make(checkout, "docs", python).returncode == 0
    log = (checkout / "log").read_text()
    assert log.count("-r requirements-docs.lock") == 1 and log.count("-m brainram_lib site") == 2
