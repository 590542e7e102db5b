"""What a notebook gets from `setup`: a folder that outlives the machine, the secrets, and plain words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from notifybot import notify_epoch
from notifybot.config import Config
from notifybot.errors import ConfigError, UsageError
from notifybot.i18n import text
from notifybot.integrations.colab import Setup, hint, setup
from notifybot.notifiers.kakao.browser import LoginEnvironment
from notifybot.notifiers.kakao.login import Way, sign_in
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import REST_API_KEY
from notifybot.testing import RecordingNotifier
from notifybot.training.session import close
from notifybot.types import Language
from tests.support.kakao_people import Typist, pasted

HOOK = "https://hooks.slack.com/services/T0/B0/canary-not-a-secret"
HOUR_S = 3600.0


class FakeColab:
    """Colab as far as a notebook's code sees it: a secrets panel, and a Drive that appears when it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[str, str] = {}
        self.asked: list[str] = []
        self.mounts: list[str] = []
        self.refusal: Exception | None = None
        self.mount_point = folder / "content" / "drive"

    def get(self, name: str) -> str:
        self.asked.append(name)
        if name not in self.secrets:
            raise LookupError(f"Secret {name} does not exist.")
        return self.secrets[name]

    def mount(self, mount_point: str) -> None:
        self.mounts.append(mount_point)
        if self.refusal is not None:
            raise self.refusal
        (Path(mount_point) / "MyDrive").mkdir(parents=True)

    def setup(self, folder: str = "notifybot", lang: str = "en", **settings: object) -> Setup:
        return setup(folder, lang=lang, mount_point=self.mount_point, **settings)


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeColab]:
    fake = FakeColab(tmp_path)
    package = ModuleType("google.colab")
    package.userdata = package.drive = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.chdir(tmp_path)
    yield fake
    close()


Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return lambda: capsys.readouterr().out


# ── Drive ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_drive_is_mounted_once_and_holds_the_folder(colab: FakeColab, printed: Printed) -> None:
    """A cell that is run again finds Drive mounted, and does not disturb it."""
    first = colab.setup("bootcamp/week 3")
    second = colab.setup("bootcamp/week 3")

    assert first.folder == colab.mount_point / "MyDrive" / "bootcamp" / "week 3"
    assert first.folder.is_dir()
    assert first.on_drive
    assert second.folder == first.folder
    assert colab.mounts == [str(colab.mount_point)]
    assert f"Folder for checkpoints: {first.folder}\n" in printed()


@pytest.mark.parametrize(("lang", "warning"), [("en", "THEY ARE LOST"), ("ko", "런타임이 초기화되면 모두 사라집니다!")])
def test_without_drive_it_goes_on_locally_and_says_what_that_costs(
    colab: FakeColab, printed: Printed, tmp_path: Path, lang: str, warning: str
) -> None:
    colab.refusal = ValueError("mount failed\nwith a second line")

    ready = colab.setup(lang=lang)

    said = printed()
    assert ready.folder == tmp_path / "checkpoints" / "notifybot"
    assert ready.folder.is_dir()
    assert not ready.on_drive
    assert "(ValueError: mount failed with a second line)" in said
    assert warning in said


def test_a_drive_that_takes_no_folder_counts_as_none(colab: FakeColab, printed: Printed) -> None:
    """A full or dying mount refuses to make a folder; here a file is in the way."""
    (colab.mount_point / "MyDrive").mkdir(parents=True)
    (colab.mount_point / "MyDrive" / "notifybot").touch()

    ready = colab.setup()

    assert not ready.on_drive
    assert "could not be mounted (File exists: " in printed()


def test_a_mount_that_died_is_mounted_anew(colab: FakeColab) -> None:
    """What is left of it is no folder any more; Colab's own `mount` clears that away."""
    colab.mount_point.mkdir(parents=True)
    (colab.mount_point / "MyDrive").symlink_to("gone")

    ready = colab.setup()

    assert colab.mounts == [str(colab.mount_point)]
    assert not ready.on_drive, "the fake does not clear anything away"


@pytest.mark.parametrize("folder", ["", ".", "/content", "../shared", "a/../../b"])
def test_a_folder_that_leads_out_of_drive_is_refused(colab: FakeColab, folder: str) -> None:
    with pytest.raises(UsageError, match="inside MyDrive"):
        colab.setup(folder)

    assert colab.asked == colab.mounts == []


