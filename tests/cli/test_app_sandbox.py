"""`notifybot sandbox`: serves until it is interrupted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

from typer.testing import CliRunner

from notifybot.sandbox.server import Sandbox
from tests.support.cli_runs import command

runner = CliRunner()


def test_sandbox_serves_until_interrupted() -> None:
    """It prints its page and the variables, and Ctrl-C ends it with code 0."""
    line = [sys.executable, "-u", "-m", "notifybot", "sandbox", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = []
        for shown in process.stdout:
            printed.append(shown)
            if "Ctrl-C" in shown:
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)

    assert (process.returncode, error) == (0, "")
    assert re.search(r"http://127\.0\.0\.1:\d+/", "".join(printed))
    assert "export NOTIFYBOT_SLACK_WEBHOOK_URL=http://127.0.0.1:" in "".join(printed)


def test_a_taken_port_is_told() -> None:
    with Sandbox() as other:
        port = other.url.rpartition(":")[2]

        done = command("sandbox", "--port", port)

    assert done.returncode == 2
    assert done.stderr.startswith(f"notifybot: port {port} cannot be used (")
