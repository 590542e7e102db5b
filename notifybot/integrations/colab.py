"""Google Colab: Drive folder, secrets and messages for a notebook whose machine may vanish.

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
from notifybot.i18n import text
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
    """Result of `setup`: `folder` is for `Checkpoints`, `config` for `notify_epoch(config=…)`.

    `on_drive` says whether `folder` outlives this machine. `secrets` names the settings that came from Colab's
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
    config = config.model_copy(update={"runs_dir": config.runs_dir.absolute()})  # else `%cd` would split it in two
    _people(config)  # raises before anybody is asked for Drive
    place, lines = _place(below, Path(mount_point), config.lang)
    secrets = tuple(spelling(key, origin) for key, origin, _ in explain(config) if origin == Origin.COLAB)
    if place is not None and config.kakao_token_file is None:
        config = config.model_copy(update={"kakao_token_file": place / _LOGIN})
    people = _people(config)
    ready = Setup(place or _local_folder(below), place is not None, config, secrets)
    near = hint(this_host().up_s, config.lang) if in_colab() else None
    lines += [
        f"{text(config.lang, 'integrations.colab.folder_for_checkpoints')}: {ready.folder}",
        *_services(ready, people),
        *_tensorboard(config),
        *([near] if near else []),
    ]
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
        raise UsageError(reader_text("integrations.colab.setup_takes_a_folder_name", folder=f"{folder!r:.80}"))
    return path


def _place(below: PurePosixPath, mount_point: Path, lang: Language) -> tuple[Path | None, list[str]]:
    """Return the folder on Drive, or None; and the line to print about it."""
    my_drive = mount_point / "MyDrive"
    why = None
    if not os.path.isdir(my_drive):  # unlike Path.is_dir, it says no to a mount that died (ENOTCONN)
        if not in_colab():
            return None, [text(lang, "integrations.colab.is_not_colab")]
        why = _mount(mount_point)
    if why is None:
        try:
            (my_drive / below).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"{error.strerror}: {my_drive / below}"
        else:
            return my_drive / below, [text(lang, "integrations.colab.drive_is_mounted")]
    return None, [
        text(lang, "integrations.colab.drive_is_not_mounted", why=redacted_line(why, _WHY_CHARS)),
        text(lang, "integrations.colab.checkpoints_will_vanish"),
        text(lang, "integrations.colab.mount_again"),
    ]


def _mount(mount_point: Path) -> str | None:
    """Ask Colab to mount Drive; return None or the reason why not. Needs the browser, and Colab's own account.

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


# ── What is printed ───────────────────────────────────────────────────────────────────────────────────────────────────


def _people(config: Config) -> set[str]:
    """The names of the notifiers that reach people. Raises ConfigError for settings that are half there."""
    notifiers = people_from(config)
    for notifier in notifiers:
        notifier.close()
    return {notifier.name for notifier in notifiers}


def _services(ready: Setup, people: set[str]) -> list[str]:
    """Return a line for each service that will be sent to, or that lacks a setting. A watchdog sends in our place."""
    config, lang = ready.config, ready.config.lang
    lines = []
    if ready.secrets:
        lines.append(f"{text(lang, 'integrations.colab.read_from_secrets')}: {', '.join(ready.secrets)}")
    if "slack" in people:
        bot = text(lang, "integrations.colab.slack_bot", channel=config.slack_channel)
        lines.append(text(lang, "integrations.colab.slack_webhook") if config.slack_bot_token is None else bot)
    if "kakao" in people:
        lines.append(text(lang, "integrations.colab.kakao_is_signed_in"))
    if config.watchdog_url is not None:
        return [*lines, text(lang, "integrations.colab.watchdog", url=config.watchdog_url)]
    absent = {"slack": "slack_is_not_set_up", "kakao": "kakao_is_not_signed_in"}
    lines += [text(lang, f"integrations.colab.{key}") for name, key in absent.items() if name not in people]
    if "slack" not in people and in_colab():
        lines.append(text(lang, "integrations.colab.how_to_set_slack_up"))
    return lines


def _tensorboard(config: Config) -> list[str]:
    """Return the two lines of TensorBoard's notebook magic, for people to run."""
    if not (in_colab() or in_notebook()) or "tensorboard" not in plan_trackers(config, environment()):
        return []
    return [
        text(config.lang, "integrations.colab.how_to_watch_curves"),
        "  %load_ext tensorboard",
        f'  %tensorboard --logdir "{config.runs_dir}"',
    ]
