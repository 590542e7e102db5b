"""What a message becomes as a Kakao template: every limit holds, every metric can be told from the others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.notifiers.kakao.message import DEFAULT_LINK, cut, feed, prefix, table_rows, template_for, text, units
from notifybot.sandbox.kakao_api import parse
from notifybot.types import Fact, Language, MetricRow
from tests.support.kakao_messages import RUN, message


def test_a_message_with_metrics_is_a_feed_with_a_table() -> None:
    assert template_for(message(), link="https://run.example/1") == {
        "object_type": "feed",
        "content": {
            "title": "resnet-cifar: epoch 12/30",
            "description": "Best val_accuracy so far.\n#cafe1234",
            "link": {"web_url": "https://run.example/1", "mobile_web_url": "https://run.example/1"},
        },
        "item_content": {
            "profile_text": "resnet-cifar",
            "title_image_text": "resnet-cifar: epoch…",
            "items": [
                {"item": "train", "item_op": "loss 0.2154 -0.0312"},
                {"item": "val", "item_op": "loss 0.3011 +0.0020"},
                {"item": "val", "item_op": "accuracy 91.32% +0.41%"},
            ],
            "sum": "ETA",
            "sum_op": "12 min",
        },
        "button_title": "Details",
    }


def test_a_message_without_metrics_is_a_text_with_a_link() -> None:
    assert template_for(message(rows=(), language=Language.KO)) == {
        "object_type": "text",
        "text": "resnet-cifar: epoch 12/30, val_accuracy 91.32%\n#cafe1234",
        "link": {"web_url": DEFAULT_LINK, "mobile_web_url": DEFAULT_LINK},
        "button_title": "자세히 보기",
    }


@pytest.mark.parametrize(
    ("configured", "own", "expected"),
    [
        pytest.param("https://set.example", "https://own.example", "https://set.example", id="the setting first"),
        pytest.param(None, "https://own.example", "https://own.example", id="then the message's"),
        pytest.param(None, "javascript:alert(1)", DEFAULT_LINK, id="never a script"),
        pytest.param(None, None, DEFAULT_LINK, id="else the default"),
    ],
)
def test_there_is_always_a_web_link(configured: str | None, own: str | None, expected: str) -> None:
    assert expected == text(message(link=own), link=configured)["link"]["web_url"]


def test_project_and_run_are_shown_where_both_fit() -> None:
    short = message(run=type(RUN)("id", "bert", "nlp"))

    assert feed(short)["item_content"]["profile_text"] == "nlp/bert"


@pytest.mark.parametrize(
    ("title", "name", "heading"),
    [
        ("🏆 bert · new best f1 0.91", "bert", "🏆 new best f1 0.91"),
        ("⚠️ bert: 손상된 체크포인트를 건너뛰었습니다", "bert", "⚠️ 손상된 체크포인트를 건너뛰었습니다"),
        ("🚀 bert", "bert", "🚀 bert"),
        ("my own title about bert", "bert", "my own title about bert"),
        ("🟢 recovered", "", "🟢 recovered"),
    ],
)
def test_the_heading_does_not_repeat_the_name_above_it(title: str, name: str, heading: str) -> None:
    """With it, 24 characters would say little else."""
    built = feed(message(title=title, run=type(RUN)("id", name, "nlp")))

    assert built["item_content"]["title_image_text"] == cut(heading, 24)
    assert built["content"]["title"] == title


def test_at_most_five_metrics_are_tabulated_and_no_cell_is_empty() -> None:
    rows = tuple(MetricRow(f"metric_{number}", "", "") for number in range(9))

    items = feed(message(rows=rows))["item_content"]["items"]

    assert [each["item"] for each in items] == ["metric"] * 5
    assert [each["item_op"] for each in items] == ["0 -", "1 -", "2 -", "3 -", "4 -"]


def test_a_change_that_does_not_fit_is_left_out_before_the_value() -> None:
    rows = (MetricRow("val_loss", "0.123456789", "+0.987654321"),)

    assert feed(message(rows=rows))["item_content"]["items"] == [{"item": "val", "item_op": "loss 0.123456789"}]


def test_a_total_that_does_not_fit_is_left_out() -> None:
    assert "sum" not in feed(message(facts=(Fact("Elapsed time", "12 min"),)))["item_content"]


def test_a_long_text_keeps_its_mark_and_its_note() -> None:
    shown = text(message(brief="가" * 400), note="로그인이 곧 만료됩니다.")["text"]

    assert shown.endswith("…\n로그인이 곧 만료됩니다.\n#cafe1234")
    assert units(shown) == 190


def test_a_mark_that_the_text_has_already_is_not_repeated() -> None:
    assert text(message(brief="done [cafe1234]"))["text"] == "done [cafe1234]"


def test_hostile_text_stays_text() -> None:
    hostile = "<!channel> <@U1> <http://evil|ok> \u202egnp.exe \x1b[31m\u200b" + "x" * 10_000

    shown = text(message(brief=hostile))["text"]

    assert shown.replace("\u200b", "").startswith("<!channel> <@U1> <http://evil|ok> gnp.exe")
    assert units(shown) <= 190


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["loss", "acc"], ["loss|0.5", "acc|0.5"]),
        (["val_accuracy"], ["val|accuracy 0.5"]),
        (["train_loss", "val_loss", "test_loss"], ["train|loss 0.5", "val|loss 0.5", "test|loss 0.5"]),
        (["Loss/train", "Loss/val"], ["train|Loss 0.5", "val|Loss 0.5"]),
        (["training/accuracy", "valid.accuracy"], ["train|accuracy 0.5", "valid|accuracy 0.5"]),
        (["val_f1_macro_avg", "valF1MacroAvg"], ["val|f1_macro_avg 0.5", "val|F1 Macro Avg 0.5"]),
        (["learning_rate"], ["lr|0.5"]),
        (["top1_accuracy", "top5_accuracy"], ["top1|accuracy 0.5", "top5|accuracy 0.5"]),
        (["perplexity", "gradientNorm", "throughput"], ["ppl|0.5", "grad|Norm 0.5", "throu…|throughput 0.5"]),
        (["loss", "loss"], ["loss|0.5", "loss2|0.5"]),
        (["검증손실", "검증 정확도 평균값"], ["검증손실|0.5", "검증|정확도 평균값 0.5"]),
        (["val_" + "x" * 30], ["val|xxxxxxxxxxxxxxxxxxxx… 0.5"]),
        (["", "- -", "?"], ["?|0.5", "- -|0.5", "?2|0.5"]),
    ],
)
def test_a_metrics_name_is_read_without_guessing(names: list[str], expected: list[str]) -> None:
    """What has no room in the six characters before the value stands beside the value."""
    assert expected == ["|".join(each) for each in table_rows([MetricRow(name, "0.5", "") for name in names])]


@given(st.lists(st.text(max_size=40), max_size=5))
def test_rows_fit_and_differ(names: list[str]) -> None:
    rows = table_rows([MetricRow(name, "0.4123", "−0.0211") for name in names])

    assert len(names) == len(rows) == len(set(rows))
    assert all(0 < units(label) <= 6 and 0 < units(cell) <= 25 for label, cell in rows)


@given(st.text(alphabet=st.characters() | st.sampled_from("👩‍👧🇰🇷é각\u1100\u1161\n "), max_size=60), st.integers(0, 40))
def test_a_cut_text_fits_and_is_a_beginning(whole: str, limit: int) -> None:
    short = cut(whole, limit)

    assert units(short) <= limit
    assert short == whole or whole.startswith(short.removesuffix("…"))
    assert units(prefix(whole, limit)) <= limit


@pytest.mark.parametrize("whole", ["👩‍👧‍👦" * 9, "🇰🇷" * 9, "e\u0301" * 40, "\u1100\u1161\u11a8" * 20])
def test_a_cut_never_splits_what_a_reader_sees_as_one_character(whole: str) -> None:
    seen = whole[: len(whole) // (9 if whole[0] > "\uffff" else 40 if whole[0] == "e" else 20)]

    kept = cut(whole, 20).removesuffix("…")

    assert kept == seen * (len(kept) // len(seen)) != ""


_WORDS = st.text(max_size=300)
_ROWS = st.lists(st.builds(MetricRow, _WORDS, _WORDS, _WORDS), max_size=7).map(tuple)
_FACTS = st.lists(st.builds(Fact, _WORDS, _WORDS), max_size=3).map(tuple)


@given(_WORDS, _WORDS, _WORDS, _ROWS, _FACTS, st.text(max_size=100))
def test_kakao_accepts_whatever_a_message_holds(
    title: str, body: str, brief: str, rows: tuple[MetricRow, ...], facts: tuple[Fact, ...], note: str
) -> None:
    built = message(title=title, body=body, brief=brief, rows=rows, facts=facts)

    for template in (template_for(built, note=note), text(built, note=note)):
        sent = parse(json.dumps(template, ensure_ascii=False).encode().decode())
        told = sent["text"] if "text" in sent else sent["content"]["description"]
        assert units(told) <= 190
        assert "cafe1234" in told
