"""Registry of notification services: a new one is a folder under `notifiers/` and a row here.

Settings, construction, errors, the doctor and the gallery iterate over these rows. A row is plain data: a service's
module, with the client that it needs, is imported only when the service is configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `module` has `from_config(config, surroundings)`, which returns its notifiers.

    `settings` configure a service: it is used if any of them is set. `secrets` are its settings that a notebook's user
    may keep in Colab's panel. Settings of either that `Config` does not define are added to it as optional secrets. A
    login leaves files in the state folder that match `login_files`. `is_for_people` is False if a program reads the
    messages: then the watchdog still sends messages to people.
    `doctor` and `preview` are functions, "module:name", as `doctor.examine` and `gallery.previews` call them; without
    them the doctor says how to try the service, and the gallery shows the message as text.
    """

    name: str
    module: str
    settings: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    login_files: str = ""
    is_for_people: bool = True
    doctor: str = ""
    preview: str = ""

    def is_asked_for(self, settings: Mapping[str, object], state_dir: Path) -> bool:
        """True where a setting or a login asks for the service."""
        if any(settings.get(each) is not None for each in self.settings):
            return True
        return bool(self.login_files) and any(state_dir.expanduser().glob(self.login_files))


SERVICES: tuple[Service, ...] = (
    Service(
        "slack",
        "notifybot.notifiers.slack",
        settings=("slack_bot_token", "slack_webhook_url"),
        secrets=("slack_webhook_url", "slack_bot_token", "slack_channel"),
        doctor="notifybot.doctor.slack:examine",
        preview="notifybot.gallery.previews:slack",
    ),
    Service(
        "kakao",
        "notifybot.notifiers.kakao",
        settings=("kakao_rest_api_key", "kakao_client_secret", "kakao_refresh_token", "kakao_token_file"),
        secrets=("kakao_rest_api_key", "kakao_client_secret", "kakao_refresh_token"),
        login_files="kakao*",
        doctor="notifybot.doctor.kakao:examine",
        preview="notifybot.gallery.previews:kakao",
    ),
    Service(
        "apprise",
        "notifybot.notifiers.apprise",
        settings=("apprise_urls",),
        secrets=("apprise_urls",),
        doctor="notifybot.doctor.examine:examine_apprise",
        preview="notifybot.gallery.previews:apprise",
    ),
    Service(
        "webhook",
        "notifybot.notifiers.webhook",
        settings=("webhook_url",),
        secrets=("webhook_url", "webhook_secret"),
        is_for_people=False,
        preview="notifybot.gallery.previews:webhook",
    ),
)


def function_at(place: str) -> Callable[..., Any]:
    """Return the function at "module:name", imported now."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
