"""The command line: what it prints, with which exit code, and never with a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from rich.cells import cell_len
from sqlalchemy import update
from typer.testing import CliRunner

from notifybot import __version__
from notifybot.cli import app, main
from notifybot.cli.help import dress, places
from notifybot.cli.samples import endings, progress_at, samples
from notifybot.config import load
from notifybot.events import KINDS, EpochFinished, RunEnded, RunStarted, from_json, to_json
from notifybot.i18n import _catalog, text
from notifybot.policy import Priority, Unwanted
from notifybot.rendering.labels import status_word
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.runs import record
from notifybot.store.schema import tallies
from notifybot.types import DeliveryState, Language, Metric, Status, uuid7

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
KEY = "slack:00000000"
runner = CliRunner()


def command(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console script's entry point as a process of its own."""
    line = [sys.executable, "-m", "notifybot", *args]
    env = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(line, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def store() -> Iterator[Store]:
    """The database where the commands look for it."""
    with Store.open(load().state_dir / "notifybot.db") as opened:
        yield opened


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by webhook in the sandbox, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", opened.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"])
        yield opened


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_version_is_the_packages() -> None:
    done = command("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"notifybot {__version__}\n", "")


def test_the_version_reads_no_texts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell's prompt may ask for it: the catalog is for those who read more."""
    read: dict[str, object] = {}
    monkeypatch.setattr("notifybot.i18n._CATALOGS", read)
    monkeypatch.setattr(sys, "argv", ["notifybot", "--version"])

    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().out == f"notifybot {__version__}\n"
    assert read == {}


def test_every_command_explains_itself() -> None:
    """Each command of the map answers --help with more than its usage line."""
    overview = runner.invoke(app, ["--help"]).output

    for name in ("demo", "watchdog", "status", "send", "test", "outbox", "sandbox"):
        assert f" {name} " in overview
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert "Usage: " in shown.output
        assert len(shown.output.splitlines()) > 8
    for name in ("new", "list", "revoke"):
        assert runner.invoke(app, ["watchdog", "token", name, "--help"]).exit_code == 0


def test_every_command_explains_itself_in_korean() -> None:
    """No command without its text, none in English, and no text for what is gone."""
    command = typer.main.get_command(app)
    dress(command, "ko")
    dressed = dict(places(command))
    beside = ("cli.help.panel.", "cli.help.epilog", "cli.help.show_help")
    texts = {key.removeprefix("cli.help") for key in _catalog("ko") if key.startswith("cli.help") and key not in beside}

    assert {key for key in texts if not key.startswith(".panel.")} == set(dressed)
    assert [key for key, each in dressed.items() if not re.search("[가-힣]", each.help)] == []


def in_korean(monkeypatch: pytest.MonkeyPatch, *args: str) -> int | str | None:
    """Run a command for a reader of Korean in this process; return its exit code."""
    monkeypatch.setenv("NOTIFYBOT_LANG", "ko")
    monkeypatch.setattr(sys, "argv", ["notifybot", *args])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("send", "text 값이 필요합니다"),
        ("sned x", "'sned' 명령이 없습니다. 비슷한 명령: 'send'"),
        ("zzz", "'zzz' 명령이 없습니다"),
        ("send --titl x", "--titl 옵션이 없습니다"),
        ("status --limit many", "--limit 값이 올바르지 않습니다"),
        ("outbox list --state x", "--state 값이 올바르지 않습니다"),
        ("send x y", "값이 있습니다: y"),
        ("watchdog token revoke", "ID 값이 필요합니다"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_told_in_korean(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the way to the help, and the exit code that it has in English."""
    code = in_korean(monkeypatch, *line.split())

    what, how = capsys.readouterr().err.splitlines()
    assert code == 2
    assert told in what
    assert re.fullmatch(r"notifybot: 사용법 보기: notifybot .*--help", how)


def test_help_in_korean_loses_no_letter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a line is full, the word goes on in the next one."""
    monkeypatch.setenv("COLUMNS", "80")

    codes = [in_korean(monkeypatch, *line.split()) for line in ("--help", "kakao login --help", "kakao")]

    shown = capsys.readouterr().out
    assert codes == [0, 0, 2]
    assert "…" not in shown
    assert "도움말을 보여 주고 끝냅니다." in shown


def test_the_language_that_is_asked_for_is_the_errors_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["notifybot", "sandbox", "--port", port, "--language", "ko"])

        with pytest.raises(SystemExit):
            main()

    assert f"포트 {port}을(를) 쓸 수 없습니다(다른 프로그램이 이미 사용하고 있습니다)" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_on_stderr() -> None:
    """Our own errors end with code 2, without a traceback, whatever the command."""
    for name in (["status"], ["outbox"], ["send", "x"], ["test"], ["sandbox"], ["watchdog", "token", "list"]):
        done = command(*name, NOTIFYBOT_LANG="klingon")

        assert done.returncode == 2
        assert done.stderr == "notifybot: NOTIFYBOT_LANG in the environment must be ko or en\n"
        assert done.stdout == ""


def test_a_wrong_call_is_told_without_a_traceback() -> None:
    done = command("bogus")

    assert done.returncode == 2
    assert "No such command 'bogus'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    """A database that cannot be opened names the path and the remedy."""
    (tmp_path / "watchdog.db").mkdir()

    done = command("watchdog", "token", "list", "--db", str(tmp_path / "watchdog.db"))

    assert done.returncode == 2
    assert done.stderr.startswith("notifybot: no database can be opened at ")
    assert len(done.stderr.splitlines()) == 1


def test_the_version_needs_nothing_heavy() -> None:
    """Commands import what they need when they run, so that the shell feels quick."""
    code = "import sys, notifybot.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"sqlalchemy", "pydantic", "requests", "slack_sdk", "jinja2", "fastapi", "torch", "wandb"}
    assert heavy & set(done.stdout.split()) == set()


def test_a_missing_extra_is_named() -> None:
    """A command whose packages are not installed says which extra brings them."""
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "sys.argv = ['notifybot', 'watchdog', '--port', '0']\n"
        "from notifybot.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr == (
        "notifybot: this command needs the package fastapi; in notifybot's folder run "
        'pip install -c constraints.txt ".[watchdog]"\n'
    )


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def live(store: Store, name: str, *, status: Status | None = None, done: int = 12) -> str:
    """Record a run that has come `done` epochs far, and ended if `status` says so."""
    started, epoch, *_ = samples(Language.EN, store.clock.now(), project="vision")
    assert isinstance(started, RunStarted)
    assert isinstance(epoch, EpochFinished)
    run = replace(started.run, name=name)
    record(store, replace(started, run=run))
    record(store, replace(epoch, run=run, progress=progress_at(done)))
    if status is not None:
        record(store, RunEnded(id=uuid7(), run=run, at=store.clock.now(), status=status, progress=progress_at(done)))
    return run.id


def test_status_without_runs_says_so() -> None:
    """Asking for the status makes no database."""
    assert runner.invoke(app, ["status"]).output == "No run has been recorded on this machine yet.\n"
    assert json.loads(runner.invoke(app, ["status", "--json"]).output) == []
    assert not (load().state_dir / "notifybot.db").exists()


def test_status_lists_the_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run with its word, how far it is, its metrics, and when it should be done."""
    monkeypatch.setenv("COLUMNS", "200")
    live(store, "resnet-a")
    live(store, "resnet-b", status=Status.FAILED, done=7)

    result = runner.invoke(app, ["status"])

    assert result.exit_code == 0
    (first,) = [line for line in result.output.splitlines() if "resnet-a" in line]
    (second,) = [line for line in result.output.splitlines() if "resnet-b" in line]
    assert re.search(r"running .* 12/30 .* val_loss .* ago .* 28 min", first)
    assert re.search(r"failed .* 7/30 ", second)


NAMES = ("resnet-a", "학습 실험 하나", "a" * 18, "efficientnet-b7-noisy-student-fold-3-of-5")


def without_frames(shown: str) -> str:
    """What stands there, whatever lines it was broken into."""
    return "".join(re.sub("[│┃┏┓┡┩└┘━─╇┳┴]", " ", shown).split())


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_a_listing_is_whole_in_a_terminal_of_any_width(
    store: Store, monkeypatch: pytest.MonkeyPatch, columns: int, language: Language
) -> None:
    """A table where it fits; else what it would say, in lines of their own. No word is cut, and none is squeezed."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    statuses = (None, Status.INTERRUPTED, Status.FAILED, Status.STOPPED)
    for name, status in zip(NAMES, statuses, strict=True):
        live(store, name, status=status)
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "the webhook was deleted by somebody who did not say so")

    what_to_do = text(language, "cli.outbox.what_to_do")
    runs, *others = (runner.invoke(app, line).output for line in (["status"], ["outbox"], ["outbox", "list"]))

    for shown in (runs, *others):
        assert "…" not in shown
        lines = [each for each in shown.splitlines() if each != what_to_do]  # its commands are to be copied whole
        assert max(map(cell_len, lines)) <= columns
    for name in NAMES:
        assert name in runs if cell_len(name) <= columns else without_frames(name) in without_frames(runs)
    for status in statuses:
        word = text(language, f"cli.run_status.{status or 'running'}")
        assert without_frames(word) in without_frames(runs)
        assert status is None or word in runs
    assert runs.count("val_loss 0.") == len(NAMES) + 1
    assert (KEY in others[0]) == (columns >= cell_len(KEY))
    assert without_frames("webhook was deleted by somebody who did not say so") in without_frames(others[1])


def test_status_as_json_is_for_programs(store: Store) -> None:
    """NaN is spelled as in events, and moments are ISO 8601."""
    run_id = live(store, "resnet")
    sick = replace(progress_at(13), metrics={"loss": Metric(value=float("nan"))})
    epoch = samples(Language.EN, store.clock.now())[1]
    record(
        store,
        EpochFinished(
            id=uuid7(), run=replace(epoch.run, id=run_id, project="vision"), at=store.clock.now(), progress=sick
        ),
    )

    (row,) = json.loads(runner.invoke(app, ["status", "--json", "--project", "vision"]).output)

    assert (row["id"], row["name"], row["status"]) == (run_id, "resnet", "running")
    assert (row["done"], row["total"], row["metrics"]) == (13, 30, {"loss": "NaN"})
    assert datetime.fromisoformat(row["last_heard_at"]).tzinfo is not None
    assert json.loads(runner.invoke(app, ["status", "--json", "--project", "other"]).output) == []


# ── outbox ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_two(store: Store) -> Outbox:
    for event in samples(Language.EN, store.clock.now())[:2]:
        record(store, event, [(KEY, Priority.NORMAL)])
    return Outbox(store)


def test_outbox_shows_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put = sent + pending + dead + dropped, per notifier."""
    monkeypatch.setenv("COLUMNS", "200")
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_sent(delivery)

    table = runner.invoke(app, ["outbox"])
    plain = json.loads(runner.invoke(app, ["outbox", "--json"]).output)

    assert table.exit_code == 0
    assert re.search(rf"{KEY} +│ +2 │ +1 │ +1 │ +0 │ +0 │ nothing missing", table.output)
    assert plain["notifiers"][KEY] == {
        "put": 2, "sent": 1, "pending": 1, "dead": 0, "dropped": 0, "conserved": True,
    }  # fmt: skip


def test_outbox_fails_when_something_is_missing(store: Store) -> None:
    """A ledger that does not add up is an error that scripts can see."""
    put_two(store)
    with store.transaction() as connection:
        connection.execute(update(tallies).values(put=3))

    result = runner.invoke(app, ["outbox"])

    assert result.exit_code == 1
    assert "DOES NOT ADD UP" in result.output


def test_outbox_lists_dead_letters_with_their_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "the webhook was deleted")

    table = runner.invoke(app, ["outbox", "list"])
    plain = json.loads(runner.invoke(app, ["outbox", "list", "--json"]).output)

    assert table.exit_code == 0, "a dead letter is counted, so nothing is missing"
    assert "the webhook was deleted" in table.output
    assert [each["error"] for each in plain] == ["the webhook was deleted"]


def test_an_empty_outbox_says_so_in_korean_too() -> None:
    result = runner.invoke(app, ["outbox"], env={"NOTIFYBOT_LANG": "ko"})

    assert result.output == text("ko", "cli.outbox.empty") + "\n"
    assert runner.invoke(app, ["outbox", "list"]).output == "No message is dead.\n"


# ── send and test ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_send_tells_everyone_and_says_what_happened(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["send", "disk is 95 % full", "--title", "Lab server", "--severity", "warning"])

    assert result.exit_code == 0, result.output
    assert "slack" in result.output
    (request,) = sandbox.requests
    assert "Lab server" in request.body.decode()
    assert "disk is 95 % full" in request.body.decode()


def test_send_fails_when_one_refuses(sandbox: Sandbox) -> None:
    """The exit code is 1, the reason is shown, and the webhook's URL is not."""
    sandbox.faults.append(Fault("status", status=404, body=b"no_service"))

    result = runner.invoke(app, ["send", "hello"])

    assert result.exit_code == 1
    assert "/services/" not in result.output
    assert result.output.startswith("slack")


def test_test_sends_one_message_of_each_kind(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["test", "--notifier", "slack"])

    assert result.exit_code == 0, result.output
    assert len(sandbox.requests) == len(KINDS)
    for kind in KINDS:
        assert re.search(rf"slack +│ {kind} +│ sent", result.output)


def test_test_gives_up_on_a_notifier_that_is_not_set_up(sandbox: Sandbox) -> None:
    """A deleted webhook is asked once; the other kinds are marked as not tried."""
    sandbox.faults.append(Fault("status", status=404, body=b"no_service"))

    result = runner.invoke(app, ["test", "--notifier", "slack"])

    assert result.exit_code == 1
    assert len(sandbox.requests) == 1
    assert result.output.count("not tried") == len(KINDS) - 1


def test_test_spares_a_notifier_what_it_never_tells(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """KakaoTalk's few messages a day are not spent on checkpoints, in a run or here."""
    for name, value in sandbox.environment().items():
        if "KAKAO" in name:
            monkeypatch.setenv(name, value)

    result = runner.invoke(app, ["test", "-n", "kakao", "-k", "checkpoint_saved"])

    assert result.exit_code == 0, result.output
    assert sandbox.kakao.messages == []


def test_test_can_be_narrowed_to_a_kind(sandbox: Sandbox) -> None:
    assert runner.invoke(app, ["test", "-n", "slack", "-k", "run_lost"]).exit_code == 0
    assert len(sandbox.requests) == 1


def test_test_knows_its_words() -> None:
    """An unknown kind or notifier is answered with what there is."""
    kind = command("test", "--kind", "nonsense")
    notifier = command("test", "--notifier", "pigeon")

    assert kind.returncode == notifier.returncode == 2
    assert kind.stderr.startswith("notifybot: there is no message kind 'nonsense'; the kinds are: run_started,")
    assert (
        notifier.stderr
        == "notifybot: no notifier named 'pigeon' is configured: `notifybot doctor` says what is missing\n"
    )


@pytest.mark.parametrize("language", Language)
def test_samples_cover_every_kind(language: Language) -> None:
    """One of each, about one run, in the order of time, and each survives its JSON."""
    events = samples(language, NOW)

    assert sorted(each.kind for each in events) == sorted(KINDS)
    assert len({each.run.id for each in events}) == 1
    assert [each.at for each in events] == sorted(each.at for each in events)
    assert all(each.at <= NOW for each in events)
    assert [from_json(to_json(each)) for each in events] == events
    assert [each.status.value for each in endings(language, NOW)] == ["finished", "stopped", "interrupted", "failed"]


# ── sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sandbox_serves_until_interrupted() -> None:
    """It prints its page and the variables, and Ctrl-C ends it with code 0."""
    line = [sys.executable, "-u", "-m", "notifybot", "sandbox", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = []
        for shown in process.stdout:
            printed.append(shown)
            if "Ctrl-C" in shown:
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)

    assert (process.returncode, error) == (0, "")
    assert re.search(r"http://127\.0\.0\.1:\d+/", "".join(printed))
    assert "export NOTIFYBOT_SLACK_WEBHOOK_URL=http://127.0.0.1:" in "".join(printed)


def test_a_taken_port_is_told() -> None:
    with Sandbox() as other:
        port = other.url.rpartition(":")[2]

        done = command("sandbox", "--port", port)

    assert done.returncode == 2
    assert done.stderr.startswith(f"notifybot: port {port} cannot be used (")


# ── watchdog ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_are_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    """The token is the only thing on stdout, so that a script can take it; the list never shows it."""
    db = ["--db", str(tmp_path / "watchdog.db")]

    made = command("watchdog", "token", "new", "vision", "--label", "lab server", *db)
    token = made.stdout.strip()
    (listed,) = json.loads(command("watchdog", "token", "list", "--json", *db).stdout)
    table = command("watchdog", "token", "list", *db).stdout

    assert made.returncode == 0
    assert len(token) >= 22, "at least 128 bits"
    assert (listed["project"], listed["label"], listed["revoked_at"]) == ("vision", "lab server", None)
    assert token not in table + str(listed)

    assert command("watchdog", "token", "revoke", listed["id"], *db).returncode == 0
    assert json.loads(command("watchdog", "token", "list", "--json", *db).stdout)[0]["revoked_at"] is not None
    unknown = command("watchdog", "token", "revoke", "nobody", *db)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("notifybot: there is no token nobody")


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_languages_say_everything() -> None:
    """No text is empty or left in English in the Korean set, and every status has one."""
    english, korean = _catalog("en"), _catalog("ko")
    ours = [key for key in english if key.startswith("cli.")]

    assert [key for key in ours if not english[key]] == []
    assert [key for key in ours if not re.search("[가-힣]", korean[key])] == []
    assert {key.rpartition(".")[2] for key in ours if key.startswith("cli.run_status.")} == set(Status)
    assert {key.rpartition(".")[2] for key in ours if key.startswith("cli.outbox.state.")} == set(DeliveryState)
    unwanted = {key.rpartition(".")[2] for key in ours if key.startswith("cli.explain.unwanted.")}
    assert unwanted == {each.name.lower() for each in Unwanted} - {"route"}


@pytest.mark.parametrize("language", Language)
def test_a_status_has_the_same_word_as_in_messages(language: Language) -> None:
    """One word per thing: the table of runs and the messages about them agree."""
    for event in endings(language, NOW):
        assert text(language, f"cli.run_status.{event.status}") == status_word(event, language)
    started, *_, stalled, lost, _, _ = samples(language, NOW)
    assert text(language, "cli.run_status.running") == status_word(started, language)
    assert text(language, "cli.status.stalled") == status_word(stalled, language)
    assert text(language, "cli.run_status.lost") == status_word(lost, language)


def test_the_last_word_from_a_run_counts(store: Store) -> None:
    """ "Last heard" is the newest of start, event and heartbeat."""
    from notifybot.cli.status import heard_at
    from notifybot.store.runs import recent

    live(store, "resnet")
    (row,) = recent(store)

    later = row.started_at + timedelta(days=1)
    assert heard_at(replace(row, alive_at=later)) == later
    assert heard_at(replace(row, alive_at=None, last_event_at=None)) == row.started_at


# ── Terminals that are not UTF-8 ─────────────────────────────────────────────────────────────────────────────────────

COMMANDS = (
    ["--help"],
    ["status"],
    ["status", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["outbox"],
    ["outbox", "--json"],
    ["outbox", "list"],
    ["outbox", "list", "--json"],
    ["test", "--explain"],
    ["send", "끝 ✅", "-s", "success"],
    ["kakao", "status"],
    ["kakao", "friends"],
    ["slack", "manifest"],
    ["watchdog", "token", "list"],
    ["watchdog", "token", "list", "--json"],
    ["test", "--kind", "없는 종류"],
)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("encoding", ["cp949", "euc-kr", "latin-1", "ascii", "utf-8"])
def test_every_command_speaks_to_every_terminal(
    store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, encoding: str, language: str
) -> None:
    """A Korean Windows console, a pipe of another locale: signs they lack are spelled out, JSON keeps every word."""
    name = "실험 🚀"
    live(store, name, status=Status.FINISHED)
    monkeypatch.setenv("NOTIFYBOT_LANG", language)

    for line in COMMANDS:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["notifybot", *line])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as left:
                main()
            out.flush()
            err.flush()
        said = [each.buffer.getvalue().decode(encoding) for each in (out, err)]

        assert left.value.code in (0, 1, 2, None), (line, said)
        assert "Traceback" not in said[1], (line, said)
        if "--json" in line:
            json.loads(said[0])
        if line == ["status", "--json"]:
            assert json.loads(said[0])[0]["name"] == name

    assert len(sandbox.slack.messages) == 1
