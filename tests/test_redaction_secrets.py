"""Twenty-five secrets, every place where a run leaves anything, and none of them in any: not raw, encoded or cut.

One process with every notifier and tracker trains against services that fail in turn, everything logs at DEBUG, and
the user's own code spills each secret into names, parameters, log lines and a failing exception.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import string
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import requests

from notifybot.redaction import MARK
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.watchdog import tokens

pytestmark = pytest.mark.needs("tensorboard", "wandb")

CHILD = Path(__file__).parent / "support" / "secrets_child.py"
CANARIES = 25
_OTHERS = ("NOTIFYBOT_", "WANDB_", "RANK", "WORLD_SIZE", "LOCAL_RANK")


def canary(number: int) -> str:
    """A value that is known by its first eight characters, in any spelling that leaves letters and digits alone."""
    letters = random.Random(number).choices(string.ascii_letters + string.digits, k=18)
    return f"canary{number:02d}{''.join(letters)}"


def marks_of(secret: str) -> set[bytes]:
    """What gives a secret away: its first eight characters, as they are and within base64 at any alignment."""
    head = secret[:8].encode()
    shifted = (base64.b64encode(bytes(before) + head) for before in range(3))
    inside = (each[-(-8 * before // 6) : 8 * (before + len(head)) // 6] for before, each in enumerate(shifted))
    return {head, *inside}


@dataclass(frozen=True)
class Evidence:
    """What the run left behind, by the place it was found in."""

    marks: dict[bytes, str]
    places: dict[str, bytes]

    def hits(self, place: str) -> list[str]:
        """The secrets that a place gives away."""
        return sorted({name for mark, name in self.marks.items() if mark in self.places[place]})


PLACES = (
    "debug log", "standard output and error", "exceptions", "Slack", "KakaoTalk", "webhook and Apprise", "TensorBoard",
    "W&B", "JSON lines", "outbox", "dead letters", "status page", "API", "repr, vars and pickle", "arguments",
    "environment",
)  # fmt: skip


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Run it once, and gather every byte."""
    folder = tmp_path_factory.mktemp("secrets")
    with Sandbox() as sandbox, RunningWatchdog(folder / "watchdog.db") as (url, token):
        secrets, environment = arrange(sandbox, url, token, folder)
        break_services(sandbox)
        done = train(folder, environment, secrets)
        places = gather(folder, sandbox, done, environment, url, token)
        secrets += list(sandbox.kakao.access_tokens)
    marks = {mark: secret[:10] for secret in secrets for mark in marks_of(bare(secret))}
    return Evidence(marks, places)


def bare(secret: str) -> str:
    """Without the beginning that all secrets of a kind share."""
    return secret.removeprefix("xoxb-").removeprefix("whsec_").removeprefix("nb_").removeprefix("kakao-access-")


class RunningWatchdog:
    """A watchdog on a free port, with a token made for it."""

    def __init__(self, database: Path) -> None:
        with Store.open(database) as store:
            self.token = tokens.create(store, "vision")
        line = [sys.executable, "-u", "-m", "notifybot", "watchdog", "--port", "0", "--db", str(database)]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=database.parent, env=clean()
        )

    def __enter__(self) -> tuple[str, str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "http://127.0.0.1:" in line:
                return line[line.index("http://") :].split()[0].rstrip("/"), self.token
        raise AssertionError("the watchdog did not start")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)


def clean() -> dict[str, str]:
    """The environment without a setting of the machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}


def arrange(sandbox: Sandbox, url: str, token: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Give each secret to a setting, and to the service that expects it."""
    left = iter(range(CANARIES - 2))  # the watchdog's token and KakaoTalk's access token are made on the way
    bot, hook, key, client, refresh, path = (canary(next(left)) for _ in range(6))
    signing = base64.b64encode(f"{canary(next(left))}{canary(99)}".encode()).decode()
    sandbox.slack.tokens = {f"xoxb-{bot}"}
    sandbox.kakao.rest_api_key, sandbox.kakao.client_secret = key, client
    sandbox.kakao.refresh_tokens = {refresh: next(iter(sandbox.kakao.refresh_tokens.values()))}
    host = sandbox.url.removeprefix("http://")
    pairs = [(canary(one), canary(other)) for one, other in zip(left, left, strict=True)]
    settings = sandbox.environment() | {
        "NOTIFYBOT_SLACK_BOT_TOKEN": f"xoxb-{bot}",
        "NOTIFYBOT_SLACK_WEBHOOK_URL": f"{sandbox.url}/services/T0/B0/{hook}",
        "NOTIFYBOT_KAKAO_REST_API_KEY": key,
        "NOTIFYBOT_KAKAO_CLIENT_SECRET": client,
        "NOTIFYBOT_KAKAO_REFRESH_TOKEN": refresh,
        "NOTIFYBOT_WEBHOOK_URL": f"{sandbox.url}/{path}",
        "NOTIFYBOT_WEBHOOK_SECRET": f"whsec_{signing}",
        "NOTIFYBOT_APPRISE_URLS": " ".join(f"json://me:{password}@{host}/{hidden}" for password, hidden in pairs),
        "NOTIFYBOT_WATCHDOG_URL": url,
        "NOTIFYBOT_WATCHDOG_TOKEN": token,
        "NOTIFYBOT_STATE_DIR": str(folder / "state"),
        "NOTIFYBOT_RUNS_DIR": str(folder / "runs"),
        "NOTIFYBOT_TENSORBOARD": "on",
        "NOTIFYBOT_WANDB": "on",
        "NOTIFYBOT_LANG": "en",
        "WANDB_MODE": "offline",
        "HOME": str(folder),
    }
    single = [f"xoxb-{bot}", hook, key, client, refresh, path, signing, token]
    return [*single, *(each for pair in pairs for each in pair)], clean() | settings


