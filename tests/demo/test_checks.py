"""The demo's pure parts: what counts as observed, what is written down, and what is never overwritten."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from slack_sdk import WebClient

from notifybot.demo.checks import (
    BROADCAST,
    EDITED,
    KAKAO,
    POSTED,
    REPLIED,
    SLACK,
    Arrival,
    Evidence,
    arrivals_of,
    finished_epochs,
    judge,
)
from notifybot.demo.processes import fresh, training_environment, watchdog_environment
from notifybot.demo.report import Page, keep, still, transcript
from notifybot.demo.story import main
from notifybot.errors import UsageError
from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunRecovered, RunStarted
from notifybot.i18n import _catalog
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack import SlackBot
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.outbox import Counts
from notifybot.testing import DictMemory
from notifybot.types import Language, Metric, Progress, RunRef, Status, uuid7

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST, SECOND = (RunRef("run-1", "digits-cnn", "demo", session) for session in ("a", "b"))
EPOCHS = 4
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def epoch(number: int, run: RunRef) -> EpochFinished:
    progress = Progress(number, number + 1, EPOCHS, {"val_acc": Metric(0.5 + number / 10)})
    return EpochFinished(id=uuid7(), run=run, at=AT, progress=progress)


STORY: list[Event] = [
    RunStarted(id=uuid7(), run=FIRST, at=AT, total=EPOCHS),
    epoch(0, FIRST),
    epoch(1, FIRST),
    RunLost(id=uuid7(), run=FIRST, at=AT, silent_s=6, limit_s=6),
    RunRecovered(id=uuid7(), run=SECOND, at=AT, was="lost", away_s=9),
    RunStarted(id=uuid7(), run=SECOND, at=AT, attempt=2, total=EPOCHS),
    epoch(2, SECOND),
    epoch(3, SECOND),
    RunEnded(id=uuid7(), run=SECOND, at=AT, status=Status.FINISHED),
]


def arrival(number: int, event: Event, service: str, how: str, thread: str = "") -> Arrival:
    return Arrival(f"{service} {number}", AT, service, how, f"{event.kind}\nmore", event.id[-8:], thread)


def told(event: Event, number: int) -> list[Arrival]:
    if isinstance(event, EpochFinished):
        return [arrival(number, event, SLACK, EDITED, "1.0")]
    how = REPLIED if number else POSTED
    return [arrival(number, event, SLACK, how, "1.0"), arrival(number, event, KAKAO, POSTED)]


def evidence() -> Evidence:
    """All as it should be."""
    return Evidence(
        epochs=EPOCHS,
        exit_codes=[-signal.SIGKILL, 0],
        events=STORY,
        told=frozenset(each.id for each in STORY),
        arrivals=[one for number, each in enumerate(STORY) for one in told(each, number)],
        jsonl=list(range(EPOCHS)),
        tensorboard=list(range(EPOCHS)),
        wandb=list(range(EPOCHS)),
        counts=[Counts(put=9, sent=7, pending=1, dead=0, dropped=1)],
    )


def failed(seen: Evidence) -> set[str]:
    return {each.name for each in judge(seen) if not each.ok}


# ── Checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_story_as_it_should_be_passes() -> None:
    assert failed(evidence()) == set()


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        pytest.param("killed", {"exit_codes": [0, 0]}, id="the first session ended by itself"),
        pytest.param("finished", {"exit_codes": [-9, 1]}, id="the second session failed"),
        pytest.param("jsonl", {"jsonl": [0, 1, 1, 2, 3]}, id="an epoch stands twice in the JSON lines"),
        pytest.param("tensorboard", {"tensorboard": [0, 1, 3]}, id="an epoch is missing in TensorBoard"),
        pytest.param("wandb", {"wandb": []}, id="W&B wrote nothing"),
        pytest.param("outbox", {"counts": []}, id="no outbox"),
        pytest.param("outbox", {"counts": [Counts(3, 2, 0, 0, 0)]}, id="a delivery has vanished"),
        pytest.param("outbox", {"counts": [Counts(3, 2, 0, 1, 0)]}, id="a delivery was given up"),
    ],
)
def test_what_was_not_observed_fails_its_own_check(check: str, changes: dict[str, Any]) -> None:
    assert failed(replace(evidence(), **changes)) == {check}


@pytest.mark.parametrize(
    ("check", "kind"),
    [("started", "run_started"), ("lost", "run_lost"), ("recovered", "run_recovered"), ("finished", "run_ended")],
)
@pytest.mark.parametrize("service", [SLACK, KAKAO])
def test_each_turn_must_be_told_by_both_services(check: str, kind: str, service: str) -> None:
    whole = evidence()
    assert whole.arrivals is not None
    kept = [each for each in whole.arrivals if not (each.service == service and each.headline == kind)]

    assert failed(replace(whole, arrivals=kept)) == {check}


def test_a_loss_told_twice_fails() -> None:
    again = RunLost(id=uuid7(), run=FIRST, at=AT, silent_s=6, limit_s=6)

    assert failed(replace(evidence(), events=[*STORY, again])) == {"lost"}


def test_a_second_thread_fails() -> None:
    whole = evidence()
    assert whole.arrivals is not None
    stray = Arrival("slack x", AT, SLACK, POSTED, "hello", thread="2.0")

    assert failed(replace(whole, arrivals=[*whole.arrivals, stray])) == {"one_root"}


def test_a_second_session_that_begins_anew_fails() -> None:
    anew: list[Event] = [each for each in STORY if not isinstance(each, EpochFinished)]
    anew += [epoch(0, FIRST), epoch(1, FIRST), *(epoch(number, SECOND) for number in range(EPOCHS))]

    assert "resumed" in failed(replace(evidence(), events=anew))


def test_with_accounts_of_ones_own_the_deliveries_are_the_evidence() -> None:
    real = replace(evidence(), arrivals=None)

    assert failed(real) == set()
    assert failed(replace(real, told=frozenset())) == {"told"}


@pytest.mark.parametrize("language", Language)
def test_every_check_has_a_sentence(language: Language) -> None:
    seen = evidence()
    names = {each.name for each in judge(seen)} | {each.name for each in judge(replace(seen, arrivals=None))}

    assert names == {key.removeprefix("demo.check.") for key in _catalog(language) if key.startswith("demo.check.")}


# ── What is read and written ─────────────────────────────────────────────────────────────────────────────────────────


def test_arrivals_hold_every_revision_with_the_mark_of_its_event() -> None:
    """What the sandbox's Slack got is a new message, an edit of it, and replies in one thread."""
    with Sandbox() as sandbox:
        bot, memory = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/"), DictMemory()
        start, first, lost = STORY[0], STORY[1], replace(STORY[3], at=AT + timedelta(seconds=9))
        for event in (start, replace(first, at=AT + timedelta(seconds=1)), lost):
            bot.send(Envelope(event, Renderer(Language.EN).render(event), memory))
        arrivals = arrivals_of(sandbox)

    assert {each.how for each in arrivals} == {POSTED, REPLIED, EDITED, BROADCAST}
    assert len({each.thread for each in arrivals}) == 1
    assert all(any(each.tells(event) for each in arrivals) for event in (start, first, lost))


