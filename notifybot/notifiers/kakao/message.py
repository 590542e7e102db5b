"""A message as Kakao's `template_object`: a feed with a table of metrics, or a text. Pure.

Limits are those the message template documents for display; the sending side cuts before the phone does.
https://developers.kakao.com/docs/ko/message-template/default
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notifybot import i18n
from notifybot.rendering.text import ELLIPSIS, clean, defang_links, one_line, shorten
from notifybot.types import Fact, Message, MetricRow

TEXT_LIMIT = 190  # Kakao says 200 and not what it counts; this leaves room for either answer
DEFAULT_LINK = "https://developers.kakao.com"  # a link is mandatory; this one needs no run page

_TITLE_LIMIT = 80
_PROFILE_LIMIT = 16
_TITLE_IMAGE_LIMIT = 24
_ITEMS = 5
_ITEM_LIMIT = 6
_ITEM_VALUE_LIMIT = 25  # on two lines; the first has room for 14
_VALUE_LIMIT = 14
_SUM_LABEL_LIMIT = 6
_SUM_VALUE_LIMIT = 11

Template = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UploadedPicture:
    """A picture that Kakao holds already, in pixels."""

    url: str
    width: int
    height: int


def template_for(
    message: Message, *, link: str | None = None, note: str = "", picture: UploadedPicture | None = None
) -> Template:
    """The best template for a message: a feed where there are metrics to tabulate or a picture, else a text.

    `link` is where the button leads, before the message's own; `note` is one more line for the person.
    """
    if message.rows or picture:
        return feed(message, link=link, note=note, picture=picture)
    return text(message, link=link, note=note)


def text(message: Message, *, link: str | None = None, note: str = "") -> Template:
    """A text template of at most 190 UTF-16 units. Its last lines, the note and the event's mark, are never cut."""
    return {
        "object_type": "text",
        "text": _with_mark(message, message.brief or message.title, note),
        "link": _link(message, link),
        "button_title": _button(message),
    }


def feed(
    message: Message, *, link: str | None = None, note: str = "", picture: UploadedPicture | None = None
) -> Template:
    """A feed template: the picture on top, up to five metrics as an item list below."""
    content: Template = {
        "title": cut(defang_links(one_line(message.title)), _TITLE_LIMIT),
        "description": _with_mark(message, message.body, note),
        "link": _link(message, link),
    }
    if picture:
        content |= {"image_url": picture.url, "image_width": picture.width, "image_height": picture.height}
    whole: Template = {"object_type": "feed", "content": content, "button_title": _button(message)}
    if message.rows:
        whole["item_content"] = {
            "profile_text": _profile(message),
            "title_image_text": cut(_heading(message), _TITLE_IMAGE_LIMIT),
            "items": [{"item": label, "item_op": cell} for label, cell in table_rows(message.rows[:_ITEMS])],
            **_total(message.facts),
        }
    return whole


def _button(message: Message) -> str:
    return i18n.text(message.language, "kakao.message.button")


def _heading(message: Message) -> str:
    """The title without the run's name, which stands right above it and would leave room for little else."""
    title, name = defang_links(one_line(message.title)), defang_links(one_line(message.run.name))
    mark, named, rest = title.partition(f" {name}")
    rest = rest.lstrip(" :·")
    return f"{mark} {rest}" if named and rest and " " not in mark else title


def _profile(message: Message) -> str:
    """Project and run, or the run alone where both do not fit."""
    whole = defang_links(one_line(f"{message.run.project}/{message.run.name}"))
    name = defang_links(one_line(message.run.name)) or message.run.id  # a name may be nothing but invisible characters
    return whole if units(whole) <= _PROFILE_LIMIT else cut(name, _PROFILE_LIMIT)


def _total(facts: tuple[Fact, ...]) -> Template:
    """The line under the table: the first fact that fits there."""
    for fact in facts:
        label, value = one_line(fact.label), one_line(fact.value)
        if label and value and units(label) <= _SUM_LABEL_LIMIT and units(value) <= _SUM_VALUE_LIMIT:
            return {"sum": label, "sum_op": value}
    return {}


