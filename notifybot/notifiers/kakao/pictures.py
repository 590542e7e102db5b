"""A picture handed to Kakao, which shows it in a feed.

The upload is documented for sharing, not for messages by REST; it works for both today, so a message never depends
on it. Kakao keeps the picture for some weeks. https://developers.kakao.com/docs/ko/kakaotalk-share/rest-api
"""

from __future__ import annotations

import logging
import struct

from notifybot.errors import DeliveryError
from notifybot.notifiers.kakao.api import Api
from notifybot.notifiers.kakao.message import Picture
from notifybot.notifiers.kakao.pictures_words import TOO_LARGE, NotTaken
from notifybot.rendering.reasons import error_line
from notifybot.types import Language

_LOG = logging.getLogger("notifybot")
UPLOAD_PATH = "/v2/api/talk/message/image/upload"
LARGEST_BYTES = 5 * 1024 * 1024  # what Kakao's storage recommends; its own limit is not documented
_PNG = b"\x89PNG\r\n\x1a\n"


def upload(api: Api, png: bytes, language: Language) -> Picture | NotTaken:
    """Hand a PNG to Kakao; where that fails in any way, why, logged: the message goes without it."""
    taken = _upload(api, png, language)
    if isinstance(taken, NotTaken):
        _LOG.warning("%s", taken.in_(language))
    return taken


def _upload(api: Api, png: bytes, language: Language) -> Picture | NotTaken:
    if not png.startswith(_PNG) or not 24 <= len(png) <= LARGEST_BYTES:
        return NotTaken(TOO_LARGE)
    code = None
    try:
        reply = api.upload(UPLOAD_PATH, "curve.png", png)
        if reply.status != 200:
            code = reply.code
            raise api.error(reply)
    except DeliveryError as error:
        return NotTaken(code, error_line(error, language))
    width, height = struct.unpack(">II", png[16:24])  # the first chunk of a PNG says its size
    url = _url(reply.body)
    return Picture(url, width, height) if url else NotTaken()


def _url(body: dict[str, object]) -> str:
    infos = body.get("infos")
    original = infos.get("original") if isinstance(infos, dict) else None
    url = original.get("url") if isinstance(original, dict) else None
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""
