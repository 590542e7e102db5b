"""Slack's markup as its clients show it: bold, code, links, dates; everything else is text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from notifybot.sandbox import mrkdwn

NOW = datetime(2026, 11, 23, 15, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* _it_ ~no~", "<b>bold</b> <i>it</i> <s>no</s>"),
        ("`a*b*c`", "<code>a*b*c</code>"),
        ("```\nx < y\n```", "<pre>x &lt; y</pre>"),
        ("<https://x/?a=1&amp;b=2|here>", '<a href="https://x/?a=1&amp;b=2" rel="noreferrer">here</a>'),
        ("&lt;!channel&gt;", "&lt;!channel&gt;"),
        ("<!channel>", '<span class="mention">@channel</span>'),
        ("a_b_c 2*3*4", "a_b_c 2*3*4"),
        ("one\ntwo", "one<br>two"),
        (f"<!date^{int(NOW.timestamp())}^{{date_short_pretty}} {{time}}|x>", '<span class="date">Today 3:31 PM</span>'),
    ],
)
def test_the_page_reads_mrkdwn_as_slack_does(text: str, html: str) -> None:
    """Bold, code, links, dates and mentions; everything else is text."""
    assert html == str(mrkdwn.to_html(text, "en", NOW))


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("see https://evil.example/a now", "https://evil.example/a"),
        ("at http://localhost:8080", "http://localhost:8080"),
        ("see evil.example/a", "http://evil.example/a"),
        ("see www.evil.example", "http://www.evil.example"),
        ("*evil.example*", "http://evil.example"),
        ("10.0.0.1 answers", "http://10.0.0.1"),
        ("loss 0.125, epoch 3. Then", None),
        ("&lt;!channel&gt; 42%", None),
        ("https:\u200b//evil\u200b.example", None),
    ],
)
def test_the_page_makes_links_where_slack_does_so_by_itself(text: str, href: str | None) -> None:
    """Addresses in text become links, unless the text is to be taken verbatim; numbers and sentences never do."""
    linked = str(mrkdwn.to_html(text, "en", NOW, verbatim=False))

    assert linked.count("<a ") == (href is not None)
    assert href is None or f'href="{href}"' in linked
    assert "<a " not in str(mrkdwn.to_html(text, "en", NOW))


def test_dates_are_said_in_korean_too() -> None:
    """The same tokens, read in Korean."""
    assert mrkdwn.formatted("{date_short_pretty} {time}", NOW, "ko", NOW) == "오늘 오후 3:31"
    assert mrkdwn.formatted("{date} {clock}", NOW, "ko", NOW) == "11월 23일 15:31"
    assert mrkdwn.day_of(NOW, "ko") == "11월 23일 월요일"