def test_epochs_are_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    whole = {"kind": "epoch_finished", "epoch": 0, "done": 1, "metrics": {"loss": 0.5, "grad": "NaN"}}
    (tmp_path / "metrics.jsonl").write_text(f'{json.dumps({"kind": "run_started"})}\n{json.dumps(whole)}\n{{"ki')

    (found,) = finished_epochs(tmp_path)

    assert (found.epoch, found.metrics) == (0, {"loss": "0.5000", "grad": "NaN"})


@pytest.mark.parametrize("language", Language)
def test_the_transcript_has_every_event_and_what_was_sent(language: Language) -> None:
    seen = evidence()
    sent = [Arrival("kakao 0", AT, KAKAO, POSTED, "```\n<b>code</b>")]

    text = transcript(language, seen.events, sent)

    assert all(each.id[-8:] in text for each in seen.events)
    assert "````text\n```\n<b>code</b>\n````" in text


def test_a_kept_page_is_still_and_leads_to_the_other_copies() -> None:
    served = (
        '<meta http-equiv="refresh" content="2"><script nonce="x">go()</script>'
        '<a href="/slack?lang=ko&amp;thread=1.0"></a><a href="/phone?lang=en"></a><a href="/runs/a-b?lang=ko"></a>'
        '<a href="/"></a><a href="https://example.org"></a>'
        '<a href="/files/F1/a%20b.png"><img src="/files/F1/a%20b.png" alt="loss"></a><img src="/gone.png" alt="">'
    )

    assert still(served, Language.KO, {"/files/F1/a%20b.png": "picture-1.png"}) == (
        '<a href="thread.ko.html"></a><a href="phone.en.html"></a><a href="run.ko.html"></a>'
        '<a href="runs.ko.html"></a><a href="https://example.org"></a>'
        '<a href="picture-1.png"><img src="picture-1.png" alt="loss"></a>'
    )


