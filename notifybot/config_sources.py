"""Sources of settings beside arguments: the environment, Colab's secrets, notifybot.toml."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from notifybot.errors import ConfigError, reader_text, system_words
from notifybot.files import only_mine
from notifybot.runtime import in_colab, started_in
from notifybot.services import SERVICES

log = logging.getLogger("notifybot")

ORIGINS = "__origins__"
_PREFIX = "notifybot_"
_NO_SETTINGS = {"config", "command_file"}  # of the settings' file, and of `notifybot run`

# What Kubernetes puts into every container of a namespace that has a service named notifybot or notifybot-watchdog
# (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables), and Docker for a link so
# named (https://docs.docker.com/engine/network/links/). They are no settings, and users cannot remove them.
_OF_THE_PLATFORM = re.compile(
    r"notifybot_(\w+_)?"
    r"(service_(host|port(_\w+)?)|port(_\d+_(tcp|udp|sctp)(_(addr|port|proto))?(_start|_end)?)?|env_\w+)"
)
_LINK_NAME = re.compile(r"notifybot_(\w+_)?name")
_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")

# Settings looked up in Colab's secrets panel. Each is a blocking question to the browser, so only these are asked.
_COLAB_KEYS = (
    *(setting for service in SERVICES for setting in service.secrets),
    "watchdog_url",
    "watchdog_token",
)


class Origin(StrEnum):
    """Source of a setting. A file is named by its path instead."""

    ARGUMENT = "argument"
    ENVIRONMENT = "environment"
    COLAB = "Colab secrets"
    DEFAULT = "default"


def arguments_of(given: object) -> Mapping[str, object]:
    """Return the settings in a `config=` argument; none for None. Raises ConfigError for anything but a mapping."""
    if given is None:
        return {}
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return given
    is_mapping = isinstance(given, Mapping)
    what = reader_text("config_sources.dict_with_other_keys") if is_mapping else type(given).__name__
    if isinstance(given, str | os.PathLike):
        raise ConfigError(reader_text("config_sources.config_takes_no_path", given=what))
    raise ConfigError(reader_text("config_sources.config_takes_settings", given=what))


def spelling(key: str, origin: str) -> str:
    """A setting's name as its source writes it."""
    return (_PREFIX + key).upper() if origin in (Origin.ENVIRONMENT, Origin.COLAB) else key


def place(key: str, origin: str) -> str:
    """A setting's name and where it was found."""
    match origin:
        case Origin.ARGUMENT:
            return reader_text("config_sources.the_argument", name=key)
        case Origin.ENVIRONMENT:
            return reader_text("config_sources.in_the_environment", name=spelling(key, origin))
        case Origin.COLAB:
            return reader_text("config_sources.in_colab_secrets", name=spelling(key, origin))
        case _:
            return reader_text("config_sources.in_a_file", name=key, origin=origin)


def suggestion(key: str, known: Iterable[str], origin: str) -> str:
    """Return a line on an unknown key, with the setting that was probably meant."""
    where = place(key, origin)
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        meant = spelling(close[0], origin)
        return reader_text("config_sources.is_no_setting_but_another", where=where, meant=meant)
    names = ", ".join(spelling(each, origin) for each in known)
    return reader_text("config_sources.is_no_setting", where=where, names=names)


class _Source(PydanticBaseSettingsSource):
    origin: str

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # unused: each source gives all its values at once


class Environment(EnvSettingsSource):
    """`NOTIFYBOT_*` variables. An unknown one is kept, so that it is refused by name rather than ignored.

    Variables that a platform sets for a service named notifybot are skipped.
    """

    origin = Origin.ENVIRONMENT

    def __call__(self) -> dict[str, Any]:
        known = super().__call__()
        ours = {
            name.removeprefix(_PREFIX)
            for name, value in self.env_vars.items()
            if name.startswith(_PREFIX) and not _is_of_the_platform(name, value or "")
        }
        return known | dict.fromkeys(ours - _NO_SETTINGS - known.keys(), True)


def _is_of_the_platform(name: str, value: str) -> bool:
    """True for a variable, in lower case, that describes where a service is. A link's name is the path `/web/db`."""
    if _OF_THE_PLATFORM.fullmatch(name) or _LINK_ADDRESS.fullmatch(value):
        return True
    return value.startswith("/") and _LINK_NAME.fullmatch(name) is not None


class ColabSecrets(_Source):
    """The secrets panel of Google Colab, asked once while the settings are read, never later.

    Only in a notebook's own process: a script started with `!python` has no browser to ask.
    """

    origin = Origin.COLAB

    def __call__(self) -> dict[str, Any]:
        if not in_colab():
            return {}
        found: dict[str, Any] = {}
        for key in (key for key in _COLAB_KEYS if key not in self.current_state):
            try:
                value = _colab_secret((_PREFIX + key).upper())
            except TimeoutError:
                break  # no browser answers, as in VS Code: each further question would cost ten seconds
            if value:
                found[key] = value
        return found


