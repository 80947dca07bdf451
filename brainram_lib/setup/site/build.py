"""Building the site: sources into a temporary folder, Sphinx over them, a look at what came out."""

from __future__ import annotations

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from brainram_lib.setup.site.offline import faults
from brainram_lib.setup.site.sources import ROOT, write_sources

CONFIGURATION = ROOT / "docs" / "site"
NEEDED = ("sphinx", "myst_nb", "furo")
MARK = "searchindex.js"
"""A file that every built site has."""


class SiteError(RuntimeError):
    """The site cannot be built; the message says why and what to do."""


def build(out: Path, executed: Path) -> Path:
    """Build the site into `out`, in the place of an earlier one, and return `out`.

    Every warning of Sphinx is an error: a link that leads nowhere, a picture that is not there. So is a page that
    loads anything from another host, and a picture without an alternative text.

    Args:
        out: the site's folder.
        executed: executed copies of notebooks; those that are not there are shown without outputs.

    Raises:
        SiteError: packages are missing, `out` holds something else, or a page has a fault.
    """
    require(out)
    with tempfile.TemporaryDirectory(prefix="brainram-site-") as name:
        sources, made = Path(name) / "sources", Path(name) / "site"
        for sentence in write_sources(sources, executed):
            print(sentence)
        _sphinx(sources, made, Path(name) / "doctrees")
        if found := list(faults(made)):
            raise SiteError(f"the site has {len(found)} faults; the first: {' '.join(found[:5])}")
        if out.exists():
            shutil.rmtree(out)
        shutil.move(made, out)
    return out


def require(out: Path) -> None:
    """The site's packages must be there, and `out` must be new, empty or a site.

    Raises:
        SiteError: it is not so.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise SiteError(
            f"{', '.join(missing)} are not installed: the site has packages of its own. Run `make docs`, or "
            "`python -m pip install -r requirements-docs.lock`."
        )
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise SiteError(f"'{out}' holds something that is no site. Name another folder with --out, or empty it.")


def _sphinx(sources: Path, made: Path, trees: Path) -> None:
    from sphinx.cmd.build import build_main

    options = ["-b", "html", "-W", "--keep-going", "-c", str(CONFIGURATION), "-d", str(trees)]
    if build_main([*options, str(sources), str(made)]):
        raise SiteError("Sphinx found faults in the pages; its own messages stand above.")
