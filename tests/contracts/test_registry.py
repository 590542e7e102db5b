"""Every row of the registry is a service that can be set up, built, examined, shown, and explained when it refuses.

And a new one is a folder and a row: the toy of the manual's how-to is added to a copy of the package in that way, and
nothing else is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from notifybot.config import Config
from notifybot.i18n import keys_of
from notifybot.services import SERVICES, Service, function_at

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def name_of(service: Service) -> str:
    return service.name


@pytest.mark.parametrize("service", SERVICES, ids=name_of)
def test_a_row_leads_to_all_that_a_service_needs(service: Service) -> None:
    assert callable(import_module(service.module).from_config)
    assert {*service.settings, *service.secrets} <= set(Config.model_fields)
    assert all(callable(function_at(each)) for each in (service.doctor, service.preview) if each)
    assert keys_of(f"{service.name}.error.")


@pytest.mark.parametrize("service", SERVICES, ids=name_of)
def test_every_service_keeps_the_notifiers_contract(service: Service) -> None:
    """Its refusals differ, so each has a contract test of its own, beside the others."""
    assert (HERE / f"test_notifier_{service.name}.py").is_file()


def _shown(language: str, at: int) -> str:
    """A block of the how-to for a notifier: its folder's module, its row, the words of its refusals."""
    page = (ROOT / "docs" / language / "adding.md").read_text("utf-8")
    mark = "<!-- not run: tests/contracts/test_registry.py adds it to a copy of the package -->\n```"
    return page.split(mark)[1 + at].partition("\n")[2].partition("```")[0]


_END_OF_ROWS = ")\n\n\ndef function_at"


def _with_a_toy(folder: Path) -> None:
    """A copy of the package with one more folder, one more row, and the words of its refusals."""
    shutil.copytree(ROOT / "notifybot", folder / "notifybot", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "templates", folder / "templates")
    toy = folder / "notifybot" / "notifiers" / "ntfy"
    toy.mkdir()
    (toy / "__init__.py").write_text(_shown("en", 0), "utf-8")
    registry = folder / "notifybot" / "services.py"
    text, row = registry.read_text("utf-8"), _shown("en", 1).strip()
    registry.write_text(text.replace(_END_OF_ROWS, f"    {row},\n{_END_OF_ROWS}", 1), "utf-8")
    for language in ("en", "ko"):
        with (folder / "templates" / language / "messages.toml").open("a", encoding="utf-8") as catalog:
            catalog.write(f"\n{_shown(language, 2)}")


_PROGRAM = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Receiver(BaseHTTPRequestHandler):
    took, status = [], 200
    def do_POST(self):
        self.took.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(self.status)
        self.end_headers()
    def log_message(self, *_): pass

server = HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/topic"

import os
os.environ["NOTIFYBOT_NTFY_URL"] = url
from typer.testing import CliRunner
from notifybot.cli import app
from notifybot.config import load

run = CliRunner().invoke
sent = run(app, ["send", "hello"])
Receiver.status = 403
refused = run(app, ["send", "hello"])
doctor = run(app, ["doctor", "--json"])
wrong = run(app, ["doctor"], env={"NOTIFYBOT_NTFY_URI": "x"})
from notifybot.cli.samples import gallery_samples
from notifybot.clock import SYSTEM
from notifybot.gallery.previews import previews
from notifybot.types import Language
one = next(each for each in gallery_samples(Language.EN, SYSTEM.now()) if each.label == "run_started")
print(json.dumps({
    "took": Receiver.took[:1], "places": [each.place for each in previews(one, Language.EN, SYSTEM)],
    "table": load({"notifiers": {"ntfy": {"every": "5 epochs"}}}).notifiers.of("ntfy") is not None,
    "sent": sent.output, "refused": refused.output, "exit": refused.exit_code,
    "doctor": doctor.output, "url": url, "shown": repr(load()), "wrong": f"{wrong.output}{wrong.exception}",
}))
"""


def test_a_new_service_is_one_folder_and_one_row(tmp_path: Path) -> None:
    """Its setting is read and kept secret, it is built, it tells, its refusal has words, and the doctor knows it."""
    _with_a_toy(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NOTIFYBOT_LANG": "en", "HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["took"][0].endswith("hello")
    assert "ntfy" in said["places"]
    assert said["table"]
    assert "ntfy: sent" in said["sent"]
    assert "ntfy refuses it (HTTP 403): check its address" in said["refused"]
    assert said["exit"] == 1
    assert "notifybot test -n ntfy" in said["doctor"]
    assert "NOTIFYBOT_NTFY_URL" in said["wrong"]
    assert said["url"] not in said["shown"] + said["doctor"] + said["refused"]