def _colab_secret(name: str) -> str | None:
    try:
        from google.colab import userdata

        value = userdata.get(name)
    except Exception as error:  # noqa: BLE001  Colab has a type for each reason (missing, not granted) and changes them
        if type(error).__name__ == "TimeoutException":  # Colab's own, which only Colab can import
            raise TimeoutError from None
        return None
    return value if isinstance(value, str) else None


FILE_NAME = "notifybot.toml"
_FOLDERS = ("kakao_token_file", "runs_dir", "state_dir", "templates_dir")
_passed_over: set[Path] = set()


def found_file() -> tuple[Path, Path | None]:
    """Return the settings file of this program, whether it is there or not, and one that was passed over.

    It is the one in the working folder, else the one in the folder in which the program was started, else the nearest
    in the script's own folder or above. There it counts only where file and folder are the user's and nobody else may
    write to them, as for git (https://git-scm.com/docs/git-config#Documentation/git-config.txt-safedirectory): somebody
    else's settings would have messages sent to their place.
    """
    here, started = Path(FILE_NAME), started_in()
    if os.path.lexists(here):
        return here, None
    if started is not None and os.path.isfile(started / FILE_NAME):
        return started / FILE_NAME, None
    script = _script()
    for folder in () if script is None else script.parents:
        file, is_safe = folder / FILE_NAME, only_mine(folder)
        if os.path.isfile(file):
            return (file, None) if is_safe and only_mine(file) else (here, file)
        if not is_safe:
            break
    return here, None


def _script() -> Path | None:
    """The user's program; None in a notebook, at a prompt, and where an installed command runs, such as ours."""
    named = getattr(sys.modules.get("__main__"), "__file__", None) or next(iter(getattr(sys, "argv", ())), "")
    if not named or not os.path.isfile(named):
        return None
    path = Path(os.path.realpath(named))
    installed = {
        Path(sys.prefix, "bin"),
        Path(sys.prefix, "Scripts"),
        Path(sys.executable).parent,
        Path(__file__).parent,
    }
    if path.parent in installed or {"site-packages", "dist-packages"} & set(path.parts):
        return None
    return path


class File(_Source):
    """notifybot.toml where `found_file` finds it, or the file that `NOTIFYBOT_CONFIG` names.

    Relative folders in a file that is found elsewhere than in the working folder are relative to it.
    """

    def __init__(
        self, settings_cls: type[BaseSettings], path: Path, *, required: bool, passed_over: Path | None = None
    ) -> None:
        super().__init__(settings_cls)
        self.path = path
        self.required = required
        self.origin = str(path)
        self._passed_over = passed_over

    def __call__(self) -> dict[str, Any]:
        if self._passed_over is not None and self._passed_over not in _passed_over:
            _passed_over.add(self._passed_over)
            line = reader_text("config_sources.file_is_not_only_yours", path=self._passed_over)
            log.warning("%s", line)
        settings = self._read()
        if self.required:
            return settings
        return {key: self._placed(key, value) for key, value in settings.items()}

    def _placed(self, key: str, value: Any) -> Any:
        is_path = key in _FOLDERS and isinstance(value, str) and bool(value.strip())
        return str(self.path.parent / value) if is_path and not value.startswith("~") else value

    def _read(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            if not self.required:
                return {}
            raise ConfigError(reader_text("config_sources.named_file_does_not_exist", path=self.path)) from None
        except OSError as error:
            why = system_words(error)
            raise ConfigError(reader_text("config_sources.file_cannot_be_read", path=self.path, why=why)) from None
        except UnicodeDecodeError:
            raise ConfigError(reader_text("config_sources.file_is_not_utf_8", path=self.path)) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(reader_text("config_sources.file_is_not_toml", path=self.path, error=error)) from None


def language_in(path: Path) -> str:
    """Return the `lang` of a settings file, not validated; empty if it cannot be read."""
    try:
        return str(tomllib.loads(path.read_text("utf-8")).get("lang", "")).strip()
    except (OSError, ValueError):
        return ""


class Origins(PydanticBaseSettingsSource):
    """Runs last and adds where each key came from, under the key `ORIGINS`."""

    def __init__(self, settings_cls: type[BaseSettings], sources: Sequence[Environment | _Source]) -> None:
        super().__init__(settings_cls)
        self.sources = sources

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        origins = dict.fromkeys(self.current_state, str(Origin.ARGUMENT))
        earlier = self.settings_sources_data
        arguments = earlier["InitSettingsSource"]
        for source in reversed(self.sources):
            found = earlier[type(source).__name__]
            origins |= {key: str(source.origin) for key in found if key not in arguments}
        return {ORIGINS: origins}
