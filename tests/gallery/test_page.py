"""The gallery: every message in every language and place, made without reaching anybody."""

from __future__ import annotations

import ast
import inspect
import os
import re
from html import unescape
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from notifybot import notifiers
from notifybot.alerts.evidence import Alert, Evidence
from notifybot.cli import app
from notifybot.cli.samples import alert_texts, gallery_samples
from notifybot.errors import UsageError
from notifybot.events import KINDS, AlertRaised, RunEnded, RunStarted
from notifybot.gallery.page import pages
from notifybot.gallery.previews import AlarmSample, MessageSample, Sample
from notifybot.i18n import keys_of
from notifybot.notifiers.slack.deadman.text import Speech
from notifybot.rendering.alert_text import KINDS as KINDS_OF_EVIDENCE
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, WEBHOOK_PATH
from notifybot.testing import FakeClock
from notifybot.types import Language, Status, Tier

PACKAGE = Path(notifiers.__file__).parents[1]
PLACES_OF_SLACK = {"ko": {"Slack, 봇", "Slack, 잠금 화면"}, "en": {"Slack, bot", "Slack, lock screen"}}
PLACES = {
    "ko": {*PLACES_OF_SLACK["ko"], "Slack, 웹훅", "카카오톡", "Apprise", "터미널", "웹훅"},
    "en": {*PLACES_OF_SLACK["en"], "Slack, webhook", "KakaoTalk", "Apprise", "console", "webhook"},
}

# Where alerts of ours are made, and under which label the gallery has them.
MAKERS = {
    "cli/samples.py": "alert_raised",
    "cli/send.py": "alert_raised",
    "delivery/digest.py": "digest",
    "delivery/dispatcher.py": "dead letter",
    "trackers/jsonl.py": "alert_raised",  # read back from its file
    "training/alert_monitor.py": "alert texts",
    "training/session.py": "alert texts",
    "watchdog/ingest.py": "alert texts",
}


def shown(language: Language = Language.EN) -> list[Sample]:
    return gallery_samples(language, FakeClock().now())


def labelled(*labels: str) -> dict[Language, list[Sample]]:
    return {language: [each for each in shown(language) if each.label in labels] for language in Language}


def joined(*labels: str) -> str:
    """The pages of these messages one after the other, a message's languages together."""
    found = dict(pages(labelled(*labels), FakeClock(), Language.KO))
    names = dict.fromkeys(name.partition("/")[2] for name in found if not name.endswith("index.html"))
    return "".join(found[f"{language}/{name}"] for name in names for language in Language)


def walls(html: str) -> list[str]:
    return re.split(r'<div class="previews" lang="(?:ko|en)">', html)[1:]


def languages(html: str) -> list[str]:
    """The language of each wall."""
    return re.findall(r'<div class="previews" lang="(ko|en)">', html)


@pytest.fixture(scope="module")
def html() -> str:
    """A gallery of two kinds, which is enough to know how it is made; the whole is opened in tests/browser."""
    return joined("epoch_finished", "run_ended failed")


@pytest.fixture(scope="module")
def posted() -> str:
    """What Slack posts by itself, at three moments of a run."""
    return joined("dead man first epoch", "dead man checkpoint", "dead man perhaps void")


def test_each_message_hangs_in_both_languages_in_every_place(html: str) -> None:
    assert len(walls(html)) == 2 * len(Language)
    for language, wall in zip(languages(html), walls(html), strict=True):
        assert set(re.findall(r"<(?:figcaption|summary)>(.*?)</", wall)) == PLACES[language]
        frames = [unescape(each) for each in re.findall(r'srcdoc="(.*?)"></iframe>', wall, re.DOTALL)]
        assert len(frames) == 4
        assert all("resnet18-cifar10" in each for each in frames)


def test_an_index_leads_to_every_message_with_its_title_in_the_readers_language() -> None:
    """And from each message to the next, and to the same one in the other language."""
    found = dict(pages(labelled("epoch_finished", "run_ended failed"), FakeClock(), Language.KO))

    assert "url=ko/index.html" in found["index.html"]
    assert set(found) == {"index.html"} | {
        f"{language}/{name}.html" for language in Language for name in ("index", "epoch_finished", "run_ended-failed")
    }
    for name, html in found.items():
        links = re.findall(r'<a href="([^"]+)"', html)
        assert {os.path.normpath(os.path.join(os.path.dirname(name), each)) for each in links} <= set(found)
    assert "resnet18-cifar10 실패" in found["ko/index.html"]
    assert not re.search("[가-힣]", unescape(found["en/index.html"]).replace("한국어", ""))
    assert 'rel="next"' in found["ko/epoch_finished.html"]