def _with_mark(message: Message, body: str, note: str) -> str:
    """The body, then the note and the event's mark: a repeat carries the same one: Kakao recognises none."""
    note, mark = cut(defang_links(one_line(note)), TEXT_LIMIT // 2), f"#{message.short_id}"
    room = TEXT_LIMIT - sum(units(line) + 1 for line in (note, mark) if line)
    kept = cut(defang_links(clean(body).strip()), room)
    lines = (kept, note, "" if message.short_id in kept else mark)
    return "\n".join(line for line in lines if line)


def _link(message: Message, link: str | None) -> dict[str, str]:
    """The same address for phones and the PC. Anything but a web address is replaced: Kakao would refuse it."""
    named = (each for each in (link, message.link) if each and each.startswith(("https://", "http://")))
    target = next(named, DEFAULT_LINK)
    return {"web_url": target, "mobile_web_url": target}


def units(text: str) -> int:
    """Length in UTF-16 code units: the strictest count that a service could use (most emoji are two)."""
    return len(text) + sum(1 for each in text if each > "\uffff")


def cut(text: str, limit_units: int) -> str:
    """Return `text` in at most `limit_units` UTF-16 units, ending in an ellipsis where something was cut."""
    limit = limit_units
    while units(short := shorten(text, limit)) > limit_units:
        limit = min(limit, len(short)) - 1
    return short


def prefix(text: str, limit_units: int) -> str:
    """The beginning of `text` in at most `limit_units` UTF-16 units, no character split, without an ellipsis."""
    if units(text) <= limit_units:
        return text
    return cut(text + ELLIPSIS, limit_units + 1).removesuffix(ELLIPSIS)  # one more, so that `cut` always has to cut


_PHASES = {"train", "training", "val", "valid", "validation", "dev", "test", "eval", "evaluation"}
_USUAL = {"learning_rate": "lr"}
_USUAL_WORDS = {  # the usual abbreviations of the field
    "accuracy": "acc", "average": "avg", "coefficient": "coef", "discriminator": "disc", "evaluation": "eval",
    "generator": "gen", "gradient": "grad", "perplexity": "ppl", "precision": "prec", "training": "train",
    "validation": "val",
}  # fmt: skip


def table_rows(rows: Sequence[MetricRow]) -> list[tuple[str, str]]:
    """The two cells of each metric, in order: `val` and `f1_macro 0.871 +0.012`. No two metrics read the same.

    A name that is too long for the first cell goes on before the value: six characters of it would be a riddle.
    """
    shown: list[tuple[str, str]] = []
    taken: set[tuple[str, str]] = set()
    for row in rows:
        value, change = cut(one_line(row.value), _VALUE_LIMIT) or "-", one_line(row.change)  # an empty cell hides a row
        label, rest = _label(one_line(row.name))
        rest = cut(rest, _ITEM_VALUE_LIMIT - units(value) - 1)
        numbered = (f"{prefix(label, _ITEM_LIMIT - len(str(number)))}{number}" for number in range(2, 1000))
        label = next(each for each in (label, *numbered) if (each, rest) not in taken)
        taken.add((label, rest))
        cell = f"{rest} {value}".strip()
        whole = f"{cell} {change}".strip()
        shown.append((label, whole if units(whole) <= _ITEM_VALUE_LIMIT else cell))
    return shown


def _label(name: str) -> tuple[str, str]:
    """A name in two: its beginning in at most six characters, the phase first, and what goes on beside it."""
    if 0 < units(name) <= _ITEM_LIMIT:
        return name, ""
    parts = re.split(r"[\s_/.:\-]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))
    words = sorted(filter(None, parts), key=lambda word: word.lower() not in _PHASES) or ["?"]  # train_loss, Loss/train
    if usual := _USUAL.get("_".join(words).lower()):
        return usual, ""
    first = _USUAL_WORDS.get(words[0].lower(), words[0]) if units(words[0]) > _ITEM_LIMIT else words[0]
    rest = ("_" if "_" in name else " ").join(words[1:])
    if units(first) <= _ITEM_LIMIT:
        return first, rest
    return cut(first, _ITEM_LIMIT), rest or first
