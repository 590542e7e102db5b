"""What the pretended Kakao accepts as a `template_object`, by the message template's documents."""

from __future__ import annotations

import json
from typing import Any

TEXT_LIMIT = 200

Template = dict[str, Any]


class Refused(Exception):
    """The template is not accepted. Its text is the reason, which the real service does not give so plainly."""


def parse(text: str | None) -> Template:
    """The template that a form field holds. Raises Refused."""
    if not text:
        raise Refused("field missing")
    try:
        template = json.loads(text)
    except ValueError:
        raise Refused("no JSON") from None
    if not isinstance(template, dict):
        raise Refused("no object")
    _CHECKS.get(str(template.get("object_type")), _unknown)(template)
    if not isinstance(template.get("button_title", ""), str):
        raise Refused("button_title is no text")
    return template


def _unknown(template: Template) -> None:
    raise Refused("unknown object_type")


def _text(template: Template) -> None:
    _word(template, "text")
    _link(template, "link")
    _buttons(template, 2)


def _feed(template: Template) -> None:
    _content(template.get("content"))
    _buttons(template, 2)
    _item_content(template.get("item_content"))


def _list(template: Template) -> None:
    _word(template, "header_title")
    _link(template, "header_link")
    contents = template.get("contents")
    if not isinstance(contents, list) or not 2 <= len(contents) <= 3:
        raise Refused("a list has 2 or 3 contents")
    for each in contents:
        _content(each)
    _buttons(template, 2)


def _commerce(template: Template) -> None:
    _content(template.get("content"))
    commerce = template.get("commerce")
    if not isinstance(commerce, dict) or not isinstance(commerce.get("regular_price"), int):
        raise Refused("commerce needs regular_price")
    _buttons(template, 2)


def _location(template: Template) -> None:
    _word(template, "address")
    _content(template.get("content"))
    _buttons(template, 1)


_CHECKS = {"text": _text, "feed": _feed, "list": _list, "commerce": _commerce, "location": _location}


def _word(template: Template, key: str) -> None:
    if not isinstance(template.get(key), str) or not template[key]:
        raise Refused(f"{key} missing")


def _link(holder: Template, key: str) -> None:
    link = holder.get(key)
    if not isinstance(link, dict) or not all(isinstance(value, str) for value in link.values()):
        raise Refused(f"{key} missing")


def _content(content: object) -> None:
    if not isinstance(content, dict):
        raise Refused("content missing")
    _link(content, "link")
    for key in ("title", "description", "image_url"):
        if not isinstance(content.get(key, ""), str):
            raise Refused(f"content.{key} is no text")


def _buttons(template: Template, most: int) -> None:
    buttons = template.get("buttons", [])
    if not isinstance(buttons, list) or len(buttons) > most:
        raise Refused(f"at most {most} buttons")
    for button in buttons:
        if not isinstance(button, dict):
            raise Refused("a button is an object")
        _word(button, "title")
        _link(button, "link")


def _item_content(table: object) -> None:
    if table is None:
        return
    if not isinstance(table, dict):
        raise Refused("item_content is an object")
    items = table.get("items", [])
    if not isinstance(items, list) or len(items) > 5:
        raise Refused("at most 5 items")
    for item in items:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("item", "item_op")):
            raise Refused("an item has item and item_op")


def summary(template: Template) -> str:
    """The words of a template, line by line, for reading and for assertions."""
    content = template.get("content", {})
    table = template.get("item_content", {})
    words = [template.get("text"), template.get("header_title"), table.get("profile_text")]
    words += [content.get("title"), content.get("description")]
    words += [each.get("title") for each in template.get("contents", [])]
    words += [f"{each['item']}: {each['item_op']}" for each in table.get("items", [])]
    words += [f"{table['sum']}: {table.get('sum_op', '')}"] if "sum" in table else []
    return "\n".join(word for word in words if word)
