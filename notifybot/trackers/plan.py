"""Choice of a run's trackers, made without importing them and without a question to the user."""

from __future__ import annotations

import configparser
import logging
import netrc
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from notifybot.config import Config, Switch
from notifybot.errors import ConfigError, install, reader_list, reader_text
from notifybot.runtime import is_installed

_log = logging.getLogger("notifybot")

TrackerChoice = Literal["auto", "off"] | frozenset[str]  # as set up; none but the run's own file; or without these


def chosen(planned: list[str], trackers: TrackerChoice) -> list[str]:
    """Return which of the planned trackers a run opens. Its own file is always written."""
    if trackers == "auto":
        return planned
    return [name for name in planned if name == "jsonl" or (trackers != "off" and name not in trackers)]


def plan_trackers(config: Config, environ: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Name the trackers to open, "jsonl" always first.

    `environ` is the process's environment, in which W&B keeps its settings; left out, only its files are looked at.
    `auto` uses TensorBoard where it is installed, and W&B where it also has been set up. Raises ConfigError when one
    that is switched on is missing.
    """
    names = ["jsonl"]
    if _wanted("tensorboard", config.tensorboard, ("torch", "tensorboard")):
        names.append("tensorboard")
    if _wanted("wandb", config.wandb, ("wandb",)) and (config.wandb is Switch.ON or _wandb_set_up(environ)):
        names.append("wandb")
    _log.debug("trackers planned: %s", ", ".join(names))
    return names


def _wanted(name: str, switch: Switch, packages: tuple[str, ...]) -> bool:
    if switch is Switch.OFF:
        return False
    missing = [package for package in packages if not is_installed(package)]
    if missing and switch is Switch.ON:
        given = {"name": name, "setting": f"NOTIFYBOT_{name.upper()}", "command": install(name)}
        raise ConfigError(reader_text("trackers.plan.cannot_be_imported", packages=reader_list(missing), **given))
    return not missing


def _wandb_set_up(environ: Mapping[str, str]) -> bool:
    """True when W&B would start without a question: a run is active, a mode is chosen, or a key is known."""
    module = sys.modules.get("wandb")
    if module is not None and getattr(module, "run", None) is not None:
        return True
    stored = _stored_settings(environ)
    mode = environ.get("WANDB_MODE") or stored.get("mode", "")
    if mode in ("disabled", "offline", "dryrun"):
        return mode != "disabled"
    if any(environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")) or stored.get("api_key"):
        return True
    server = environ.get("WANDB_BASE_URL") or stored.get("base_url") or "https://api.wandb.ai"
    return _in_netrc(urlsplit(server).hostname or "", environ)


def _in_netrc(host: str, environ: Mapping[str, str]) -> bool:
    """True when `wandb login` has written a key for the host. W&B looks into the same files."""
    named = environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        try:
            login = netrc.netrc(Path(path).expanduser()).authenticators(host)
            return login is not None and bool(login[2])
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError, RuntimeError, UnicodeDecodeError):
            return False  # a file that cannot be read holds no key
    return False


def _stored_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings stored by `wandb login`, `wandb offline` and `wandb init`.

    The working folder's file takes precedence over the user's.
    """
    folder = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([folder.expanduser() / "settings", Path("wandb") / "settings"], encoding="utf-8")
    except (configparser.Error, RuntimeError, OSError, UnicodeDecodeError):
        return {}  # W&B itself treats a file that it cannot read as empty
    return dict(parser["default"]) if parser.has_section("default") else {}
