"""The small run, made once for all files of this folder."""

from __future__ import annotations

import os

import pytest
from tiny_run import TINY, WORLD, make_all

from brainram_lib.workbench import Workbench


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """One folder for all workers of pytest-xdist: what one of them makes, the others wait for and read."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"


@pytest.fixture(scope="session")
def workbench(runs):
    return Workbench(TINY, subject=1, runs=runs, world=WORLD)


@pytest.fixture(scope="session")
def finished(workbench):
    """The workbench, with everything made."""
    make_all(workbench)
    return workbench


@pytest.fixture(scope="session")
def records(finished):
    """Its records, whose intervals take a while."""
    return finished.records()