def test_a_kept_page_has_its_pictures_beside_it(tmp_path: Path) -> None:
    """The curves in a thread are there when the sandbox is gone; one picture on several pages is one file."""
    with Sandbox() as sandbox:
        client = WebClient(BOT_TOKEN, base_url=f"{sandbox.url}/api/", retry_handlers=[], timeout=5)
        client.files_upload_v2(channel="C0TRAINING", content=PNG, filename="curve.png", title="loss")
        keep([Page(f"{sandbox.url}/slack", "slack", language) for language in Language], tmp_path)

    (picture,) = tmp_path.glob("picture-*.png")
    assert picture.read_bytes() == PNG
    assert all(f'<img src="{picture.name}"' in page.read_text("utf-8") for page in tmp_path.glob("slack.*.html"))


def test_an_earlier_demo_gives_way_and_nothing_else_does(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    fresh(ours).folder.joinpath("old").touch()
    theirs.mkdir()
    (theirs / "thesis.md").write_text("three years")

    assert not (fresh(ours).folder / "old").exists()
    with pytest.raises(UsageError, match="no earlier demo's"):
        fresh(theirs)
    assert (theirs / "thesis.md").read_text() == "three years"


# ── Environments ─────────────────────────────────────────────────────────────────────────────────────────────────────

MINE = {
    "PATH": "/bin",
    "NOTIFYBOT_SLACK_BOT_TOKEN": "xoxb-canary-not-a-token",
    "NOTIFYBOT_SLACK_CHANNEL": "mine",
    "WANDB_API_KEY": "canary",
}


@pytest.mark.parametrize("sandbox", [None, {"NOTIFYBOT_SLACK_CHANNEL": "training"}], ids=["real", "sandbox"])
def test_the_watchdog_has_the_users_accounts_only_when_asked_to(tmp_path: Path, sandbox: dict[str, str] | None) -> None:
    given = watchdog_environment(MINE, fresh(tmp_path / "out"), Language.KO, sandbox)

    assert given["NOTIFYBOT_LANG"] == "ko"
    assert given["NOTIFYBOT_SLACK_CHANNEL"] == ("training" if sandbox else "mine")
    assert ("NOTIFYBOT_SLACK_BOT_TOKEN" in given) is (sandbox is None)


def test_no_account_enters_the_training(tmp_path: Path) -> None:
    given = training_environment(MINE, fresh(tmp_path / "out"), Language.EN, url="http://127.0.0.1:1", token="canary")

    assert given["PATH"] == "/bin"
    assert given["WANDB_MODE"] == "offline"
    assert [name for name in given if "SLACK" in name or "KAKAO" in name or "API_KEY" in name] == []


@pytest.mark.needs("torch")
def test_real_without_an_account_says_so_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no account is configured"):
        main(True, Language.EN, folder=tmp_path / "out")

    assert not (tmp_path / "out").exists()
