"""Apprise as a notifier: what services get, that nothing in it is active, and that no address is given away."""

from __future__ import annotations

import email
import email.policy
import json
import pickle
import re
import socketserver
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from apprise import Apprise
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from notifybot.config import load
from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.errors import ConfigError, DeliveryError, PermanentError
from notifybot.notifiers.apprise import AppriseNotifier, from_config, inert, plain_text, urls_in
from notifybot.notifiers.base import Surroundings
from notifybot.policy import Priority
from notifybot.redaction import redact
from notifybot.rendering import Renderer
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request, Response, json_response
from notifybot.sandbox.mrkdwn import bare_addresses
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language, Severity
from tests.support.slack_messages import envelope, lost, message, started

CANARY = "Canary0c0ffee0not0a0secret"
DISCORD = f"discord://123456789012345678/{CANARY * 3}"
TELEGRAM = "tgram://123456789:AAEcanaryNotAToken0canaryNotAToken0/12345"
SLACK = "slack://T1CANARY2/B1CANARY2/canaryNotAToken0canaryNo/#general"
PNG = b"\x89PNG\r\n\x1a\nnot really"
JPEG = b"\xff\xd8\xff\xe0not really"

HOSTILE = (
    "<!channel> <!here|x> <@U1> <#C1> <@&42> @everyone @here @channel @all @user <users/all> <at>all</at> "
    "[x](http://evil.example) [x][1] ![i](http://evil.example/i.png) <http://evil.example|ok> http://evil.example "
    "www.evil.example <b>bold</b> <a href='http://evil.example'>ok</a> <img src=x onerror=alert(1)> &lt;script&gt;\n"
    "[1]: http://evil.example\n"
    "[url=http://evil.example]ok[/url]"
)
ACTIVE = re.compile(
    r"<[!@#/a-z]"  # Slack's and Discord's mentions and links, HTML
    r"|@\w"  # everybody's mentions
    r"|\]\\?[(\[:]"  # Markdown's links, escaped brackets included
    r"|:\\?/\\?/",
    re.IGNORECASE,
)