def break_services(sandbox: Sandbox) -> None:
    """Each service fails in its own ways before it takes anything."""
    sandbox.faults += [
        Fault("status", path="/api/chat.postMessage", status=500),
        Fault("reset_after", path="/api/chat.update"),
        Fault("garbage", path="/kakao/api"),
        Fault("reset_before", path="/kakao/auth"),
    ]


def train(folder: Path, environment: dict[str, str], secrets: list[str]) -> subprocess.CompletedProcess[bytes]:
    file = folder / "canaries.json"
    file.write_text(json.dumps(secrets))
    done = subprocess.run(
        [sys.executable, str(CHILD), str(file)], cwd=folder, env=environment, capture_output=True, timeout=150
    )
    file.unlink()
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-3000:]
    return done


def gather(
    folder: Path,
    sandbox: Sandbox,
    done: subprocess.CompletedProcess[bytes],
    environment: dict[str, str],
    url: str,
    token: str,
) -> dict[str, bytes]:
    """Every place and what is in it. Where a secret has to be (headers, the sign-in at Kakao) is no place."""
    bodies = {"Slack": "/api/", "KakaoTalk": "/kakao/api"}
    sent = {
        name: b"\n".join(each.body for each in sandbox.requests if each.path.startswith(path))
        for name, path in bodies.items()
    }
    known = ("/api/", "/services/", "/kakao/")
    return sent | {
        "debug log": (folder / "debug.log").read_bytes(),
        "standard output and error": done.stdout + done.stderr,
        "exceptions": (folder / "exceptions.txt").read_bytes(),
        "webhook and Apprise": b"\n".join(each.body for each in sandbox.requests if not each.path.startswith(known)),
        "TensorBoard": contents(folder / "runs", "*tfevents*"),
        "W&B": contents(folder / "runs", "**/wandb/**/*") or contents(folder, "wandb/**/*"),
        "JSON lines": contents(folder / "runs", "*.jsonl"),
        "outbox": contents(folder / "state", "notifybot.db*"),
        "dead letters": command(["outbox", "list", "--json"], environment) + command(["outbox", "list"], environment),
        "status page": pages(url, token),
        "API": api(url, token),
        "repr, vars and pickle": (folder / "objects.bin").read_bytes(),
        "arguments": (folder / "processes.txt").read_bytes(),
        "environment": (folder / "environment.txt").read_bytes(),
    }


def contents(folder: Path, pattern: str) -> bytes:
    return b"\n".join(each.read_bytes() for each in sorted(folder.rglob(pattern)) if each.is_file())


def command(arguments: list[str], environment: dict[str, str]) -> bytes:
    line = [sys.executable, "-m", "notifybot", *arguments]
    done = subprocess.run(line, env=environment | {"COLUMNS": "500"}, capture_output=True, timeout=60)
    return done.stdout + done.stderr


def pages(url: str, token: str) -> bytes:
    """The list and each run's page, as a browser gets them that has logged in."""
    with requests.Session() as browser:
        browser.post(f"{url}/login", data={"token": token}, timeout=10)
        overview = browser.get(f"{url}/", timeout=10).content
        paths = sorted(set(re.findall(rb'href="(/runs/[^"]+)"', overview)))
        return b"\n".join([overview, *(browser.get(url + path.decode(), timeout=10).content for path in paths)])


def api(url: str, token: str) -> bytes:
    """What a program may read with the project's token."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        overview = session.get(f"{url}/api/v1/runs", timeout=10)
        ids = [each["id"] for each in overview.json()["runs"]]
        return b"\n".join(
            [overview.content, *(session.get(f"{url}/api/v1/runs/{each}", timeout=10).content for each in ids)]
        )


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_found_in(place: str, evidence: Evidence) -> None:
    assert evidence.hits(place) == []


def test_twenty_five_secrets_were_looked_for(evidence: Evidence) -> None:
    assert len(set(evidence.marks.values())) >= CANARIES


def test_each_service_failed_in_its_own_way(evidence: Evidence) -> None:
    """The exceptions that were searched are those of every notifier: refused, unknown, never answered."""
    for text in (
        b"Slack: no connection (",
        b"'method': 'webhook'",
        b"'method': 'chat.postMessage'",
        b"Kakao",
        b"the webhook answered",
    ):
        assert text in evidence.places["exceptions"]
    assert b"wandb-core" in evidence.places["arguments"], "the processes that others start for us were looked at too"


@pytest.mark.parametrize("place", [each for each in PLACES if each not in ("environment", "arguments", "exceptions")])
def test_the_places_were_reached(place: str, evidence: Evidence) -> None:
    """Each place holds what the run said, with marks where the secrets were: nothing was missed by being empty."""
    found = evidence.places[place]

    assert found
    if place not in ("TensorBoard", "repr, vars and pickle"):
        assert MARK.encode() in unquote_to_bytes(found)
