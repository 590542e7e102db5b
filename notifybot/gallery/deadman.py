"""What Slack posts by itself when a run falls silent, had from the sandbox's Slack with its clock moved."""

from __future__ import annotations

from notifybot.gallery.pieces import Scheduled
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack import SlackBot
from notifybot.notifiers.slack.deadman.schedule import Margins
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.text import Said, Speech
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.rendering import Renderer
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language

_MARGINS = Margins()


def post(piece: Scheduled, sandbox: Sandbox, clock: FakeClock, language: Language, link: str) -> None:
    """Tell where the run stands, schedule the alarm, let its time come; and take it back where the piece says so."""
    memory, api_url = DictMemory(), f"{sandbox.url}/api/"
    renderer = Renderer(language)
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=api_url, clock=clock)
    bot.send(Envelope(piece.last, renderer.render(piece.last, link=link), memory))
    place = RunThread.from_value(memory.get(piece.last.run.id))
    alarms = SlackAlarms(BOT_TOKEN, api_url, clock=clock)
    if piece.said == "stands":
        alarms.say(place, said(piece, clock.now().timestamp(), language, link))
        return
    now_s = clock.now().timestamp()
    post_at, speech = int(now_s + _MARGINS.ahead_s), _speech(piece, language, link)
    alarms.schedule(place, post_at, speech.alarm(piece.last.progress, now_s=now_s, post_at=post_at))
    clock.advance(_MARGINS.ahead_s)
    if piece.said == "void":
        clock.advance(_MARGINS.settle_s)
        alarms.say(place, said(piece, clock.now().timestamp(), language, link))


def said(piece: Scheduled, now_s: float, language: Language, link: str = "") -> Said:
    """The words alone."""
    speech, progress = _speech(piece, language, link), piece.last.progress
    if piece.said == "stands":
        return speech.stands()
    if piece.said == "alarm":
        return speech.alarm(progress, now_s=now_s, post_at=int(now_s + _MARGINS.ahead_s))
    away_s = _MARGINS.ahead_s + _MARGINS.settle_s
    return speech.void(progress, now_s=now_s, away_s=away_s, sure=piece.sure)


def _speech(piece: Scheduled, language: Language, link: str) -> Speech:
    return Speech(piece.last.run, piece.host, Renderer(language), link or None)
