"""Locks that are looked at often."""

import pytest

from brainram_lib.core import locks


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "POLL", 0.01)
    monkeypatch.setattr(locks, "PATIENCE", 0.05)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / ".x.lock"
