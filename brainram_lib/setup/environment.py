"""The environment itself: what is installed, whether it is complete and matches the lock, and what this machine offers.

The Makefile runs this file on its own, before the package is installed, so it needs nothing outside the standard
library at import.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LOCK = ROOT / "requirements.lock"
DOCS_LOCK = ROOT / "requirements-docs.lock"
# torch's accelerator libraries exist for Linux only, and torch asks for them there only.
LINUX_ONLY = re.compile(r"^(nvidia|cuda|triton)")
HEADER = """\
# The tested set: Python 3.11, exact versions of everything that pyproject.toml's runtime and dev requirements need.
# Made by `make lock` from an environment that passes the tests; pyproject.toml holds the ranges.
"""
DOCS_HEADER = """\
# What the documentation site needs beside requirements.lock, tested together with it: pyproject.toml's group `docs`.
# Made by `make lock`; installed by `make docs`, and by no other target.
"""
GIB = 2**30
KERNEL = "python3"


def locked(lock: Path = LOCK) -> dict[str, str]:
    """Distribution names and versions that the lock file names.

    Raises:
        ValueError: a line is not `name==version`, with or without an environment marker.
    """
    found = {}
    for line in lock.read_text().splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(\s*;.*)?", text)
        if match is None:
            raise ValueError(
                f"'{lock.name}' must hold lines such as 'numpy==2.4.6'. '{text}' was found; run `make lock`."
            )
        found[normal(match[1])] = match[2]
    return found


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it: lower case, single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def incomplete(pins: dict[str, str]) -> list[str]:
    """The pins, as `name==version`, of packages whose installation was interrupted half-way.

    An installer writes a package's RECORD last; without it the package looks installed but may lack files.
    """
    return [f"{name}=={pin}" for name, pin in pins.items() if (d := _distribution(name)) and d.files is None]


def differing(pins: dict[str, str]) -> list[str]:
    """One sentence for each pinned package that is missing here or has another version."""
    sentences = []
    for name, pin in pins.items():
        if LINUX_ONLY.match(name) and sys.platform != "linux":
            continue
        found = _distribution(name)
        if found is None:
            sentences.append(f"{name} is not installed; {pin} was tested.")
        elif found.version.split("+")[0] != pin:
            sentences.append(f"{name} is {found.version}; {pin} was tested.")
    return sentences


def lock_lines(pyproject: Path = ROOT / "pyproject.toml", extras: tuple[str, ...] = ("dev",)) -> list[str]:
    """`name==version` for the requirements of the project and of `extras`, and for all that these depend on here.

    Raises:
        PackageNotFoundError: a requirement is not installed here.
    """
    from packaging.requirements import Requirement

    project = tomllib.loads(pyproject.read_text())["project"]
    texts = project["dependencies"] + [text for extra in extras for text in project["optional-dependencies"][extra]]
    waiting, found = [Requirement(text) for text in texts], {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        needed = waiting.pop()
        for extra in ("", *needed.extras):
            if (normal(needed.name), extra) in seen:
                continue
            seen.add((normal(needed.name), extra))
            found[normal(needed.name)] = version(needed.name).split("+")[0]
            wanted = (Requirement(text) for text in distribution(needed.name).requires or ())
            waiting += [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": extra})]
    return [f"{name}=={found[name]}{_marker(name)}" for name in sorted(found)]


def docs_lock_lines() -> list[str]:
    """The lines of the documentation's lock: those that `lock_lines` has with the group `docs` but not without it."""
    without = set(lock_lines())
    return [line for line in lock_lines(extras=("dev", "docs")) if line not in without]


def report() -> Iterator[tuple[bool, str]]:
    """What `python -m brainram_lib doctor` prints: (all is well, sentence), one per line."""
    yield sys.version_info >= (3, 11), f"Python {platform.python_version()} (3.11 or newer is needed)."
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield memory > 7, f"{os.cpu_count()} cores, {memory:.0f} GiB of memory (mini needs 8 GiB)."
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield free > 5, f"{free:.0f} GiB free on this folder's disk (mini's results need up to 5 GiB)."
    yield from guarded("The installed packages", _report_packages)
    yield from _report_accelerator()
    yield from guarded("Jupyter's kernel", _report_kernel)


