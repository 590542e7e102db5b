"""The way to the watchdog: raw events, not messages. The watchdog ignores an event id that it knows."""

from __future__ import annotations

import requests
from pydantic import SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import to_json
from notifybot.notifiers.base import Envelope, fingerprint
from notifybot.policy import Pace
from notifybot.retry import parse_retry_after

_TIMEOUT_S = (3.05, 10.0)


class WatchdogRelay:
    """Hands events to the watchdog. With `direct` this process tells people itself, the watchdog only keeps them."""

    name = "watchdog"
    pace = Pace(folds=False)

    def __init__(self, url: str, token: SecretStr, *, direct: bool, clock: Clock = SYSTEM) -> None:
        self._url = url.rstrip("/") + "/api/v1/events"
        self._direct = direct
        self._clock = clock
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._session.headers["Content-Type"] = "application/json"
        self.key = f"watchdog:{fingerprint(url)}"

    def send(self, envelope: Envelope) -> None:
        """Post one event. Raises TemporaryError or PermanentError."""
        body = f'{{"events":[{to_json(envelope.event)}],"direct":{"true" if self._direct else "false"}}}'
        try:
            answer = self._session.post(self._url, data=body.encode(), timeout=_TIMEOUT_S, allow_redirects=False)
        except requests.ConnectionError:
            raise TemporaryError(
                "the watchdog cannot be reached: is NOTIFYBOT_WATCHDOG_URL right and the service up?"
            ) from None
        except requests.RequestException as error:
            raise TemporaryError(f"the watchdog did not answer ({type(error).__name__})", ambiguous=True) from None
        if answer.status_code == requests.codes.ok:
            return
        self._refused(answer)

    def _refused(self, answer: requests.Response) -> None:
        status = answer.status_code
        if status == requests.codes.unauthorized:
            raise PermanentError(
                "the watchdog refused the token or the run id: check NOTIFYBOT_WATCHDOG_TOKEN, "
                "or make one with `notifybot watchdog token new`",
                setup=True,
            )
        if status == requests.codes.too_many_requests or status >= 500 or status == requests.codes.request_timeout:
            after = parse_retry_after(answer.headers.get("Retry-After"), self._clock.now())
            raise TemporaryError(f"the watchdog answered {status}", retry_after_s=after, ambiguous=True)
        raise PermanentError(
            f"the watchdog answered {status}: does NOTIFYBOT_WATCHDOG_URL name a notifybot watchdog of this version?"
        )

    def close(self) -> None:
        """Close the connection. Closing twice is fine."""
        self._session.close()
