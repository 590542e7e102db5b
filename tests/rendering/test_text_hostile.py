"""Other people's words in every payload: nothing in them acts, nothing is over a limit, no character is split."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from html import unescape
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from notifybot.events import AlertRaised, from_json
from notifybot.notifiers.apprise import AppriseNotifier
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.notifiers.kakao.message import UploadedPicture, feed, template_for
from notifybot.notifiers.kakao.message import text as text_template
from notifybot.notifiers.slack import SlackBot, SlackWebhook, blocks, native_charts
from notifybot.notifiers.slack.deadman.text import Speech
from notifybot.notifiers.webhook import Webhook
from notifybot.rendering import Renderer
from notifybot.rendering.text import redacted, redacted_line
from notifybot.sandbox import Sandbox, blockkit, mrkdwn
from notifybot.sandbox.http import Request, Response, text_response
from notifybot.sandbox.kakao_api import parse
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_PATH
from notifybot.testing import DictMemory
from notifybot.types import Host, Language, RunRef, uuid7
from tests.support import hostile_corpus as corpus

EXAMPLES, CAMPAIGN = 320, 10_000
LINK = "https://example.org/runs/1"

_ENTITY = "[^<>&]|&(?:amp|lt|gt);"
_DATE = r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[^<>|]*>"
_TEXT = re.compile(f"(?:{_ENTITY})*")
_MRKDWN = re.compile(f"(?:{_ENTITY}|{_DATE}|<{re.escape(LINK)}\\|[^<>|]*>)*")
_HREF = re.compile('href="([^"]*)"')
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ACTIVE = re.compile(r"<[!@#/a-z]|@\w|\][(\[:]|:\\?/\\?/", re.IGNORECASE)  # to some service
_KAKAO_CHARS = {"text": 200, "description": 200, "profile_text": 16, "title_image_text": 24, "item": 6, "item_op": 25}
_KAKAO_CHARS |= {"sum": 6, "sum_op": 11}  # https://developers.kakao.com/docs/ko/message-template/default
_KAKAO_WORDS = {"text", "title", "description", "profile_text", "title_image_text"}  # where an address has room
_TEXT_CHARS = 4000  # of chat.update: https://docs.slack.dev/reference/methods/chat.update

WORDS = st.lists(
    st.sampled_from(corpus.NASTIES + corpus.WHOLE)
    | st.text(st.characters(exclude_characters=sorted(corpus.PARTS)), max_size=8),
    max_size=12,
).map("".join)


class Services(Sandbox):
    """Slack and KakaoTalk, and somebody who says yes to whatever else is posted."""

    def answer(self, request: Request) -> Response:
        return text_response("ok") if request.path.startswith("/yes") else super().answer(request)


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    opened = Services()
    with opened:
        yield opened


# ── What no text that a person sees may be ───────────────────────────────────────────────────────────────────────────


def check_shown(text: str) -> None:
    """It is UTF-8, hides and reorders nothing, and holds whole characters."""
    text.encode()
    assert not _HIDDEN.search(text), ascii(text)
    for whole in corpus.WHOLE:
        text = text.replace(whole, "")
    assert not corpus.PARTS & set(text), ascii(text)


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from strings(each)
        case list():
            for each in value:
                yield from strings(each)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(each)


def links_in(payload: dict[str, Any]) -> set[str]:
    """Where a reader of a Slack message could be led: by links as they are written, and by those Slack makes itself.

    It makes them of addresses in the message's own text, unless `parse` says not to, and in mrkdwn that is not
    `verbatim`. Not in plain_text, raw_text and rich_text, where a link is an element of its own.
    """
    seen = [(payload["text"], payload.get("parse") == "none")]
    for each in objects(payload):
        match each:
            case {"type": "mrkdwn", "text": text}:
                seen.append((text, each.get("verbatim", False)))
            case {"fallback": text}:
                seen.append((text, payload.get("parse") == "none"))
    pages = [mrkdwn.to_html(text, "en", datetime(2026, 11, 23, tzinfo=UTC), verbatim=how) for text, how in seen]
    return {unescape(href) for page in pages for href in _HREF.findall(page)}


def check_slack(payload: dict[str, Any]) -> None:
    """Slack takes it, reads nothing in it as a mention, and only the button as a link."""
    assert links_in(payload) <= {LINK}
    assert blockkit.problems(payload) == []
    assert len(payload["text"]) <= _TEXT_CHARS
    assert _TEXT.fullmatch(payload["text"]), payload["text"]
    assert payload.get("link_names") is None
    for each in objects(payload):
        match each:
            case {"type": "mrkdwn", "text": text}:
                assert each["verbatim"] is True
                assert _MRKDWN.fullmatch(text), text
                assert "`" not in text
            case {"type": "plain_text"}:
                assert each["emoji"] is False
            case {"type": "rich_text_section" | "rich_text_preformatted", "elements": spans}:
                assert {span["type"] for span in spans} <= {"text"}
            case {"fallback": text}:
                assert _TEXT.fullmatch(text), text
    for text in strings(payload):
        check_shown(text)
    for block in [*payload["blocks"], *(block for card in payload["attachments"] for block in card["blocks"])]:
        if block["type"] not in (native_charts.Layout.CHART, native_charts.Layout.DATA_TABLE):  # newer than slack_sdk
            known = Block.parse(block)
            assert known is not None
            known.validate_json()


def check_kakao(body: dict[str, Any]) -> None:
    """Kakao takes it and shows all of it; every link is ours."""
    parsed = parse(json.dumps(body))
    content, table = parsed.get("content", parsed), parsed.get("item_content", {})
    for each in (parsed, content, table, *table.get("items", [])):
        for key in each.keys() & _KAKAO_CHARS.keys():
            assert 0 < len(each[key].encode("utf-16-le")) // 2 <= _KAKAO_CHARS[key], each[key]
    assert {LINK} == {value for each in objects(parsed) if "web_url" in each for value in each.values()}
    for each in (parsed, content, table):
        for key in each.keys() & _KAKAO_WORDS:
            assert not mrkdwn.bare_addresses(each[key]), ascii(each[key])
    for text in strings(parsed):
        check_shown(text)


# ── What each notifier sends ─────────────────────────────────────────────────────────────────────────────────────────


def sent(services: Services, send: Callable[[], None]) -> list[Request]:
    """The requests that a send makes."""
    services.requests.clear()
    services.slack.messages.clear()
    send()
    return list(services.requests)


def through_bot(services: Services, envelope: Envelope) -> None:
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{services.url}/api/")
    requests = sent(services, lambda: bot.send(envelope))
    assert requests
    assert len(requests) <= 2, "a layout was refused"
    for request in requests:
        payload = json.loads(request.body)
        assert payload["parse"] == "none"
        assert payload["unfurl_links"] is payload["unfurl_media"] is False
        check_slack(payload)


def through_hook(services: Services, envelope: Envelope) -> None:
    (request,) = sent(services, lambda: SlackWebhook(services.url + WEBHOOK_PATH).send(envelope))
    check_slack(json.loads(request.body))


def in_plain_words(services: Services, envelope: Envelope) -> None:
    """What the webhook falls back to where Slack refuses the layout."""
    services.slack.unknown_blocks = {"header"}
    requests = sent(services, lambda: SlackWebhook(services.url + WEBHOOK_PATH).send(envelope))
    services.slack.unknown_blocks = set()
    for request in requests:
        check_slack(json.loads(request.body))
    assert json.loads(requests[-1].body)["blocks"] == []


def by_dead_man(services: Services, envelope: Envelope) -> None:
    event = envelope.event
    speech = Speech(event.run, getattr(event, "host", Host(event.run.name)), renderer(envelope.message.language), LINK)
    alarm = speech.alarm(event.progress, now_s=1e9, post_at=1_000_000_300)
    void = speech.void(event.progress, now_s=1e9, away_s=60.0, sure=False)
    for said in (alarm.layout, alarm.plain, void.layout, void.plain):
        check_slack({"parse": "none", **said.arguments()})  # as `WebApi` calls every method


def through_kakao(services: Services, envelope: Envelope) -> None:
    picture = UploadedPicture("https://k.example/p.png", 1080, 1080)
    for body in (
        template_for(envelope.message, link=LINK, note=envelope.event.run.name),
        feed(envelope.message, link=LINK, picture=picture),
        text_template(envelope.message, link=LINK),
    ):
        check_kakao(body)


def through_apprise(services: Services, envelope: Envelope) -> None:
    notifier = AppriseNotifier(services.url.replace("http", "json") + "/yes")
    (request,) = sent(services, lambda: notifier.send(envelope))
    body = json.loads(request.body)
    told = body["title"] + "\n" + body["message"]
    assert len(told) <= 2000
    others = told.replace(LINK, "")
    assert not _ACTIVE.search(others), _ACTIVE.search(others)
    assert not mrkdwn.bare_addresses(others), ascii(mrkdwn.bare_addresses(others))
    check_shown(told)


def through_webhook(services: Services, envelope: Envelope) -> None:
    (request,) = sent(services, lambda: Webhook(services.url + "/yes").send(envelope))
    body = json.loads(request.body)
    assert body["data"]["event"]["run"]["name"] == envelope.event.run.name
    assert from_json(json.dumps(body["data"]["event"])).id == envelope.event.id
    for text in strings(body["data"]["message"]):
        check_shown(text)


def on_console(services: Services, envelope: Envelope) -> None:
    for encoding in ("cp949", "utf-8"):
        raw = io.BytesIO()
        notifier = ConsoleNotifier(io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
        notifier.send(envelope)
        assert notifier.lost == 0
        assert not _HIDDEN.search(raw.getvalue().decode(encoding)), raw.getvalue()
    check_shown(raw.getvalue().decode("utf-8"))


WAYS: dict[str, Callable[[Services, Envelope], None]] = {
    "slack bot": through_bot,
    "slack webhook": through_hook,
    "slack in plain words": in_plain_words,
    "slack dead man's switch": by_dead_man,
    "kakao": through_kakao,
    "apprise": through_apprise,
    "webhook": through_webhook,
    "console": on_console,
}


renderer = cache(Renderer)


def envelope(number: int) -> Envelope:
    """One of endless examples: every kind of event in every language comes round."""
    rng = Random(number)
    kinds, languages = corpus.KINDS, list(Language)
    event = corpus.event(kinds[number % len(kinds)], rng)
    language = languages[number // len(kinds) % len(languages)]
    skipped = rng.choice((0, 0, 3))
    message = renderer(language).render(event, link=LINK, skipped=skipped)
    return Envelope(event, message, DictMemory(), skipped=skipped)


def run(services: Services, way: str, numbers: range) -> None:
    for number in numbers:
        try:
            WAYS[way](services, envelope(number))
        except Exception as error:
            raise AssertionError(f"example {number}: {error}") from error


@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_other_peoples_words_acts_or_breaks(services: Services, way: str) -> None:
    """A slice of the campaign: no mention, no link but ours, nothing too long, no character split."""
    run(services, way, range(EXAMPLES // len(WAYS)))


@settings(max_examples=80)
@given(name=WORDS, text=WORDS, language=st.sampled_from(Language))
def test_no_words_make_an_alert_act(name: str, text: str, language: Language) -> None:
    """The same by a search that looks for the shortest words that do."""
    run = RunRef("run-1", redacted_line(name, corpus.NAME) or "run", "default")
    title, words = redacted_line(text, corpus.TITLE), redacted(text, corpus.TEXT)
    event = AlertRaised(id=uuid7(), run=run, at=datetime(2026, 11, 23, tzinfo=UTC), title=title, text=words)
    told = renderer(language).render(event, link=LINK)

    check_slack({"parse": "none", **blocks.full_message(told).arguments()})
    check_slack({"parse": "none", **blocks.text_only(told).arguments()})
    check_kakao(template_for(told, link=LINK))


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_ten_thousand_names_and_texts(services: Services, way: str) -> None:
    """The campaign of `make torture`."""
    run(services, way, range(CAMPAIGN))


@pytest.mark.parametrize("let_in", [redacted, redacted_line])
def test_a_text_is_cut_between_characters_where_it_enters(let_in: Callable[[str, int], str]) -> None:
    """What is stored is what every notifier starts from: a character split here is split everywhere."""
    for number in range(300):
        rng = Random(number)
        limit = rng.randrange(1, 80)
        text = "y" * rng.randrange(20) + "".join(rng.choices(corpus.WHOLE, k=30))

        kept = let_in(text, limit)

        assert len(kept) <= limit
        check_shown(kept)
