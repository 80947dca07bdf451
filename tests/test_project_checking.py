"""Shapes are checked in every call of the package, and the hook that sees to it leaves libraries alone."""

from __future__ import annotations

import importlib
import sys

import jaxtyping
import numpy as np
import pytest

from brainram_lib.core.ridge import fit_ridge

MODULE = """
import importlib._bootstrap_external
from jaxtyping import Float
import numpy as np

CACHE = importlib._bootstrap_external.cache_from_source("library.py")

def doubled(rows: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return 2 * rows
"""


def test_a_wrong_shape_is_refused():
    betas, targets = np.ones((5, 3), np.float32), np.ones((5, 2, 4), np.float32)
    with pytest.raises(TypeError, match="fit_ridge"):
        fit_ridge(betas, targets, betas[:2], targets[0])


def test_what_a_module_imports_has_its_own_compiled_files(tmp_path, monkeypatch):
    (tmp_path / "hooked_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("hooked_module", "typechecking.check"):
        module = importlib.import_module("hooked_module")
    monkeypatch.delitem(sys.modules, "hooked_module")
    assert "jaxtyping" not in module.CACHE
    with pytest.raises(TypeError, match="doubled"):
        module.doubled(np.ones((2, 4)))
