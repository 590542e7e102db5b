"""`notifybot outbox` and what it can do with single messages: arguments and help."""

from __future__ import annotations

from typing import Annotated

import typer

from notifybot.cli.options import AsJson
from notifybot.store.states import State

outbox_app = typer.Typer(no_args_is_help=False)

_MaybeIds = Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="As `outbox list` shows them.")]
_Ids = Annotated[list[int], typer.Argument(metavar="ID…", help="As `outbox list` shows them.")]


@outbox_app.callback(invoke_without_command=True)
def outbox(
    context: typer.Context,
    dead: Annotated[
        bool, typer.Option("--dead", help="List the messages that were given up, with the reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was put into the outbox and what became of it, and check that nothing is missing.

    For each notifier: put = sent + pending + dead + dropped. Exits with 1 when that does not hold.
    """
    if context.invoked_subcommand is None:
        from notifybot.cli import outbox

        raise typer.Exit(outbox.run(dead=dead, as_json=as_json))


@outbox_app.command("list")
def list_letters(
    state: Annotated[State, typer.Option(help="Which ones.")] = State.DEAD,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the messages that were given up, with the reason and the ID for the other commands."""
    from notifybot.cli import letters

    raise typer.Exit(letters.show_list(state, limit=limit, as_json=as_json))


@outbox_app.command()
def show(
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="As `outbox list` shows it.")], as_json: AsJson = False
) -> None:
    """Show one message: what it says, where it was to go, what happened to it."""
    from notifybot.cli import letters

    raise typer.Exit(letters.show_one(letter_id, as_json=as_json))


@outbox_app.command()
def retry(
    ids: _MaybeIds = None,
    everything: Annotated[bool, typer.Option("--all", help="Every message that was given up, instead of IDs.")] = False,
    notifier: Annotated[
        str, typer.Option("--notifier", "-n", help="With --all: only those for this one, such as slack.")
    ] = "",
    run: Annotated[str, typer.Option("--run", help="With --all: only those about the run of this name or ID.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send messages again that were given up, with a fresh number of tries.

    A message for a notifier that you have set up anew (a new token, another channel) goes to the new one.
    What cannot be sent now waits. Exits with 1 when one was not put back, or was refused again.
    """
    from notifybot.cli import letters

    if everything or notifier or run or not ids:
        letters.check_choice(ids or (), everything=everything)
        raise typer.Exit(letters.retry_all(notifier=notifier, run=run, as_json=as_json))
    raise typer.Exit(letters.retry(ids, as_json=as_json))


@outbox_app.command()
def drop(ids: _Ids, as_json: AsJson = False) -> None:
    """Give messages up for good, whether they are dead or wait. They stay counted, as dropped."""
    from notifybot.cli import letters

    raise typer.Exit(letters.drop(ids, as_json=as_json))