class AnyService(Sandbox):
    """Says yes in the words of Telegram, Mattermost and everybody who asks for no words."""

    def answer(self, request: Request) -> Response:
        if request.path.startswith("/services/"):
            return Response(200, b"ok")
        return json_response({"ok": True, "result": {}})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyService]:
    """A service on loopback; what is meant for the hosts that Apprise has built in arrives there as well."""
    opened, transport = AnyService(), HTTPAdapter.send

    def led_here(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        request.url = re.sub(r"^https://[^/]+", opened.url, request.url or "")
        return transport(self, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", led_here)
    with opened:
        yield opened


def here(service: Sandbox, scheme: str, rest: str = "/") -> str:
    return f"{service.url.replace('http', scheme)}{rest}"


def words(request: Request) -> list[str]:
    """Every text in a JSON request that a person may be shown."""
    found: list[str] = []

    def walk(value: Any) -> None:
        match value:
            case str():
                found.append(value)
            case dict():
                for key, each in value.items():
                    if key not in ("$schema", "contentType", "channel"):
                        walk(each)
            case list():
                for each in value:
                    walk(each)

    walk(json.loads(request.body))
    return found


# ── What services get ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_service_gets_the_whole_message_in_plain_words(service: AnyService) -> None:
    """Title, body, numbers, facts, the way to the run, and the mark by which a repeat is known."""
    event = lost()
    delivery = envelope(event, DictMemory(), link="https://example.org/runs/1", code="ValueError: boom")

    AppriseNotifier(here(service, "json")).send(delivery)

    (request,) = service.requests
    body = json.loads(request.body)
    assert body["title"] == "resnet-cifar: run lost 12/30"
    assert body["message"].splitlines() == [
        "The run says: run lost.",
        "val_acc 0.6100 (+0.0100)",
        "lr 1e-3",
        "ETA: 12 min",
        "Elapsed: 8 min",
        "ValueError: boom",
        "https://example.org/runs/1",
        f"#{event.id[-8:]}",
    ]


@pytest.mark.parametrize(
    ("severity", "kind"),
    [
        (Severity.INFO, "info"),
        (Severity.SUCCESS, "success"),
        (Severity.WARNING, "warning"),
        (Severity.ERROR, "failure"),
    ],
)
def test_severity_becomes_apprises_own(service: AnyService, severity: Severity, kind: str) -> None:
    """Services show it as a colour, an icon or a priority."""
    AppriseNotifier(here(service, "json")).send(envelope(lost(), DictMemory(), severity=severity))

    assert json.loads(service.requests[0].body)["type"] == kind


@pytest.mark.parametrize("room", [140, 200, 500, 1000, 1800])
def test_title_and_body_fit_and_keep_the_mark(room: int) -> None:
    """Whatever is too long, the last line tells a repeat and the link is whole."""
    link = "https://example.org/r"
    long = message(lost(), title="@" * 500, body="<가" * 3000, brief="@여러분 " * 60, link=link)

    title, body = plain_text(long, room)

    assert len(title) + len(body) <= room
    assert body.splitlines()[-2:] == [link, f"#{long.short_id}"]


def test_a_service_with_little_room_gets_the_brief(service: AnyService) -> None:
    """KakaoTalk through Apprise takes 200 characters, an SMS 160: one sentence, once."""
    told_message = message(lost())

    assert plain_text(told_message, 200) == ("", f"{told_message.brief}\n#{told_message.short_id}")


def test_a_link_that_is_none_is_left_out() -> None:
    """Only the web, and nothing that could end a link early."""
    for link in ("javascript:alert(1)", "https://x/ y", "https://x/<b>"):
        assert link not in plain_text(message(lost(), link=link), 1000)[1]


def test_a_picture_goes_along_at_the_first_try_only(service: AnyService) -> None:
    """A repeat may follow a picture that was refused after the words had been taken."""
    notifier = AppriseNotifier(here(service, "form"), picture=lambda _: PNG)
    delivery = envelope(lost(), DictMemory())

    notifier.send(delivery)
    notifier.send(type(delivery)(delivery.event, delivery.message, delivery.memory, attempts=1))

    first, second = service.requests
    assert PNG in first.body
    assert b"image/png" in first.body
    assert PNG not in second.body


def test_an_alerts_own_picture_goes_along_instead_of_curves(service: AnyService) -> None:
    config = load({"apprise_urls": here(service, "form")})
    (notifier,) = from_config(config, Surroundings(picture_of=lambda event: JPEG if event.kind == "run_lost" else None))

    notifier.send(envelope(lost(), DictMemory()))
    notifier.send(envelope(started(), DictMemory()))

    first, second = service.requests
    assert JPEG in first.body
    assert b"image/jpeg" in first.body
    assert JPEG not in second.body


def test_nobodys_program_is_made_to_fetch_a_picture_from_elsewhere(service: AnyService) -> None:
    """Apprise's logo on GitHub is left out of avatars, icons and footers."""
    for url in (DISCORD, SLACK, here(service, "mmost", f"/{CANARY}"), here(service, "ntfy", "/topic")):
        AppriseNotifier(url).send(envelope(lost(), DictMemory()))

    assert len(service.requests) == 4
    for request in service.requests:
        assert b"github" not in request.body
        assert "x-icon" not in request.headers


def test_the_failure_of_one_address_repeats_no_other(service: AnyService, tmp_path: Path, clock: FakeClock) -> None:
    """Each address has deliveries of its own in the outbox: one waits, one is dead, one got the message once."""
    names = ("good", "late", "gone")
    notifiers = [AppriseNotifier(here(service, "json", f"/{name}/{CANARY}")) for name in names]
    service.faults += [Fault("status", path="/late", status=503), Fault("status", path="/gone", status=404)]

    with Store.open(tmp_path / "a.db", clock=clock) as store:
        dispatcher = Dispatcher(Outbox(store), notifiers, Renderer(Language.EN), clock=clock)
        runs.record(store, lost(), [(each.key, Priority.URGENT) for each in notifiers])
        first = [dispatcher.run_once(each.key) for each in notifiers]
        clock.advance(3600)
        second = [dispatcher.run_once(each.key) for each in notifiers]
        told_elsewhere = [json.loads(each.body)["title"] for each in service.requests[3:] if "/good" in each.path]

    assert first == [Outcome.SENT, Outcome.RETRY, Outcome.DEAD]
    assert second[1:] == [Outcome.SENT, Outcome.IDLE]
    assert [each.path.split("/")[1] for each in service.requests].count("late") == 2
    assert len(told_elsewhere) == 1, "the dead letter, and no repeat"
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("a.db*"))


def test_apprise_is_not_imported_before_it_is_needed() -> None:
    """Its plugins take longer than the rest of a start."""
    code = "import sys, notifybot.delivery.build, notifybot.notifiers.apprise as a; print('apprise' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


class Mail(socketserver.StreamRequestHandler):
    """As much of a mail server as one message needs."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, MailServer)
        self.say("220 mail")
        while line := self.rfile.readline().decode().strip():
            match line.partition(" ")[0].upper():
                case "EHLO":
                    self.say("250-mail\r\n250 AUTH PLAIN")
                case "AUTH":
                    self.say(server.log_in)
                case "DATA":
                    self.say("354 go on")
                    server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self.say("250 taken")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class MailServer(socketserver.TCPServer):
    """A mail server on loopback. `log_in` is its answer to a password."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mail)
        self.log_in = "235 welcome"
        self.mails: list[bytes] = []

    @property
    def url(self) -> str:
        port = self.server_address[1]
        return f"mailto://me:{CANARY}@127.0.0.1:{port}?from=me@example.org&to=you@example.org&mode=insecure"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.mark.parametrize(("mode", "kind"), [("", "plain"), ("&format=html", "html")])
def test_an_e_mail_has_a_subject_and_letters_only(mail_server: MailServer, mode: str, kind: str) -> None:
    """Plain text goes out as that; where an address asks for HTML, hostile words are escaped in it."""
    AppriseNotifier(mail_server.url + mode).send(envelope(lost(), DictMemory(), body=HOSTILE))

    (raw,) = mail_server.mails
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    body = mail.get_body(("html", "plain"))
    assert mail["subject"] == "resnet-cifar: run lost 12/30"
    assert body is not None
    assert (kind, True) == (body.get_content_subtype(), "evil" in body.get_content())
    assert set(re.findall(r"<(\w+)", body.get_content())) <= {"html", "head", "meta", "title", "body", "br", "p"}


def test_a_wrong_mail_password_is_final_and_says_what_to_check(mail_server: MailServer) -> None:
    """Tried for hours it would lock the account."""
    mail_server.log_in = "535 5.7.8 Username and Password not accepted"

    with pytest.raises(PermanentError, match="535: check its URL in NOTIFYBOT_APPRISE_URLS") as caught:
        AppriseNotifier(mail_server.url).send(envelope(lost(), DictMemory()))

    assert caught.value.setup
    assert mail_server.mails == []


# ── Nothing in it is active ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["", "?format=text", "?format=markdown", "?format=html"])
@pytest.mark.parametrize("name", ["discord", "telegram", "slack", "mmost", "ntfy", "gotify", "json", "workflows"])
def test_hostile_words_reach_no_service_as_mention_link_or_tag(service: AnyService, name: str, mode: str) -> None:
    """In every mode that an address can ask for, title and body are letters and nothing else."""
    url = {
        "discord": DISCORD,
        "telegram": TELEGRAM,
        "slack": SLACK.replace("/#general", ""),
        "mmost": here(service, "mmost", f"/{CANARY}"),
        "ntfy": here(service, "ntfy", "/topic"),
        "gotify": here(service, "gotify", f"/{CANARY}"),
        "json": here(service, "json"),
        "workflows": here(service, "workflows", "/wf/canary/"),
    }[name]
    title = HOSTILE.partition("\n")[0]

    AppriseNotifier(url.rstrip("/") + "/" + mode).send(
        envelope(lost(), DictMemory(), title=title, body=HOSTILE, code=HOSTILE)
    )

    (request,) = service.requests
    texts = [re.sub(r"</?(b|br|p|h1|strong)\s*/?>", "\n", text) for text in words(request)]  # Apprise's own tags
    assert "evil" in "".join(texts)
    assert [found[0] for text in texts for found in ACTIVE.finditer(text)] == []
    assert "\U0001f449" not in request.body.decode("unicode_escape"), "Apprise pings for what it takes for a mention"


def test_apprise_alone_lets_them_through(service: AnyService) -> None:
    """Why `inert` is there: a title, and text for a service that reads markup in it, are passed on as they are."""
    alone = Apprise(DISCORD)

    assert alone.notify("@everyone [x](http://evil.example)", "<@&42>", body_format="text")

    assert json.loads(service.requests[0].body)["content"] == "<@&42>\r\n@everyone [x](http://evil.example)"


@given(st.lists(st.sampled_from(["@", "<", "]", "(", "[", ":", "/", "//", "http", "www", ".", " ", "\n", "a", "한"])))
def test_text_made_inert_looks_the_same_and_stays_so(parts: list[str]) -> None:
    """Nothing is lost, nothing active is left, and doing it twice does no more."""
    text = "".join(parts)

    result = inert(text)

    assert result.replace("\u200b", "") == text
    assert not ACTIVE.search(result)
    assert bare_addresses(result) == []
    assert inert(result) == result


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "json://a mailto://u:p@h?to=x@y.z,v@w.z",
        "json://a,mailto://u:p@h?to=x@y.z,v@w.z",
        "json://a, mailto://u:p@h?to=x@y.z,v@w.z,",
        "\n json://a\n\n mailto://u:p@h?to=x@y.z,v@w.z \n",
    ],
)
def test_addresses_are_split_but_for_the_commas_inside(text: str) -> None:
    """Spaces, new lines and commas part them; a comma between two receivers belongs to one address."""
    assert urls_in(text) == ["json://a", "mailto://u:p@h?to=x@y.z,v@w.z"]


