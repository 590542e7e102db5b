"""`notifybot send` and `notifybot test`: events sent at once, with each answer."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.events import KINDS
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from tests.support.cli_runs import command

runner = CliRunner()


def test_send_tells_everyone_and_says_what_happened(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["send", "disk is 95 % full", "--title", "Lab server", "--severity", "warning"])

    assert result.exit_code == 0, result.output
    assert "slack" in result.output
    (request,) = sandbox.requests
    assert "Lab server" in request.body.decode()
    assert "disk is 95 % full" in request.body.decode()


def test_send_fails_when_one_refuses(sandbox: Sandbox) -> None:
    """The exit code is 1, the reason is shown, and the webhook's URL is not."""
    sandbox.faults.append(Fault("status", status=404, body=b"no_service"))

    result = runner.invoke(app, ["send", "hello"])

    assert result.exit_code == 1
    assert "/services/" not in result.output
    assert result.output.startswith("slack")


def test_test_sends_one_message_of_each_kind(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["test", "--notifier", "slack"])

    assert result.exit_code == 0, result.output
    assert len(sandbox.requests) == len(KINDS)
    for kind in KINDS:
        assert re.search(rf"slack +│ {kind} +│ sent", result.output)


def test_test_gives_up_on_a_notifier_that_is_not_set_up(sandbox: Sandbox) -> None:
    """A deleted webhook is asked once; the other kinds are marked as not tried."""
    sandbox.faults.append(Fault("status", status=404, body=b"no_service"))

    result = runner.invoke(app, ["test", "--notifier", "slack"])

    assert result.exit_code == 1
    assert len(sandbox.requests) == 1
    assert result.output.count("not tried") == len(KINDS) - 1


def test_test_spares_a_notifier_what_it_never_tells(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """KakaoTalk's few messages a day are not spent on checkpoints, in a run or here."""
    for name, value in sandbox.environment().items():
        if "KAKAO" in name:
            monkeypatch.setenv(name, value)

    result = runner.invoke(app, ["test", "-n", "kakao", "-k", "checkpoint_saved"])

    assert result.exit_code == 0, result.output
    assert sandbox.kakao.messages == []


def test_test_can_be_narrowed_to_a_kind(sandbox: Sandbox) -> None:
    assert runner.invoke(app, ["test", "-n", "slack", "-k", "run_lost"]).exit_code == 0
    assert len(sandbox.requests) == 1


def test_test_knows_its_words() -> None:
    """An unknown kind or notifier is answered with what there is."""
    kind = command("test", "--kind", "nonsense")
    notifier = command("test", "--notifier", "pigeon")

    assert kind.returncode == notifier.returncode == 2
    assert kind.stderr.startswith("notifybot: there is no message kind 'nonsense'; the kinds are: run_started,")
    assert (
        notifier.stderr
        == "notifybot: no notifier named 'pigeon' is configured: `notifybot doctor` says what is missing\n"
    )
