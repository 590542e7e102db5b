"""Addresses that lead to this machine itself."""

from __future__ import annotations

import pytest

from notifybot.notifiers.base import is_loopback


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("http://127.0.0.1:8700", True),
        ("http://127.9.9.9", True),
        ("http://localhost:8700/x", True),
        ("http://watchdog.localhost", True),
        ("http://[::1]:8700", True),
        ("http://0.0.0.0:8700", True),
        ("https://slack.com/api/", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.7:8700", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_an_address_of_this_machine_is_known_by_its_form(url: str, leads_here: bool) -> None:
    """Without asking for a name, which takes time and may fail."""
    assert is_loopback(url) is leads_here
