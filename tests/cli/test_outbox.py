"""What a person decides about single messages: sent anew or dropped, and the ledger stays true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.samples import samples
from notifybot.config import load
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.errors import PermanentError, UsageError
from notifybot.policy import Priority
from notifybot.rendering import Renderer
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from notifybot.store import dead_letters, runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.schema import events
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import DeliveryState, Language
from tests.store.test_dead_letters import bury, record_for
from tests.support.store_events import RUN, alert, ended, epoch, started

KEY = "slack:00000000"
runner = CliRunner()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


# ── The commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The database where the commands look for it."""
    monkeypatch.setenv("COLUMNS", "200")
    with Store.open(load().state_dir / "notifybot.db") as opened:
        yield opened


def plain(*arguments: str) -> Any:
    return json.loads(runner.invoke(app, ["outbox", *arguments, "--json"]).output)


@pytest.mark.parametrize(("language", "word"), [("en", "Send all again"), ("ko", "다시 보내기")])
def test_the_list_shows_number_message_and_reason(
    local: Store, language: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    dead = bury(local, why="the webhook was deleted")

    shown = runner.invoke(app, ["outbox", "list"])

    assert shown.exit_code == 0, shown.output
    assert "the webhook was deleted" in shown.output
    assert "look" in shown.output, "the message as people know it"
    assert word in shown.output
    rows = plain("list")
    assert isinstance(rows, list)
    assert [(each["id"], each["state"], each["error"]) for each in rows] == [(dead, "dead", "the webhook was deleted")]


def test_the_list_can_show_another_state(local: Store) -> None:
    runs.record(local, started(), [(KEY, Priority.NORMAL)])

    assert plain("list") == []
    rows = plain("list", "--state", "pending")
    assert isinstance(rows, list)
    assert [each["kind"] for each in rows] == ["run_started"]


def test_a_message_of_another_version_is_shown_as_far_as_it_is_known(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step back to an older notifybot, say: it was given up, and nobody is told that it never was there."""
    monkeypatch.setenv("COLUMNS", "200")
    runs.record(local, alert(), [(KEY, Priority.URGENT)])
    with local.transaction() as connection:
        connection.execute(update(events).values(body='{"kind": "of a later version"}'))
    assert Outbox(local).claim(KEY) is None
    [letter] = dead_letters.find_all(local)

    shown = [runner.invoke(app, ["outbox", *command]) for command in (["list"], ["show", str(letter.id)])]

    for each in shown:
        assert each.exit_code == 0
        assert "alert_raised" in each.output
        assert "its event cannot be read" in each.output
    assert [each["event_id"] for each in plain("list")] == [letter.event_id]
    assert plain("show", str(letter.id))["event"] is None
    assert runner.invoke(app, ["outbox", "retry", "--all"]).output == "No message is dead.\n"


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "No message is dead."), ("ko", "‘포기’ 상태인 메시지가 없습니다.")],
)
def test_nothing_to_list_is_said(language: str, text: str) -> None:
    """Looking makes no database."""
    assert runner.invoke(app, ["outbox", "list"], env={"NOTIFYBOT_LANG": language}).output == text + "\n"
    assert not (load().state_dir / "notifybot.db").exists()


def test_show_tells_everything_about_one_message(local: Store) -> None:
    failed = samples(Language.EN, local.clock.now())[-3]
    dead = bury(local, failed, why="channel_not_found")

    shown = runner.invoke(app, ["outbox", "show", str(dead)]).output

    for text in (str(dead), KEY, "channel_not_found", failed.id, failed.run.name, failed.kind):
        assert text in shown
    found = plain("show", str(dead))
    assert isinstance(found, dict)
    assert found["event"]["id"] == failed.id


def test_an_unknown_number_is_told_in_one_line(local: Store) -> None:
    result = runner.invoke(app, ["outbox", "show", "99"])

    assert isinstance(result.exception, UsageError)
    assert "there is no message 99" in str(result.exception)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by bot in the sandbox, and nothing else."""
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "SLACK" in name and "WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened


def test_retry_sends_at_once_what_can_be_sent(local: Store, sandbox: Sandbox) -> None:
    """The letter died with another token; it arrives by the one that is set up now, and only once."""
    dead = bury(local, alert("disk is full"))

    first = runner.invoke(app, ["outbox", "retry", str(dead)])
    again = runner.invoke(app, ["outbox", "retry", str(dead)])

    assert (first.exit_code, first.output) == (0, f"{dead}: sent.\n")
    assert again.exit_code == 1
    assert sum("disk is full" in each.text for each in sandbox.slack.messages) == 1
    assert runner.invoke(app, ["outbox"]).exit_code == 0


def test_retry_knows_that_a_training_may_have_notifiers_of_its_own(
    local: Store, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings for one of them are no mistake here, where the training's code is not."""
    file = tmp_path / "notifybot.toml"
    file.write_text('[notifiers.pigeon]\nlang = "ko"\n', "utf-8")
    monkeypatch.setenv("NOTIFYBOT_CONFIG", str(file))
    dead = bury(local)

    assert runner.invoke(app, ["outbox", "retry", str(dead)]).output == f"{dead}: sent.\n"


def test_retry_says_when_it_is_refused_again(local: Store, sandbox: Sandbox) -> None:
    """The reason is shown, with the remedy, and the exit code is 1."""
    sandbox.slack.channels["C0TRAINING"].member = False
    dead = bury(local)

    result = runner.invoke(app, ["outbox", "retry", str(dead)])

    assert result.exit_code == 1
    assert "not_in_channel" in result.output
    assert "/invite" in result.output


def test_retry_says_what_waits(local: Store, sandbox: Sandbox) -> None:
    """A service that is down takes it later; that is no failure of the command."""
    sandbox.faults.append(Fault("status", times=9, status=503))
    dead = bury(local)

    result = runner.invoke(app, ["outbox", "retry", str(dead), "--json"])

    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == [{"id": dead, "state": "pending"}]


def test_without_its_notifier_a_letter_waits(local: Store) -> None:
    dead = bury(local)

    result = runner.invoke(app, ["outbox", "retry", str(dead)])

    assert result.exit_code == 0
    assert result.output.startswith(f"{dead}: it waits for {KEY}")


def test_all_that_was_given_up_is_sent_again_at_once(
    local: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is there to be sent after that, and saying so is no failure."""
    monkeypatch.setenv("NOTIFYBOT_LANG", "ko")
    for number in range(3):
        bury(local, alert(f"disk {number} is full"))

    first = runner.invoke(app, ["outbox", "retry", "--all"])
    again = runner.invoke(app, ["outbox", "retry", "--all"])

    assert (first.exit_code, first.output) == (0, "다시 보낼 메시지: 3건\n전송됨 3\n")
    assert (again.exit_code, again.output) == (0, "‘포기’ 상태인 메시지가 없습니다.\n")
    assert [sum(f"disk {number} is full" in each.text for each in sandbox.slack.messages) for number in range(3)] == [
        1
    ] * 3
    assert plain("retry", "--all") == []


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        ((), [0, 1, 2, 3]),
        (("--notifier", "slack"), [0, 1, 2]),
        (("-n", "Slack", "--run", "bert"), [1]),
        (("--run", "run-1"), [0, 3]),
        (("--run", "resnet"), [0, 2, 3]),
        (("--run", "nobody's"), []),
    ],
)
def test_all_may_be_those_of_a_notifier_or_a_run(local: Store, chosen: tuple[str, ...], numbers: list[int]) -> None:
    """By its name or its ID. Nobody is set up here, so all of them wait."""
    bert, twin = replace(RUN, id="run-2", name="bert"), replace(RUN, id="run-3")
    dead = [bury(local), bury(local, alert(run=bert)), bury(local, alert(run=twin)), bury(local, key="kakao:1")]

    told = plain("retry", "--all", *chosen)

    assert told == [{"id": dead[each], "state": "pending"} for each in numbers]
    assert len(dead_letters.find_all(local, DeliveryState.DEAD)) == 4 - len(numbers)


def test_all_of_a_run_that_is_over_are_no_failure_where_its_ending_says_more(local: Store, sandbox: Sandbox) -> None:
    """Epochs give way to the ending, as they do while it runs; what is refused again is."""
    for event in (started(), epoch(0), epoch(1), ended(), alert()):
        bury(local, event)
    sandbox.slack.refuse("chat.postMessage", "is_archived", times=1)

    done = runner.invoke(app, ["outbox", "retry", "--all"])

    assert done.exit_code == 1
    assert done.output.splitlines()[0] == "Messages to be sent again: 5"
    assert done.output.splitlines()[-1].startswith("sent ")
    assert "dead 1" in done.output
    assert runner.invoke(app, ["outbox", "retry", "--all"]).exit_code == 0


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ((), "notifybot outbox retry --all"),
        (("--run", "resnet"), "notifybot outbox retry --all"),
        (("--all", "3"), "--all"),
        (("3", "--notifier", "slack"), "--notifier"),
    ],
)
def test_either_all_or_single_messages_are_named(
    line: tuple[str, ...], remedy: str, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)

    result = runner.invoke(app, ["outbox", "retry", *line])

    assert isinstance(result.exception, UsageError)
    assert remedy in str(result.exception)
    assert bool(re.search("[가-힣]", str(result.exception))) == (language is Language.KO)


@pytest.mark.parametrize("language", Language)
def test_whoever_is_told_to_send_again_is_told_the_shortest_way(
    local: Store, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the list of what was given up, and by `doctor`."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    bury(local)

    assert "notifybot outbox retry --all" in runner.invoke(app, ["outbox", "list"]).output
    assert "notifybot outbox retry --all" in runner.invoke(app, ["doctor"]).output


# ── Whose message it is ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_of_one_is_told_on_the_other_of_the_same_name(store: Store) -> None:
    """They are told apart by their keys: the one that refused it is not told of that."""
    refuses, takes = (
        RecordingNotifier("apprise", failures=[PermanentError("Discord: 404")]),
        RecordingNotifier("apprise"),
    )
    refuses.key, takes.key = "apprise:a", "apprise:b"
    dispatcher = Dispatcher(Outbox(store), [refuses, takes], Renderer(Language.EN), clock=store.clock)
    runs.record(store, alert("disk is full"), [(refuses.key, Priority.URGENT)])

    dispatcher.run_once(refuses.key)
    dispatcher.run_once(takes.key)

    assert refuses.sent == []
    assert "Discord: 404" in takes.sent[0].message.body


@pytest.fixture
def two_addresses(local: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sandbox, str, str]]:
    """Two Apprise URLs that lead to one listener, by their paths, and what the keys of both are."""
    with Sandbox() as opened:
        urls = [f"{opened.url.replace('http', 'json')}/{name}" for name in ("first", "second")]
        monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", " ".join(urls))
        first, second = (each.key for each in notifiers_from(load()))
        opened.faults.append(Fault("status", status=200, times=99))
        yield opened, first, second


def test_a_letter_of_one_apprise_url_is_not_sent_to_another(
    local: Store, two_addresses: tuple[Sandbox, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address was replaced; its letter goes to the new one, though the second has the same name."""
    sandbox, first, second = two_addresses
    event = alert("disk is full")
    record_for(local, first, second)
    dead = bury(local, event, key=first)
    urls = [f"{sandbox.url.replace('http', 'json')}/{name}" for name in ("third", "second")]
    monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", " ".join(urls))
    for waiting in iter(lambda: Outbox(local).claim(second), None):
        Outbox(local).mark_sent(waiting)
    for waiting in iter(lambda: Outbox(local).claim(first), None):
        Outbox(local).mark_sent(waiting)

    done = runner.invoke(app, ["outbox", "retry", str(dead)])

    assert (done.exit_code, done.output) == (0, f"{dead}: sent.\n")
    assert [each.path for each in sandbox.requests] == ["/third"]


def test_a_letter_of_a_url_that_still_stands_goes_back_to_it(
    local: Store, two_addresses: tuple[Sandbox, str, str]
) -> None:
    sandbox, first, _ = two_addresses
    dead = bury(local, alert("disk is full"), key=first)

    assert runner.invoke(app, ["outbox", "retry", str(dead)]).exit_code == 0
    assert [each.path for each in sandbox.requests] == ["/first"]


def test_a_letter_whose_new_place_is_not_certain_waits(local: Store, two_addresses: tuple[Sandbox, str, str]) -> None:
    """Two new addresses: sent to the wrong people it could not be taken back."""
    sandbox, _, _ = two_addresses
    dead = bury(local, alert("disk is full"), key="apprise:00000000")

    done = runner.invoke(app, ["outbox", "retry", str(dead)])

    assert done.output.startswith(f"{dead}: it waits for apprise:00000000")
    assert sandbox.requests == []


def test_drop_says_what_it_did(local: Store) -> None:
    dead = bury(local)

    result = runner.invoke(app, ["outbox", "drop", str(dead), "77"])

    assert result.exit_code == 1, "77 is not there"
    assert f"{dead}: dropped." in result.output
    assert "77: not dropped." in result.output
    assert plain("drop", str(dead)) == [{"id": dead, "dropped": False}]