@pytest.mark.parametrize(
    ("lang", "sentence"), [("en", "not a Google Colab notebook"), ("ko", "Google Colab 노트북이 아니므로")]
)
def test_outside_colab_a_folder_of_this_machine_is_used(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lang: str, sentence: str
) -> None:
    """Nothing is mounted, nobody is asked, and nothing is advised that only Colab has."""
    monkeypatch.chdir(tmp_path)

    ready = setup("digits", lang=lang, mount_point=tmp_path / "drive")

    said = printed()
    assert (ready.folder, ready.on_drive, ready.secrets) == (tmp_path / "checkpoints" / "digits", False, ())
    assert sentence in said
    assert text(lang, "integrations.colab.how_to_set_slack_up") not in said
    assert "%tensorboard" not in said


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secrets_are_named_but_never_shown(colab: FakeColab, printed: Printed) -> None:
    """Neither the output, nor the result's own text, nor the environment holds a value."""
    colab.secrets = {
        "NOTIFYBOT_SLACK_WEBHOOK_URL": HOOK,
        "NOTIFYBOT_KAKAO_REST_API_KEY": "canary-rest-key",
        "NOTIFYBOT_KAKAO_REFRESH_TOKEN": "canary-refresh-token",
    }
    before = dict(os.environ)

    ready = colab.setup()

    said = printed()
    assert ready.secrets == tuple(colab.secrets)
    assert f"Read from Colab's secrets: {', '.join(colab.secrets)}\n" in said
    assert "Slack: through the webhook." in said
    assert "does not ring" in said
    assert "canary" not in said + repr(ready)
    assert dict(os.environ) == before
    webhook = ready.config.slack_webhook_url
    assert webhook is not None
    assert webhook.get_secret_value() == HOOK


def test_the_browser_is_asked_once_for_each_secret(colab: FakeColab) -> None:
    """A run that is given the result's configuration asks nobody: by then the browser may be closed."""
    colab.secrets = {"NOTIFYBOT_SLACK_WEBHOOK_URL": HOOK}

    ready = colab.setup()
    asked = list(colab.asked)
    for _ in notify_epoch(range(1), config=ready.config, notifiers=[RecordingNotifier()], progress=False):
        pass

    assert asked
    assert len(asked) == len(set(asked))
    assert colab.asked == asked


def test_a_malformed_secret_is_refused_before_drive_is_asked_for(colab: FakeColab) -> None:
    colab.secrets = {"NOTIFYBOT_SLACK_WEBHOOK_URL": "hooks.slack.com/canary"}

    with pytest.raises(ConfigError, match="NOTIFYBOT_SLACK_WEBHOOK_URL in Colab's secrets must be a URL"):
        colab.setup()

    assert colab.mounts == []


def test_half_of_a_login_is_refused_at_once(colab: FakeColab) -> None:
    """The training cell would refuse it too, but that is later."""
    colab.secrets = {"NOTIFYBOT_KAKAO_REFRESH_TOKEN": "canary-refresh-token"}

    with pytest.raises(ConfigError, match="kakao_refresh_token is set but kakao_rest_api_key is not"):
        colab.setup()

    assert colab.mounts == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kakao_rest_api_key": "canary-rest-key"},
        {"kakao_token_file": "elsewhere.json"},
    ],
    ids=["nothing", "the app's key", "the file"],
)
def test_before_the_sign_in_all_works_without_kakaotalk(
    colab: FakeColab, printed: Printed, settings: dict[str, str]
) -> None:
    """The sign-in is a cell that comes after `setup`: what is named for it beforehand is no mistake."""
    ready = colab.setup(**settings)
    for _ in notify_epoch(range(1), config=ready.config, notifiers=[RecordingNotifier()], progress=False):
        pass

    assert not ready.kakao_ready
    assert "kakao_login(config=colab.config)" in printed()


