"""Settings, parsed once: argument > `NOTIFYBOT_*` environment > Colab secrets > notifybot.toml > default."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from notifybot import redaction
from notifybot.config_sources import (
    ORIGINS,
    ColabSecrets,
    Environment,
    File,
    Origin,
    Origins,
    arguments_of,
    found_file,
    language_in,
    place,
    spelling,
    suggestion,
)
from notifybot.errors import READER, ConfigError, reader_text
from notifybot.files import state_folder, system_language, user_mark
from notifybot.i18n import OVERRIDES
from notifybot.preferences import (
    Channels,
    Every,
    QuietHours,
    Tables,
    channels_from,
    every_from,
    quiet_from,
    tables_from,
)
from notifybot.runtime import absolute, started_in
from notifybot.services import SERVICES
from notifybot.types import Language


class Switch(StrEnum):
    """Use of an optional part. `AUTO` uses it if it is installed and set up."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+([/?#]\S*)?", text):
        raise ValueError(reader_text("config.must_be_a_url"))
    return text


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", secret.get_secret_value()):
        raise ValueError(reader_text("config.holds_what_no_token_has"))
    return secret


def _secret_url(secret: SecretStr) -> SecretStr:
    _url(_token(secret).get_secret_value())
    return secret


def _slack_webhook(secret: SecretStr) -> SecretStr:
    if re.match(r"https://hooks\.slack\.com/(triggers|workflows)/", _secret_url(secret).get_secret_value()):
        raise ValueError(reader_text("config.starts_a_workflow_of_slack"))
    return secret


_MENTION = re.compile(
    r"<(?P<person>@[UW][A-Z0-9]{6,20})(\|[^<>]*)?>|<(?P<group>!subteam\^S[A-Z0-9]{6,20})(\|[^<>]*)?>"
    r"|<!(?P<all>here|channel)(\|[^<>]*)?>|@?(?P<word>here|channel)|@?(?P<bare>[UWS][A-Z0-9]{6,20})"
)
_MENTIONS_MOST = 5


def _mention(text: str) -> str:
    """Convert mentions to Slack's markup: `<@U0123ABCD>`, `<!subteam^S0123ABCD>`, `<!here>`, separated by spaces."""
    words = re.split(r"[\s,]+(?![^<]*>)", text.strip(" \t\n,"))
    found = [_MENTION.fullmatch(word) for word in words]
    mentions = list(dict.fromkeys(_marked_up(each) for each in found if each))
    if not all(found) or len(mentions) > _MENTIONS_MOST:
        raise ValueError(reader_text("config.takes_ids_of_slack", most=_MENTIONS_MOST))
    return " ".join(mentions)


def _marked_up(found: re.Match[str]) -> str:
    bare, everybody = found["bare"] or "", found["all"] or found["word"]
    mark = found["person"] or found["group"] or (everybody and f"!{everybody}")
    return f"<{mark or ('!subteam^' if bare.startswith('S') else '@') + bare}>"


def _switch(value: object) -> object:
    if isinstance(value, bool):  # TOML's true and false mean on and off
        return Switch.ON if value else Switch.OFF
    return value.lower() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _signal_name(value: object) -> object:
    return value.upper().removeprefix("SIG") if isinstance(value, str) else value


def _joined(value: object) -> object:
    return "\n".join(map(str, value)) if isinstance(value, list) else value  # TOML has lists, the environment has lines


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(reader_text("config.must_be_a_folder_that_exists"))
    return path


def _home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(reader_text("config.user_has_no_home_folder")) from None


_Url = Annotated[str, AfterValidator(_url)]
_Token = Annotated[SecretStr, AfterValidator(_token)]
_Mention = Annotated[str, BeforeValidator(_joined), AfterValidator(_mention)]
_SlackWebhook = Annotated[SecretStr, AfterValidator(_slack_webhook)]
_SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
_Secrets = Annotated[SecretStr, BeforeValidator(_joined)]
_Path = Annotated[Path, AfterValidator(_home)]
_Switch = Annotated[Switch, BeforeValidator(_switch)]
_AS_TEXT = PlainSerializer(str, when_used="json-unless-none")
_Every = Annotated[Every | None, NoDecode, PlainValidator(every_from), _AS_TEXT]
_Quiet = Annotated[QuietHours | None, NoDecode, PlainValidator(quiet_from), _AS_TEXT]
_Tables = Annotated[Tables, NoDecode, PlainValidator(tables_from), _AS_TEXT]
_Channels = Annotated[Channels | None, NoDecode, PlainValidator(channels_from), _AS_TEXT]
_Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


_Ranks = Annotated[Literal["first", "each"], BeforeValidator(_lower)]
_SaveSignal = Annotated[Literal["", "USR1", "USR2"], BeforeValidator(_signal_name)]


