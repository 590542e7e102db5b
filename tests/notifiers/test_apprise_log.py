"""Why Apprise said no: its own words read, and nobody else's; its logger otherwise as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.apprise import Line, listening, open_ear, reason

DEBUG, WARNING = logging.DEBUG, logging.WARNING
BROKEN = (WARNING, "A Connection error occurred sending ntfy notification.")


class Kept(logging.Handler):
    """Keeps what a program's own handler would print."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def apprise() -> Iterator[logging.Logger]:
    """Apprise's logger, heard by us, with the level that it had before."""
    logger = logging.getLogger("apprise")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    open_ear()
    yield logger
    logger.setLevel(level)


@pytest.fixture
def program(apprise: logging.Logger) -> Iterator[Kept]:
    """The handler of a program that logs from WARNING on, by its root logger's level alone."""
    root, kept = logging.getLogger(), Kept()
    level = root.level
    root.setLevel(logging.WARNING)
    root.addHandler(kept)
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)


@pytest.mark.parametrize(
    ("lines", "words", "ambiguous"),
    [
        pytest.param([(WARNING, "Failed to send: error=429.")], "answered 429", False, id="too-many"),
        pytest.param([(WARNING, "Failed: Bad Gateway, error=502.")], "answered 502", True, id="outage"),
        pytest.param(
            [(WARNING, "error=404."), (WARNING, "error=503.")], "answered 503", True, id="one-of-two-receivers-later"
        ),
        pytest.param(
            [BROKEN, (DEBUG, "Socket Exception: HTTPConnectionPool(host='x', port=1): Max retries exceeded with url: "
                             "/ (Caused by NewConnectionError('refused'))")],
            "could not be reached", False, id="refused",
        ),
        pytest.param(
            [BROKEN, (DEBUG, "Socket Exception: HTTPConnectionPool(host='x', port=1): Read timed out.")],
            "in time", True, id="no-answer",
        ),
        pytest.param([BROKEN, (DEBUG, "Socket Exception: ('Connection aborted.', …)")], "broke", True, id="reset"),
        pytest.param([BROKEN], "broke", True, id="without-detail"),
        pytest.param([(DEBUG, "Socket Exception: (450, b'4.2.0 Greylisted')")], "answered 450", False, id="greylist"),
    ],
)  # fmt: skip
def test_what_may_be_mended_is_temporary(lines: list[Line], words: str, ambiguous: bool) -> None:
    """And ambiguous where the message may have arrived."""
    error = reason("ntfy", lines)

    assert isinstance(error, TemporaryError)
    assert words in str(error)
    assert ambiguous is error.ambiguous


@pytest.mark.parametrize(
    ("lines", "words", "setup"),
    [
        pytest.param([(WARNING, "Failed to send: Unauthorized, error=401.")], "answered 401", True, id="token"),
        pytest.param([(WARNING, "Failed to send: error=400.")], "answered 400", False, id="message"),
        pytest.param(
            [BROKEN, (DEBUG, "Socket Exception: (535, b'5.7.8 Username and Password not accepted.')")],
            "mail server answered 535", True, id="mail-password",
        ),
        pytest.param(
            [(DEBUG, "Socket Exception: {'a@b.example': (550, b'no such user')}")],
            "mail server answered 550", True, id="mail-receiver",
        ),
    ],
)  # fmt: skip
def test_what_stays_wrong_is_final(lines: list[Line], words: str, setup: bool) -> None:
    """A wrong password is not tried until the account is locked; the text has our words only."""
    error = reason("E-Mail", lines)

    assert isinstance(error, PermanentError)
    assert words in str(error)
    assert setup is error.setup
    assert setup is ("NOTIFYBOT_APPRISE_URLS" in str(error))


@pytest.mark.parametrize(
    "line",
    [
        (DEBUG, "JSON Payload: {'message': 'RuntimeError: error=404, connection refused, (535, b\\'no\\')'}"),
        (DEBUG, "Response Details:\r\nb'error=401'"),
        (WARNING, "There were not Telegram chat_ids to notify."),
    ],
    ids=["the-message-itself", "a-page", "other-words"],
)
def test_words_that_are_not_apprises_give_no_reason(line: Line) -> None:
    """An exception's text in a message looks like a refusal, and is none."""
    assert reason("JSON", [line]) is None


def test_we_hear_what_the_program_does_not_want_to_see(apprise: logging.Logger, program: Kept) -> None:
    """The reasons are at DEBUG; a program that logs from WARNING on sees no more than before."""
    with listening() as lines:
        apprise.debug("Socket Exception: %s", "refused")
        apprise.log(9, "unpacked: password=short")
        apprise.warning("Failed to send")
    apprise.warning("afterwards")

    assert lines == [(DEBUG, "Socket Exception: refused"), (WARNING, "Failed to send")]
    assert program.lines == ["Failed to send", "afterwards"]


def test_a_program_that_wants_to_see_more_does(apprise: logging.Logger, program: Kept) -> None:
    """Its own level for Apprise's logger counts, but for the lines that list an address in parts."""
    apprise.setLevel(1)

    apprise.debug("Sending")
    apprise.log(9, "unpacked: password=short")

    assert program.lines == ["Sending"]


def test_a_level_that_was_set_before_stays(apprise: logging.Logger) -> None:
    """Whoever silenced Apprise wanted silence."""
    apprise.setLevel(logging.ERROR)

    open_ear()

    assert apprise.level == logging.ERROR
