"""Putting delivery together: what is configured, and nothing that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from notifybot.config import Config
from notifybot.delivery.build import notifiers_from, open_delivery, people_from
from notifybot.errors import ConfigError
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Request, Response, json_response
from notifybot.store.database import Store
from notifybot.testing import RecordingNotifier
from tests.support.store_events import RUN, alert, started

HOOK = "https://hooks.slack.com/services/T0SANDBOX/B0SANDBOX/canary-not-a-webhook-secret"
CLIENTS = ("slack_sdk", "requests", "urllib3", "notifybot.notifiers.slack", "notifybot.notifiers.kakao")
LOADED = """
import sys
from pathlib import Path
from notifybot.config import Config
from notifybot.delivery.build import open_delivery
from notifybot.store.database import Store

with Store.open(Path(sys.argv[1])) as store:
    open_delivery(store, Config(**eval(sys.argv[2])))
print(*sorted(sys.modules))
"""


def loaded(folder: Path, settings: dict[str, str]) -> set[str]:
    """The modules that a process has imported once its delivery is open."""
    command = [sys.executable, "-c", LOADED, str(folder / "a.db"), repr(settings)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_start_without_a_service_imports_no_client(tmp_path: Path) -> None:
    """They take longer than the rest of the start."""
    assert set(CLIENTS) & loaded(tmp_path, {}) == set()


@pytest.mark.parametrize(
    ("settings", "clients"),
    [
        ({"slack_webhook_url": HOOK}, {"slack_sdk", "notifybot.notifiers.slack"}),
        ({"watchdog_url": "http://127.0.0.1:9", "watchdog_token": "nb_canary-not-a-token"}, {"requests", "urllib3"}),
    ],
    ids=["slack", "watchdog"],
)
def test_a_start_imports_the_client_of_what_is_configured(
    tmp_path: Path, settings: dict[str, str], clients: set[str]
) -> None:
    """And of nothing else, before the first epoch: a broken install is found then."""
    assert set(CLIENTS) & loaded(tmp_path, settings) == clients


def test_settings_choose_the_notifiers() -> None:
    """Nothing makes nothing; each service adds its own; half a KakaoTalk is an error."""
    watched = {"watchdog_url": "http://127.0.0.1:9", "watchdog_token": "nb_canary-not-a-token"}

    assert people_from(Config()) == notifiers_from(Config()) == []
    assert [each.name for each in notifiers_from(Config(slack_webhook_url=HOOK, **watched))] == ["slack", "watchdog"]
    with pytest.raises(ConfigError, match="kakao_rest_api_key"):
        people_from(Config(kakao_client_secret="canary-not-a-secret"))


def test_a_stored_login_is_enough_for_its_client_to_be_asked(tmp_path: Path) -> None:
    """Whoever signed in has set nothing else; what its file is worth is the notifier's business."""
    (tmp_path / "kakao-token.json").write_text("{}")

    assert "notifybot.notifiers.kakao" in loaded(tmp_path, {"state_dir": str(tmp_path)})


def test_who_is_told_directly_decides_what_the_watchdog_tells(tmp_path: Path) -> None:
    """With notifiers of its own a process tells people itself; without, the watchdog does."""
    config = Config(watchdog_url="http://127.0.0.1:9", watchdog_token="nb_canary-not-a-token")
    with Store.open(tmp_path / "a.db") as store:
        assert not open_delivery(store, config).direct
        assert open_delivery(store, config, notifiers=[RecordingNotifier()]).direct


class NewerProcess(Sandbox):
    """A watchdog that knows a newer process of every run."""

    def answer(self, request: Request) -> Response:
        (event,) = json.loads(request.body)["events"]
        return json_response({"accepted": 1, "known": 0, "superseded": [event["run"]["session"]]})


def test_people_hear_no_more_of_a_run_that_a_newer_process_reports(tmp_path: Path) -> None:
    """The word of the watchdog is enough; whoever holds the run is told as well."""
    heard: list[str] = []
    slack = RecordingNotifier("slack")
    with NewerProcess() as watchdog, Store.open(tmp_path / "a.db") as store:
        config = Config(watchdog_url=watchdog.url, watchdog_token="nb_canary-not-a-token")
        delivery = open_delivery(store, config, notifiers=[slack], on_superseded=lambda run: heard.append(run.session))
        delivery.worker.start()
        delivery.recorder.record(started())
        assert delivery.worker.flush(30.0)
        delivery.recorder.record(alert())
        assert delivery.worker.flush(30.0)
        delivery.worker.stop(30.0)

    assert heard == [RUN.session]
    assert slack.kinds == ["run_started"]
    assert len(watchdog.requests) == 2
