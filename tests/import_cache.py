"""jaxtyping's import hook, kept to the package's own modules.

While the hook runs a module of the package, all that the module imports is looked for in the hook's own cache of
compiled files. Libraries are not there: thousands of files, PyTorch's among them, would be compiled in each process.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

from jaxtyping import _import_hook


def exec_module(self: Any, module: ModuleType) -> None:
    """As the hook's own, with its cache for the module's code only and not while that runs."""
    own = partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
    with mock.patch("importlib._bootstrap_external.cache_from_source", own):
        code = self.get_code(module.__name__)
    exec(code, module.__dict__)


def narrow() -> None:
    """Put it in the hook's place; a hook that is built otherwise is left as it is."""
    if hasattr(_import_hook, "_JaxtypingLoader") and hasattr(_import_hook, "_optimized_cache_from_source"):
        _import_hook._JaxtypingLoader.exec_module = exec_module
