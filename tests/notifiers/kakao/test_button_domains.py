"""Which sites a button opens: as Kakao registers them, and whether a phone can reach them."""

from __future__ import annotations

import pytest

from notifybot.config import Config, Switch
from notifybot.notifiers.kakao.button_domains import button_sites, is_out_of_reach, site_of
from notifybot.notifiers.kakao.message import DEFAULT_LINK

PAGE, WATCHDOG = "https://runs.example.com:8443/all?page=1", "http://10.0.0.7:8700"


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://wandb.ai/home/runs?x=1#top", "https://wandb.ai"),
        ("http://lab.example:8700/", "http://lab.example:8700"),
        ("https://name:password@lab.example/runs", "https://lab.example"),
    ],
    ids=["path", "port", "password"],
)
def test_a_site_is_scheme_host_and_port_alone(url: str, site: str) -> None:
    """A password in the address goes to nobody."""
    assert site_of(url) == site


@pytest.mark.parametrize(
    ("site", "out_of_reach"),
    [
        ("https://wandb.ai", False),
        ("http://8.8.8.8:8700", False),
        ("http://127.0.0.1:8700", True),
        ("http://192.168.0.7:8700", True),
        ("http://[::1]:8700", True),
        ("http://localhost:8700", True),
        ("http://gpu-server:8700", True),
        ("http://gpu.local", True),
        ("http://gpu.lab.internal", True),
    ],
)
def test_what_a_phone_cannot_open_from_everywhere_is_known(site: str, out_of_reach: bool) -> None:
    assert is_out_of_reach(site) == out_of_reach


@pytest.mark.parametrize(
    ("settings", "sites"),
    [
        ({"link_url": PAGE, "watchdog_url": WATCHDOG, "watchdog_token": "canary"}, ("https://runs.example.com:8443",)),
        ({"watchdog_url": WATCHDOG, "watchdog_token": "canary"}, (WATCHDOG,)),
        ({"wandb": Switch.ON}, ("https://wandb.ai", DEFAULT_LINK)),
        ({"wandb": Switch.OFF}, (DEFAULT_LINK,)),
    ],
    ids=["a page of one's own", "the watchdog", "W&B", "none"],
)
def test_the_likeliest_site_comes_first(settings: dict[str, object], sites: tuple[str, ...]) -> None:
    assert button_sites(Config(**settings)) == sites
