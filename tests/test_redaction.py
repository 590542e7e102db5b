"""Secrets are known by value: in every spelling, cut short, and wherever a log record may hold them."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import redaction
from notifybot.redaction import MARK, RedactingFilter, guard_loggers, names_secret, redact, register, strike

TOKEN = "xoxb-canary+not/a=token~0123456789"
PATH = "/services/T0CANARY0/B0CANARY0/not4a4webhook4secret0000"
HOOK = f"https://hooks.slack.com{PATH}"
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=12, max_size=60).map(
    "7{}".format
)
AROUND = st.text(max_size=20)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "url": lambda text: quote(text, safe=""),
    "url-path": quote,
    "url-form": quote_plus,
    "url-lower": lambda text: quote(text, safe="").lower() if text == text.lower() else quote(text, safe=""),
    "json": lambda text: json.dumps(text)[1:-1],
    "json-slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "html": html.escape,
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without secrets, so that none is found by another's."""
    monkeypatch.setattr(redaction, "_forms", {})


def know_only(*secrets: str) -> None:
    """What a process with these secrets knows: a property test is many processes in turn."""
    redaction._forms = {}
    register(secrets)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", [TOKEN, HOOK], ids=["token", "hook"])
def test_a_secret_is_struck_out_however_it_is_written(spelling: str, secret: str) -> None:
    register([secret])

    assert redact(f"before {SPELLINGS[spelling](secret)} after") == f"before {MARK} after"


@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_no_eight_characters_of_a_secret_survive_in_base64(secret: str, before: str, after: str) -> None:
    """Whatever stands around it shifts its bits: HTTP's Basic scheme encodes a name before it."""
    know_only(secret)
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = alphabet(f"{before}{secret}{after}".encode()).decode()

        kept = redact(encoded)

        assert MARK in kept
        assert len(kept.replace(MARK, "")) <= len(encoded) - len(secret) * 8 // 6 + 2


@given(secret=SECRETS, length=st.integers(12, 60))
def test_a_secret_that_was_cut_short_is_still_one(secret: str, length: int) -> None:
    """A log line or a table cell ends anywhere."""
    know_only(secret)

    assert redact(f"ends with {secret[:length]}") == f"ends with {MARK}"
    assert MARK in redact(base64.b64encode(secret[:length].encode()).decode())


@pytest.mark.parametrize("length", range(8, len(TOKEN) + 1))
def test_eight_characters_are_enough(length: int) -> None:
    register([TOKEN])

    assert redact(f"{TOKEN[:length]}…") == f"{MARK}…"


def test_seven_characters_are_not_a_secret() -> None:
    register([TOKEN, "short"])

    assert redact(f"{TOKEN[:7]} short") == f"{TOKEN[:7]} short"


def test_a_word_that_a_secret_begins_with_may_be_said() -> None:
    """A password made of words must not strike out the words; the rest of it still gives it away."""
    register(["training-day-0123", "notifications7for7team"])

    assert redact("training goes on, with notifications") == "training goes on, with notifications"
    assert redact("training-day and notifications7f") == f"{MARK} and {MARK}"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(f'"POST {PATH} HTTP/1.1"', f'"POST {MARK} HTTP/1.1"', id="path"),
        pytest.param("T0CANARY0/B0CANARY0/not4a4webhook4secret0000", MARK, id="without its public part"),
        pytest.param("last part: not4a4webhook4secret0000.", f"last part: {MARK}.", id="its last part"),
        pytest.param("https://hooks.slack.com/services/T0CANARY0/B0CAN", MARK, id="cut"),
        pytest.param("see https://hooks.slack.com/services/", "see https://hooks.slack.com/services/", id="public"),
    ],
)  # fmt: skip
def test_of_an_address_what_is_secret_is_struck_out(text: str, kept: str) -> None:
    """HTTP libraries log paths, and a host that everybody uses may be named."""
    register([HOOK])

    assert redact(text) == kept


@pytest.mark.parametrize("path", ["notifybot", "training", "ml/run-events", "hooks/training/"])
def test_of_an_address_of_plain_words_only_the_whole_is_struck_out(path: str) -> None:
    """A receiver of one's own may be called like anything: its words must stay sayable."""
    register([f"https://ml.example.org/{path}"])

    assert redact(f"POST https://ml.example.org/{path} failed") == f"POST {MARK} failed"
    assert redact(f"{path} at ~/.local/state/notifybot") == f"{path} at ~/.local/state/notifybot"


@pytest.mark.parametrize("value", ["s3cret:pass word", "p%40ss-w0rd"])
def test_a_password_in_an_address_is_a_secret_by_itself(value: str) -> None:
    """As it is written there, and as the server gets it."""
    register([f"mailto://somebody:{quote(value, safe='%')}@mail.example.org/folder"])

    assert redact(f"login with {quote(value, safe='%')} failed") == f"login with {MARK} failed"
    assert redact(f"login with {unquote(value)} failed") == f"login with {MARK} failed"
    assert redact("mail.example.org") == "mail.example.org"


def test_one_secret_may_be_given_by_itself() -> None:
    register(TOKEN)

    assert TOKEN not in redact(f"token {TOKEN}")


def test_of_two_secrets_alike_neither_leaves_its_end() -> None:
    """Bot tokens of one workspace begin with the same digits."""
    register(["xoxb-12345678-aaaa", "xoxb-12345678-bbbbbbbb"])

    assert redact("xoxb-12345678-bbbbbbbb") == MARK
    assert redact("xoxb-12345678-aaaaxoxb-12345678-bbbbbbbb") == MARK + MARK