def _state_dir() -> Path:
    """The user's own folder for state that survives a restart; it must be on a local disk, unlike `runs_dir`."""
    xdg = Path(os.environ.get("XDG_STATE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification says to ignore a relative path
        return xdg / "notifybot"
    try:
        return state_folder()
    except RuntimeError:  # a container whose user has no home
        return Path(tempfile.gettempdir()) / f"notifybot-{user_mark()}"


def _language_here() -> Language:
    """The language of a reader who gave no settings yet, or wrong ones."""
    chosen = os.environ.get("NOTIFYBOT_LANG", "").strip() or language_in(settings_file())
    return Language(chosen.lower()) if chosen.lower() in tuple(Language) else _language()


READER.language_of_environment = _language_here


def _language() -> Language:
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    first = next((value for value in named if value), "") or system_language()
    return Language.KO if re.match(r"ko([_.@]|$)", first) else Language.EN


class _DeclaredSettings(BaseSettings):
    """The settings that are more than an optional secret of a service: see `Config`."""

    model_config = SettingsConfigDict(
        env_prefix="NOTIFYBOT_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    slack_webhook_url: _SlackWebhook | None = None
    slack_bot_token: _Token | None = None
    slack_channel: _Name | None = None
    slack_channels: _Channels = None
    slack_api_url: _Url = "https://slack.com/api/"
    slack_mention: _Mention | None = None
    slack_deadman: _Switch = Switch.AUTO
    kakao_rest_api_key: _Token | None = None
    kakao_client_secret: _Token | None = None
    kakao_refresh_token: _Token | None = None
    kakao_token_file: _Path | None = None
    kakao_api_url: _Url = "https://kapi.kakao.com"
    kakao_auth_url: _Url = "https://kauth.kakao.com"
    apprise_urls: _Secrets | None = None
    webhook_url: _SecretUrl | None = None
    webhook_secret: _Token | None = None
    watchdog_url: _Url | None = None
    watchdog_token: _Token | None = None
    state_dir: _Path = Field(default_factory=_state_dir)
    runs_dir: _Path = Path("runs")
    project: _Name = "default"
    lang: Language = Field(default_factory=_language)
    tensorboard: _Switch = Switch.AUTO
    wandb: _Switch = Switch.AUTO
    pictures: _Switch = Switch.AUTO
    link_url: _Url | None = None
    every: _Every = None
    quiet: _Quiet = None
    notifiers: _Tables = Tables()
    templates_dir: Annotated[Path, AfterValidator(_home), AfterValidator(_folder)] | None = None
    ranks: _Ranks = "first"
    save_signal: _SaveSignal = ""
    heartbeat_s: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get("NOTIFYBOT_CONFIG")
        path, passed_over = (Path(named), None) if named else found_file()
        file = File(settings_cls, path, required=bool(named), passed_over=passed_over)
        sources = (Environment(settings_cls), ColabSecrets(settings_cls), file)
        return (init_settings, *sources, Origins(settings_cls, sources))

    @model_validator(mode="wrap")
    @classmethod
    def _parse(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate. Raises ConfigError that names each wrong key, its source, and a right value."""
        origins: dict[str, str] = data.pop(ORIGINS, {})
        stripped = {key: value.strip() if isinstance(value, str) else value for key, value in data.items()}
        unset = {key for key, value in stripped.items() if value in ("", None) and key in cls.model_fields}
        given = {key: value for key, value in stripped.items() if key not in unset}
        READER.language_of_settings = _language_in(given)
        try:
            config = handler(given)
        except ValidationError as error:  # its text has secrets: ConfigError is raised outside, without this as context
            problems = [_problem(each["loc"], each["type"], each["msg"], origins) for each in error.errors()]
        else:
            return config._finish({key: origin for key, origin in origins.items() if key in given})
        raise ConfigError("\n".join(dict.fromkeys(problems)))

    def _finish(self, origins: Mapping[str, str]) -> Self:
        """Let secrets be struck out from now on, and check the settings that need each other."""
        self._origins = origins
        OVERRIDES.use(self.templates_dir)
        redaction.register(each for secret in self._secrets().values() for each in secret.get_secret_value().split())
        redaction.guard_loggers()
        for key, others in _NEEDS:
            if getattr(self, key) is not None and all(getattr(self, other) is None for other in others):
                origin = origins.get(key, Origin.ARGUMENT)
                names = [spelling(other, origin) for other in others]
                hint = " " + reader_text("config.webhook_has_one_channel") if key == "slack_channels" else ""
                raise ConfigError(_needs(place(key, origin), *names) + hint)
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of what is set, in the order of their precedence, a file by its path."""
        found = set(self._origins.values())
        first = [str(each) for each in Origin if each is not Origin.DEFAULT and each in found]
        return (*first, *sorted(found - set(Origin)))

    def settled(self) -> Self:
        """Return these with relative folders as absolute, where a framework has changed the working folder."""
        if started_in() is None:
            return self
        folders: dict[str, Path] = {"runs_dir": self.runs_dir, "state_dir": self.state_dir}
        return self.model_copy(update={key: absolute(each) for key, each in folders.items()})

    def secret(self, name: str) -> SecretStr | None:
        """Return an optional secret that a row of `services.py` declares, None where it is not set."""
        value: SecretStr | None = getattr(self, name)
        return value

    def _secrets(self) -> dict[str, SecretStr]:
        return {key: value for key, value in self if isinstance(value, SecretStr)}

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle without the secrets: a pickle goes to other processes and disks."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], **dict.fromkeys(self._secrets())}}


_NEEDS = (  # KakaoTalk's set is checked by its notifier: a file from an earlier login may complete it
    ("slack_bot_token", ("slack_channel",)),
    ("slack_channel", ("slack_bot_token", "slack_webhook_url")),
    ("slack_channels", ("slack_bot_token",)),
    ("slack_mention", ("slack_bot_token", "slack_webhook_url")),
    ("webhook_secret", ("webhook_url",)),
    ("watchdog_token", ("watchdog_url",)),
    ("watchdog_url", ("watchdog_token",)),
)

_CONFIG_DOC = """All settings. `Config(key=value)` lays arguments over every other source; wrong ones raise ConfigError.

An empty value counts as not set. Printing, pickling or copying to JSON never gives a secret away.
"""
_OF_SERVICES = dict.fromkeys(setting for service in SERVICES for setting in (*service.settings, *service.secrets))

if TYPE_CHECKING:

    class Config(_DeclaredSettings):
        """All settings: see `_CONFIG_DOC`."""

        def __init__(self, **settings: Any) -> None: ...
else:
    Config = create_model(
        "Config",
        __base__=_DeclaredSettings,
        __module__=__name__,
        __doc__=_CONFIG_DOC,
        **{each: (_Token | None, None) for each in _OF_SERVICES if each not in _DeclaredSettings.model_fields},
    )


_FORMS = {"string_too_long": "config.must_be_short_text", "string_pattern_mismatch": "config.must_be_one_line"}
_CHOICES = {"ranks": ("first", "each"), "save_signal": ("USR1", "USR2")}


def _language_in(given: Mapping[str, Any]) -> str | None:
    """Return the language that is set, even if other settings are wrong; None if the environment decides."""
    chosen = str(given.get("lang") or "")
    return chosen if chosen in tuple(Language) else None


def _needs(setting: str, first: str, second: str = "") -> str:
    if second:
        return reader_text("config.needs_one_of_two", setting=setting, first=first, second=second)
    return reader_text("config.needs_another", setting=setting, other=first)


def _problem(loc: tuple[int | str, ...], kind: str, text: str, origins: Mapping[str, str]) -> str:
    """One sentence on a wrong setting. Its value is not in it: it may be a secret in the wrong place."""
    key = str(loc[0]) if loc else "configuration"
    origin = origins.get(key, Origin.ARGUMENT)
    if kind == "extra_forbidden":
        return suggestion(key, Config.model_fields, origin)
    return reader_text("config.setting_and_problem", setting=place(key, origin), problem=_allowed(key, kind, text))


def _allowed(key: str, kind: str, text: str) -> str:
    if kind == "enum":
        words = [each.value for each in (Language if key == "lang" else Switch)]
        first = ", ".join(words[:-1])
        return reader_text("config.must_be_one_of", others=first, last=words[-1])
    if key in _CHOICES:
        first, last = _CHOICES[key]
        return reader_text("config.must_be_either", first=first, last=last)
    if kind == "value_error":
        problem = text.removeprefix("Value error, ")
        is_whole = key != "notifiers" or problem.startswith("must")
        return problem if is_whole else reader_text("config.is_wrong", problem=problem)
    if key == "heartbeat_s":
        return reader_text("config.must_be_a_number_of_seconds")
    return reader_text(_FORMS.get(kind, "config.must_be_text"))


def load(overrides: Mapping[str, object] | None = None) -> Config:
    """Read every source. `overrides` are arguments of the caller; None among them means "not given"."""
    return Config(**{key: value for key, value in arguments_of(overrides).items() if value is not None}).settled()


def settings_file() -> Path:
    """The file that `load` reads, whether it is there or not."""
    named = os.environ.get("NOTIFYBOT_CONFIG")
    return Path(named) if named else found_file()[0]


def wandb_site() -> str:
    """Return the address at which W&B shows its runs: the server in `WANDB_BASE_URL`, else W&B's own."""
    server = os.environ.get("WANDB_BASE_URL", "").strip().rstrip("/")
    return "https://wandb.ai" if server in ("", "https://api.wandb.ai") else server


def has_own_browser() -> bool:
    """True if the person can see a browser that this process opens: not over SSH, in Colab or without a screen."""
    away = ("SSH_CONNECTION", "SSH_TTY", "COLAB_RELEASE_TAG")
    if any(os.environ.get(name) for name in away):
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def machine_is_reset() -> bool:
    """True on a machine that its service resets with its disk: a session of Colab, Kaggle or Binder."""
    return any(os.environ.get(name) for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "BINDER_SERVICE_HOST"))


def explain(config: Config) -> list[tuple[str, str, str]]:
    """Return (key, source, value as it may be shown) for every setting, secrets masked."""
    return [
        (key, config._origins.get(key, Origin.DEFAULT), "" if value is None else str(value)) for key, value in config
    ]
