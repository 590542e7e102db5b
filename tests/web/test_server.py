"""The port that is served on; tests/processes/test_watchdog_server.py serves on one."""

from __future__ import annotations

import socket

import pytest
from fastapi import FastAPI

from notifybot.errors import UsageError
from notifybot.web.server import run


def test_a_port_that_is_taken_is_named_before_anything_is_served() -> None:
    """The server itself would share the port, and half of the reports would go elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"):
            run(FastAPI(), "127.0.0.1", port, ready=lambda url: pytest.fail(f"served on {url}"))


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1 port 8710"):
        run(FastAPI(), "192.0.2.1", 8710, ready=lambda url: pytest.fail(f"served on {url}"))
