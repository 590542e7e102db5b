"""Slack's own charts and tables: where a workspace has them; where it has not, the same message without them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.notifiers.slack import SlackBot, blocks
from notifybot.notifiers.slack.blocks import Payload
from notifybot.notifiers.slack.native_charts import Layout, with_native_charts
from notifybot.sandbox import Sandbox, blockkit
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language, Metric, Progress
from tests.support.slack_messages import ended, envelope, epoch, started

_NATIVE = (Layout.CHART, Layout.DATA_TABLE)


def after(epochs: int, **histories: tuple[float, ...]) -> Progress:
    metrics = {name: Metric(values[-1], history=values) for name, values in histories.items()}
    return Progress(epoch=epochs, done=epochs, total=30, metrics=metrics)


def ending(**histories: tuple[float, ...]) -> RunEnded:
    return replace(ended(), progress=after(30, **histories))


def natives(event: Event, *, charts: bool = True) -> list[dict[str, Any]]:
    return [
        each
        for each in with_native_charts(Payload("x"), event, Language.EN, charts=charts).blocks
        if each["type"] in _NATIVE
    ]


def bot_at(sandbox: Sandbox, clock: FakeClock) -> SlackBot:
    return SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)


def kinds(sandbox: Sandbox) -> list[list[str]]:
    """The native blocks of each reply."""
    replies = sandbox.slack.thread(sandbox.slack.roots[0].ts)
    return [[each["type"] for each in reply.blocks if each["type"] in _NATIVE] for reply in replies]


def test_an_ending_shows_its_last_epochs() -> None:
    """Losses in one chart and scores in another, and a table with the newest epoch on top."""
    event = ending(train_loss=(3.0, 2.0, 1.0), val_loss=(3.0, 2.5, 2.0), val_acc=(0.1, 0.2, 0.3))

    losses, scores, table = natives(event)

    assert [each["name"] for each in losses["chart"]["series"]] == ["train_loss", "val_loss"]
    assert losses["chart"]["axis_config"]["categories"] == ["28", "29", "30"]
    assert scores["title"] == "val_acc: last 3 epochs"
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [
        ["epoch", "train_loss", "val_loss", "val_acc"],
        ["30", "1", "2", "0.3"],
        ["29", "2", "2.5", "0.2"],
        ["28", "3", "3", "0.1"],
    ]


@pytest.mark.parametrize(
    ("labels", "validated", "categories", "rows"),
    [
        pytest.param(range(20), range(4, 20, 5), "4 9 14 19", "19 18 17", id="validation every fifth epoch"),
        pytest.param(range(0, 30, 5), range(0, 30, 5), "0 5 10 15 20 25", "25 20 15", id="labels by fives"),
        pytest.param(range(5, 0, -1), range(5, 0, -1), "5 4 3 2 1", "1 2 3", id="counted down"),
    ],
)
def test_each_value_stands_at_its_own_epoch(labels: range, validated: range, categories: str, rows: str) -> None:
    metrics = {
        name: Metric(value=0.5, history=tuple(1.0 + each for each in own), epochs=tuple(own))
        for name, own in (("train_loss", labels), ("val_loss", validated))
    }
    event = replace(ended(), progress=Progress(epoch=labels[-1], done=len(labels), metrics=metrics))

    chart, table = natives(event)
    assert " ".join(chart["chart"]["axis_config"]["categories"]) == categories
    for series in chart["chart"]["series"]:
        assert [point["value"] for point in series["data"]] == [1.0 + int(each) for each in categories.split()]
    assert [row[0]["text"] for row in table["rows"][1:4]] == rows.split()
    for row in table["rows"][1:]:
        assert {cell["value"] for cell in row[1:] if "value" in cell} == {1.0 + row[0]["value"]}


def test_where_a_picture_comes_there_is_no_second_chart() -> None:
    event = ending(loss=(3.0, 2.0))

    assert [each["type"] for each in natives(event, charts=False)] == ["data_table"]


def test_a_new_best_shows_its_own_curve() -> None:
    """One chart, of the metric that is the best; any other epoch shows none."""
    progress = after(5, loss=(3.0, 2.0), val_acc=(0.1, 0.2))
    best = replace(epoch(5, new_best="val_acc"), progress=progress)

    assert [each["title"] for each in natives(best)] == ["val_acc: last 2 epochs"]
    assert natives(replace(best, new_best=None)) == []


def test_an_epoch_without_a_number_is_left_out_of_the_chart_and_said_in_the_table() -> None:
    """Slack wants a finite value at each place, JSON knows no NaN."""
    chart, table = natives(ending(loss=(3.0, math.nan, 1.0)))

    assert chart["chart"]["axis_config"]["categories"] == ["28", "30"]
    assert table["rows"][2] == [
        {"type": "raw_number", "value": 29.0, "text": "29"},
        {"type": "raw_text", "text": "NaN"},
    ]


_VALUES = st.lists(st.floats(), min_size=1, max_size=32).map(tuple)
_NAMES = st.text(max_size=40)


@given(st.dictionaries(_NAMES, _VALUES, max_size=9), st.sampled_from(Language))
def test_slack_takes_whatever_was_logged(histories: dict[str, tuple[float, ...]], language: Language) -> None:
    """Any names and values make blocks within Slack's limits, by the sandbox's check of them."""
    best = EpochFinished(id="e", run=ended().run, at=ended().at, progress=after(9, **histories), new_best="x")

    for event in (best, replace(ended(), progress=after(9, **histories))):
        payload = with_native_charts(Payload("x"), event, language, charts=True)
        assert blockkit.problems(payload.arguments()) == []
        assert with_native_charts(Payload("x"), event, language, charts=True, without=frozenset(Layout)).blocks == ()


def test_a_workspace_without_them_gets_the_rest_and_is_not_asked_again(sandbox: Sandbox, clock: FakeClock) -> None:
    """invalid_blocks: stripped, sent once more, remembered beyond this process; after a month it is tried again."""
    sandbox.slack.unknown_blocks = {"data_table"}
    memory = DictMemory()
    bot = bot_at(sandbox, clock)
    for event in (started(), ending(loss=(2.0, 1.0))):
        bot.send(envelope(event, memory))
    posts = len(sandbox.slack.calls)

    bot_at(sandbox, clock).send(envelope(ending(loss=(2.0, 1.0)), memory))

    assert kinds(sandbox) == [[], ["data_visualization"], ["data_visualization"]], "the charts stay"
    assert sandbox.slack.thread(sandbox.slack.roots[0].ts)[1].blocks[0]["type"] == "rich_text"  # laid out as ever
    assert len(sandbox.slack.calls) == posts + 2  # the root and one reply

    clock.advance(timedelta(days=31).total_seconds())
    sandbox.slack.unknown_blocks = set()
    bot.send(envelope(ending(loss=(2.0, 1.0)), memory))

    assert kinds(sandbox)[-1] == ["data_visualization", "data_table"]


@pytest.mark.parametrize(
    ("unknown", "shown", "requests"),
    [
        ({"data_table"}, [["data_visualization"]] * 2, [2, 1]),
        ({"data_visualization"}, [[], ["data_table"]], [3, 1]),
        ({"data_table", "data_visualization"}, [[], []], [3, 2]),
        ({"data_table", "data_visualization", "table"}, [[], []], [3, 2]),
    ],
)
def test_each_kind_is_given_up_by_itself_tables_first(
    sandbox: Sandbox, clock: FakeClock, unknown: set[str], shown: list[list[str]], requests: list[int]
) -> None:
    """One more request for each, once; a table that is refused costs nobody the curves, nor a curve the table."""
    memory, bot = DictMemory(), bot_at(sandbox, clock)
    bot.send(envelope(started(), memory))
    sandbox.slack.unknown_blocks = unknown
    asked = []
    for _ in range(2):
        event = ending(loss=(2.0, 1.0))
        bot.send(envelope(event, memory))
        asked.append(sum(method == "chat.postMessage" for method, _ in sandbox.slack.calls))
    third = ending(loss=(2.0, 1.0))
    bot.send(envelope(third, memory))

    assert kinds(sandbox)[1:3] == shown
    assert [asked[0] - 2, asked[1] - asked[0]] == requests
    assert sum(method == "chat.postMessage" for method, _ in sandbox.slack.calls) - asked[1] == 1


def test_the_footer_of_a_new_best_stands_below_its_chart() -> None:
    best = replace(epoch(5, new_best="val_acc"), progress=after(5, val_acc=(0.1, 0.2)))
    payload = blocks.new_best_reply(envelope(best, DictMemory()).message, "val_acc", "0.2")

    shown = with_native_charts(payload, best, Language.EN, charts=True)

    assert [each["type"] for each in shown.blocks] == ["rich_text", "data_visualization", "context"]


def test_a_layout_that_is_refused_for_other_reasons_does_not_count_against_them(
    sandbox: Sandbox, clock: FakeClock
) -> None:
    """Both tries with blocks fail, the plain words pass: nobody knows that the charts were the reason."""
    sandbox.slack.unknown_blocks = {"rich_text"}
    memory, bot = DictMemory(), bot_at(sandbox, clock)
    bot.send(envelope(started(), memory))
    bot.send(envelope(ending(loss=(2.0, 1.0)), memory))
    sandbox.slack.unknown_blocks = set()

    bot.send(envelope(ending(loss=(2.0, 1.0)), memory))

    assert kinds(sandbox)[-1] == ["data_visualization", "data_table"]


def test_no_message_has_a_table_of_either_kind_twice(sandbox: Sandbox, clock: FakeClock) -> None:
    """Some workspaces refuse `table` beside `data_table`; the root message has the same figures anyway."""
    notifier, memory = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", clock=clock), DictMemory()

    notifier.send(envelope(started(), memory))
    notifier.send(envelope(ended(), memory))

    for _, payload in sandbox.slack.calls:
        assert sum(str(payload).count(f"'type': '{kind}'") for kind in ("table", "data_table")) <= 1
