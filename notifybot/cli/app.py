"""Every command with its arguments and help. What a command does is in a module of its own, imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from notifybot import __version__
from notifybot.model import Language, Severity

app = typer.Typer(
    help="Hear from your training runs in Slack and KakaoTalk, and be told when one dies.",
    epilog="Settings come from NOTIFYBOT_* variables or notifybot.toml; the README lists them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
watchdog_app = typer.Typer(
    help="Serve the watchdog, which tells you about runs that fall silent.", no_args_is_help=False
)
token_app = typer.Typer(help="Give and take the tokens with which training processes report.", no_args_is_help=True)
app.add_typer(watchdog_app, name="watchdog")
watchdog_app.add_typer(token_app, name="token")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Tongue = Annotated[Language | None, typer.Option("--language", "-l", help="The default is your setting `lang`.")]
Database = Annotated[
    Path | None, typer.Option("--db", help="The watchdog's database file (default: watchdog.db in the state folder).")
]


def _version(asked: bool) -> None:
    if asked:
        print(f"notifybot {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Hear from your training runs in Slack and KakaoTalk, and be told when one dies."""


@app.command()
def demo(
    real: Annotated[bool, typer.Option("--real", help="Tell your own Slack and KakaoTalk, not the sandbox.")] = False,
    language: Tongue = None,
) -> None:
    """Watch a small real training die, be reported lost, come back and finish.

    Needs no account: messages go to a sandbox on this machine. Takes about a minute.
    Exits with 0 only if all of the story was observed.
    """
    from notifybot.cli import demo

    raise typer.Exit(demo.run(real=real, language=language))


@app.command()
def send(
    text: Annotated[str, typer.Argument(help="What to say.")],
    title: Annotated[str, typer.Option("--title", "-t", help="One line above it (default: TEXT itself).")] = "",
    severity: Annotated[
        Severity, typer.Option("--severity", "-s", help="How much a person should care.")
    ] = Severity.INFO,
) -> None:
    """Send one alert through every configured notifier, and wait for each answer.

    Exits with 1 when a notifier did not take it. For shell scripts:
    python train.py || notifybot send "train.py failed" -s error
    """
    from notifybot.cli import send

    raise typer.Exit(send.run(text, title=title, severity=severity))


@app.command("test")
def samples(
    notifier: Annotated[str, typer.Option("--notifier", "-n", help="Only this one, such as slack.")] = "",
    kind: Annotated[str, typer.Option("--kind", "-k", help="Only this kind of message, such as run_lost.")] = "",
) -> None:
    """Send one sample message of each kind through every configured notifier, and say what happened.

    KakaoTalk allows few messages a day, and these eight count.
    Exits with 1 when one was refused.
    """
    from notifybot.cli import test

    raise typer.Exit(test.run(notifier=notifier, kind=kind))


@app.command()
def status(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many runs, newest first.")] = 20,
    project: Annotated[str, typer.Option(help="Only runs of this project.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the runs of this machine: how they stand, how far they are, when they were last heard."""
    from notifybot.cli import status

    raise typer.Exit(status.run(limit=limit, project=project, as_json=as_json))


@app.command()
def outbox(
    dead: Annotated[
        bool, typer.Option("--dead", help="List the messages that were given up, with the reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was put into the outbox and what became of it, and check that nothing is missing.

    For each notifier: put = sent + pending + dead + dropped. Exits with 1 when that does not hold.
    """
    from notifybot.cli import outbox

    raise typer.Exit(outbox.run(dead=dead, as_json=as_json))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    language: Tongue = None,
) -> None:
    """Pretend to be Slack and KakaoTalk on this machine, and show what arrives as they would.

    Prints the variables that point a training at it. Ctrl-C ends it.
    """
    from notifybot.cli import sandbox

    raise typer.Exit(sandbox.run(port=port, language=language))


@watchdog_app.callback(invoke_without_command=True)
def watchdog(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines report.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8700,
    db: Database = None,
) -> None:
    """Serve the watchdog, which tells you about runs that fall silent.

    It takes events and heartbeats of training processes, tells through the notifiers configured here,
    and shows the runs at http://HOST:PORT/. Give each project a token first: `notifybot watchdog token new PROJECT`.
    """
    if context.invoked_subcommand is None:
        from notifybot.cli import watchdog

        raise typer.Exit(watchdog.serve(host=host, port=port, db=db))


@token_app.command("new")
def token_new(
    project: Annotated[str, typer.Argument(help="The project whose runs may report with it.")],
    label: Annotated[str, typer.Option(help="For whom it is, for your own memory.")] = "",
    db: Database = None,
) -> None:
    """Make a token and print it, once: only a hash of it is kept."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.new_token(project, label=label, db=db))


@token_app.command("list")
def token_list(db: Database = None, as_json: AsJson = False) -> None:
    """List the tokens by id, project and age. The tokens themselves cannot be shown again."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.list_tokens(db=db, as_json=as_json))


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")], db: Database = None
) -> None:
    """Take a token away: who reports with it is refused from now on."""
    from notifybot.cli import watchdog

    raise typer.Exit(watchdog.revoke_token(token_id, db=db))
