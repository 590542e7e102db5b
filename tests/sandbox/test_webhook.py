"""A receiver of webhooks that trusts nobody."""

from __future__ import annotations

import base64

import pytest

from notifybot.notifiers.webhook import signature, signing_key
from notifybot.sandbox.http import Request
from notifybot.sandbox.webhook import PATH, SECRET, WebhookService
from notifybot.testing import FakeClock

OTHER = "whsec_" + base64.b64encode(b"another key, not a secret either").decode()


@pytest.mark.parametrize(
    ("changes", "late_s", "why"),
    [
        pytest.param({}, 301, "too old", id="replayed-later"),
        pytest.param({"webhook-timestamp": "99999999999"}, 0, "from the future", id="future"),
        pytest.param({"webhook-id": "other"}, 0, "no signature fits", id="other-id"),
        pytest.param({"webhook-signature": ""}, 0, "missing", id="unsigned"),
        pytest.param({"webhook-signature": "v1a,AAAA v2,BBBB"}, 0, "no signature fits", id="other-versions"),
    ],
)
def test_the_receiver_believes_nothing_else(clock: FakeClock, changes: dict[str, str], late_s: float, why: str) -> None:
    """The receiver of the sandbox refuses what a careful one would."""
    service = WebhookService(clock)
    moment = str(int(clock.now().timestamp()))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": moment}
    headers["webhook-signature"] = signature(signing_key(SECRET), "msg_1", moment, b"{}")
    clock.advance(late_s)

    answer = service.handle(Request("POST", PATH, headers=headers | changes, body=b"{}"))

    assert answer is not None
    assert (answer.status, service.messages) == (401, [])
    assert why in service.refused[0]


def test_the_receiver_takes_one_of_several_signatures(clock: FakeClock) -> None:
    """While a key is being replaced, a post is signed with both."""
    service = WebhookService(clock)
    moment = str(int(clock.now().timestamp()))
    both = " ".join(signature(signing_key(each), "msg_1", moment, b"{}") for each in (OTHER, SECRET))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": moment, "webhook-signature": both}

    answer = service.handle(Request("POST", PATH, headers=headers, body=b"{}"))

    assert answer is not None
    assert (answer.status, [each.id for each in service.messages]) == (204, ["msg_1"])
