"""Settings: where they come from, who wins, and what a wrong one says."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from notifybot import redaction
from notifybot.config import Config, Switch, explain, load
from notifybot.errors import READER, ConfigError
from notifybot.types import Language

HOOK = "https://hooks.slack.com/services/T0CANARY/B0CANARY/not-a-real-secret"
TOKEN = "xoxb-canary-not-a-token"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NOTIFYBOT_STATE_DIR", "NOTIFYBOT_RUNS_DIR", "NOTIFYBOT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> FakeUserdata:
    """Colab's secrets panel, as far as a notebook's code sees it."""
    userdata = FakeUserdata()
    package = ModuleType("google.colab")
    package.userdata = userdata  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return userdata


class FakeUserdata:
    def __init__(self) -> None:
        self.secrets: dict[str, str | Exception] = {}
        self.asked: list[str] = []

    def get(self, name: str) -> str:
        self.asked.append(name)
        answer = self.secrets.get(name, LookupError(f"Secret {name} does not exist."))
        if isinstance(answer, Exception):
            raise answer
        return answer


def error_of(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(settings)
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value.__context__, ValidationError), "it holds the values"
    return str(caught.value)


@pytest.mark.parametrize("kind", ["triggers", "workflows"])
def test_the_address_of_a_workflow_is_refused_as_a_webhook(kind: str) -> None:
    text = error_of(slack_webhook_url=f"https://hooks.slack.com/{kind}/T0CANARY/1/not-a-real-secret")

    assert "make an incoming webhook instead" in text
    assert "not-a-real-secret" not in text


# ── Defaults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_configured_is_a_configuration(tmp_path: Path) -> None:
    """Without any setting, state goes under the home folder and nobody is told but the console."""
    config = load()

    assert config.state_dir == tmp_path / ".local" / "state" / "notifybot"
    assert config.runs_dir == Path("runs")
    assert (config.project, config.heartbeat_s) == ("default", 30.0)
    assert config.tensorboard is config.wandb is Switch.AUTO
    assert config.slack_webhook_url is None
    assert {source for _, source, _ in explain(config)} == {"default"}


def test_state_follows_the_users_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME is honoured when it is absolute, as its specification says."""
    monkeypatch.setenv("XDG_STATE_HOME", "/var/states")
    assert load().state_dir == Path("/var/states/notifybot")

    monkeypatch.setenv("XDG_STATE_HOME", "states")
    assert load().state_dir == Path.home() / ".local" / "state" / "notifybot"


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        pytest.param({"LANG": "ko_KR.UTF-8"}, Language.KO, id="korean"),
        pytest.param({"LANG": "ko"}, Language.KO, id="bare"),
        pytest.param({"LANG": "kok_IN"}, Language.EN, id="konkani"),
        pytest.param({"LANG": "en_US.UTF-8"}, Language.EN, id="english"),
        pytest.param({"LANG": "en_US", "LC_MESSAGES": "ko_KR"}, Language.KO, id="messages before lang"),
        pytest.param({"LC_ALL": "C", "LC_MESSAGES": "ko_KR"}, Language.EN, id="all before messages"),
        pytest.param({"LC_ALL": "", "LANG": "ko_KR"}, Language.KO, id="empty is unset"),
        pytest.param({}, Language.EN, id="none"),
    ],
)
def test_language_follows_the_locale(
    monkeypatch: pytest.MonkeyPatch, locale: dict[str, str], language: Language
) -> None:
    for name, value in locale.items():
        monkeypatch.setenv(name, value)

    assert load().lang is language


