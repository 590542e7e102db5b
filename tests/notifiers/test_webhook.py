"""The plain webhook: what it says, how it signs, and what it never says."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from notifybot.config import load
from notifybot.delivery.build import open_delivery, people_from
from notifybot.errors import ConfigError, DeliveryError
from notifybot.events import EpochFinished, from_json
from notifybot.notifiers.base import Surroundings
from notifybot.notifiers.webhook import Webhook, from_config, payload, signature, signing_key
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request
from notifybot.sandbox.webhook import PATH, SECRET
from notifybot.store.database import Store
from notifybot.testing import DictMemory
from notifybot.types import Metric, Progress
from tests.support.slack_messages import at, envelope, lost

CANARY = "canary0c0ffee0not0a0secret"
OTHER = "whsec_" + base64.b64encode(b"another key, not a secret either").decode()


def body_of(delivery: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload(delivery))
    return found


# ── What it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_body_holds_the_event_and_its_words() -> None:
    """A program reads the event back as it was; a person's chat shows title and body."""
    event = lost()

    body = body_of(envelope(event, DictMemory()))

    assert (body["type"], datetime.fromisoformat(body["timestamp"])) == ("run_lost", event.at)
    assert from_json(json.dumps(body["data"]["event"])) == event
    assert body["data"]["message"] == {
        "language": "en",
        "severity": "error",
        "title": "resnet-cifar: run lost 12/30",
        "body": "The run says: run lost.",
        "brief": "resnet-cifar: run lost, val_acc 0.61",
        "link": None,
    }
    assert body["data"]["skipped"] == 0


def test_the_body_is_strict_json_with_nan_and_korean() -> None:
    """NaN travels as a string, as JSON has no such number; Korean stays readable."""
    event = EpochFinished(**at(1), progress=Progress(metrics={"손실": Metric(float("nan"))}))

    raw = payload(envelope(event, DictMemory(), title="에포크 1"))

    assert "에포크 1" in raw.decode()
    assert json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert json.loads(raw)["data"]["event"]["progress"]["metrics"]["손실"]["value"] == "NaN"


# ── How it signs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def posted(secret: str | None) -> Request:
    """What arrives of one event, by the machine's own clock: the specification's library asks no other."""
    with Sandbox() as sandbox:
        sandbox.faults.append(Fault("status", status=200))
        Webhook(f"{sandbox.url}{PATH}", secret).send(envelope(lost(), DictMemory()))
    (request,) = sandbox.requests
    return request


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")], ids=["whsec", "bare-base64"])
def test_the_specifications_own_library_verifies_a_post(secret: str) -> None:
    """What arrives over a socket passes the reference verifier, and not with another key or another body."""
    request = posted(secret)

    assert Verifier(SECRET).verify(request.body, request.headers)["type"] == "run_lost"
    with pytest.raises(WebhookVerificationError):
        Verifier(OTHER).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(request.body + b" ", request.headers)


def test_the_signature_is_the_one_of_the_specifications_library() -> None:
    """The same id, moment and body give the same words."""
    moment = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)

    ours = signature(signing_key(SECRET), "msg_1", str(int(moment.timestamp())), b'{"a":"\xed\x95\x9c"}')

    assert Verifier(SECRET).sign("msg_1", moment, '{"a":"한"}') == ours


def test_without_a_secret_nothing_is_signed() -> None:
    """The id and the moment are there all the same."""
    headers = posted(None).headers

    assert "webhook-signature" not in headers
    assert {"webhook-id", "webhook-timestamp"} <= headers.keys()


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_make_one_notifier_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL is enough; without one there is no webhook."""
    assert from_config(load(), Surroundings()) == []

    monkeypatch.setenv("NOTIFYBOT_WEBHOOK_URL", f"https://example.org/hook/{CANARY}")
    monkeypatch.setenv("NOTIFYBOT_WEBHOOK_SECRET", SECRET)
    (notifier,) = from_config(load(), Surroundings())

    assert notifier.key.startswith("webhook:")
    assert CANARY not in notifier.key


def test_a_program_does_not_count_as_telling_people(tmp_path: Path) -> None:
    """The webhook gets its events, and the watchdog still tells people, since nobody else does."""
    watched = {"watchdog_url": "http://127.0.0.1:9", "watchdog_token": "nb_canary-not-a-token"}
    config = load({"webhook_url": f"https://example.org/hook/{CANARY}", **watched})

    with Store.open(tmp_path / "a.db") as store:
        delivery = open_delivery(store, config)

    assert [each.name for each in delivery.notifiers] == ["webhook", "watchdog"]
    assert not delivery.direct
    assert people_from(config) == []


def test_a_secret_alone_is_half_a_setting() -> None:
    """Somebody forgot the address, and is told which."""
    with pytest.raises(ConfigError, match="webhook_secret is set, but needs webhook_url"):
        load({"webhook_secret": SECRET})


@pytest.mark.parametrize("secret", [CANARY, "whsec_", "whsec_dG9vc2hvcnQ=", "whsec_" + "QUJD" * 40])
def test_a_secret_that_is_no_key_is_refused_with_its_remedy(secret: str) -> None:
    """Not base64, or of another length than the specification allows: said at the start, without the secret."""
    with pytest.raises(ConfigError, match="openssl rand -base64 32") as caught:
        signing_key(secret)

    assert secret.removeprefix("whsec_")[:8] not in str(caught.value) or secret == "whsec_"
    assert caught.value.__suppress_context__


# ── What it never says ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", ["refused", "404", "302", "tls", "dns", "malformed", "reset"])
def test_no_secret_is_in_a_log_on_stderr_or_in_an_error(
    trouble: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary in the address occurs nowhere: not in records, not printed, not in the error or its chain."""
    caplog.set_level(logging.DEBUG)
    with Sandbox() as sandbox:
        base = {
            "tls": sandbox.url.replace("http", "https"),
            "dns": "http://webhook.invalid",
            "malformed": "http://[::1",
        }.get(trouble, sandbox.url)
        if trouble in ("404", "302"):
            sandbox.faults.append(Fault("status", status=int(trouble), headers={"Location": f"/{CANARY}"}))
        elif trouble == "reset":
            sandbox.faults.append(Fault("reset_after"))
        elif trouble == "refused":
            sandbox.close()
        notifier = Webhook(f"{base}/hooks/{CANARY}", SECRET)
        with pytest.raises(DeliveryError) as caught:
            notifier.send(envelope(lost(), DictMemory()))

    error, captured = caught.value, capfd.readouterr()
    told = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(notifier), notifier.key]
    for text in (*told, caplog.text, captured.out, captured.err):
        assert CANARY not in text
        assert SECRET.removeprefix("whsec_") not in text
    assert error.__cause__ is None
    assert captured.err == ""


def test_a_password_for_the_host_in_netrc_is_not_sent(tmp_path: Path) -> None:
    """~/.netrc is for other programs."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {CANARY}\n")

    assert "authorization" not in posted(SECRET).headers


def test_it_is_not_pickled() -> None:
    """A pickle would carry its key to wherever it goes."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Webhook("https://example.org", SECRET))
