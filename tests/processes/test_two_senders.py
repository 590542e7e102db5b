"""Two processes on one outbox: each message is sent once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from notifybot.store import runs
from notifybot.store.database import Store
from tests.support.store_events import RUN, alert

ROOT = Path(__file__).parents[2]
KEY = "slack:00000000"
SENDER = """
import sys
from pathlib import Path
from notifybot.errors import StoreError
from notifybot.types import Language
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from tests.support.sender import Receiver

folder = Path(sys.argv[1])
with Store.open(folder / "notifybot.db") as store:
    receiver = Receiver(folder / "received", 0.001)
    dispatcher = Dispatcher(Outbox(store), [receiver], Renderer(Language.EN))
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        try:
            if dispatcher.run_once(receiver.key).value == "idle" and dispatcher.wait_s(receiver.key) is None:
                break
        except StoreError:  # the other one is writing
            continue
"""


def test_each_message_is_sent_once(tmp_path: Path) -> None:
    """The claim is one transaction, so no two senders hold the same delivery."""
    with Store.open(tmp_path / "notifybot.db") as store:
        for number in range(150):
            run = replace(RUN, id=f"run-{number % 3}")  # while one tells of a run, the other has others to tell of
            runs.record(store, alert(str(number), run), [(KEY, 0)])  # type: ignore[list-item]

    senders = [
        subprocess.Popen(
            [sys.executable, "-c", SENDER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for each in senders:
        assert each.stdout is not None
        each.stdout.readline()
    for each in senders:
        each.communicate(b"go\n", timeout=60)

    received = Counter((tmp_path / "received").read_text().split())
    assert len(received) == 150
    assert set(received.values()) == {1}
    assert [each.returncode for each in senders] == [0, 0]
