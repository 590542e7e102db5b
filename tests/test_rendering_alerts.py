"""Alerts about checkpoints: what happened, what follows, in both languages and within a message's bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from notifybot.events import AlertRaised
from notifybot.model import Language, RunRef
from notifybot.rendering import Renderer
from notifybot.rendering.alerts import (
    AlertWords,
    checkpoint_damaged,
    checkpoint_not_copied,
    checkpoint_not_saved,
    checkpoint_works_again,
    session_superseded,
)

EN, KO = Language.EN, Language.KO
FULL = "OSError: No space left on device"


def everything(language: Language, text: str) -> list[AlertWords]:
    return [
        checkpoint_not_saved(text, language),
        checkpoint_not_copied(text, language),
        checkpoint_damaged([text] * 9, text, language),
        checkpoint_damaged([text], None, language),
        checkpoint_works_again(language),
        session_superseded(text, language),
    ]


def test_a_failed_save_names_the_reason_and_that_nothing_else_was_harmed() -> None:
    assert checkpoint_not_saved(FULL, EN) == (
        "The checkpoint could not be saved",
        f"{FULL}.\nTraining goes on, and the next save tries again. Earlier checkpoints are untouched.",
    )
    assert checkpoint_not_saved(FULL, KO).title == "체크포인트를 저장하지 못했습니다"


def test_a_failed_copy_says_what_a_reset_would_cost() -> None:
    assert "a reset takes it along" in checkpoint_not_copied(FULL, EN).text
    assert "장비가 초기화되면 함께 사라집니다" in checkpoint_not_copied(FULL, KO).text


def test_a_damaged_checkpoint_is_named_and_so_is_the_one_used() -> None:
    title, text = checkpoint_damaged(["epoch17.pt: its hash differs"], "epoch16.pt", EN)

    assert title == "A damaged checkpoint was passed over"
    assert text == "Training goes on from epoch16.pt, which is whole.\nepoch17.pt: its hash differs"
    assert "epoch16.pt 파일부터 이어서" in checkpoint_damaged(["epoch17.pt"], "epoch16.pt", KO).text


def test_where_none_is_whole_nobody_is_promised_a_continuation() -> None:
    assert checkpoint_damaged(["epoch17.pt"], None, EN) == (
        "No checkpoint is whole",
        "Training starts from the beginning.\nepoch17.pt",
    )
    assert checkpoint_damaged(["epoch17.pt"], None, KO).text.startswith("학습을 처음부터 시작합니다.")


def test_the_first_five_of_many_are_named_and_the_others_counted() -> None:
    lines = checkpoint_damaged([f"epoch{number}.pt" for number in range(9)], None, EN).text.splitlines()

    assert lines[1:] == ["epoch0.pt", "epoch1.pt", "epoch2.pt", "epoch3.pt", "epoch4.pt", "… +4"]


def test_a_session_that_lost_its_run_is_told_where_the_newer_one_is() -> None:
    assert session_superseded("colab-2", EN).text.startswith("The newer session runs on colab-2.\n")
    assert session_superseded("colab-2", KO).text.startswith("새 세션은 colab-2에서 실행 중입니다.\n")
    assert session_superseded("", EN).text.startswith("The older one reports nothing more.")


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("text", ["", "{} {0} {{7*7}} %s", "x" * 100_000, "a\nb\rc" * 999, "\udcff\u202e"])
def test_other_peoples_text_is_data_and_bounded(language: Language, text: str) -> None:
    for title, body in everything(language, text):
        event = AlertRaised(
            id="01900000-0000-7000-8000-00000000abcd",
            run=RunRef("r", "resnet", "p"),
            at=datetime(2026, 11, 23, 3, tzinfo=UTC),
            title=title,
            text=body,
            about="checkpoint",
        )
        message = Renderer(language).render(event)

        assert message.title == f"⚠️ resnet: {title}"
        assert len(title) <= 80
        assert len(body) <= 2300
        assert len(message.brief) <= 200


def test_the_languages_say_the_same_things() -> None:
    for english, korean in zip(everything(EN, "x"), everything(KO, "x"), strict=True):
        assert len(english.text.splitlines()) == len(korean.text.splitlines())
        assert english.title != korean.title
