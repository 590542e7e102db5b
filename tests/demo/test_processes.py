"""What the demo gives its processes, and what it never overwrites."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.demo.processes import fresh, training_environment, watchdog_environment
from notifybot.errors import UsageError
from notifybot.types import Language


def test_an_earlier_demo_gives_way_and_nothing_else_does(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    fresh(ours).folder.joinpath("old").touch()
    theirs.mkdir()
    (theirs / "thesis.md").write_text("three years")

    assert not (fresh(ours).folder / "old").exists()
    with pytest.raises(UsageError, match="no earlier demo's"):
        fresh(theirs)
    assert (theirs / "thesis.md").read_text() == "three years"


MINE = {
    "PATH": "/bin",
    "NOTIFYBOT_SLACK_BOT_TOKEN": "xoxb-canary-not-a-token",
    "NOTIFYBOT_SLACK_CHANNEL": "mine",
    "WANDB_API_KEY": "canary",
}


@pytest.mark.parametrize("sandbox", [None, {"NOTIFYBOT_SLACK_CHANNEL": "training"}], ids=["real", "sandbox"])
def test_the_watchdog_has_the_users_accounts_only_when_asked_to(tmp_path: Path, sandbox: dict[str, str] | None) -> None:
    given = watchdog_environment(MINE, fresh(tmp_path / "out"), Language.KO, sandbox)

    assert given["NOTIFYBOT_LANG"] == "ko"
    assert given["NOTIFYBOT_SLACK_CHANNEL"] == ("training" if sandbox else "mine")
    assert ("NOTIFYBOT_SLACK_BOT_TOKEN" in given) is (sandbox is None)


def test_no_account_enters_the_training(tmp_path: Path) -> None:
    given = training_environment(MINE, fresh(tmp_path / "out"), Language.EN, url="http://127.0.0.1:1", token="canary")

    assert given["PATH"] == "/bin"
    assert given["WANDB_MODE"] == "offline"
    assert [name for name in given if "SLACK" in name or "KAKAO" in name or "API_KEY" in name] == []
