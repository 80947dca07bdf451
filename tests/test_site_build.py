"""The site: sources from the checkout, nothing from other hosts; built whole in a slow test."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from brainram_lib.setup.site import build as building
from brainram_lib.setup.site.build import NEEDED, SiteError, require
from brainram_lib.setup.site.offline import faults, resources
from brainram_lib.setup.site.sources import GROUPS, ROOT, notebooks, pages, write_sources


def test_sources_hold_every_page_and_what_it_links_to(tmp_path):
    said = write_sources(tmp_path, tmp_path / "nothing-executed")
    assert len(said) == len(notebooks(ROOT))
    index = (tmp_path / "index.md").read_text()
    listed = {name for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for name in block.split()}
    expected = {str(path.with_suffix("")) for path in pages(ROOT)} - {"README"}
    assert expected | {"api/index"} <= listed
    for name in ("LICENSE", "figures/reconstructions.png", "brainram_lib/core/published.py", "api/stage2.rst"):
        assert (tmp_path / name).is_file(), name
    assert "README.md)" not in "".join(path.read_text() for path in tmp_path.rglob("*.md"))


def test_named_pages_are_there():
    named = {name for names in GROUPS.values() for name in names} - {"api/index"}
    assert named <= {str(path.with_suffix("")) for path in pages(ROOT)}


def test_what_a_page_loads_from_elsewhere_is_found(tmp_path):
    html = """<link rel="stylesheet" href="https://a.org/x.css"><link rel="canonical" href="https://fine.org">
    <script src="//b.org/y.js"></script><img src="z.png" alt="a picture"><img src="http://c.org/p.png">
    <a href="https://fine.org">read on</a><style>@import "https://d.org/f.css";</style>
    <p style="background: url(https://e.org/i.png)"></p>
    <iframe srcdoc="&lt;script src=&quot;https://f.org/s.js&quot;&gt;&lt;/script&gt;"></iframe>"""
    remote, unnamed = resources(html)
    assert sorted(re.search(r"//([a-z]+)\.org", one)[1] for one in remote) == list("abcdef")
    assert unnamed == ["http://c.org/p.png"]
    (tmp_path / "index.html").write_text('<img src="x.png" alt="">')
    (tmp_path / "style.css").write_text("@font-face { src: url('https://g.org/font.woff2') }")
    assert len(list(faults(tmp_path))) == 2


def test_a_folder_that_is_no_site_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "find_spec", lambda name: object())
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SiteError, match="holds something that is no site"):
        require(tmp_path)
    require(tmp_path / "new")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    with pytest.raises(SiteError, match="sphinx, myst_nb, furo are not installed.*make docs"):
        require(tmp_path / "new")


@pytest.mark.slow
@pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="the site's packages: `make docs`")
def test_the_site_builds(tmp_path):
    """Every warning of Sphinx is an error, so each link, picture and docstring is looked at."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "brainram_lib", "site", "--out", str(site), "--executed", str(tmp_path / "none")]
    for _ in ("made", "replaced"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    assert list(faults(site)) == []
    text = (site / "notebooks" / "02_train_priors.html").read_text()
    assert "<math" in text and "MathJax" not in text
    assert "batch sources tokens width" in re.sub("<[^>]+>", "", (site / "api" / "stage2.html").read_text())
    assert 'id="token-0-global-token"' in (site / "docs" / "glossary.html").read_text()


def test_copies_below_the_notebooks_are_no_pages(tmp_path):
    for name in ("01_one.ipynb", "out.ipynb", "runs/notebooks/01_one.ipynb", ".ipynb_checkpoints/01_one.ipynb"):
        (tmp_path / "notebooks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "notebooks" / name).write_text("{}")
    assert [path.as_posix() for path in notebooks(tmp_path)] == ["notebooks/01_one.ipynb"]
