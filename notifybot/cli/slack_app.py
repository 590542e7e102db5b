"""`notifybot slack …`: arguments and help."""

from __future__ import annotations

from typing import Annotated

import typer

from notifybot.cli.options import Tongue

slack_app = typer.Typer(help="Set up Slack: the app, its token, its channel.", no_args_is_help=True)


@slack_app.command()
def manifest(
    as_json: Annotated[bool, typer.Option("--json/--yaml", help="In which form; Slack's page takes both.")] = False,
) -> None:
    """Print the manifest of the Slack app, to be pasted at https://api.slack.com/apps."""
    from notifybot.cli import slack

    raise typer.Exit(slack.manifest(as_json=as_json))


@slack_app.command()
def setup(language: Tongue = None) -> None:
    """Be led through it in five minutes: make the app, give its token, choose the channel, keep both.

    Everything is checked with Slack at once. The token is never shown, and nothing is posted.
    """
    from notifybot.cli import slack

    raise typer.Exit(slack.setup(language=language))
