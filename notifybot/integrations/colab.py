"""Google Colab: the Drive folder, the secrets and the words for a notebook whose machine may vanish.

A secret goes from Colab's panel into `Setup.config` and nowhere else: never into an environment variable, a file or
the output.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from notifybot.config import Config, explain, load
from notifybot.config_sources import Origin, spelling
from notifybot.delivery.build import people_from
from notifybot.errors import UsageError, reader_text
from notifybot.rendering.alert_text import session_near_its_end
from notifybot.rendering.text import redacted_line
from notifybot.runtime import environment, in_colab, in_notebook
from notifybot.trackers import plan_trackers
from notifybot.training.run_info import near_limit_h, this_host
from notifybot.types import Language

_WHY_CHARS = 200
_LOCAL = "checkpoints"
_LOGIN = "kakao-token.json"


@dataclass(frozen=True, slots=True)
class Setup:
    """What `setup` made ready: `folder` is for `Checkpoints`, `config` for `notify_epoch(config=…)`.

    `on_drive` tells whether `folder` outlives this machine. `secrets` names the settings that came from Colab's
    secrets; their values are in `config` alone.
    """

    folder: Path
    on_drive: bool
    config: Config
    secrets: tuple[str, ...] = ()

    @property
    def kakao_ready(self) -> bool:
        """True when somebody has signed in to KakaoTalk for `config`, in this session or in one before."""
        return "kakao" in _people(self.config)


def setup(
    folder: str = "notifybot",
    *,
    lang: Language | str | None = None,
    mount_point: str | os.PathLike[str] = "/content/drive",
    **settings: object,
) -> Setup:
    """Make a notebook ready: mount Drive, read the secrets, and print what was found.

        colab = setup("notifybot", lang="en")
        with notify_epoch(range(30), config=colab.config) as epochs: ...

    `folder` is made below MyDrive. Where Drive cannot be had, and outside Colab, a local folder takes its place, and
    the output says so. Any setting may be given as in `notify_epoch(config=…)`. A login to KakaoTalk is kept in the
    folder on Drive unless `kakao_token_file` names another place. Secrets are asked of the browser here and not again.
    Running it again is fine. Raises ConfigError for settings that cannot work, UsageError for a `folder` that leads
    out of MyDrive.
    """
    below = _below_drive(folder)
    config = load({**settings, "lang": lang})
    config = config.model_copy(update={"runs_dir": config.runs_dir.absolute()})  # `%cd` must not part it in two
    _people(config)  # refused before anybody is asked for Drive
    words = _WORDS[config.lang]
    place, lines = _place(below, Path(mount_point), words)
    secrets = tuple(spelling(key, origin) for key, origin, _ in explain(config) if origin == Origin.COLAB)
    if place is not None and config.kakao_token_file is None:
        config = config.model_copy(update={"kakao_token_file": place / _LOGIN})
    people = _people(config)
    ready = Setup(place or _local_folder(below), place is not None, config, secrets)
    lines += [f"{words.folder}: {ready.folder}", *_told(ready, people), *_tensorboard(config), *_session(config.lang)]
    sys.stdout.write("\n".join(lines) + "\n")
    return ready


def hint(up_s: float | None, lang: Language) -> str | None:
    """A sentence on the usual end of a Colab session, when it is near for a machine that is up so long; else None."""
    limit_h = None if up_s is None else near_limit_h(up_s)
    return session_near_its_end(limit_h, up_s, lang).text if limit_h is not None and up_s is not None else None


# ── Drive ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _below_drive(folder: str) -> PurePosixPath:
    path = PurePosixPath(folder)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise UsageError(reader_text("integrations.colab.setup_takes_the_name_of_a", folder=f"{folder!r:.80}"))
    return path


def _place(below: PurePosixPath, mount_point: Path, words: _Words) -> tuple[Path | None, list[str]]:
    """The folder on Drive, or None; and what is to be told about it."""
    my_drive = mount_point / "MyDrive"
    why = None
    if not os.path.isdir(my_drive):  # unlike Path.is_dir, it says no to a mount that died (ENOTCONN)
        if not in_colab():
            return None, [words.elsewhere]
        why = _mount(mount_point)
    if why is None:
        try:
            (my_drive / below).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"{error.strerror}: {my_drive / below}"
        else:
            return my_drive / below, [words.mounted]
    return None, [words.not_mounted.format(why=redacted_line(why, _WHY_CHARS)), words.will_vanish, words.mount_again]


def _mount(mount_point: Path) -> str | None:
    """Ask Colab for Drive: None when it is there, else why not. It needs the browser, and the account Colab runs under.

    https://github.com/googlecolab/colabtools/issues/2497
    """
    try:
        from google.colab import drive

        drive.mount(str(mount_point))
    except Exception as error:  # noqa: BLE001  Colab raises a type for each reason (refused, timed out, no browser)
        return f"{type(error).__name__}: {error}"
    return None


def _local_folder(below: PurePosixPath) -> Path:
    folder = (Path(_LOCAL) / below).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _people(config: Config) -> set[str]:
    """The names of the notifiers that reach people. Raises ConfigError for settings that are half there."""
    notifiers = people_from(config)
    for notifier in notifiers:
        notifier.close()
    return {notifier.name for notifier in notifiers}


def _told(ready: Setup, people: set[str]) -> list[str]:
    """Who will be told, and what is missing for those who will not. A watchdog alone tells people in our place."""
    config, words = ready.config, _WORDS[ready.config.lang]
    lines = [f"{words.secrets}: {', '.join(ready.secrets)}"] if ready.secrets else []
    if "slack" in people:
        bot = words.slack_bot.format(channel=config.slack_channel)
        lines.append(words.slack_webhook if config.slack_bot_token is None else bot)
    if "kakao" in people:
        lines.append(words.kakao)
    if config.watchdog_url is not None:
        return [*lines, words.watchdog.format(url=config.watchdog_url)]
    missing = [text for name, text in (("slack", words.no_slack), ("kakao", words.no_kakao)) if name not in people]
    return [*lines, *missing, words.how] if "slack" not in people and in_colab() else [*lines, *missing]


def _tensorboard(config: Config) -> list[str]:
    """The two lines of the notebook magic, to be run by whoever wants it."""
    if not (in_colab() or in_notebook()) or "tensorboard" not in plan_trackers(config, environment()):
        return []
    return [_WORDS[config.lang].tensorboard, "  %load_ext tensorboard", f'  %tensorboard --logdir "{config.runs_dir}"']


def _session(lang: Language) -> list[str]:
    near = hint(this_host().up_s, lang) if in_colab() else None
    return [near] if near else []


@dataclass(frozen=True, slots=True)
class _Words:
    """What `setup` says in one language."""

    elsewhere: str
    mounted: str
    not_mounted: str
    will_vanish: str
    mount_again: str
    folder: str
    secrets: str
    slack_bot: str
    slack_webhook: str
    no_slack: str
    kakao: str
    no_kakao: str
    watchdog: str
    how: str
    tensorboard: str


_WORDS = {
    Language.EN: _Words(
        elsewhere="This is not a Google Colab notebook: Drive is not mounted, and a folder of this machine is used.",
        mounted="Google Drive is mounted. What is saved there outlives this machine.",
        not_mounted="Google Drive could not be mounted ({why}).",
        will_vanish="Checkpoints go to the disk of this machine: WHEN THE RUNTIME IS RESET, THEY ARE LOST.",
        mount_again="Run this cell again in a browser, and allow the access that Google asks for, with the account "
        "that you use Colab with. If that does not help, choose Runtime > Restart session first.",
        folder="Folder for checkpoints",
        secrets="Read from Colab's secrets",
        slack_bot="Slack: the bot posts to {channel}.",
        slack_webhook="Slack: through the webhook.",
        no_slack="Slack: not set up. It needs NOTIFYBOT_SLACK_WEBHOOK_URL, or NOTIFYBOT_SLACK_BOT_TOKEN and "
        "NOTIFYBOT_SLACK_CHANNEL.",
        kakao="KakaoTalk: signed in. A message to your own chat does not ring: let Slack bring what is urgent.",
        no_kakao="KakaoTalk: nobody is signed in. notifybot.kakao_login(config=colab.config) in a cell does it, step "
        "by step; it needs no secret.",
        watchdog="Watchdog: {url}",
        how="To set Slack up, click the key on the left, add the names above, switch 'Notebook access' on for each, "
        "and run this cell again.",
        tensorboard="To watch the curves with TensorBoard, run these two lines in a cell of their own:",
    ),
    Language.KO: _Words(
        elsewhere="Google Colab 노트북이 아니므로 드라이브를 연결하지 않고 이 컴퓨터의 폴더를 사용합니다.",
        mounted="Google 드라이브를 연결했습니다. 여기에 저장한 파일은 런타임이 초기화되어도 남습니다.",
        not_mounted="Google 드라이브를 연결하지 못했습니다 ({why}).",
        will_vanish="체크포인트를 이 런타임의 디스크에 저장합니다. 런타임이 초기화되면 모두 사라집니다!",
        mount_again="브라우저에서 이 셀을 다시 실행하고, Colab과 같은 Google 계정으로 액세스 권한을 허용하세요. "
        "그래도 안 되면 [런타임] → [세션 다시 시작]을 누른 뒤 다시 실행하세요.",
        folder="체크포인트 폴더",
        secrets="Colab 보안 비밀에서 읽은 설정",
        slack_bot="Slack: 봇이 {channel} 채널에 알립니다.",
        slack_webhook="Slack: 웹훅으로 알립니다.",
        no_slack="Slack: 설정하지 않았습니다. NOTIFYBOT_SLACK_WEBHOOK_URL, 또는 NOTIFYBOT_SLACK_BOT_TOKEN과 "
        "NOTIFYBOT_SLACK_CHANNEL이 필요합니다.",
        kakao="카카오톡: 로그인되어 있습니다. ‘나와의 채팅’에 오는 메시지는 소리가 울리지 않으니, 급한 알림은 "
        "Slack으로 받으세요.",
        no_kakao="카카오톡: 로그인하지 않았습니다. 셀에서 notifybot.kakao_login(config=colab.config)을 실행하면 "
        "차례대로 안내합니다. 보안 비밀은 필요 없습니다.",
        watchdog="감시 서버: {url}",
        how="Slack을 설정하려면 왼쪽의 열쇠 아이콘을 눌러 위 이름으로 값을 추가하고, ‘노트북 액세스’를 켠 뒤 이 셀을 "
        "다시 실행하세요.",
        tensorboard="TensorBoard로 곡선을 보려면 새 셀에서 다음 두 줄을 실행하세요.",
    ),
}
