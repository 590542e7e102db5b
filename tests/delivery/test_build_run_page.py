"""Where a message's button leads: the watchdog's page of the run, else W&B's, else the address that was set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.delivery.build import open_delivery
from notifybot.notifiers.base import Envelope
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Request, Response, json_response
from notifybot.store.database import Store
from notifybot.store.notifier_state import remember
from notifybot.testing import DictMemory, RecordingNotifier
from notifybot.trackers.wandb import WandbTracker
from notifybot.trackers.worker import TrackerWorkers
from notifybot.training.endings import Ending
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Status
from tests.support.kakao_messages import memo
from tests.support.slack_messages import ended, envelope
from tests.support.store_events import RUN, alert
from tests.support.tracker_events import context

WANDB, BOARD = "https://wandb.example/team/vision/runs/1", "https://board.example"
KEY = "canary0c0ffee0not0a0secret"


class ActiveRun:
    """W&B's run as a user's own code has it open, as far as it is asked."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.step = 0
        self.summary: dict[str, Any] = {}
        self.config = SimpleNamespace(update=lambda params, allow_val_change: None)

    def define_metric(self, name: str, **settings: Any) -> None:
        """Metrics are drawn by W&B."""

    def log(self, values: dict[str, Any], **settings: Any) -> None:
        """Numbers are kept by W&B."""


@pytest.mark.parametrize(
    ("settings", "page", "leads_to"),
    [
        pytest.param({"link_url": BOARD}, WANDB, WANDB, id="wandb"),
        pytest.param({"link_url": BOARD}, None, BOARD, id="set"),
        pytest.param({}, None, None, id="nothing"),
    ],
)
def test_a_button_leads_to_the_nearest_page_of_the_run(
    tmp_path: Path, settings: dict[str, str], page: str | None, leads_to: str | None
) -> None:
    """What another process of this machine learnt of the run counts as well: it stands in the database."""
    notifier = RecordingNotifier()
    with Store.open(tmp_path / "a.db") as store:
        if page:
            remember(store, RUN.key, "wandb", page)
        delivery = open_delivery(store, Config(**settings), notifiers=[notifier])
        delivery.worker.start()
        delivery.recorder.record(alert())
        assert delivery.worker.flush(30.0)
        delivery.worker.stop(30.0)

    assert [each.message.link for each in notifier.sent] == [leads_to]


class Watchdog(Sandbox):
    """A watchdog that takes every event."""

    def answer(self, request: Request) -> Response:
        return json_response({"accepted": 1, "known": 0})


def test_the_watchdogs_page_goes_before_all_others(tmp_path: Path) -> None:
    """It is the run's own, and knows when the run falls silent."""
    notifier = RecordingNotifier()
    with Watchdog() as watchdog, Store.open(tmp_path / "a.db") as store:
        remember(store, RUN.key, "wandb", WANDB)
        config = Config(watchdog_url=watchdog.url, watchdog_token="nb_canary-not-a-token", link_url=BOARD)
        delivery = open_delivery(store, config, notifiers=[notifier])
        delivery.worker.start()
        delivery.recorder.record(alert())
        assert delivery.worker.flush(30.0)
        delivery.worker.stop(30.0)

    assert [each.message.link for each in notifier.sent] == [f"{watchdog.url}/runs/{RUN.id}"]


@pytest.mark.parametrize(
    ("url", "page"),
    [
        pytest.param(WANDB, WANDB, id="online"),
        pytest.param(f"{WANDB}?apiKey={KEY}", WANDB, id="anonymous"),
        pytest.param(None, None, id="offline"),
        pytest.param("", None, id="disabled"),
    ],
)
def test_a_page_of_wandbs_is_told_without_a_key_in_it(tmp_path: Path, url: str | None, page: str | None) -> None:
    """The address of an anonymous run ends in the key of its account."""
    tracker = WandbTracker(ActiveRun(url), context(tmp_path), owned=False, warn=lambda notice: None)

    assert tracker.url == page


def test_the_trackers_thread_tells_of_a_page_once(tmp_path: Path) -> None:
    """Of a tracker that has one, when it is open."""
    told: list[tuple[str, str]] = []
    tracker = WandbTracker(ActiveRun(WANDB), context(tmp_path), owned=False, warn=lambda notice: None)
    threads = TrackerWorkers(
        openers={"wandb": lambda given, tell, wake: tracker}, on_page=lambda *page: told.append(page), clock=SYSTEM
    )
    threads.start(context(tmp_path), ["wandb"], Config())
    assert threads.close(Status.FINISHED, 10)

    assert told == [("wandb", WANDB)]


@pytest.mark.needs("wandb")
def test_a_training_with_wandb_on_line_leads_people_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the tracker's thread by the database into the message."""
    monkeypatch.setattr("wandb.run", ActiveRun(f"{WANDB}?apiKey={KEY}"))
    notifier = RecordingNotifier()
    folders = {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs"}
    run = Run(config=load({**folders, "lang": "en", "tensorboard": "off", "wandb": "on"}), notifiers=[notifier])
    run.start()
    assert run.session is not None
    worker = run.session.shared.delivery.worker
    assert run.tracker("wandb", 30.0) is not None
    run.end(Ending(Status.FINISHED))
    assert worker.flush(30.0)
    close()

    assert (notifier.sent[-1].event.kind, notifier.sent[-1].message.link) == ("run_ended", WANDB)
    assert not [each for each in tmp_path.rglob("*") if each.is_file() and KEY.encode() in each.read_bytes()]


@pytest.mark.parametrize(("link_url", "leads_to"), [(BOARD, BOARD), (None, WANDB)])
def test_kakao_leads_to_the_site_that_was_set_first(tmp_path: Path, link_url: str | None, leads_to: str) -> None:
    """Kakao opens registered sites only: the one in the settings is, and of others nobody knows."""
    with Sandbox() as sandbox:
        told = envelope(ended(), DictMemory(), link=WANDB)
        memo(sandbox, tmp_path, SYSTEM, link_url=link_url).send(Envelope(told.event, told.message, told.memory))

        [message] = sandbox.kakao.messages
    template = message.template
    assert template.get("content", template)["link"]["web_url"] == leads_to
