"""What the doctor finds of Slack: each obstacle with its remedy, and nothing is left in the channel."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.doctor import slack as slack_doctor
from notifybot.doctor.findings import Level
from notifybot.rendering.error_text import SLACK_CODES, explained
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, WEBHOOK_PATH
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.doctor import examined, wrongs

runner = CliRunner()


TO_BE_MENDED = [code for code in SLACK_CODES if (known := explained(code)) and known.setup and known.remedy]


def test_a_bot_that_is_set_up_well_has_nothing_to_mend(sandbox: Sandbox) -> None:
    """Token, scopes, clock and channel are each confirmed by Slack."""
    result = runner.invoke(app, ["doctor"])

    assert result.exit_code == 0, result.output
    for text in ("the token works: notifybot in Sandbox", "all scopes are there", "clock agrees", "may write into"):
        assert text in result.output
    assert "All is well." in result.output


def test_each_channel_is_tried_and_the_one_that_is_missing_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "NOTIFYBOT_SLACK_CHANNELS", '{"error": "#alerts", "projects": {"v*": "#vison", "w*": "#alerts"}}'
    )

    found = [each for each in examined() if each.part == slack_doctor.PART]

    assert ["#alerts" in each.what.en for each in found if each.verdict is Level.OK].count(True) == 1
    (missing,) = wrongs(found)
    assert "vison" in missing.what.en


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://hooks.slack.com/services/T0/B0/canary", None),
        ("https://hooks.slack-gov.com/services/T0/B0/canary", None),
        ("http://127.0.0.1:8765/services/T0/B0/canary", None),
        ("https://discord.com/api/webhooks/1/canary/slack", "of Discord"),
        ("https://discord.com/api/webhooks/1/canary", "only at an address that ends with /slack"),
        ("https://mattermost.example.org/hooks/abcdefghijklmnopqrstuvwxyz", "of Mattermost"),
        ("https://team.example.org/hooks/65f0c0ffee65f0c0ffee65f0/canarycanary", "of Rocket.Chat"),
        ("https://org.zulipchat.com/api/v1/external/slack_incoming?api_key=canary", "of Zulip"),
        ("https://other.example.org/in/canary", "of other.example.org"),
        ("https://hooks.slack.com.example.org/services/canary", "of hooks.slack.com.example.org"),
    ],
)
def test_a_server_like_slack_is_told_apart_with_what_it_cannot_do(url: str, name: str | None) -> None:
    found = slack_doctor.like_slack(url)

    assert len(found) == (name is not None)
    for each in found:
        assert name is not None
        assert name in each.what.en
        assert each.remedy is not None
        for language in Language:
            assert "canary" not in each.what.in_(language) + each.remedy.in_(language)


def test_nobody_sees_the_examination(sandbox: Sandbox) -> None:
    """The channel is tried with a message for tomorrow that is taken back at once."""
    examined()

    methods = [method for method, _ in sandbox.slack.calls]
    assert methods == ["auth.test", "chat.scheduleMessage", "chat.deleteScheduledMessage"]
    assert sandbox.slack.messages == []
    assert sandbox.slack.schedule.pending == []


@pytest.mark.parametrize("code", sorted(TO_BE_MENDED))
@pytest.mark.parametrize("method", ["auth.test", "chat.scheduleMessage"])
def test_each_error_of_slack_is_explained_with_its_remedy(sandbox: Sandbox, code: str, method: str) -> None:
    """In both languages, with Slack's own word in it to search for."""
    sandbox.slack.refuse(method, code)

    (found,) = wrongs(examined())

    assert found.remedy is not None
    for language in Language:
        assert f"({code})" in found.what.in_(language)
        assert "{" not in found.what.in_(language) + found.remedy.in_(language)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("invalid_auth", "Bot User OAuth Token"),
        ("not_in_channel", "/invite @notifybot"),
        ("missing_scope", "notifybot slack manifest"),
        ("channel_not_found", "check the spelling"),
    ],
)
def test_the_usual_mistakes_have_a_remedy_to_follow(sandbox: Sandbox, code: str, remedy: str) -> None:
    sandbox.slack.refuse("chat.scheduleMessage", code)

    result = runner.invoke(app, ["doctor"])

    assert result.exit_code == 1
    assert remedy in result.output
    assert "1 to mend." in result.output