def test_the_page_needs_nothing_beside_it(html: str, posted: str) -> None:
    """The sandbox is gone when somebody looks: its pictures are inside, and no address leads to it."""
    for each in (html, posted):
        everything = unescape(each)

        assert "data:image/png;base64," in everything or each is posted
        assert "http://127.0.0.1" not in everything
        assert re.findall(r'<(?:link|script|img)[^>]+(?:src|href)="(?!data:)', everything) == []
        assert BOT_TOKEN[:12] not in everything
        assert WEBHOOK_PATH not in everything


def test_what_slack_posts_by_itself_hangs_where_it_is_read(posted: str) -> None:
    """Frozen when it was scheduled, in the run's thread and on the phone; nobody else can post so."""
    for language, wall in zip(languages(posted), walls(posted), strict=True):
        assert set(re.findall(r"<figcaption>(.*?)</", wall)) == PLACES_OF_SLACK[language]
    korean, english = unescape(walls(posted)[2]), unescape(walls(posted)[3])

    assert "에포크 11에 이어서 자동으로" in korean
    assert "때 예약해 둔 메시지를 Slack이 보냈습니다" in korean
    assert "it continues by itself from epoch 11" in english
    assert "Slack posted it by itself" in english
    assert "no checkpoint is known" in unescape(walls(posted)[1])
    assert "is not lost" in unescape(walls(posted)[5])
    assert "감시 서버가 연결 끊김을 알립니다" in posted


def test_nobody_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts that are set up stay out of it: a look at the gallery must not ring anybody's phone."""
    with Sandbox() as real:
        for name, value in real.environment().items():
            monkeypatch.setenv(name, value)

        joined("run_started", "dead man checkpoint")

        assert real.requests == []


# ── Nothing is missing ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_and_every_ending_is_told_in_the_same_order_in_both_languages() -> None:
    """So that they stand side by side."""
    labels = {language: [each.label for each in shown(language)] for language in Language}
    told = [each.event for each in shown() if isinstance(each, MessageSample)]

    assert labels[Language.KO] == labels[Language.EN]
    assert len(set(labels[Language.EN])) == len(labels[Language.EN])
    assert {each.kind for each in told} == set(KINDS)
    endings = {each.status for each in told if isinstance(each, RunEnded)}
    assert endings == {status for status in Status if status.ended}


def test_all_that_the_dead_mans_switch_can_say_is_shown() -> None:
    """Each of its sentences, frozen with and without a checkpoint, on either tier, and after a resume."""
    scheduled = [each for each in shown() if isinstance(each, AlarmSample)]
    alarms = [each for each in scheduled if each.said == "alarm"]

    sentences = {name for name, each in vars(Speech).items() if inspect.isfunction(each) and not name.startswith("_")}
    assert {each.said for each in scheduled} == sentences - {"refused"}  # that one is for the log
    assert {each.sure for each in scheduled if each.said == "void"} == {True, False}
    saved = [each.last.progress.checkpoint for each in alarms]
    assert {each and each.tier for each in saved} == {None, Tier.LOCAL, Tier.REMOTE}
    starts = [each.last for each in alarms if isinstance(each.last, RunStarted)]
    assert {each.resumed is not None for each in starts} == {True, False}


def test_wherever_an_alert_is_made_the_gallery_has_it() -> None:
    """The digest and the dead letter among them. Whoever makes another says here where it hangs."""
    makers = set()
    for path in PACKAGE.rglob("*.py"):
        calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
        if any(getattr(call.func, "id", "") == AlertRaised.__name__ for call in calls):
            makers.add(path.relative_to(PACKAGE).as_posix())

    assert makers == set(MAKERS)
    assert set(MAKERS.values()) <= {each.label for each in shown()}


@pytest.mark.parametrize("language", Language)
def test_the_words_of_every_alert_are_listed(language: Language) -> None:
    texts = alert_texts(language)

    assert {KINDS_OF_EVIDENCE[each] for each in get_args(Evidence) if each is not Alert} <= set(texts)
    assert {key.partition(".")[0] for key in keys_of("alert.notice.")} <= set(texts)
    assert all(title and text for title, text in texts.values())


def test_what_was_held_back_is_shown_for_one_run_and_for_several() -> None:
    one, several = (
        each for each in shown(Language.KO) if each.label.startswith("digest") and isinstance(each, MessageSample)
    )

    assert "모아 둔 알림 21건" in getattr(one.event, "title", "")
    assert one.event.progress.metrics
    assert several.event.run.name == "실행 2개"
    assert "vit-tiny-cifar100" in getattr(several.event, "text", "")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """At once, and not after everything was drawn."""
    (tmp_path / "file").write_text("")

    result = CliRunner().invoke(app, ["gallery", "--out", str(tmp_path / "file")])

    assert isinstance(result.exception, UsageError)
    assert "choose another folder with --out" in str(result.exception)
