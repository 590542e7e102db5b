"""Which sites a message's button opens: Kakao opens those alone that are registered, by scheme and host."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from notifybot.config import Config, Switch, wandb_site
from notifybot.notifiers.kakao.message import DEFAULT_LINK
from notifybot.runtime import is_installed

LIVES_AT = "[앱] → [제품 링크 관리] → [웹 도메인]"


def button_sites(config: Config) -> tuple[str, ...]:
    """The sites to register for these settings, the likeliest first, each without a path as Kakao wants them.

    A button leads to the page that was set, else to the run's page at the watchdog, else at W&B; with none of these
    it leads to a page of Kakao's, since a message must have a link.
    """
    chosen = config.link_url or config.watchdog_url
    if chosen:
        return (site_of(chosen),)
    return (site_of(wandb_site()), DEFAULT_LINK) if _uses_wandb(config) else (DEFAULT_LINK,)


def _uses_wandb(config: Config) -> bool:
    if config.wandb is not Switch.AUTO:
        return config.wandb is Switch.ON
    return is_installed("wandb")


def site_of(url: str) -> str:
    """Scheme, host and port of a web address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # a password may stand before the host


def is_out_of_reach(site: str) -> bool:
    """True for a site that a phone cannot open from everywhere: this machine itself, or an address of a local net."""
    host = urlsplit(site).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:  # a name
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".lan"))
