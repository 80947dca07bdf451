"""No test reaches the network or the real home directory; both are closed before anything else is imported."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import import_cache
import pytest

import_cache.narrow()

_HOME = tempfile.TemporaryDirectory(prefix="brainram-home-", ignore_cleanup_errors=True)
atexit.register(_HOME.cleanup)
# Processes that tests start (kernels, the command line) inherit these; port 9 of this machine answers nobody.
os.environ |= {
    "HOME": _HOME.name,
    "HF_HUB_OFFLINE": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "JUPYTER_PLATFORM_DIRS": "1",
}
for _name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME", "MPLCONFIGDIR", "JUPYTER_CONFIG_DIR"):
    os.environ.pop(_name, None)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A worker holds up to WORKER_GIB of memory; with more than MOST_WORKERS the longest file decides.
MOST_WORKERS, WORKER_GIB = 4, 3


class NetworkDenied(RuntimeError):
    """A test tried to leave this machine."""


def _is_local(host: Any) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    return host is None or text in ("", "localhost", "::1", "0.0.0.0", "::") or text.startswith("127.")


def _refuse(host: Any) -> None:
    if not _is_local(host):
        raise NetworkDenied(f"tests must not use the network; '{host}' was asked for. Use material made by the test.")


def _guarded(method: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(address[0])
        return method(self, address)

    return connect


_resolve = socket.getaddrinfo


def _guarded_resolve(host: Any, *arguments: Any, **settings: Any) -> Any:
    _refuse(host)
    return _resolve(host, *arguments, **settings)


socket.socket.connect = _guarded(socket.socket.connect)
socket.socket.connect_ex = _guarded(socket.socket.connect_ex)
socket.getaddrinfo = _guarded_resolve


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws does not depend on the tests that ran before it in the same process."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as cores and memory allow; 0, no worker at all, where that is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    workers = min(cores, memory // WORKER_GIB, MOST_WORKERS)
    return workers if workers > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Workers share the cores, and so do the processes that their tests start: one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return Path(__file__).parent.parent
