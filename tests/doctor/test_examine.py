"""The doctor: what it finds about accounts, services and the machine, what to do, and that it leaves no trace."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.doctor import table
from notifybot.config import load
from notifybot.doctor import examine, machine
from notifybot.doctor import slack as slack_doctor
from notifybot.doctor.examine import APPRISE, examine_apprise
from notifybot.doctor.findings import Finding, Level
from notifybot.i18n import _catalog, localized
from notifybot.policy import Priority
from notifybot.rendering.error_text import SLACK_CODES, explained
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, WEBHOOK_PATH
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.store_events import alert

runner = CliRunner()
TO_BE_MENDED = [code for code in SLACK_CODES if (known := explained(code)) and known.setup and known.remedy]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by bot in the sandbox, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "SLACK" in name and "WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened


def examined() -> list[Finding]:
    return examine.examine(load())


def wrongs(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is Level.WRONG]


# ── Slack ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bot_that_is_set_up_well_has_nothing_to_mend(sandbox: Sandbox) -> None:
    """Token, scopes, clock and channel are each confirmed by Slack."""
    result = runner.invoke(app, ["doctor"])

    assert result.exit_code == 0, result.output
    for text in ("the token works: notifybot in Sandbox", "all scopes are there", "clock agrees", "may write into"):
        assert text in result.output
    assert "All is well." in result.output


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


# ── Watchdog ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("health", "token", "verdicts", "remedy"),
    [
        pytest.param(200, 200, ["ok", "ok"], "", id="well"),
        pytest.param(503, 200, ["wrong", "ok"], "look at its log", id="late"),
        pytest.param(200, 401, ["ok", "wrong"], "notifybot watchdog token new", id="token"),
        pytest.param(404, 404, ["wrong"], "NOTIFYBOT_WATCHDOG_URL", id="another server"),
    ],
)
def test_the_watchdog_is_asked_how_it_is_and_whether_it_knows_us(
    health: int, token: int, verdicts: list[str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox() as server:
        server.faults.append(Fault("status", path="/healthz", status=health, times=9))
        server.faults.append(Fault("status", path="/api/v1/runs", status=token, times=9))
        monkeypatch.setenv("NOTIFYBOT_WATCHDOG_URL", server.url)
        monkeypatch.setenv("NOTIFYBOT_WATCHDOG_TOKEN", "nb_canary-not-a-token")

        found = [each for each in examined() if each.part == "watchdog"]

    assert [each.verdict.value for each in found] == verdicts
    assert all(each.remedy is None or remedy in each.remedy.en for each in found)
    assert "authorization" not in server.requests[0].headers, "the public page gets no token"


def test_a_watchdog_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as server:
        url = server.url
    monkeypatch.setenv("NOTIFYBOT_WATCHDOG_URL", url)
    monkeypatch.setenv("NOTIFYBOT_WATCHDOG_TOKEN", "nb_canary-not-a-token")

    assert [each.what.en for each in examined() if each.part == "watchdog"] == ["the watchdog does not answer"]


# ── The machine ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Usage(NamedTuple):
    """What shutil tells of a disk."""

    total: int
    used: int
    free: int


def test_a_full_disk_is_told_before_it_stops_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12, 5 * 1024**2))

    found = [each for each in wrongs(examined()) if each.part == "disk"]

    assert [each.what.en.rpartition(": ")[2] for each in found] == ["only 5.2 MB free"] * 2


@pytest.mark.parametrize("key", ["state_dir", "runs_dir"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_folder_that_cannot_be_written_is_told(
    key: str, below: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file stands in its place, or above it: the training would keep its outbox elsewhere, and a person look here."""
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv(f"NOTIFYBOT_{key.upper()}", str(tmp_path / "taken" / below))

    (found,) = [each for each in wrongs(examined()) if each.part == "disk"]

    assert found.what.en.startswith(f"{key} {tmp_path / 'taken'}")
    assert "Not a directory" in found.what.ko
    assert found.remedy is not None
    assert key in found.remedy.ko


