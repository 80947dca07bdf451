"""No test reaches the network or the real home directory; both are closed before anything else is imported."""

from __future__ import annotations

import atexit
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return Path(__file__).parent.parent
