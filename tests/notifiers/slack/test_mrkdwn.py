"""Slack's markup: what is escaped, where it is cut, what a link may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.notifiers.slack.mrkdwn import escape, escaped, last_lines, safe_url
from notifybot.rendering.text import clean

ENTITIES = ("&amp;", "&lt;", "&gt;")


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        pytest.param("<!channel>", "&lt;!channel&gt;", id="broadcast"),
        pytest.param("<@U1>", "&lt;@U1&gt;", id="mention"),
        pytest.param("<http://evil|ok>", "&lt;http://evil|ok&gt;", id="disguised-link"),
        pytest.param("a & b", "a &amp; b", id="ampersand"),
        pytest.param("&lt;", "&amp;lt;", id="already-escaped"),
        pytest.param("학습 완료", "학습 완료", id="korean"),
    ],
)
def test_escape_leaves_nothing_that_slack_reads_as_markup(raw: str, safe: str) -> None:
    """The three characters become entities, the ampersand first."""
    assert safe == escape(raw)


@given(st.text(alphabet=st.sampled_from("a&<>é\u0301👩\u200d💻🇰🇷각ᄀ\n "), max_size=60), st.integers(1, 80))
def test_escaped_text_is_within_its_limit_and_never_cut_inside_an_entity(text: str, limit: int) -> None:
    """Whatever stands before the ellipsis is the escaped form of a beginning of the text."""
    result = escaped(text, limit)

    assert len(result) <= limit
    whole = result.removesuffix("…")
    rest = whole
    for entity in ENTITIES:
        rest = rest.replace(entity, "")
    assert not set("&<>") & set(rest)
    assert escape(clean(text)).startswith(whole)


def test_last_lines_keeps_the_end_of_a_traceback() -> None:
    """The exception's own line is the last, so the beginning is what goes."""
    text = "\n".join(f"line {number}" for number in range(1000))

    kept = last_lines(text, 100)

    assert len(kept) <= 100
    assert kept.startswith("…\n")
    assert kept.endswith("line 999")


def test_last_lines_cuts_one_endless_line_within_the_limit() -> None:
    """A single line longer than the limit is shortened instead of dropped."""
    assert len(last_lines("x" * 5000, 100)) == 100


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        pytest.param("https://wandb.ai/a/b?x=1#y", "https://wandb.ai/a/b?x=1#y", id="kept"),
        pytest.param("https://x/a|b>c<d", "https://x/a%7Cb%3Ec%3Cd", id="link-breakers-are-quoted"),
        pytest.param("javascript:alert(1)", None, id="other-scheme"),
        pytest.param("", None, id="empty"),
        pytest.param("https://x/" + "a" * 3000, None, id="too-long"),
    ],
)
def test_a_link_cannot_end_early_or_leave_the_web(url: str, safe: str | None) -> None:
    """Only http and https, and none of the characters that end a Slack link."""
    assert safe == safe_url(url)
