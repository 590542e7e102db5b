"""The API of the pretended Kakao: messages to oneself and to friends, pictures, and what a token is good for.

Every call is checked in the order that the real one is: header, token, scope, parameters, quota.
"""

from __future__ import annotations

import email.policy
import json
import struct
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.kakao_state import Grant, KakaoMessage, KakaoWorld, answer, api_failure, form_of

_SMALLEST_PICTURE_BYTES = 24  # a PNG's header up to its width and height
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")


class Rejection(Exception):
    """The call ends here with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _granted(world: KakaoWorld, request: Request) -> Grant:
    header = request.headers.get("authorization")
    if header is None:
        raise Rejection(api_failure(-401, "authorization header is missing"))
    if request.bearer is None:
        raise Rejection(api_failure(-401, "invalid authorization header"))
    held = world.access_tokens.get(request.bearer)
    if held is None:
        raise Rejection(api_failure(-401))
    if held.expires_at <= world.clock.now():
        raise Rejection(api_failure(-401, "this access token is already expired"))
    if not world.ip_allowed:
        raise Rejection(api_failure(-401, "ip mismatched! callerIp=127.0.0.1. check out registered ips."))
    if not world.linked:
        raise Rejection(api_failure(-101))
    return held


def _scoped(world: KakaoWorld, request: Request, api: str, *needed: str) -> None:
    held = _granted(world, request)
    off = [each for each in needed if each not in world.enabled_scopes]
    if off:
        text = f"[{world.app_id}] App disabled [{', '.join(off)}] scopes for [{api}] API on console. Enable it first."
        raise Rejection(api_failure(-3, text))
    if not set(needed) <= held.scopes:
        allowed = sorted(held.scopes)
        raise Rejection(api_failure(-402, api_type=api, required_scopes=list(needed), allowed_scopes=allowed))


def _template(world: KakaoWorld, fields: dict[str, str]) -> tuple[Template, bool]:
    """The template of a form, and whether Kakao would show it cut."""
    try:
        template = parse(fields.get("template_object"))
        too_long = len(template.get("text", "")) > TEXT_LIMIT
        if too_long and world.strict_text:
            raise ApiRefusal("text over 200")
    except ApiRefusal as reason:
        text = f"failed to parse parameter. name=template_object, reason={reason}"
        raise Rejection(api_failure(-2, text)) from None
    return template, too_long


def _message(world: KakaoWorld, template: Template, *, truncated: bool, pushed: bool, receiver: str) -> KakaoMessage:
    shown = template | ({"text": template["text"][:TEXT_LIMIT]} if truncated else {})
    return KakaoMessage(
        at=world.clock.now(),
        text=summary(shown),
        template=template,
        pushed=pushed,
        link_dead=world.leads_nowhere(template),
        truncated=truncated,
        receiver=receiver,
    )


def send_memo(world: KakaoWorld, request: Request) -> Response:
    """Send a message to oneself: no phone rings for it."""
    _scoped(world, request, "TALK_MEMO_DEFAULT_SEND", "talk_message")
    template, truncated = _template(world, form_of(request))
    spent = world.used_up("me", pair=world.memo_counts_as_pair)
    if spent is not None:
        return api_failure(spent)
    world.deliver(_message(world, template, truncated=truncated, pushed=False, receiver="me"))
    return answer({"result_code": 0})


def list_friends(world: KakaoWorld, request: Request) -> Response:
    """The friends that the app may write to, a page at a time."""
    _scoped(world, request, "TALK_FRIENDS", "friends")
    offset, limit = _number(request, "offset", 0), _number(request, "limit", 10)
    if not 1 <= limit <= 100:
        return api_failure(-2, "failed to parse parameter. name=limit")
    listed = [friend for friend in world.friends if friend.agreed]
    elements = [
        {
            "id": world.number_of(friend.uuid),
            "uuid": friend.uuid,
            "favorite": False,
            "profile_nickname": friend.nickname,
            "profile_thumbnail_image": "",
        }
        for friend in listed[offset : offset + limit]
    ]
    return answer({"elements": elements, "total_count": len(listed), "before_url": None, "after_url": None})


def _number(request: Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, str(otherwise))
    if not text.isascii() or not text.isdigit():
        raise Rejection(api_failure(-2, f"failed to parse parameter. name={name}"))
    return int(text)


def send_to_friends(world: KakaoWorld, request: Request) -> Response:
    """Send a message to friends: their phones ring. A partial failure is a success with a list of failures."""
    _scoped(world, request, "TALK_MESSAGE_DEFAULT_SEND", "friends", "talk_message")
    fields = form_of(request)
    uuids = _uuids(fields)
    template, truncated = _template(world, fields)
    sent: list[str] = []
    failed: list[dict[str, Any]] = []
    for uuid in uuids:
        code = _friend_refusal(world, uuid)
        if code is None:
            world.deliver(_message(world, template, truncated=truncated, pushed=True, receiver=uuid))
            sent.append(uuid)
        else:
            failed.append(json.loads(api_failure(code).body) | {"receiver_uuids": [uuid]})
    if not sent:
        return api_failure(failed[0]["code"])
    return answer({"successful_receiver_uuids": sent} | ({"failure_info": failed} if failed else {}))


def _uuids(fields: dict[str, str]) -> list[str]:
    try:
        uuids = json.loads(fields.get("receiver_uuids", ""))
    except ValueError:
        uuids = None
    if not isinstance(uuids, list) or not 1 <= len(uuids) <= 5 or not all(isinstance(each, str) for each in uuids):
        raise Rejection(api_failure(-2, "failed to parse parameter. name=receiver_uuids"))
    return uuids


def _friend_refusal(world: KakaoWorld, uuid: str) -> int | None:
    friend = next((each for each in world.friends if each.uuid == uuid), None)
    if friend is None or not friend.agreed:
        return -502
    return -530 if friend.refuses else world.used_up(uuid, pair=True)


def upload_image(world: KakaoWorld, request: Request) -> Response:
    """Keep a picture and say where it can be fetched."""
    _granted(world, request)
    pictures = _files(request)
    if len(pictures) != 1:
        return api_failure(-606) if pictures else api_failure(-2, "failed to parse parameter. name=file")
    [picture] = pictures
    if len(picture) > world.image_limit_bytes:
        return api_failure(-602)
    if not picture.startswith(_PICTURES) or len(picture) < _SMALLEST_PICTURE_BYTES:
        return api_failure(-911)
    world.images.append(picture)
    host = request.headers.get("host", "127.0.0.1")
    width, height = struct.unpack(">II", picture[16:24]) if picture.startswith(_PICTURES[0]) else (0, 0)
    url = f"http://{host}/kakao/api/images/{len(world.images)}"
    return answer({"infos": {"original": {"url": url, "length": len(picture), "width": width, "height": height}}})


def _files(request: Request) -> list[bytes]:
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=email.policy.HTTP).parsebytes(head + request.body)
    parts = [part for part in message.walk() if part.get_param("name", header="content-disposition") == "file"]
    return [bytes(part.get_payload(decode=True) or b"") for part in parts]


def access_token_info(world: KakaoWorld, request: Request) -> Response:
    """Return the seconds for which the token is still valid, with its account and app."""
    held = _granted(world, request)
    left_s = int((held.expires_at - world.clock.now()).total_seconds())
    return answer({"id": world.number_of(held.account), "expires_in": left_s, "app_id": world.app_id})


def scopes(world: KakaoWorld, request: Request) -> Response:
    """Return the scopes that the person agreed to."""
    held = _granted(world, request)
    listed = [
        {"id": each, "display_name": each, "type": "SERVICE", "using": True, "agreed": each in held.scopes}
        for each in sorted(world.enabled_scopes)
    ]
    return answer({"id": world.user_id, "scopes": listed})


def logout(world: KakaoWorld, request: Request) -> Response:
    """End this access token."""
    _granted(world, request)
    del world.access_tokens[request.bearer or ""]
    return answer({"id": world.user_id})


def unlink(world: KakaoWorld, request: Request) -> Response:
    """Disconnect the account from the app: all its tokens end."""
    _granted(world, request)
    world.access_tokens.clear()
    world.refresh_tokens.clear()
    world.linked = False
    return answer({"id": world.user_id})


TEXT_LIMIT = 200

Template = dict[str, Any]


class ApiRefusal(Exception):
    """The template is not accepted. Its text is the reason, which the real service does not give so plainly."""


def parse(text: str | None) -> Template:
    """The template that a form field holds. Raises ApiRefusal."""
    if not text:
        raise ApiRefusal("field missing")
    try:
        template = json.loads(text)
    except ValueError:
        raise ApiRefusal("no JSON") from None
    if not isinstance(template, dict):
        raise ApiRefusal("no object")
    match template.get("object_type"):
        case "text":
            _required(template, "text")
            _link(template, "link")
        case "feed":
            _content(template.get("content"))
            _item_content(template.get("item_content"))
        case "list":
            _required(template, "header_title")
            _link(template, "header_link")
            contents = template.get("contents")
            if not isinstance(contents, list) or not 2 <= len(contents) <= 3:
                raise ApiRefusal("a list has 2 or 3 contents")
            for each in contents:
                _content(each)
        case "commerce":
            _content(template.get("content"))
            commerce = template.get("commerce")
            if not isinstance(commerce, dict) or not isinstance(commerce.get("regular_price"), int):
                raise ApiRefusal("commerce needs regular_price")
        case "location":
            _required(template, "address")
            _content(template.get("content"))
        case _:
            raise ApiRefusal("unknown object_type")
    _buttons(template, 1 if template["object_type"] == "location" else 2)
    if not isinstance(template.get("button_title", ""), str):
        raise ApiRefusal("button_title is no text")
    return template


def _required(template: Template, key: str) -> None:
    if not isinstance(template.get(key), str) or not template[key]:
        raise ApiRefusal(f"{key} missing")


def _link(holder: Template, key: str) -> None:
    link = holder.get(key)
    if not isinstance(link, dict) or not all(isinstance(value, str) for value in link.values()):
        raise ApiRefusal(f"{key} missing")


def _content(content: object) -> None:
    if not isinstance(content, dict):
        raise ApiRefusal("content missing")
    _link(content, "link")
    for key in ("title", "description", "image_url"):
        if not isinstance(content.get(key, ""), str):
            raise ApiRefusal(f"content.{key} is no text")


def _buttons(template: Template, most: int) -> None:
    buttons = template.get("buttons", [])
    if not isinstance(buttons, list) or len(buttons) > most:
        raise ApiRefusal(f"at most {most} buttons")
    for button in buttons:
        if not isinstance(button, dict):
            raise ApiRefusal("a button is an object")
        _required(button, "title")
        _link(button, "link")


def _item_content(table: object) -> None:
    if table is None:
        return
    if not isinstance(table, dict):
        raise ApiRefusal("item_content is an object")
    items = table.get("items", [])
    if not isinstance(items, list) or len(items) > 5:
        raise ApiRefusal("at most 5 items")
    for item in items:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("item", "item_op")):
            raise ApiRefusal("an item has item and item_op")


def summary(template: Template) -> str:
    """The texts of a template, line by line, for reading and for assertions."""
    content = template.get("content", {})
    table = template.get("item_content", {})
    texts = [template.get("text"), template.get("header_title"), table.get("profile_text")]
    texts += [content.get("title"), content.get("description")]
    texts += [each.get("title") for each in template.get("contents", [])]
    texts += [f"{each['item']}: {each['item_op']}" for each in table.get("items", [])]
    texts += [f"{table['sum']}: {table.get('sum_op', '')}"] if "sum" in table else []
    return "\n".join(filter(None, texts))
