"""What Slack would refuse in blocks and attachments, and what is just within its limits."""

from __future__ import annotations

from typing import Any

import pytest

from notifybot.sandbox import blockkit

TEXT = {"type": "plain_text", "text": "hello"}


def table(rows: int, columns: int = 2, text: str = "x") -> dict[str, Any]:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": text}] * columns] * rows}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"blocks": [{"type": "divider"}] * 50}, id="50-blocks"),
        pytest.param({"blocks": [{"type": "header", "text": {**TEXT, "text": "x" * 150}}]}, id="header"),
        pytest.param({"blocks": [{"type": "section", "fields": [{**TEXT, "text": "x" * 2000}] * 10}]}, id="fields"),
        pytest.param({"blocks": [table(100, 20)]}, id="table"),
        pytest.param({"attachments": [{"blocks": [table(2)]}]}, id="table-in-attachment"),
    ],
)
def test_a_message_at_the_limit_is_fine(payload: dict[str, Any]) -> None:
    """The limits themselves are allowed."""
    assert blockkit.problems(payload) == []


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"blocks": [{"type": "divider"}] * 51}, id="51-blocks"),
        pytest.param({"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, id="header-mrkdwn"),
        pytest.param({"blocks": [{"type": "header", "text": {**TEXT, "text": ""}}]}, id="empty-text"),
        pytest.param({"blocks": [{"type": "section"}]}, id="empty-section"),
        pytest.param({"blocks": [{"type": "section", "fields": [{**TEXT, "text": "x" * 2001}]}]}, id="long-field"),
        pytest.param({"blocks": [{"type": "section", "text": {**TEXT, "verbatim": True}}]}, id="verbatim-plain"),
        pytest.param({"blocks": [{"type": "section", "text": TEXT, "colour": "red"}]}, id="unknown-key"),
        pytest.param({"blocks": [{"type": "context", "elements": []}]}, id="empty-context"),
        pytest.param({"blocks": [{"type": "divider", "block_id": "a"}] * 2}, id="block-id-twice"),
        pytest.param({"blocks": [table(101)]}, id="101-rows"),
        pytest.param({"blocks": [table(1, 21)]}, id="21-columns"),
        pytest.param({"blocks": [table(10, 10, "x" * 101)]}, id="table-characters"),
        pytest.param({"blocks": [table(1)], "attachments": [{"blocks": [table(1)]}]}, id="two-tables"),
        pytest.param({"blocks": [{"type": "data_visualization"}]}, id="not-rolled-out"),
        pytest.param({"blocks": ["text"]}, id="no-object"),
        pytest.param({"blocks": {"type": "divider"}}, id="no-array"),
        pytest.param({"attachments": ["x"]}, id="attachment-no-object"),
        pytest.param({"blocks": [{"type": "markdown", "text": "x" * 6001}] * 2}, id="markdown-sum"),
        pytest.param({"blocks": [{"type": "rich_text", "elements": [{"type": "text"}]}]}, id="rich-text"),
    ],
)
def test_a_message_over_a_limit_is_refused(payload: dict[str, Any]) -> None:
    """Also those limits that slack_sdk's models do not know."""
    assert blockkit.problems(payload)
