"""The doctor: what it finds about accounts, services and the machine, what to do, and that it leaves no trace."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.config import load
from notifybot.doctor import examine
from notifybot.doctor.examine import APPRISE, examine_apprise
from notifybot.doctor.findings import Level
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from tests.support.doctor import examined

runner = CliRunner()
# ── Watchdog ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("health", "token", "verdicts", "remedy"),
    [
        pytest.param(200, 200, ["ok", "ok"], "", id="well"),
        pytest.param(503, 200, ["wrong", "ok"], "look at its log", id="late"),
        pytest.param(200, 401, ["ok", "wrong"], "notifybot watchdog token new", id="token"),
        pytest.param(404, 404, ["wrong"], "NOTIFYBOT_WATCHDOG_URL", id="another server"),
    ],
)
def test_the_watchdog_is_asked_how_it_is_and_whether_it_knows_us(
    health: int, token: int, verdicts: list[str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox() as server:
        server.faults.append(Fault("status", path="/healthz", status=health, times=9))
        server.faults.append(Fault("status", path="/api/v1/runs", status=token, times=9))
        monkeypatch.setenv("NOTIFYBOT_WATCHDOG_URL", server.url)
        monkeypatch.setenv("NOTIFYBOT_WATCHDOG_TOKEN", "nb_canary-not-a-token")

        found = [each for each in examined() if each.part == "watchdog"]

    assert [each.verdict.value for each in found] == verdicts
    assert all(each.remedy is None or remedy in each.remedy.en for each in found)
    assert "authorization" not in server.requests[0].headers, "the public page gets no token"


def test_a_watchdog_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as server:
        url = server.url
    monkeypatch.setenv("NOTIFYBOT_WATCHDOG_URL", url)
    monkeypatch.setenv("NOTIFYBOT_WATCHDOG_TOKEN", "nb_canary-not-a-token")

    assert [each.what.en for each in examined() if each.part == "watchdog"] == ["the watchdog does not answer"]


# ── Other services, and who is meant ─────────────────────────────────────────────────────────────────────────────────


def test_addresses_are_read_as_apprise_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that cannot be read is told by its position: an address is a key. Nothing is sent."""
    with Sandbox() as sandbox:
        host = sandbox.url.removeprefix("http://")
        urls = f"json://{host}/canary-path foo://canary-secret-bar tgram://canary-half canary-without-a-scheme"
        monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", urls)
        found = [each for each in examined() if each.part == APPRISE]
        result = runner.invoke(app, ["doctor"], env={"COLUMNS": "200"})

        assert sandbox.requests == []
    assert [each.what.en for each in found] == [
        "Apprise makes nothing of address 2 (foo://…)",
        "Apprise makes nothing of address 3 (tgram://…)",
        "address 4 does not begin with a service, such as discord://",
        "the addresses can be read (json://…); whether they work cannot be seen without posting",
    ]
    assert [each.verdict for each in found] == [Level.WRONG] * 3 + [Level.NOTE]
    assert result.exit_code == 1
    assert "canary" not in result.output


def test_addresses_without_apprise_are_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", "json://127.0.0.1:9/canary")
    monkeypatch.setattr(examine, "is_installed", lambda _: False)

    (found,) = examine_apprise(load())

    assert found.remedy is not None
    assert "pip install" in found.remedy.ko


@pytest.mark.parametrize(
    ("name", "verdict", "remedy"),
    [("slcak", Level.WRONG, "did you mean [notifiers.slack]?"), ("teams", Level.NOTE, "notifiers=[…]")],
)
def test_settings_for_nobody_are_told(name: str, verdict: Level, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name is a fault; another one may be a notifier that only the training's code knows."""
    monkeypatch.setenv("NOTIFYBOT_NOTIFIERS", json.dumps({name: {"daily": 3}}))

    (found,) = [each for each in examined() if each.part == "settings"]

    assert found.verdict is verdict
    assert found.what.en == f"[notifiers.{name}]: no notifier is called so here"
    assert found.remedy is not None
    assert remedy in found.remedy.en


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "settings",
    [
        {"WEBHOOK_URL": "http://127.0.0.1:9/canary-hook"},
        {"WATCHDOG_URL": "http://127.0.0.1:9", "WATCHDOG_TOKEN": "nb_canary-not-a-token"},
        {"APPRISE_URLS": "json://127.0.0.1:9/canary"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_one_way_of_any_kind_is_enough(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is read by a program, and a watchdog tells people itself: somebody hears of the run."""
    for name, value in settings.items():
        monkeypatch.setenv(f"NOTIFYBOT_{name}", value)

    assert [each for each in examined() if each.part == "notifiers"] == []