def test_folders_are_tried_without_a_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the training makes when it begins is not made by looking."""
    monkeypatch.setenv("NOTIFYBOT_RUNS_DIR", str(tmp_path / "later" / "runs"))

    examined()

    assert not (tmp_path / "later").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".notifybot")] == []


def test_settings_that_others_can_read_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only a file that holds a secret; the remedy closes it."""
    file = tmp_path / "notifybot.toml"
    file.write_text('slack_webhook_url = "https://hooks.slack.invalid/services/T0/B0/canary-not-a-secret"\n')
    monkeypatch.chdir(tmp_path)
    file.chmod(0o644)

    (found,) = [each for each in wrongs(examined()) if each.part == "settings"]
    assert found.remedy is not None
    assert found.remedy.en == found.remedy.ko == "chmod 600 notifybot.toml"

    file.chmod(0o600)
    assert wrongs(examined()) == []
    file.write_text('project = "vision"\n')
    file.chmod(0o644)
    assert [each for each in wrongs(examined()) if each.part == "settings"] == []


def test_dead_letters_are_worth_a_look() -> None:
    with Store.open(load().state_dir / "notifybot.db") as store:
        runs.record(store, alert(), [("slack:00000000", Priority.URGENT)])
        outbox = Outbox(store)
        delivery = outbox.claim("slack:00000000")
        assert delivery is not None
        outbox.mark_dead(delivery, "gone")

    (found,) = [each for each in examined() if each.part == "outbox"]

    assert found.verdict is Level.NOTE
    assert found.what.en == "messages given up: 1"


@pytest.mark.parametrize(("version", "wrong"), [("2.9.1", True), ("2.10.0", False), ("2.13.0+cpu", False)])
def test_a_torch_that_runs_code_from_checkpoints_is_told(
    version: str, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-32434 and CVE-2026-24747: https://nvd.nist.gov/vuln/detail/CVE-2025-32434"""
    monkeypatch.setattr(machine, "version", lambda name: version if name == "torch" else "1.0")

    assert bool(wrongs(machine.versions())) is wrong


# ── Other services, and who is meant ─────────────────────────────────────────────────────────────────────────────────


def test_addresses_are_read_as_apprise_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that cannot be read is told by its position: an address is a key. Nothing is sent."""
    with Sandbox() as sandbox:
        host = sandbox.url.removeprefix("http://")
        urls = f"json://{host}/canary-path foo://canary-secret-bar tgram://canary-half canary-without-a-scheme"
        monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", urls)
        found = [each for each in examined() if each.part == APPRISE]
        result = runner.invoke(app, ["doctor"], env={"COLUMNS": "200"})

        assert sandbox.requests == []
    assert [each.what.en for each in found] == [
        "Apprise makes nothing of address 2 (foo://…)",
        "Apprise makes nothing of address 3 (tgram://…)",
        "address 4 does not begin with a service, such as discord://",
        "the addresses can be read (json://…); whether they work cannot be seen without posting",
    ]
    assert [each.verdict for each in found] == [Level.WRONG] * 3 + [Level.NOTE]
    assert result.exit_code == 1
    assert "canary" not in result.output


def test_addresses_without_apprise_are_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", "json://127.0.0.1:9/canary")
    monkeypatch.setattr(examine, "is_installed", lambda _: False)

    (found,) = examine_apprise(load())

    assert found.remedy is not None
    assert "pip install" in found.remedy.ko


@pytest.mark.parametrize(
    ("name", "verdict", "remedy"),
    [("slcak", Level.WRONG, "did you mean [notifiers.slack]?"), ("teams", Level.NOTE, "notifiers=[…]")],
)
def test_settings_for_nobody_are_told(name: str, verdict: Level, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name is a fault; another one may be a notifier that only the training's code knows."""
    monkeypatch.setenv("NOTIFYBOT_NOTIFIERS", json.dumps({name: {"daily": 3}}))

    (found,) = [each for each in examined() if each.part == "settings"]

    assert found.verdict is verdict
    assert found.what.en == f"[notifiers.{name}]: no notifier is called so here"
    assert found.remedy is not None
    assert remedy in found.remedy.en


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("language", "told"),
    [("en", "nothing is set up: what happens is printed on the screen"), ("ko", "설정된 알림 수단이 없습니다")],
)
def test_nothing_set_up_is_not_well(language: str, told: str) -> None:
    """A person who believes it would wait for messages in vain: it is said, with what to do, and the exit code is 1."""
    result = runner.invoke(app, ["doctor", "-l", language], env={"COLUMNS": "200"})

    assert result.exit_code == 1, result.output
    for text in (told, "notifybot slack setup", "notifybot kakao login"):
        assert text in result.output
    assert "All is well" not in result.output


