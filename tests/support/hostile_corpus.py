"""Names and texts that break notifiers, by a seeded generator, and events of every kind that are full of them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args

from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.rendering.text import redacted, redacted_line
from notifybot.types import (
    Checkpoint,
    Host,
    Metric,
    ModelSize,
    Param,
    Progress,
    Resumed,
    RunRef,
    Severity,
    Status,
    Tier,
    uuid7,
)

NAME, PARAM, TITLE, TEXT, ERROR = 200, 500, 200, 4000, 500  # what the training side lets in

WHOLE = (  # what a reader takes for one character, though it is several: kept or dropped, never split
    "👩\u200d👩\u200d👧\u200d👦",
    "🏳\ufe0f\u200d🌈",
    "👍🏽",
    "🇰🇷",
    "🇯🇵",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "\u1112\u1161\u11ab",  # 한, as macOS spells file names
    "\u1100\u1173\u11af",  # 글
    "뷔\u11a8",
    "ん\u0348\u0359",
    "क्षि",
    "กำ",
    "ℵ" + "\u0346\u034a\u0353" * 8,
)
PARTS = frozenset("".join(WHOLE)) - {"\u200d", "\ufe0f"}

NASTIES = (
    "<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S1>", "<@U1>", "<#C1|x>", "<@&42>", "@everyone",
    "@channel", "@here", "<http://evil.example|ok>", "<mailto:a@evil.example|x>", "[x](http://evil.example)",
    "![i](https://evil.example/i.png)", "[x][1]\n[1]: http://evil.example", "http://evil.example/a?b=c&d=<e>",
    "www.evil.example", "<a href='http://evil.example'>ok</a>", "<img src=x onerror=alert(1)>", "&lt;!channel&gt;",
    "&lt;", "&amp;lt;", "&", "<", ">", "|", "^", "`", "```", "```\nrm -rf /\n```", "*b*", "_i_", "~s~", "**", "*_~`",
    ">q", "\n> q", "# h\n", ":smile:", "{{ 7*7 }}", "{% raise %}", "%s %(x)s {0} {x}", "\\", '"', "'", "\\ud800",
    "\x1b[31mred\x1b[0m", "\x1b]8;;http://evil.example\x07ok\x1b]8;;\x07", "\x00", "\x07\x08\x7f\x9b1m", "\r\n", "\r",
    "\t", "\u2028", "\u2029", "\x0b", "\x85", "\u202eelif\u202c", "\u2066x\u2069", "\u200b", "\ufeff", "\u2060",
    "\u200d", "\u200f", "שלום", "مرحبا", "\ud800", "\udfff", "\udc80", "\U0010ffff", "\ufffe", "\xa0", "\u3000", "",
    " ", "-", "/", "../..", "C:\\runs\\x", "null", "NaN", "x" * 300, "학습이 끝났습니다.",
    "검증 손실이 줄어들지 않습니다 ", "가나다라마바사" * 40, "漢字かな交じり文", "<!date^0^{time}|now>", "]]>", "--",
    ";DROP TABLE runs;", "=1+1", "$(id)", "https://example.org.evil.example", "evil.example", "see evil.example/a?b=c",
    "train.py", "a@evil.example", "10.0.0.1:6006", "예시.한국", "evil.example.",
)  # fmt: skip
KOREAN_2000 = "한국어로만 쓴 아주 긴 오류 설명입니다. " * 90
LONG = ("x" * 10_000, "& " * 5_000, "<" * 10_000, KOREAN_2000, "".join(WHOLE) * 100, "a\n" * 3_000, "@a " * 3_000)
_ODD = re.compile(r"[/\\]")


def text(rng: Random) -> str:
    """A text as a program may hand it over: pieces of everything above, at any distance from any limit."""
    pieces = ["y" * rng.randrange(12)]
    for _ in range(rng.choice((1, 2, 4, 8, 30))):
        pieces.append(rng.choice(rng.choice((NASTIES, WHOLE))))
        if rng.random() < 0.2:
            pieces.append(_anything(rng))
    if rng.random() < 0.1:
        pieces.append(rng.choice(LONG))
    return "".join(pieces)


def _anything(rng: Random) -> str:
    """Any code point that is no part of what is kept whole."""
    while (char := chr(rng.choice((rng.randrange(0x3000), rng.randrange(0x110000))))) in PARTS:
        pass
    return char


def event(kind: type[Event], rng: Random) -> Event:
    """An event of this kind with hostile words wherever it takes any, let in as a training lets them in."""
    at = datetime(2026, 11, 23, 3, 0, tzinfo=UTC) + timedelta(seconds=rng.randrange(10**6))
    common: dict[str, Any] = {"id": uuid7(at.timestamp()), "run": _run(rng), "at": at, "progress": _progress(rng)}
    return kind(**common, **_more(kind, rng))


def _more(kind: type[Event], rng: Random) -> dict[str, Any]:
    if kind is RunStarted:
        return _start(rng)
    if kind is EpochFinished:
        return {"new_best": rng.choice((None, _name(rng)))}
    if kind is CheckpointSaved:
        return {"checkpoint": _checkpoint(rng)}
    if kind is AlertRaised:
        about = rng.choice(("", "delivery", "checkpoint"))
        title, words = redacted_line(text(rng), TITLE), redacted(text(rng), TEXT)
        return {"title": title, "text": words, "severity": rng.choice(list(Severity)), "about": about}
    if kind is RunEnded:
        status = rng.choice([each for each in Status if each.ended])
        return {"status": status, "error": redacted_line(text(rng), ERROR), "frames": redacted(text(rng), TEXT)}
    if kind is RunStalled:
        return {
            "silent_s": rng.uniform(0, 1e6),
            "limit_s": 60.0,
            "stack": redacted(text(rng), TEXT),
            "host": _host(rng),
        }
    if kind is RunLost:
        return {"silent_s": rng.uniform(0, 1e6), "limit_s": 60.0, "host": _host(rng)}
    assert kind is RunRecovered
    return {"was": rng.choice(("lost", "stalled")), "away_s": rng.uniform(0, 1e6)}


def _start(rng: Random) -> dict[str, Any]:
    params: dict[str, Param] = {_name(rng): redacted(text(rng), PARAM) for _ in range(rng.choice((0, 3, 40)))}
    resumed = Resumed(rng.choice((None, 3)), redacted(text(rng), TEXT), 60.0, rng.choice((None, 5.0)), new_machine=True)
    return {
        "attempt": rng.randrange(1, 4),
        "total": rng.choice((None, 30)),
        "params": params,
        "host": _host(rng),
        "resumed": rng.choice((None, resumed)),
        "model": rng.choice((None, ModelSize(10**9, 10**6, tuple(_name(rng) for _ in range(20))))),
    }


def _run(rng: Random) -> RunRef:
    """An id is what a run_id may be: printable, without slashes, no more than 200 characters."""
    identity = ""
    for _ in range(rng.choice((1, 3, 20))):
        piece = rng.choice(NASTIES + WHOLE)
        if piece.isprintable() and not _ODD.search(piece) and len(identity + piece) <= NAME:
            identity += piece
    return RunRef(identity.strip() or "run-1", _name(rng) or "run", _name(rng) or "default", "session-1")


def _progress(rng: Random) -> Progress:
    done, total = rng.randrange(100), rng.choice((None, 0, 30, 10**6))
    metrics = {_name(rng): _metric(rng) for _ in range(rng.choice((0, 1, 5, 30)))}
    return Progress(
        epoch=rng.choice((None, done, -(10**9))), done=done, total=total, metrics=metrics,
        epoch_s=rng.choice((None, 9.9)), elapsed_s=rng.uniform(0, 1e7), eta_s=rng.choice((None, 1e9)),
        checkpoint=rng.choice((None, _checkpoint(rng))),
    )  # fmt: skip


def _metric(rng: Random) -> Metric:
    values = (0.0, -0.0, 1e-300, 1e300, math.nan, math.inf, -math.inf, 0.1234567890123)
    history = tuple(rng.choice(values) for _ in range(rng.choice((0, 2, 32))))
    best = rng.choice((None, *values))
    return Metric(rng.choice(values), rng.choice((None, *values)), best, None if best is None else 3, history)


def _checkpoint(rng: Random) -> Checkpoint:
    return Checkpoint(
        redacted(text(rng), TEXT), rng.choice((None, 3)), rng.choice((None, 10**12)), rng.choice(list(Tier))
    )


def _host(rng: Random) -> Host:
    return Host(_name(rng), _name(rng), _name(rng), _name(rng), 42)


def _name(rng: Random) -> str:
    return redacted_line(text(rng), NAME)


KINDS: tuple[type[Event], ...] = get_args(Event)