@given(st.text(), st.lists(SECRETS, max_size=3))
def test_what_is_no_secret_is_left_alone(text: str, secrets: list[str]) -> None:
    know_only(*secrets)
    if not any(form[:8] in text for form in redaction._forms):
        assert redact(text) == text


@given(st.lists(st.one_of(st.just(TOKEN), st.just(HOOK), st.text(max_size=5))))
def test_striking_out_twice_changes_nothing(pieces: list[str]) -> None:
    register([TOKEN, HOOK])
    once = redact("".join(pieces))

    assert redact(once) == once
    assert TOKEN[:8] not in once


# ── Log records ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept(logging.Handler):
    """Keeps each line as it would be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, Kept]]:
    """A logger with our filter, as those of HTTP libraries have it."""
    logger, handler = logging.getLogger("urllib3.connectionpool"), Kept()
    guard_loggers()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger, handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_record_loses_its_secrets_and_keeps_its_words(log: tuple[logging.Logger, Kept]) -> None:
    register([TOKEN])
    logger, kept = log

    logger.debug("%s at %s", TOKEN, "once")

    assert kept.lines == [f"{MARK} at once"]


def test_a_traceback_loses_secrets_in_causes_contexts_and_notes(log: tuple[logging.Logger, Kept]) -> None:
    """The frames stay, so that the error can still be found."""
    register([TOKEN, HOOK])
    logger, kept = log
    try:
        try:
            raise ValueError(f"inner {TOKEN}")
        except ValueError as cause:
            error = RuntimeError("outer")
            error.add_note(f"asked {HOOK}")
            raise error from cause
    except RuntimeError:
        logger.exception("failed")

    (line,) = kept.lines
    assert TOKEN[:8] not in line
    assert "T0CANARY" not in line
    assert f"ValueError: inner {MARK}" in line
    assert f"asked {MARK}" in line
    assert "test_redaction.py" in line


def test_a_clean_traceback_is_left_as_it_is() -> None:
    """Tools that read exceptions themselves keep what they need."""
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "m", (), (ValueError, ValueError("x"), None))

    RedactingFilter().filter(record)

    assert record.exc_info is not None
    assert record.exc_text is None


@pytest.mark.parametrize("arguments", [("one", "two"), ({"a": 1},)])
def test_a_wrong_log_call_neither_raises_nor_shows_its_arguments(
    log: tuple[logging.Logger, Kept], arguments: tuple[object, ...]
) -> None:
    """Python would print message and arguments to stderr as they are."""
    register([TOKEN])
    logger, kept = log

    logger.debug(f"%d %(b)s {TOKEN}", *arguments)  # noqa: G004

    assert kept.lines == [f"%d %(b)s {MARK}"]


def test_loggers_that_appear_later_are_guarded_by_the_next_call() -> None:
    """A filter is not inherited, so each child logger needs its own."""
    child = logging.getLogger("slack_sdk.canary.child")
    assert not any(isinstance(each, RedactingFilter) for each in child.filters)

    guard_loggers()
    guard_loggers()

    assert sum(isinstance(each, RedactingFilter) for each in child.filters) == 1


_SECRET_NAMES = [
    "wandb_key",
    "access_key",
    "aws_secret_access_key",
    "AWS_ACCESS_KEY_ID",
    "private_key",
    "auth",
    "pw",
    "user_pass",
    "api_key",
    "token",
    "hf_token",
    "apiKey",
    "authToken",
    "accessKey",
    "APIKey",
    "OPENAI_API_KEY",
    "wandb.api_key",
    "optimizer.token",
    "db.password",
    "passwd",
    "userPwd",
    "client_secret",
    "credentials",
    "slack_webhook",
    "slack_webhook_url",
    "github_token2",
    "jwt",
    "key",
    "wandb.key",
    "api_keys",
    "dbPass",
    "secret.name",
    "connection_string",
    "sshKey",
    "id_token",
    "token_value",
    "kakao_rest_key",
]
_PLAIN_NAMES = [
    "num_key_value_heads",
    "max_tokens",
    "tokenizer",
    "author",
    "key_dim",
    "n_tokens",
    "keyframes",
    "pass_through",
    "attention_key",
    "pad_token",
    "eos_token_id",
    "special_tokens",
    "tokens",
    "sort_key",
    "keyboard",
    "monkey",
    "passes",
    "forward_pass",
    "first_pass",
    "compass",
    "bypass",
    "hidden_keys",
    "primary_key",
    "authors",
    "authority",
    "lr",
    "model.name",
    "token_dropout",
    "tokenizer.pad_token",
    "secretary",
    "keypoints",
    "image_key",
]


@pytest.mark.parametrize("name", _SECRET_NAMES)
def test_a_secrets_name_is_known_by_its_words(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", _PLAIN_NAMES)
def test_a_word_within_a_word_is_no_secret(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgres://me:canary@host/db", "postgres://[redacted]@host/db"),
        ("https://hooks.slack.com/services/T0/B0/canary", "https://hooks.slack.com/services/[redacted]"),
        ("Bearer canary-canary", "Bearer [redacted]"),
        ("--lr 0.1 --api_key=canary", "--lr 0.1 --api_key=[redacted]"),
        ("Settings(api_key='canary', lr=0.1)", "Settings(api_key='[redacted]', lr=0.1)"),
        ("{'token': 'canary', 'max_tokens': 5}", "{'token': '[redacted]', 'max_tokens': 5}"),
        ("https://example.org/path?a=1", "https://example.org/path?a=1"),
        ("resnet18, lr=0.1, key_dim=4", "resnet18, lr=0.1, key_dim=4"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_what_looks_like_a_secret_is_struck_out(text: str, left: str) -> None:
    assert strike(text) == left