def test_a_wrong_token_is_the_only_thing_told(sandbox: Sandbox) -> None:
    """What depends on it would only repeat it."""
    sandbox.slack.tokens.clear()

    assert [each.what.en for each in examined() if each.part == slack_doctor.PART] == [
        "the token is not known (invalid_auth)"
    ]


def test_a_missing_scope_is_named_before_it_is_needed(sandbox: Sandbox) -> None:
    """Pictures would fail only at the first new best, hours later."""
    sandbox.slack.scopes.discard("files:write")

    (found,) = wrongs(examined())

    assert found.what.en == "scopes are missing: files:write"


def test_an_error_without_an_explanation_is_still_told(sandbox: Sandbox) -> None:
    sandbox.slack.refuse("chat.scheduleMessage", "brand_new_error")

    (found,) = wrongs(examined())

    assert "brand_new_error" in found.what.ko


def test_slack_out_of_reach_is_told_without_the_address(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYBOT_SLACK_API_URL", f"{sandbox.url}/api/")
    with sandbox.down():
        (found,) = wrongs(examined())

    assert found.remedy is not None
    assert "NOTIFYBOT_SLACK_API_URL" in found.remedy.en
    assert sandbox.url not in found.what.en


@pytest.mark.parametrize(("fast_s", "words"), [(300, "300 seconds fast"), (-7200, "7200 seconds slow")])
def test_a_wrong_clock_is_told(fast_s: float, words: str) -> None:
    """Slack's Date header is the truth; the trial message is scheduled by it, so the channel is still checked."""
    theirs = FakeClock()
    with Sandbox(clock=theirs) as sandbox:
        ours = FakeClock(theirs.now() + timedelta(seconds=fast_s))
        findings = slack_doctor.Bot(BOT_TOKEN, f"{sandbox.url}/api/", ours).findings("training")

    (found,) = wrongs(findings)
    assert words in found.what.en
    assert any("may write into" in each.what.en for each in findings)


def test_an_answer_without_a_usable_date_says_nothing_about_the_clock(sandbox: Sandbox) -> None:
    bot = slack_doctor.Bot(BOT_TOKEN, f"{sandbox.url}/api/", sandbox.clock)

    assert bot.time() == []
    assert bot.scopes().verdict is Level.NOTE


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_the_trial_message_is_taken_back_through_a_broken_connection(sandbox: Sandbox, kind: str) -> None:
    """The first try fails, or its answer is lost: either way nothing stays scheduled, and nothing is wrong."""
    sandbox.faults.append(Fault("reset_after" if kind == "reset_after" else "reset_before", path="deleteScheduled"))

    findings = examined()

    assert wrongs(findings) == []
    assert sandbox.slack.schedule.pending == []
    assert any(each.what.en.startswith("the bot may write into") for each in findings)


def test_a_trial_message_that_stays_is_told(sandbox: Sandbox) -> None:
    """Better to say so than that somebody wonders tomorrow; the message itself says to ignore it."""
    sandbox.faults.append(Fault("reset_before", path="deleteScheduled", times=5))

    notes = [each.what.en for each in examined() if each.verdict is Level.NOTE and each.part == slack_doctor.PART]

    assert len(notes) == 1
    assert "could not be taken back" in notes[0]


def test_a_webhook_cannot_be_checked_and_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", sandbox.url + WEBHOOK_PATH)
        findings = examined()

        assert sandbox.requests == []
    (found,) = [each for each in findings if each.part == slack_doctor.PART]
    assert found.verdict is Level.NOTE
    assert found.remedy is not None
    assert "notifybot test -n slack" in found.remedy.en


def test_the_date_of_an_answer_is_read_as_http_writes_it() -> None:
    """RFC 9110, 5.6.7, is what the sandbox sends and the doctor reads: https://www.rfc-editor.org/rfc/rfc9110"""
    clock = FakeClock()
    with Sandbox(clock=clock) as sandbox:
        bot = slack_doctor.Bot(BOT_TOKEN, f"{sandbox.url}/api/", clock)
        bot.token()

        assert format_datetime(clock.now(), usegmt=True).endswith("GMT")
        assert [each.verdict for each in bot.time()] == [Level.OK]
