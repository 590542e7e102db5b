"""A Windows laptop: the loop, checkpoints, trackers, notifiers and commands do without what POSIX alone has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from notifybot.sandbox.server import Sandbox

RIG = Path(__file__).parents[1] / "support" / "windows_like.py"
TRAINING = """
    import sys, torch
    from notifybot import Checkpoints, notify_epoch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoints = Checkpoints("saved", model=model, optimizer=optimizer, monitor="loss")
    with notify_epoch(range(int(sys.argv[1])), name='a:b?*|<>" con', checkpoints=checkpoints, progress=False) as epochs:
        for epoch in epochs:
            print("epoch", epoch)
            loss = model(torch.ones(3, 2)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
"""
_FORBIDDEN = re.compile(r'[<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def as_on_windows(workplace: Any, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(RIG), *arguments],
        cwd=workplace.folder, env=workplace.environment | environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_training_is_told_saved_and_resumed(workplace: Any) -> None:
    """Slack and KakaoTalk hear of it, TensorBoard has it, and every file has a name that Windows takes."""
    script = str(workplace.write(TRAINING))
    with Sandbox() as sandbox:
        settings = sandbox.environment() | {"NOTIFYBOT_TENSORBOARD": "on", "NOTIFYBOT_KAKAO_TOKEN_FILE": "token.json"}
        first = as_on_windows(workplace, script, "2", **settings)
        second = as_on_windows(workplace, script, "4", **settings)
        told = " ".join(message.text for message in sandbox.slack.messages)

    assert (first.returncode, first.stdout.split()) == (0, ["epoch", "0", "epoch", "1"]), first.stderr
    assert (second.returncode, second.stdout.split()) == (0, ["epoch", "2", "epoch", "3"]), second.stderr
    assert workplace.endings == ["finished", "finished"]
    assert workplace.events("alert_raised") == []
    assert "resumed from epoch 1" in told
    lines = [
        line for line in (first.stderr + second.stderr).splitlines() if "kept in memory" not in line
    ]  # a busy disk
    for word in ("failed", "Traceback", "training goes on"):
        assert word not in "\n".join(lines)
    names = [path.name for path in workplace.folder.rglob("*") if not path.name.startswith("events.out.tfevents")]
    assert [name for name in names if _FORBIDDEN.search(name)] == []


def test_a_failure_is_told_as_one(workplace: Any) -> None:
    script = workplace.write(
        """
        from notifybot import notify_epoch
        with notify_epoch(range(3), name="fails") as epochs:
            for epoch in epochs:
                raise ValueError("boom")
        """
    )

    done = as_on_windows(workplace, str(script))

    assert (done.returncode, workplace.endings) == (1, ["failed"])
    assert done.stderr.rstrip().endswith("ValueError: boom")


def test_the_commands_work(workplace: Any) -> None:
    """Each ends as it does elsewhere, with its own code and without a traceback. Two messages make a gallery."""
    expected = {
        "status": 0, "status --json": 0, "outbox list": 0, "doctor": 1, "test --explain": 2, "kakao status": 1,
        "gallery": 0, "slack manifest": 0, "--help": 0,
    }  # fmt: skip
    script = workplace.write(
        f"""
        import sys
        from notifybot.cli import main, samples
        samples.gallery_samples = lambda *given, all=samples.gallery_samples: all(*given)[:2]
        for line in {list(expected)}:
            sys.argv = ["notifybot", *line.split()]
            try:
                code = main()
            except SystemExit as end:
                code = end.code
            print("CODE", line, code or 0)
        """
    )

    done = as_on_windows(workplace, str(script))

    codes = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("CODE ")]
    assert codes == [f"{line} {code}" for line, code in expected.items()], done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_cannot_be_imported_says_why(workplace: Any) -> None:
    """Not "cannot import name": that looks like another package of our name."""
    script = workplace.write(
        """
        import os
        del os.fsync
        import notifybot
        notifybot._HOMES["Checkpoints"] = "broken"
        open("broken.py", "w").write("import os; os.fsync")
        import sys; sys.path.insert(0, ".")
        from notifybot import Checkpoints
        """
    )

    done = as_on_windows(workplace, str(script))

    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: notifybot.Checkpoints cannot be used with this Python or system")
    assert "has no attribute 'fsync'" in last
