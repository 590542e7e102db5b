"""Messages as Block Kit: within every limit, inert whatever people write, and accepted by Slack's own models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from notifybot.events import Event
from notifybot.notifiers.slack import blocks
from notifybot.rendering import Renderer
from notifybot.sandbox import blockkit
from notifybot.types import Fact, Language, Message, MetricRow, Severity
from tests.support.slack_messages import alert, checkpoint, ended, epoch, lost, message, recovered, stalled, started

HOSTILE = (
    "<!channel>",
    "<!here> <!everyone> <!subteam^S1>",
    "<@U1>",
    "<http://evil|ok>",
    "&lt;!channel&gt;",
    "x" * 10_000,
    "<" * 10_000,
    "\u202egnp.exe\u202c",
    "zero\u200bwidth\ufeff",
    "*bold* _it_ ~no~ `code` ```fence```",
    "👩‍👩‍👧‍👦" * 500,
    "가나다 " * 1000,
    "",
    " \n\t ",
    "\ud800 lone",
    "\x00\x07\x1b[31mred",
)
OURS = re.compile(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[-\d: ]+ UTC>|<https?://[^<>|]+\|[^<>|&]+>")
LAYOUTS: list[Callable[[Message], blocks.Payload]] = [
    blocks.full_message, blocks.root, blocks.placeholder_root, blocks.reply, blocks.text_only,
    lambda message: blocks.new_best_reply(message, message.title, message.brief),
]  # fmt: skip
texts = st.sampled_from(HOSTILE) | st.text(max_size=200) | st.text(alphabet="<>&!@#|^*`_~ \u200d\u202eé", max_size=80)
rows = st.builds(MetricRow, texts, texts, texts, texts, texts)
facts = st.builds(Fact, texts, texts)


def markup(value: Any) -> Iterator[str]:
    """Every string of a payload that Slack parses: mrkdwn objects and top-level texts."""
    if isinstance(value, dict):
        if value.get("type") == "mrkdwn":
            assert value["verbatim"] is True
            yield value["text"]
        yield from (text for key in ("fallback",) if (text := value.get(key)))
        for each in value.values():
            yield from markup(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from markup(each)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def assert_inert(payload: blocks.Payload) -> None:
    arguments = payload.arguments()
    for text in [payload.text, *markup(arguments)]:
        rest = re.sub("&(amp|lt|gt);", "", OURS.sub("", text))
        assert not set("<>&") & set(rest), text
    shown = json.dumps(arguments, ensure_ascii=False)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\ud800-\udfff]", shown)


def assert_within_limits(payload: blocks.Payload) -> None:
    assert blockkit.problems(payload.arguments()) == []
    assert 1 <= len(payload.text) <= 3000


def assert_known_to_slack_sdk(payload: blocks.Payload) -> None:
    """slack_sdk's models check lengths when they are turned back into JSON; tables came after them."""
    nested = [block for each in payload.attachments for block in each["blocks"]]
    for block in [*payload.blocks, *nested]:
        (parsed,) = Block.parse_all([json.loads(json.dumps(block))])
        if block["type"] != "table":
            parsed.to_dict()


@given(
    texts, texts, texts, texts, texts, st.lists(rows, max_size=25), st.lists(facts, max_size=30),
    st.sampled_from(LAYOUTS), st.sampled_from(Language),
)  # fmt: skip
@example(
    "<!channel>",
    "<@U1>",
    "<http://evil|ok>",
    "x" * 10_000,
    "```",
    [MetricRow("<!here>", "<@U1>")] * 25,
    [],
    blocks.full_message,
    Language.KO,
)
def test_whatever_people_write_is_inert_within_limits_and_valid(
    title: str,
    body: str,
    brief: str,
    code: str,
    link: str,
    table: list[MetricRow],
    facts: list[Fact],
    layout: Callable[[Message], blocks.Payload],
    language: Language,
) -> None:
    """No mention, no foreign link, no over-long field, no block that Slack would refuse."""
    told = message(
        ended(), title=title, body=body, brief=brief, code=code, link=f"https://x/{link}", language=language,
        rows=tuple(table), facts=tuple(facts),
    )  # fmt: skip

    payload = layout(told)

    assert_inert(payload)
    assert_within_limits(payload)
    assert_known_to_slack_sdk(payload)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "event",
    [started(), epoch(7, new_best="val_acc"), checkpoint(), alert(), ended(), stalled(), lost(), recovered()],
    ids=lambda event: event.kind,
)
def test_every_event_in_both_languages_is_accepted(event: Event, language: Language) -> None:
    """The real templates, every layout: inert, within limits, known to Slack's models."""
    told = Renderer(language).render(event, link="https://example.org/runs/1")

    for layout in LAYOUTS:
        payload = layout(told)
        assert_inert(payload)
        assert_within_limits(payload)
        assert_known_to_slack_sdk(payload)


