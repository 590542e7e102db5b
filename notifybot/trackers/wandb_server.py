"""Whether W&B's server is there, asked without W&B."""

from __future__ import annotations

import threading
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.files import started


def answers(settings: Any, wake: threading.Event, timeout_s: float) -> bool:
    """True once the server in W&B's settings says anything at all; False after `timeout_s`, or once `wake` is set.

    Asked before `wandb.init`: W&B's own process would hold up the exit of ours for as long as it waits for a server.
    """
    if settings.http_proxy or settings.https_proxy:
        return True  # W&B's own way out, which we do not know how to take
    probe = _Probe(settings.base_url, wake, timeout_s)
    if not started(threading.Thread(target=probe.run, name="notifybot-trackers-wandb-probe", daemon=True)):
        return False
    SYSTEM.wait(wake, timeout_s)
    return probe.answered


class _Probe:
    """Asks a server until it answers, in a thread of its own since a request cannot be cut short."""

    def __init__(self, url: str, wake: threading.Event, timeout_s: float) -> None:
        self.answered = False
        self._url = url
        self._wake = wake
        self._deadline = SYSTEM.monotonic() + timeout_s

    def run(self) -> None:
        while not self._wake.is_set() and (left_s := self._deadline - SYSTEM.monotonic()) > 0:
            self.answered = self._ask(left_s)
            if self.answered:
                self._wake.set()
            SYSTEM.wait(self._wake, 1.0)

    def _ask(self, left_s: float) -> bool:
        import requests

        try:
            requests.get(self._url, timeout=left_s, allow_redirects=False, stream=True).close()
        except requests.exceptions.SSLError:
            return True  # it is there; whether its certificate will do is for W&B to say
        except requests.RequestException:
            return False
        return True
