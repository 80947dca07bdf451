"""One table and the records of all its runs, for all files of this folder."""

from __future__ import annotations

import pytest
from saved_scores import RUNS, TABLE, results_of

from brainram_lib.experiments import experiment


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "table4.toml"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def table(path):
    return experiment.load(path)


@pytest.fixture(scope="module")
def every_run(table):
    return results_of(table, RUNS)


@pytest.fixture(scope="module")
def saved(every_run, tmp_path_factory):
    """The folder of the records of all runs."""
    folder = tmp_path_factory.mktemp("results")
    every_run.write(folder / "table4.json")
    return folder