def guarded(title: str, part: Callable[[], Iterable[tuple[bool, str]]]) -> Iterator[tuple[bool, str]]:
    """The lines of one part of a check; if it raises, that becomes a line, so that the other parts still report."""
    try:
        yield from part()
    except Exception as problem:
        said = str(problem)
        short = said if len(said) <= 300 else f"{said[:200]} ... {said[-90:]}"
        yield False, f"{title} could not be checked ({type(problem).__name__}: {short})."


def _report_packages() -> Iterator[tuple[bool, str]]:
    if not LOCK.is_file():
        yield True, "No lock file beside the package: versions are not compared with the tested set."
        return
    pins = locked()
    half = incomplete(pins)
    yield not half, f"Half-installed packages: {', '.join(half) or 'none'}." + (" Run `make mend`." if half else "")
    others = differing(pins)
    if not others:
        yield True, f"All {len(pins)} packages have the tested versions."
    for sentence in others:
        yield False, sentence


def _report_accelerator() -> Iterator[tuple[bool, str]]:
    try:
        import torch
        import torchvision  # noqa: F401  a CPU build of torch beside it fails here, at import
    except Exception as problem:  # a missing library of the toolkit is an OSError, a renamed name an AttributeError
        yield (
            False,
            f"torch and torchvision do not import together ({type(problem).__name__}: {str(problem)[:300]}). Install "
            "the pair in requirements.lock.",
        )
        return
    try:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; mini runs on the CPU"
    except Exception as problem:  # a driver that is busy or of another version
        yield False, f"torch {torch.__version__} sees an accelerator that does not answer ({str(problem)[:300]})."
        return
    yield True, f"torch {torch.__version__}; accelerator: {name}."


def _report_kernel() -> Iterator[tuple[bool, str]]:
    """Notebooks in JupyterLab run in the kernel called python3, which may belong to another Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as problem:
        yield False, f"Jupyter does not import ({problem}). Run `make mend`."
        return
    remedy = f"Run `{sys.executable} -m ipykernel install --sys-prefix`"
    try:
        program = KernelSpecManager().get_kernel_spec(KERNEL).argv[0]
    except NoSuchKernel:
        yield False, f"There is no Jupyter kernel '{KERNEL}'. {remedy}."
        return
    found = sys.executable if program in ("python", "python3") else shutil.which(program)
    if found is None:
        yield False, f"The Jupyter kernel '{KERNEL}' starts '{program}', which is not there. {remedy}."
    elif os.path.abspath(found) != os.path.abspath(sys.executable):
        yield (
            False,
            f"The Jupyter kernel '{KERNEL}' belongs to '{program}', not to this Python, '{sys.executable}'. {remedy}; "
            "`jupyter kernelspec list` says where the other lies.",
        )
    else:
        yield True, f"The Jupyter kernel '{KERNEL}' is this Python."


def installed_version(name: str) -> str | None:
    """The version of a distribution that is installed here, or None."""
    found = _distribution(name)
    return None if found is None else found.version


def _marker(name: str) -> str:
    return ' ; platform_system == "Linux"' if LINUX_ONLY.match(name) else ""


def _distribution(name: str):
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def main(arguments: Iterable[str] | None = None) -> None:
    """Print a lock of this environment, or the packages in a lock that are half-installed here."""
    printed: dict[str, Callable[[], str]] = {
        "lock": lambda: HEADER + "\n".join(lock_lines()),
        "lock-docs": lambda: DOCS_HEADER + "\n".join(docs_lock_lines()),
        "incomplete": lambda: "\n".join(incomplete(locked())),
        "incomplete-docs": lambda: "\n".join(incomplete(locked(DOCS_LOCK))),
    }
    parser = argparse.ArgumentParser(prog="environment.py", description=main.__doc__)
    parser.add_argument("what", choices=printed)
    print(printed[parser.parse_args(arguments).what]())


if __name__ == "__main__":
    main()