def test_settings_make_one_notifier_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a key of its own, so that the outbox retries it alone; the same address twice is one."""
    assert from_config(load(), Surroundings()) == []

    monkeypatch.setenv("NOTIFYBOT_APPRISE_URLS", f"{DISCORD}, json://apprise.invalid\n{DISCORD}")

    made = from_config(load(), Surroundings())
    assert len({each.key for each in made}) == len(made) == 2


def test_the_settings_file_may_hold_a_list() -> None:
    """TOML has lists, so they are taken."""
    assert len(from_config(load({"apprise_urls": [DISCORD, "json://apprise.invalid"]}), Surroundings())) == 2


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"bogus://{CANARY}", "bogus://…"),
        (f"discord://{CANARY}", "discord://…"),
        (f"mailto://{CANARY}", "mailto://…"),
        (CANARY, "does not begin with a scheme"),
        (f"json://${{{CANARY}}}", "json://…"),
    ],
)
def test_an_address_that_means_nothing_is_named_by_its_scheme_alone(
    url: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Said at the start, with its place in the list; neither the message nor a log has the rest."""
    caplog.set_level(1)

    with pytest.raises(ConfigError, match=re.escape(named)) as caught:
        from_config(load({"apprise_urls": f"json://apprise.invalid {url}"}), Surroundings())

    assert "URL 2" in str(caught.value)
    for text in (str(caught.value), caplog.text, "".join(traceback.format_exception(caught.value))):
        assert CANARY not in text


