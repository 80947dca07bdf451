"""The guard of conftest.py: tests reach neither the network nor the real home."""

import os
import pwd
import socket
from pathlib import Path

import pytest


def test_connecting_to_another_machine_is_refused():
    with socket.socket() as one, pytest.raises(RuntimeError, match="tests must not use the network; '192.0.2.1'"):
        one.connect(("192.0.2.1", 80))


def test_names_of_other_machines_are_not_resolved():
    with pytest.raises(RuntimeError, match="'example.invalid' was asked for"):
        socket.create_connection(("example.invalid", 80), timeout=1)


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_home_is_not_the_real_one():
    assert Path.home() == Path(os.environ["HOME"])
    assert Path.home() != Path(pwd.getpwuid(os.getuid()).pw_dir)
