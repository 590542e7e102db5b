"""The server itself: it says where it listens, cuts slow clients off, and stops when told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
SERVER = """
import os
import sys
from pathlib import Path
from notifybot.store.database import Store
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from notifybot.web.server import run

app = create_app(Watchdog(Store.open(Path(sys.argv[1]), patience_s=2.0)), deadline_s=1.0)
run(app, "127.0.0.1", int(sys.argv[2]), ready=lambda url: print(url, flush=True))
print(len(os.listdir("/proc/self/task")), "thread left")
"""


def start(folder: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVER, str(folder / "watchdog.db"), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    with start(tmp_path) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        yield process, url, urlsplit(url).port or 0
        process.kill()


def closed_after(port: int, text: bytes) -> tuple[float, bytes]:
    """Send half a request and say after how many seconds the server hung up, and what it said."""
    begun, said = time.monotonic(), b""
    with closing(socket.create_connection(("127.0.0.1", port))) as client:
        client.sendall(text)
        client.settimeout(20)
        while got := client.recv(4096):
            said += got
    return time.monotonic() - begun, said


def test_a_client_that_is_slow_with_its_headers_is_cut_off(server: tuple[subprocess.Popen[str], str, int]) -> None:
    seconds, _ = closed_after(server[2], b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-Slow")

    assert 4 < seconds < 10


def test_a_client_that_is_slow_with_its_body_is_cut_off(server: tuple[subprocess.Popen[str], str, int]) -> None:
    head = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    seconds, said = closed_after(server[2], head)

    assert seconds < 5
    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_flood_of_headers_is_refused(server: tuple[subprocess.Popen[str], str, int]) -> None:
    flood = b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(1000)) + b"\r\n"
    try:
        _, said = closed_after(server[2], flood)
    except ConnectionError:
        said = b""
    assert said == b"" or said.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to_even_with_a_client_connected(
    server: tuple[subprocess.Popen[str], str, int], number: signal.Signals
) -> None:
    """And after all its threads: Rust aborts a process whose interpreter ends one of them."""
    process, url, port = server
    assert process.stdout is not None
    assert urlopen(f"{url}/favicon.ico").status == 200
    with closing(socket.create_connection(("127.0.0.1", port))):
        process.send_signal(number)
        assert process.wait(15) == 0
    assert process.stdout.read() == "1 thread left\n"


def test_a_port_that_is_taken_is_named(tmp_path: Path, server: tuple[subprocess.Popen[str], str, int]) -> None:
    with start(tmp_path / "second", server[2]) as second:
        _, errors = second.communicate(timeout=30)

    assert second.returncode != 0
    assert f"cannot listen on 127.0.0.1 port {server[2]}: Address already in use." in errors