def card(payload: blocks.Payload) -> list[dict[str, Any]]:
    inner: list[dict[str, Any]] = payload.attachments[0]["blocks"]
    return inner


def test_the_table_shows_value_change_best_and_trend_numbers_to_the_right() -> None:
    """Columns as in the message's own headings; an empty cell is a dash."""
    (table,) = [block for block in card(blocks.root(message(epoch(11)))) if block["type"] == "table"]

    texts = [[cell["text"] for cell in row] for row in table["rows"]]
    assert texts == [
        ["Metric", "Value", "Change", "Best", "Trend"],
        ["val_acc", "0.6100", "+0.0100", "0.6200 (11)", "▁▂▄▆█"],
        ["lr", "1e-3", "–", "–", "–"],
    ]
    assert [each.get("align") for each in table["column_settings"]] == [None, "right", "right", "right", "left"]


def test_columns_without_a_word_in_them_are_left_out() -> None:
    """The first epoch has no change and no trend."""
    told = message(epoch(1), rows=(MetricRow("loss", "0.9"),))

    (table,) = [block for block in card(blocks.root(told)) if block["type"] == "table"]

    assert [[cell["text"] for cell in row] for row in table["rows"]] == [["Metric", "Value"], ["loss", "0.9"]]


@pytest.mark.parametrize(("language", "more"), [(Language.EN, "+5 more"), (Language.KO, "외 5개")])
def test_more_than_twenty_metrics_are_counted_not_shown(language: Language, more: str) -> None:
    """The table stays readable on a phone."""
    told = message(epoch(1), language=language, rows=tuple(MetricRow(f"m{n}", "1") for n in range(25)))

    (table,) = [block for block in card(blocks.root(told)) if block["type"] == "table"]

    assert len(table["rows"]) == 22
    assert table["rows"][-1][0]["text"] == more


@pytest.mark.parametrize(
    ("done", "bar"),
    [
        (0, "▱▱▱▱▱▱▱▱▱▱▱▱▱▱  *0%*  ·  0/30"),
        (15, "▰▰▰▰▰▰▰▱▱▱▱▱▱▱  *50%*  ·  15/30"),
        (29, "▰▰▰▰▰▰▰▰▰▰▰▰▰▱  *96%*  ·  29/30"),
        (30, "▰▰▰▰▰▰▰▰▰▰▰▰▰▰  *100%*  ·  30/30"),
    ],
)
def test_the_bar_is_full_only_when_all_is_done(done: int, bar: str) -> None:
    """Rounded down, so that the last epoch is seen to be missing."""
    texts = list(markup(card(blocks.root(message(epoch(done), body="")))))

    assert bar in texts


def test_a_run_without_a_total_has_no_bar() -> None:
    """An endless loop has no share to show."""
    told = message(epoch(3), body="", total=None)

    assert [block["type"] for block in card(blocks.root(told))] == ["table", "rich_text", "context"]


@pytest.mark.parametrize("severity", Severity)
def test_each_severity_has_a_colour_of_its_own(severity: Severity) -> None:
    """The bar at the left says at a glance how it went."""
    assert blocks.COLOURS[severity] == blocks.full_message(message(ended(), severity=severity)).attachments[0]["color"]
    assert len(set(blocks.COLOURS.values())) == len(Severity)


def test_the_root_leaves_parameters_and_tracebacks_to_the_thread() -> None:
    """The root is read again and again; details are one tap away."""
    start = blocks.root(message(started()))
    end = blocks.root(message(ended(), code="Traceback …"))

    assert "ETA" not in set(strings(start.arguments()))
    assert "Traceback …" not in set(strings(end.arguments()))
    assert "Traceback …" in set(strings(blocks.reply(message(ended(), code="Traceback …")).arguments()))


def test_the_footer_names_the_moment_and_one_short_id() -> None:
    """A repeated message carries the same mark; the time is in the reader's own zone."""
    event = ended()

    footer = card(blocks.reply(message(event)))[-1]["elements"]

    stamp = int(event.at.timestamp())
    assert [each["text"] for each in footer] == [
        f"<!date^{stamp}^{{date_short_pretty}} {{time}}|2026-11-23 03:31 UTC>",
        f"#{event.id[-8:]}",
    ]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], id="header"),
        pytest.param([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}], id="section"),
        pytest.param([{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}], id="fields"),
        pytest.param([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], id="context"),
        pytest.param([{"type": "image", "image_url": "https://x", "alt_text": "x" * 2001}], id="image-alt-text"),
        pytest.param([{"type": "divider", "block_id": "x" * 256}], id="block-id"),
        pytest.param([{"type": "markdown", "text": "x" * 12_001}], id="markdown"),
    ],
)
def test_the_sandbox_refuses_what_slack_sdk_refuses(broken: list[dict[str, Any]]) -> None:
    """Where both know a limit, they agree."""
    assert blockkit.problems({"blocks": broken})
    (block,) = Block.parse_all(broken)
    with pytest.raises(SlackObjectFormationError):
        block.to_dict()
