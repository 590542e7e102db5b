"""Typer app: every command with its arguments and help. The work of each is in a module imported when it runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from notifybot import __version__
from notifybot.cli.options import AsJson, LanguageOption, Use, extra
from notifybot.errors import UsageError, reader_text, system_words
from notifybot.types import DeliveryState, Severity

slack_app = typer.Typer(no_args_is_help=True)


@slack_app.command()
def manifest(as_json: Annotated[bool, typer.Option("--json/--yaml")] = False) -> None:
    """Print the manifest of the Slack app, to be pasted at https://api.slack.com/apps."""
    from notifybot.cli import slack

    raise typer.Exit(slack.manifest(as_json=as_json))


@slack_app.command()
def setup(language: LanguageOption = None) -> None:
    """Set Slack up step by step, in five minutes: create the app, paste its token, choose a channel, save both.

    Everything is checked with Slack at once. The token is never shown, and nothing is posted.
    """
    from notifybot.cli import slack

    raise typer.Exit(slack.setup(language=language))


outbox_app = typer.Typer(no_args_is_help=False)

_MaybeIds = Annotated[list[int] | None, typer.Argument(metavar="[ID…]")]
_Ids = Annotated[list[int], typer.Argument(metavar="ID…")]


@outbox_app.callback(invoke_without_command=True)
def outbox(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what was put into the outbox and what became of it, and check that nothing is missing.

    For each notifier: put = sent + pending + dead + dropped. Exits with 1 when that does not hold.
    """
    if context.invoked_subcommand is None:
        from notifybot.cli import outbox

        raise typer.Exit(outbox.run(as_json=as_json))


@outbox_app.command("list")
def list_messages(
    state: DeliveryState = DeliveryState.DEAD,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the messages that were given up, with the reason and the ID for the other commands."""
    from notifybot.cli import outbox

    raise typer.Exit(outbox.show_list(state, limit=limit, as_json=as_json))


@outbox_app.command()
def show(message_id: Annotated[int, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one message: what it says, where it was to go, what happened to it."""
    from notifybot.cli import outbox

    raise typer.Exit(outbox.show_one(message_id, as_json=as_json))


@outbox_app.command()
def retry(
    ids: _MaybeIds = None,
    everything: Annotated[bool, typer.Option("--all")] = False,
    notifier: Annotated[str, typer.Option("--notifier", "-n")] = "",
    run: Annotated[str, typer.Option("--run")] = "",
    as_json: AsJson = False,
) -> None:
    """Send messages again that were given up, with a fresh number of tries.

    A message for a notifier that you have set up anew (a new token, another channel) goes to the new one.
    What cannot be sent now waits. Exits with 1 when one was not put back, or was refused again.
    """
    from notifybot.cli import outbox

    if everything or notifier or run or not ids:
        outbox.check_choice(ids or (), everything=everything)
        raise typer.Exit(outbox.retry_all(notifier=notifier, run=run, as_json=as_json))
    raise typer.Exit(outbox.retry(ids, as_json=as_json))


@outbox_app.command()
def drop(ids: _Ids, as_json: AsJson = False) -> None:
    """Give messages up for good, whether they are dead or wait. They stay counted, as dropped."""
    from notifybot.cli import outbox

    raise typer.Exit(outbox.drop(ids, as_json=as_json))


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
watchdog_app = typer.Typer(no_args_is_help=False)
token_app = typer.Typer(no_args_is_help=True)
kakao_app = typer.Typer(no_args_is_help=True)
app.add_typer(watchdog_app, name="watchdog")
app.add_typer(kakao_app, name="kakao")
app.add_typer(outbox_app, name="outbox")
app.add_typer(slack_app, name="slack")
watchdog_app.add_typer(token_app, name="token")

Database = Annotated[Path | None, typer.Option("--db")]


def _version(asked: bool) -> None:
    if asked:
        print(f"notifybot {__version__}")
        raise typer.Exit


@app.callback()
def root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Hear from your training runs in Slack and KakaoTalk, and be notified when one dies."""


@app.command()
def demo(
    real: Annotated[bool, typer.Option("--real")] = False,
    deadman: Annotated[bool, typer.Option("--deadman")] = False,
    language: LanguageOption = None,
) -> None:
    """Watch a small real training die, be reported lost, come back and finish.

    Needs no account: messages go to a sandbox on this machine. Takes about a minute.
    Exits with 0 only if all of it was observed.
    """
    from notifybot.config import load

    if real and deadman:
        raise UsageError(reader_text("cli.app.deadman_is_not_real"))
    with extra("demo"):
        from notifybot.demo import main
        from notifybot.demo.deadman import main as deadman_main

        shown_in = load({"lang": language}).lang
        raise typer.Exit(deadman_main(shown_in) if deadman else main(real=real, language=shown_in))


@app.command()
def send(
    text: str,
    title: Annotated[str, typer.Option("--title", "-t")] = "",
    severity: Annotated[Severity, typer.Option("--severity", "-s")] = Severity.INFO,
) -> None:
    """Send one alert through every configured notifier, and wait for each answer.

    Exits with 1 when a notifier did not take it. For shell scripts:
    python train.py || notifybot send "train.py failed" -s error
    """
    from notifybot.cli import send

    raise typer.Exit(send.send(text, title=title, severity=severity))


@app.command("test")
def samples(
    notifier: Annotated[str, typer.Option("--notifier", "-n")] = "",
    kind: Annotated[str, typer.Option("--kind", "-k")] = "",
    explain: Annotated[bool, typer.Option("--explain")] = False,
    project: str = "",
    run: str = "",
) -> None:
    """Send one sample message of each kind through every configured notifier, and say what happened.

    KakaoTalk allows few messages a day, and these eight count.
    Exits with 1 when one was refused.
    """
    from notifybot.cli import send

    raise typer.Exit(send.send_samples(notifier=notifier, kind=kind, explain=explain, project=project, name=run))


@app.command("run", context_settings={"allow_interspersed_args": False})
def run_command(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")],
    name: Annotated[str, typer.Option("--name")] = "",
    project: Annotated[str | None, typer.Option("--project")] = None,
    run_id: Annotated[str | None, typer.Option("--run-id")] = None,
    tail: Annotated[int | None, typer.Option("--tail", min=0, max=200)] = None,
    metrics: Annotated[Use, typer.Option("--metrics")] = Use.AUTO,
    metric: Annotated[list[str] | None, typer.Option("--metric", metavar="NAME=REGEX")] = None,
    position: Annotated[str, typer.Option("--position", metavar="REGEX")] = "",
    stall: Annotated[str, typer.Option("--stall", metavar="TIME")] = "",
    min_time: Annotated[str, typer.Option("--min-time", metavar="TIME")] = "",
    at_least: Annotated[str, typer.Option("--at-least", metavar="TIME")] = "",
    pty: Annotated[Use, typer.Option("--pty")] = Use.AUTO,
    forward: Annotated[Use, typer.Option("--forward")] = Use.AUTO,
) -> None:
    """Run any command and tell how it goes and how it ends, without changing its code.

    Its output, signals and exit code stay as they are. Epochs and metrics are read from what it prints.
    notifybot run -- python train.py --epochs 30
    """
    from notifybot.cli import run

    wishes = run.wishes_of(
        command,
        name=name,
        project=project,
        run_id=run_id,
        tail=tail,
        stall=stall,
        min_time=min_time,
        at_least=at_least,
    )
    raise typer.Exit(
        run.run_command(
            command,
            wishes,
            pty=pty,
            forward=forward,
            read_metrics=metrics is not Use.NEVER,
            position=position,
            metrics=metric or (),
        )
    )


@app.command("watch")
def watch_process(
    pid: Annotated[int, typer.Argument(metavar="PID", min=1)],
    name: Annotated[str, typer.Option("--name")] = "",
    project: Annotated[str | None, typer.Option("--project")] = None,
    stall: Annotated[str, typer.Option("--stall", metavar="TIME")] = "",
) -> None:
    """Follow a process that runs already, and tell when it is gone.

    How it ended is not known, and not said: only who has started it hears the exit code.
    Ctrl-C ends the watching, not the process.
    """
    from notifybot.cli import run

    raise typer.Exit(run.watch_process(pid, name=name, project=project, stall=stall))


@app.command("log")
def log_numbers(numbers: Annotated[list[str] | None, typer.Argument(metavar="NAME=NUMBER…")] = None) -> None:
    """Report an epoch, step or round of a shell script that `notifybot run` has started, with its numbers.

    notifybot log epoch=3 total=30 val_loss=0.2
    """
    from notifybot.command.log import log

    raise typer.Exit(log(numbers or ()))


@app.command()
def status(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    project: str = "",
    as_json: AsJson = False,
) -> None:
    """List the runs of this machine: how they stand, how far they are, when they were last heard."""
    from notifybot.cli import status

    raise typer.Exit(status.run(limit=limit, project=project, as_json=as_json))


@app.command()
def doctor(language: LanguageOption = None, as_json: AsJson = False) -> None:
    """Check accounts, services and this machine, and say what to do about what is wrong.

    Posts nothing. Exits with 1 when something is wrong, or nothing is set up.
    """
    from notifybot.cli import doctor

    raise typer.Exit(doctor.run(language=language, as_json=as_json))


@app.command()
def gallery(out: Path = Path("gallery")) -> None:
    """Write a page for each message, in both languages, as Slack, a phone and the others show it.

    Nothing is sent anywhere but to a sandbox on this machine.
    """
    from notifybot.cli import samples

    raise typer.Exit(samples.write_gallery(out))


@app.command()
def sandbox(port: Annotated[int, typer.Option(min=0, max=65535)] = 8766, language: LanguageOption = None) -> None:
    """Pretend to be Slack and KakaoTalk on this machine, and show what arrives as they would.

    Prints the variables that point a training at it. Ctrl-C ends it.
    """
    from notifybot.clock import SYSTEM
    from notifybot.config import load
    from notifybot.i18n import text
    from notifybot.sandbox.server import Sandbox

    shown_in = load({"lang": language}).lang
    served = Sandbox(port=port, language=shown_in)
    try:
        served.open()
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("cli.sandbox.port_cannot_be_used", port=port, why=why)) from None
    with served:
        try:  # a Ctrl-C may come as soon as it is spoken of
            print(f"{text(shown_in, 'cli.sandbox.pages')}  {served.url}/\n")
            print(f"{text(shown_in, 'cli.sandbox.variables')}\n")
            print("".join(f"export {name}={value}\n" for name, value in served.environment().items()))
            print(text(shown_in, "cli.sandbox.how_to_stop"), flush=True)
            SYSTEM.wait(threading.Event(), None)
        except KeyboardInterrupt:
            print()


@watchdog_app.callback(invoke_without_command=True)
def watchdog(
    context: typer.Context,
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8700,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy")] = False,
    db: Database = None,
) -> None:
    """Serve the watchdog, which reports runs that fall silent.

    It takes events and heartbeats of training processes, sends through the notifiers configured here,
    and shows the runs at http://HOST:PORT/ to who is logged in: by the link that it prints, or with a project's token.
    Give each project a token first: `notifybot watchdog token new PROJECT`.
    """
    if context.invoked_subcommand is None:
        from notifybot.cli import watchdog

        raise typer.Exit(watchdog.serve(host=host, port=port, db=db, behind_proxy=behind_proxy))


@watchdog_app.command("login")
def watchdog_login(url: str = "http://127.0.0.1:8700", db: Database = None) -> None:
    """Print a link that opens the watchdog's pages once, within an hour."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.login(url, db=db))


@token_app.command("new")
def token_new(project: str, label: str = "", db: Database = None) -> None:
    """Make a token and print it, once: only a hash of it is kept."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.new_token(project, label=label, db=db))


@token_app.command("list")
def token_list(db: Database = None, as_json: AsJson = False) -> None:
    """List the tokens by id, project and age. The tokens themselves cannot be shown again."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.list_tokens(db=db, as_json=as_json))


@token_app.command("revoke")
def token_revoke(token_id: Annotated[str, typer.Argument(metavar="ID")], db: Database = None) -> None:
    """Take a token away: who reports with it is refused from now on."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.revoke_token(token_id, db=db))


@kakao_app.command("login")
def kakao_login(
    mode: str = "",
    way: str = "auto",
    redirect_uri: str = "http://localhost:8765/callback",
    language: LanguageOption = None,
) -> None:
    """Sign in, once, led step by step. Each error of Kakao's on the way is explained.

    Nothing secret is printed. The login is kept in the setting `kakao_token_file`, and renews itself.
    """
    from notifybot.cli import kakao

    raise typer.Exit(kakao.login(mode=mode, way=way, redirect_uri=redirect_uri, language=language))


@kakao_app.command("status")
def kakao_status() -> None:
    """Show who is signed in, until when, where messages go, and how many are left today.

    Exits with 1 when nobody is.
    """
    from notifybot.cli import kakao

    raise typer.Exit(kakao.status())


@kakao_app.command("friends")
def kakao_friends(choose: Annotated[str, typer.Option(metavar="NUMBERS")] = "") -> None:
    """List the friends who can be written to, by number, and choose among them."""
    from notifybot.cli import kakao

    raise typer.Exit(kakao.friends(choose=choose))


@kakao_app.command("logout")
def kakao_logout(disconnect: Annotated[bool, typer.Option("--disconnect")] = False) -> None:
    """End the login and delete the token file."""
    from notifybot.cli import kakao

    raise typer.Exit(kakao.logout(disconnect=disconnect))
