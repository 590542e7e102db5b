"""Alerts about checkpoints: what happened, what follows, in both languages and within a message's bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from notifybot.events import AlertRaised, RunEnded, from_json, to_json
from notifybot.redaction import register
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import (
    AlertWords,
    alert_words,
    checkpoint_damaged,
    checkpoint_not_copied,
    checkpoint_not_saved,
    checkpoint_works_again,
    notice_words,
    session_superseded,
)
from notifybot.types import Language, Notice, Reason, RunRef, Status

EN, KO = Language.EN, Language.KO
FULL = Reason("disk", values={"name": "ENOSPC", "text": "No space left on device"})
CHANGED = Reason("content", "epoch17.pt")


def everything(language: Language, text: str) -> list[AlertWords]:
    reason = Reason("other", text, {"text": text})
    notices = [
        checkpoint_not_saved(reason),
        checkpoint_not_copied(reason),
        checkpoint_damaged([reason] * 9, text),
        checkpoint_damaged([reason], None),
        checkpoint_works_again(),
    ]
    return [*(notice_words(each, language) for each in notices), session_superseded(text, language)]


def alert_with(notice: Notice | None) -> AlertRaised:
    return AlertRaised(
        id="01900000-0000-7000-8000-00000000abcd",
        run=RunRef("r", "resnet", "p"),
        at=datetime(2026, 11, 23, 3, tzinfo=UTC),
        title="as stored",
        text="in the run's language",
        about="checkpoint",
        notice=notice,
    )


def test_a_failed_save_names_the_reason_and_that_nothing_else_was_harmed() -> None:
    notice = checkpoint_not_saved(FULL)

    assert notice_words(notice, EN) == (
        "The checkpoint could not be saved",
        "No space left on device.\nTraining goes on, and the next save tries again. Earlier checkpoints are untouched.",
    )
    assert notice_words(notice, KO) == (
        "체크포인트를 저장하지 못했습니다",
        "저장 공간이 부족합니다.\n"
        "학습은 계속되며 다음 저장 때 다시 시도합니다. 이전 체크포인트는 그대로 남아 있습니다.",
    )


def test_a_failed_copy_says_what_a_reset_would_cost() -> None:
    notice = checkpoint_not_copied(FULL)

    assert "a reset takes it along" in notice_words(notice, EN).text
    assert "장비가 초기화되면 함께 사라집니다" in notice_words(notice, KO).text


def test_a_damaged_checkpoint_is_named_and_so_is_the_one_used() -> None:
    notice = checkpoint_damaged([CHANGED], "epoch16.pt")

    assert notice_words(notice, EN) == (
        "A damaged checkpoint was passed over",
        "Training goes on from epoch16.pt, which is whole.\n"
        "epoch17.pt: it has another content than was saved (its hash differs)",
    )
    assert notice_words(notice, KO) == (
        "손상된 체크포인트를 건너뛰었습니다",
        "손상되지 않은 epoch16.pt 파일부터 이어서 학습합니다.\nepoch17.pt: 내용이 저장한 것과 다릅니다(해시 불일치)",
    )


def test_where_none_is_whole_nobody_is_promised_a_continuation() -> None:
    notice = checkpoint_damaged([Reason("missing", "epoch17.pt")], None)

    assert notice_words(notice, EN) == (
        "No checkpoint is whole",
        "Training starts from the beginning, as a new run. Nothing of the old one is removed.\n"
        "epoch17.pt: it is missing",
    )
    assert notice_words(notice, KO).text == (
        "새로운 실행으로 학습을 처음부터 시작합니다. 이전 실행의 파일은 지우지 않습니다.\nepoch17.pt: 파일이 없습니다"
    )


def test_the_first_five_of_many_are_named_and_the_others_counted() -> None:
    many = [Reason("missing", f"epoch{number}.pt") for number in range(9)]

    lines = notice_words(checkpoint_damaged(many, None), EN).text.splitlines()

    assert [line.partition(":")[0] for line in lines[1:-1]] == [f"epoch{number}.pt" for number in range(5)]
    assert lines[-1] == "… +4"


def test_a_session_that_lost_its_run_is_told_where_the_newer_one_is() -> None:
    assert session_superseded("colab-2", EN).text.startswith("The newer session runs on colab-2.\n")
    assert session_superseded("colab-2", KO).text.startswith("새 세션은 colab-2에서 실행 중입니다.\n")
    assert session_superseded("", EN).text.startswith("The older one reports nothing more.")


@pytest.mark.parametrize(("language", "told"), [(EN, "it is missing"), (KO, "파일이 없습니다")])
def test_a_stored_alert_is_told_in_its_readers_language(language: Language, told: str) -> None:
    """Whatever language the run has: a notifier may have another."""
    stored = from_json(to_json(alert_with(checkpoint_damaged([Reason("missing", "epoch17.pt")], "epoch16.pt"))))

    message = Renderer(language).render(stored)

    assert f"epoch17.pt: {told}" in message.body
    assert f"epoch17.pt: {told}" in message.brief


def test_an_alert_of_an_earlier_or_a_later_version_is_told_as_it_is_stored() -> None:
    """The earlier one has no notice; the later one has a notice that nobody here knows."""
    old = json.loads(to_json(alert_with(None)))
    del old["notice"]

    earlier = from_json(json.dumps(old))
    later = alert_with(Notice("checkpoint_dreamt_of", reasons=(CHANGED,)))

    for each in (earlier, later):
        assert isinstance(each, AlertRaised)
        assert alert_words(each, KO) == ("as stored", "in the run's language")


def test_what_is_stored_can_be_written_and_holds_no_secret() -> None:
    """A file's name may hold half characters, and an exception's text anything."""
    register([url := "https://hooks.slack.com/services/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"])
    notice = checkpoint_damaged([Reason("other", "epoch\udcff.pt", {"text": f"{url} {'x' * 9999}"})], "\udcff")

    stored = to_json(alert_with(notice))

    assert "webhook4secret" not in stored
    assert len(stored) < 1500


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("text", ["", "{} {0} {{7*7}} %s", "x" * 100_000, "a\nb\rc" * 999, "\udcff\u202e"])
def test_other_peoples_text_is_data_and_bounded(language: Language, text: str) -> None:
    for title, body in everything(language, text):
        message = Renderer(language).render(replace(alert_with(None), title=title, text=body))

        assert message.title == f"⚠️ resnet: {title}"
        assert len(title) <= 80
        assert len(body) <= 2300
        assert len(message.brief) <= 200


def test_the_languages_say_the_same_things() -> None:
    for english, korean in zip(everything(EN, "x"), everything(KO, "x"), strict=True):
        assert len(english.text.splitlines()) == len(korean.text.splitlines())
        assert english.title != korean.title


@pytest.mark.parametrize(
    ("language", "same", "others", "line"),
    [
        (EN, 0, 0, ""),
        (EN, 9, 0, "and 9 more since the last one"),
        (EN, 0, 1, "and 1 other alert"),
        (EN, 9, 25, "and 9 more since the last one, and 25 other alerts"),
        (KO, 9, 0, "지난 알림 이후 9건 더 있었습니다"),
        (KO, 0, 1, "그 밖의 알림 1건은 따로 보내지 않았습니다"),
    ],
)
def test_an_alert_says_how_many_were_held_before_it(language: Language, same: int, others: int, line: str) -> None:
    """In the whole message and in KakaoTalk's 200 characters, even where the alert's own text is long."""
    alert = replace(alert_with(None), text="x" * 900, same=same, others=others)

    message = Renderer(language).render(alert)

    assert [each for each in message.body.splitlines() if "xxx" not in each] == ([line] if line else [])
    assert [each for each in message.brief.splitlines()[1:] if "xxx" not in each] == ([line] if line else [])
    assert len(message.brief) <= 200


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED, Status.STOPPED, Status.INTERRUPTED])
@pytest.mark.parametrize(
    ("language", "untold", "line"),
    [
        (EN, 1, "1 more alert was not told one by one."),
        (EN, 29, "29 more alerts were not told one by one."),
        (KO, 29, "너무 잦아 하나씩 보내지 않은 알림이 29건 더 있습니다."),
        (EN, 0, ""),
    ],
)
def test_an_ending_says_how_many_alerts_nobody_was_told_of(
    language: Language, untold: int, line: str, status: Status
) -> None:
    alert = alert_with(None)
    ending = RunEnded(id=alert.id, run=alert.run, at=alert.at, status=status, untold=untold)

    message = Renderer(language).render(ending)

    said = message.body.splitlines()
    assert (said[-1] if line else "") == line
    assert (str(untold) in message.brief) == bool(untold)