def test_a_login_is_kept_on_drive_and_found_again(colab: FakeColab, printed: Printed, tmp_path: Path) -> None:
    """After a reset `setup` finds it there, and the same configuration tells KakaoTalk."""
    with Sandbox() as sandbox:
        api = {"kakao_api_url": f"{sandbox.url}/kakao/api", "kakao_auth_url": f"{sandbox.url}/kakao/auth"}
        ready = colab.setup(**api)
        student = Typist(["", REST_API_KEY, sandbox.kakao.client_secret or "", pasted])
        sign_in(ready.config, LoginEnvironment(student), way=Way.PASTE)
        again = colab.setup(**api, state_dir=tmp_path / "new machine")

    assert ready.config.kakao_token_file == ready.folder / "kakao-token.json"
    assert ready.config.kakao_token_file.is_file()
    assert ready.kakao_ready
    assert again.kakao_ready
    assert "KakaoTalk: signed in." in printed()
    assert not [line for line in student.said if "goes away" in line]


def test_a_login_that_a_reset_takes_is_said_before_it_is_asked_for(colab: FakeColab, tmp_path: Path) -> None:
    """Not when the whole conversation is over; q leaves it."""
    student = Typist(["q"])

    with pytest.raises(UsageError, match="stopped"):
        sign_in(Config(state_dir=tmp_path), LoginEnvironment(student), way=Way.PASTE)

    assert "goes away with the session" in student.said[0]
    assert "kakao_login(config=colab.config)" in student.said[0]


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_without_secrets_it_says_which_to_add_and_where(colab: FakeColab, printed: Printed, lang: str) -> None:
    colab.setup(lang=lang)

    said = printed()
    assert "NOTIFYBOT_SLACK_WEBHOOK_URL" in said
    assert "notifybot.kakao_login(config=colab.config)" in said
    assert text(lang, "integrations.colab.how_to_set_slack_up") in said


def test_where_a_watchdog_tells_people_no_secret_is_missed(colab: FakeColab, printed: Printed) -> None:
    colab.secrets = {
        "NOTIFYBOT_WATCHDOG_URL": "https://watchdog.example",
        "NOTIFYBOT_WATCHDOG_TOKEN": "canary-watchdog-token",
    }

    colab.setup()

    said = printed()
    assert "Watchdog: https://watchdog.example\n" in said
    assert "not set up" not in said


def test_a_bot_is_named_with_its_channel(colab: FakeColab, printed: Printed) -> None:
    colab.setup(slack_bot_token="xoxb-canary-not-a-token", slack_channel="training")

    assert "Slack: the bot posts to training.\n" in printed()


# ── Folders, TensorBoard, the session's end ──────────────────────────────────────────────────────────────────────────


def test_runs_stay_in_one_folder_wherever_the_notebook_goes(colab: FakeColab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `%cd`, a relative folder would be another one; TensorBoard would show half of the runs."""
    monkeypatch.setenv("NOTIFYBOT_RUNS_DIR", "runs")

    ready = colab.setup()

    assert ready.config.runs_dir == Path.cwd() / "runs"


def test_tensorboard_is_offered_but_not_started(colab: FakeColab, printed: Printed) -> None:
    pytest.importorskip("tensorboard")

    ready = colab.setup()
    offered = printed()
    colab.setup(tensorboard="off")

    assert f'  %load_ext tensorboard\n  %tensorboard --logdir "{ready.config.runs_dir}"\n' in offered
    assert "%tensorboard" not in printed()


@pytest.mark.parametrize(
    ("up_h", "limit_h"), [(0.1, None), (10.4, None), (10.5, 12), (12.0, 12), (12.1, None), (22.6, 24), (24.1, None)]
)
def test_the_usual_end_of_a_session_is_hinted_at_when_it_is_near(up_h: float, limit_h: int | None) -> None:
    """A free session is said to last 12 hours; one that has lasted longer is a paid one, with 24."""
    text = hint(up_h * HOUR_S, Language.EN)

    assert (
        (text is None)
        if limit_h is None
        else (text or "").startswith(f"Colab usually ends a session after about {limit_h} h")
    )


def test_the_hint_says_how_long_the_machine_has_been_up() -> None:
    assert "up for 11 h" in (hint(11 * HOUR_S, Language.EN) or "")
    assert "켜진 지 11시간" in (hint(11 * HOUR_S, Language.KO) or "")
    assert hint(None, Language.KO) is None
