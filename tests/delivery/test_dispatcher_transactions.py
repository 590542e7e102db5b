"""How often one message takes the write lock, which all processes of a machine share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.notifiers.apprise import AppriseNotifier
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.notifiers.webhook import Webhook
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_PATH
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.kakao_messages import memo
from tests.support.store_events import alert, ended, epoch, started

ANY = "/any"
CLAIM, MARK, ROOT = 1, 1, 1


class Services(Sandbox):
    """Slack, KakaoTalk, and an address that takes everything."""

    def answer(self, request: Request) -> Response:
        return Response(200) if request.path.startswith(ANY) else super().answer(request)


Build = Callable[[Services, Path, FakeClock], Notifier]
NOTIFIERS: dict[str, Build] = {
    "slack's bot": lambda services, _, clock: SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{services.url}/api/", clock=clock),
    "slack's webhook": lambda services, _, clock: SlackWebhook(f"{services.url}{WEBHOOK_PATH}", clock=clock),
    "kakaotalk": lambda services, folder, clock: memo(services, folder, clock),
    "apprise": lambda services, _, __: AppriseNotifier(f"{services.url.replace('http', 'json')}{ANY}"),
    "webhook": lambda services, _, clock: Webhook(f"{services.url}{ANY}", clock=clock),
}


@contextmanager
def locks_taken() -> Iterator[list[str]]:
    """The statements that took the lock, of every database opened meanwhile."""
    taken: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("BEGIN IMMEDIATE"):
            taken.append(statement)

    def trace(connection: object, _: object) -> None:
        connection.set_trace_callback(note)  # type: ignore[attr-defined]

    event.listen(Engine, "connect", trace)
    try:
        yield taken
    finally:
        event.remove(Engine, "connect", trace)


@pytest.mark.parametrize("name", NOTIFIERS)
def test_a_message_takes_the_lock_to_be_claimed_and_to_be_marked_and_for_a_new_place_in_between(
    tmp_path: Path, clock: FakeClock, name: str
) -> None:
    """What sending asks of the database comes with the claim, and looking for more work takes no lock."""
    spent = []
    with (
        (services := Services(clock=clock)),
        locks_taken() as taken,
        Store.open(tmp_path / "a.db", clock=clock) as store,
        closing(NOTIFIERS[name](services, tmp_path, clock)) as notifier,
    ):
        recorder = Recorder(store, [notifier], direct=True)
        dispatcher = Dispatcher(Outbox(store), [notifier], Renderer(Language.EN), clock=clock)
        for each in (started(), epoch(0), replace(epoch(1), new_best="loss"), alert(), ended()):
            clock.advance(1000)
            recorder.record(replace(each, at=clock.now()))
            taken.clear()
            outcome = dispatcher.run_once(notifier.key)
            dispatcher.wait_s(notifier.key)
            spent.append(len(taken))
            assert outcome is Outcome.SENT

    places = [ROOT if name == "slack's bot" else 0, 0, 0, 0, 0]
    assert spent == [CLAIM + each + MARK for each in places]