def test_without_apprise_the_remedy_is_told() -> None:
    """An extra that is not there is named with the command that brings it; without the setting nobody asks for it."""
    code = (
        "import sys; sys.modules['apprise'] = None\n"
        "from notifybot.notifiers.apprise import from_config\n"
        "from notifybot.notifiers.base import Surroundings\n"
        "from notifybot.config import load\n"
        "print(from_config(load(), Surroundings()))\n"
        "from_config(load({'apprise_urls': 'json://127.0.0.1'}), Surroundings())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout == "[]\n"
    assert 'pip install -c constraints.txt ".[apprise]"' in done.stderr.splitlines()[-1]


# ── No address is given away ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", ["none", "refused", "404", "302", "tls", "dns", "reset"])
@pytest.mark.parametrize("place", ["path", "password", "query"])
def test_no_secret_is_in_a_log_on_stderr_or_in_an_error(
    place: str, trouble: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The canary occurs nowhere, wherever it stood in the address: not even where Apprise lists an address in parts."""
    caplog.set_level(1)
    with AnyService() as service:
        scheme = "jsons" if trouble == "tls" else "json"
        host = "apprise.invalid" if trouble == "dns" else service.url.partition("//")[2]
        if trouble in ("404", "302"):
            service.faults.append(Fault("status", status=int(trouble), headers={"Location": f"/{CANARY}"}))
        elif trouble == "reset":
            service.faults.append(Fault("reset_after"))
        elif trouble == "refused":
            service.close()
        url = {
            "path": f"{scheme}://{host}/{CANARY}",
            "password": f"{scheme}://user:{CANARY}@{host}/",
            "query": f"{scheme}://{host}/?+x-token={CANARY}",
        }[place]
        notifier, error = AppriseNotifier(url), None
        try:
            notifier.send(envelope(lost(), DictMemory()))
        except DeliveryError as raised:
            error = raised

    assert (error is None) is (trouble == "none")
    captured = capfd.readouterr()
    told_of = [repr(error), "".join(traceback.format_exception(error)), repr(notifier), repr(vars(notifier))]
    for text in (*told_of, notifier.key, caplog.text, captured.out, captured.err):
        assert CANARY not in text
    assert captured.err == ""


def test_the_host_of_an_address_is_not_struck_out() -> None:
    """Where a service of one's own listens is no secret; its topic is."""
    AppriseNotifier("ntfy://user:pass@push.example.org:8080/my-secret-topic")

    assert redact("push.example.org, my-secret-topic") == "push.example.org, [redacted]"


def test_it_is_not_pickled() -> None:
    """A pickle would carry its address to wherever it goes."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(AppriseNotifier("json://127.0.0.1"))