@pytest.mark.parametrize(
    "settings",
    [
        {"WEBHOOK_URL": "http://127.0.0.1:9/canary-hook"},
        {"WATCHDOG_URL": "http://127.0.0.1:9", "WATCHDOG_TOKEN": "nb_canary-not-a-token"},
        {"APPRISE_URLS": "json://127.0.0.1:9/canary"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_one_way_of_any_kind_is_enough(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is read by a program, and a watchdog tells people itself: somebody hears of the run."""
    for name, value in settings.items():
        monkeypatch.setenv(f"NOTIFYBOT_{name}", value)

    assert [each for each in examined() if each.part == "notifiers"] == []


def test_as_json_each_finding_has_part_verdict_words_and_remedy(sandbox: Sandbox) -> None:
    sandbox.slack.channels["C0TRAINING"].member = False

    result = runner.invoke(app, ["doctor", "--json", "-l", "ko"])

    assert result.exit_code == 1
    found = [each for each in json.loads(result.output) if each["verdict"] == "wrong"]
    assert found == [
        {
            "part": "Slack",
            "verdict": "wrong",
            "what": "봇이 #training 채널에 없습니다(not_in_channel)",
            "remedy": "그 채널에서 다음과 같이 입력하세요: /invite @notifybot",
        }
    ]


@pytest.mark.parametrize("width", range(60, 121, 7))
def test_no_letter_is_lost_on_a_narrow_terminal(width: int) -> None:
    """A Korean letter is two columns wide, and one that stands over the end of a line belongs on the next."""
    text = "developers.kakao.com의 [앱] → [제품 링크 관리] → [웹 도메인]에 등록하세요 " * 3
    console = Console(width=width, file=io.StringIO())

    console.print(table([Finding("KakaoTalk", Level.OK, localized("doctor.as_it_is", text=text))], Language.KO))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert "".join(shown.split()).removeprefix("✓카카오톡") == "".join(text.split())


def test_no_secret_is_shown(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is what people paste when they ask for help."""
    monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", sandbox.url + WEBHOOK_PATH)
    for spoil in (None, "invalid_auth"):
        if spoil:
            sandbox.slack.refuse("auth.test", spoil)
        shown = runner.invoke(app, ["doctor"]).output + runner.invoke(app, ["doctor", "--json"]).output
        assert BOT_TOKEN[:8] not in shown
        assert WEBHOOK_PATH not in shown


def test_everything_is_said_in_both_languages() -> None:
    """No text is missing or left in English."""
    english, korean = _catalog("en"), _catalog("ko")
    ours = [key for key in english if key.startswith("doctor.") and key != "doctor.as_it_is"]

    assert len(ours) > 40
    assert [key for key in ours if not english[key]] == []
    assert [key for key in ours if not any("가" <= letter <= "힣" for letter in korean[key])] == []


def test_the_date_of_an_answer_is_read_as_http_writes_it() -> None:
    """RFC 9110, 5.6.7, is what the sandbox sends and the doctor reads: https://www.rfc-editor.org/rfc/rfc9110"""
    clock = FakeClock()
    with Sandbox(clock=clock) as sandbox:
        bot = slack_doctor.Bot(BOT_TOKEN, f"{sandbox.url}/api/", clock)
        bot.token()

        assert format_datetime(clock.now(), usegmt=True).endswith("GMT")
        assert [each.verdict for each in bot.time()] == [Level.OK]


def test_the_state_folder_is_not_made_by_looking() -> None:
    examined()

    assert not os.path.exists(load().state_dir / "notifybot.db")