@pytest.mark.parametrize(
    ("text", "language"),
    [('lang = "ko"', "ko"), ("", "en"), ("lang = ko", "en"), ('lang = "kr"', "en"), ("lang = 7", "en")],
    ids=["korean", "empty", "no TOML", "unknown", "number"],
)
def test_mistakes_before_the_settings_are_read_follow_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, language: str
) -> None:
    """`Checkpoints(…)` is written above `notify_epoch(…)`: nobody has read the settings then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")
    (tmp_path / "notifybot.toml").write_text(text)

    assert language == READER.language


# ── Precedence ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nearer_sources_win(monkeypatch: pytest.MonkeyPatch, colab: FakeUserdata, tmp_path: Path) -> None:
    """Argument, then environment, then Colab's secrets, then the file; each value knows its source."""
    Path("notifybot.toml").write_text(
        f'project = "file"\nlang = "ko"\nslack_webhook_url = "{HOOK}-file"\nslack_channel = "#file"\nwandb = false\n'
    )
    colab.secrets = {"NOTIFYBOT_SLACK_WEBHOOK_URL": HOOK, "NOTIFYBOT_SLACK_CHANNEL": "#colab"}
    monkeypatch.setenv("NOTIFYBOT_SLACK_CHANNEL", "#environment")
    monkeypatch.setenv("NOTIFYBOT_PROJECT", "environment")

    config = load({"project": "argument"})

    assert config.project == "argument"
    assert config.slack_channel == "#environment"
    assert config.slack_webhook_url is not None
    assert config.slack_webhook_url.get_secret_value() == HOOK
    assert (config.lang, config.wandb) == (Language.KO, Switch.OFF)
    sources = {key: source for key, source, _ in explain(config) if source != "default"}
    assert sources == {
        "project": "argument",
        "slack_channel": "environment",
        "slack_webhook_url": "Colab secrets",
        "lang": "notifybot.toml",
        "wandb": "notifybot.toml",
    }


def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable leaves the file's value; None as an argument says nothing; an empty argument clears."""
    Path("notifybot.toml").write_text('project = "file"\n')
    monkeypatch.setenv("NOTIFYBOT_PROJECT", "")
    monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", f" {HOOK}\n")

    assert load().project == "file"
    assert load({"project": None}).project == "file"
    assert load({"project": ""}).project == "default"
    assert load({"slack_webhook_url": ""}).slack_webhook_url is None
    webhook = load().slack_webhook_url
    assert webhook is not None
    assert webhook.get_secret_value() == HOOK, "white space around a pasted value is not part of it"


def test_a_named_file_replaces_the_usual_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NOTIFYBOT_CONFIG names another file, and a missing one is an error."""
    Path("notifybot.toml").write_text('project = "usual"\n')
    other = tmp_path / "other.toml"
    other.write_text('project = "other"\n')

    monkeypatch.setenv("NOTIFYBOT_CONFIG", str(other))
    assert load().project == "other"

    monkeypatch.setenv("NOTIFYBOT_CONFIG", "missing.toml")
    assert error_of() == "NOTIFYBOT_CONFIG names missing.toml, which does not exist"


def test_colab_is_asked_only_for_our_secrets_that_are_not_set(
    monkeypatch: pytest.MonkeyPatch, colab: FakeUserdata
) -> None:
    """Every question blocks on the browser, so a value found nearer is not asked for; a refusal is no error."""
    colab.secrets = {
        "NOTIFYBOT_SLACK_WEBHOOK_URL": HOOK,
        "NOTIFYBOT_KAKAO_REST_API_KEY": PermissionError("Notebook does not have access to secret"),
    }
    monkeypatch.setenv("NOTIFYBOT_WATCHDOG_URL", "http://127.0.0.1:9999")

    config = load({"watchdog_token": "canary-watchdog-token"})

    assert config.slack_webhook_url is not None
    assert config.kakao_rest_api_key is None
    assert "NOTIFYBOT_WATCHDOG_URL" not in colab.asked
    assert "NOTIFYBOT_WATCHDOG_TOKEN" not in colab.asked
    assert len(colab.asked) == len(set(colab.asked))
    assert all(name.startswith("NOTIFYBOT_") for name in colab.asked)


def test_a_browser_that_does_not_answer_is_not_asked_again(colab: FakeUserdata) -> None:
    """In VS Code nobody answers for Colab's secrets, and each question blocks for ten seconds."""
    silence = type("TimeoutException", (Exception,), {})
    colab.secrets = {"NOTIFYBOT_SLACK_WEBHOOK_URL": silence("Secrets can only be fetched from the Colab UI.")}

    config = load()

    assert config.slack_webhook_url is None
    assert len(colab.asked) == 1


# ── Mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_keys_are_refused_by_name_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """All mistakes are told at once, each spelled as its source spells it, with what was probably meant."""
    Path("notifybot.toml").write_text('slack_token = "xoxb-canary"\n')
    monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOK_URL", HOOK)

    lines = error_of(projekt="x").splitlines()

    assert sorted(lines) == [
        "NOTIFYBOT_SLACK_WEBHOK_URL in the environment is not a setting of notifybot: did you mean "
        "NOTIFYBOT_SLACK_WEBHOOK_URL?",
        "slack_token in notifybot.toml is not a setting of notifybot: did you mean slack_bot_token?",
        "the argument projekt is not a setting of notifybot: did you mean project?",
    ]


def made_by_kubernetes(service: str) -> dict[str, str]:
    """The variables of a service with two ports, one of them named, in every container of its namespace."""
    at = f"{service}_PORT_8700"
    return {
        f"{service}_SERVICE_HOST": "10.0.0.7",
        f"{service}_SERVICE_PORT": "8700",
        f"{service}_SERVICE_PORT_HTTP_2": "8700",
        f"{service}_PORT": "tcp://10.0.0.7:8700",
        **{f"{at}_{each}": f"{each.lower()}://10.0.0.7:8700" for each in ("TCP", "UDP", "SCTP")},
        f"{at}_TCP_PROTO": "tcp",
        f"{at}_TCP_PORT": "8700",
        f"{at}_TCP_ADDR": "10.0.0.7",
    }


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(made_by_kubernetes("NOTIFYBOT"), id="service"),
        pytest.param(made_by_kubernetes("NOTIFYBOT_WATCHDOG"), id="watchdog"),
        pytest.param(made_by_kubernetes("NOTIFYBOT_SLACK_CHANNEL"), id="service named like a setting"),
        pytest.param({"NOTIFYBOT_NAME": "/web/notifybot", "NOTIFYBOT_WATCHDOG_NAME": "/web/watchdog"}, id="link"),
        pytest.param({"NOTIFYBOT_ENV_LANG": "C", "NOTIFYBOT_1_ENV_PATH": "/bin"}, id="link's environment"),
        pytest.param({"NOTIFYBOT_PORT_8000_TCP_PORT_START": "8000", "NOTIFYBOT_1_PORT": "udp://[::1]:53"}, id="range"),
        pytest.param({"NOTIFYBOT_PROXY": "tcp://10.0.0.1:8700"}, id="address"),
    ],
)
def test_what_a_platform_says_of_a_service_of_our_name_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert {source for _, source, _ in explain(load())} == {"default"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFYBOT_NAME", "resnet"),
        ("NOTIFYBOT_SERVICE", "10.0.0.7"),
        ("NOTIFYBOT_WATCHDOG_HOST", "10.0.0.7"),
        ("NOTIFYBOT_WATCHDOG_ADDR", "http://10.0.0.7:8700"),
        ("NOTIFYBOT_ENV", "production"),
        ("NOTIFYBOT_SLACK_TOKEN", TOKEN),
        ("NOTIFYBOT_PORTS", "8700"),
    ],
)
def test_a_mistyped_setting_is_still_told_beside_a_service(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for each, given in (made_by_kubernetes("NOTIFYBOT") | {name: value}).items():
        monkeypatch.setenv(each, given)

    text = error_of()

    assert text.startswith(f"{name} in the environment is not a setting")
    assert text.count("\n") == 0


def test_no_setting_can_be_taken_for_a_platforms_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting still comes from the environment, be its value one that a platform could write."""
    for key in Config.model_fields:
        monkeypatch.setenv(f"NOTIFYBOT_{key.upper()}", "tcp://10.0.0.1:8700")

    text = error_of()

    assert "NOTIFYBOT_WATCHDOG_URL in the environment must be a URL" in text
    assert "NOTIFYBOT_LANG in the environment must be ko or en" in text
    assert "is not a setting" not in text


def test_a_key_like_no_other_is_answered_with_the_list() -> None:
    text = error_of(zzz=1)

    assert "The settings are: slack_webhook_url, " in text
    assert text.endswith("heartbeat_s")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("lang", "kr", "must be ko or en"),
        ("wandb", "yes", "must be on, off or auto"),
        ("heartbeat_s", "fast", "must be a number of seconds above 0 and up to 3600"),
        ("heartbeat_s", "nan", "must be a number of seconds above 0 and up to 3600"),
        ("heartbeat_s", "-1", "must be a number of seconds above 0 and up to 3600"),
        ("slack_webhook_url", "hooks.slack.com/services/T0CANARY", "must be a URL that starts with https://"),
        ("slack_webhook_url", "https://user:canary@hooks.slack.com/x", "must be a URL that starts with https://"),
        ("slack_bot_token", "xoxb canary", "copy it again, without quotes"),
        ("slack_bot_token", '"xoxb-canary"', "copy it again, without quotes"),
        ("kakao_refresh_token", "카나리아", "copy it again, without quotes"),
        ("watchdog_url", "localhost:8080", "must be a URL"),
        ("project", "a\nb", "must be one line of plain text"),
        ("project", "p" * 201, "must be text of at most 200 characters"),
        ("templates_dir", "no/such/folder", "must be a folder that exists"),
    ],
)
def test_a_bad_value_is_told_by_its_allowed_form(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, says: str
) -> None:
    """The error names key and source, and never repeats the value: it may be a secret in the wrong place."""
    monkeypatch.setenv(f"NOTIFYBOT_{key.upper()}", value)

    text = error_of()

    assert text.startswith(f"NOTIFYBOT_{key.upper()} in the environment ")
    assert says in text
    assert value not in text
    assert "\n" not in text


def test_a_value_of_the_wrong_type_is_refused() -> None:
    Path("notifybot.toml").write_text("slack_webhook_url = 7\n[slack]\nchannel = 'x'\n")

    assert sorted(each.split(" ")[0] for each in error_of().splitlines()) == ["slack", "slack_webhook_url"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"project = ", "is not valid TOML: ", id="syntax"),
        pytest.param(b"\xff\xfe", "is no UTF-8 text", id="encoding"),
    ],
)
def test_a_broken_file_is_told_in_one_line(content: bytes, says: str) -> None:
    Path("notifybot.toml").write_bytes(content)

    assert says in error_of()


def test_a_folder_in_the_files_place_is_told() -> None:
    Path("notifybot.toml").mkdir()

    assert error_of() == "notifybot.toml cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"slack_bot_token": TOKEN}, "slack_channel"),
        ({"slack_channel": "#training"}, "slack_bot_token or slack_webhook_url"),
        ({"watchdog_url": "http://127.0.0.1:9999"}, "watchdog_token"),
        ({"watchdog_token": "canary-watchdog"}, "watchdog_url"),
    ],
)
def test_half_a_set_is_refused(given: dict[str, str], missing: str) -> None:
    """Settings that mean nothing alone are refused at once rather than silently unused."""
    (key,) = given

    assert error_of(**given) == f"the argument {key} is set, but needs {missing} beside it: set that too"


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secrets_stay_inside() -> None:
    """No printing, listing, JSON or pickle gives a secret away, and texts elsewhere have it struck out."""
    config = load({"slack_bot_token": TOKEN, "slack_channel": "#t", "slack_webhook_url": HOOK})

    sinks = [repr(config), str(config), str(vars(config)), str(explain(config)), config.model_dump_json()]
    sinks.append(pickle.dumps(config).decode("latin-1"))

    assert not [sink for sink in sinks if "canary" in sink.lower()]
    assert redaction.redact(f"POST {HOOK} with {TOKEN}") == "POST [redacted] with [redacted]"
    assert pickle.loads(pickle.dumps(config)).slack_channel == "#t"


def test_configuration_does_not_change_and_is_compared_by_value() -> None:
    config = Config(project="p")

    with pytest.raises(ValueError, match="frozen"):
        config.project = "q"
    assert config == Config(project="p")
    assert hash(config) == hash(Config(project="p"))


def test_no_home_is_no_obstacle(tmp_path: Path) -> None:
    """A container's user without a home folder still gets a place for state, and ~ is refused with a reason."""
    code = (
        "import os, sys\n"
        "os.environ.pop('HOME', None)\n"
        "import pwd\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from notifybot.config import load\n"
        "print(load().state_dir.name)\n"
        "try: load({'state_dir': '~/x'})\n"
        "except Exception as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)

    name, error = done.stdout.splitlines()
    assert name.startswith("notifybot-")
    assert error == "the argument state_dir begins with ~, but this user has no home folder: write the whole path"
