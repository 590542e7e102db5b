"""The help of every command in the reader's language, and what is wrong with a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from notifybot.i18n import has_text, text

_PANELS = {  # of typer's frames, as far as its version has them
    "ARGUMENTS_PANEL_TITLE": "arguments",
    "OPTIONS_PANEL_TITLE": "options",
    "COMMANDS_PANEL_TITLE": "commands",
    "DEFAULT_STRING": "default",
    "REQUIRED_LONG_STRING": "required",
}


def places(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below and with this one, and every option and argument that has a text, by the key of its text."""
    yield f"{path}.about", command
    for each in command.params:
        if key := _key(path, each):
            yield key, each
    for name, inner in getattr(command, "commands", {}).items():
        yield from places(inner, f"{path}.{name}")


def _key(path: str, param: Any) -> str:
    """Return the catalog key of an option's or argument's text: its command's own, or the shared one; else empty."""
    name = _spelt(param).removeprefix("--").replace("-", "_")
    return next((key for key in (f"{path}.{name}", f".shared.{name}") if has_text(f"cli.help{key}")), "")


def dress(command: Any, language: str) -> None:
    """Give a command, and all below it, its help in a language. Without it, typer shows our docstrings."""
    for key, each in places(command):
        each.help = text(language, f"cli.help{key}")
        if hasattr(each, "get_help_option"):
            each.get_help_option = _explaining(each.get_help_option, text(language, "cli.help.show_help"))
    command.epilog = text(language, "cli.help.epilog")


def _explaining(ask: Callable[[Any], Any], help_text: str) -> Callable[[Any], Any]:
    def asked(context: Any) -> Any:
        option = ask(context)
        if option is not None:
            option.help = help_text
        return option

    return asked


@contextmanager
def frames_in(language: str) -> Iterator[None]:
    """Within the block, what typer writes around the help is in a language, and no character is lost."""
    from typer import rich_utils  # 200 ms, which English does without

    class Folding(rich_utils.OptionHighlighter):
        """Lets Rich fold a line: it cuts Korean by a character where it may only wrap it."""

        def __call__(self, shown: Any) -> Any:
            highlighted = super().__call__(shown)
            highlighted.overflow = "fold"
            return highlighted

    titles = {name: text(language, f"cli.help.panel.{panel}", value="{}") for name, panel in _PANELS.items()}
    ours = {**titles, "highlighter": Folding()}
    before = {name: getattr(rich_utils, name) for name in ours if hasattr(rich_utils, name)}
    for name in before:
        setattr(rich_utils, name, ours[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(rich_utils, name, value)


_WHYS = (  # messages of the parser whose error has no class of its own, such as a wrong value
    (r"valid integer", "cli.usage.give_a_whole_number"),
    (r"is not one of (?P<choices>.+?)\.?$", "cli.usage.give_one_of"),
    (r"greater than or equal to (?P<least>\d+)", "cli.usage.give_at_least"),
    (r"less than or equal to (?P<most>\d+)", "cli.usage.give_at_most"),
    (r"No such command (?P<given>\S+?)\. Did you mean (?P<similar>.+)\?", "cli.usage.similar_command"),
    (r"No such command (?P<given>\S+?)\.?$", "cli.usage.no_such_command"),
    (r"unexpected extra arguments? ?(?:\(s\))? ?\((?P<values>.+)\)", "cli.usage.needless_values"),
)


def explained(error: Any, language: str) -> str:
    """Return what is wrong with a command line, and where its help is. Takes the error of typer's parser."""
    place = error.ctx.command_path if getattr(error, "ctx", None) is not None else "notifybot"
    return f"{_what(error, language)}\n{text(language, 'cli.usage.how_to_use_it', command=place)}"


def _what(error: Any, language: str) -> str:
    name, param = getattr(error, "option_name", ""), getattr(error, "param", None)
    if param is not None:
        name = param.metavar if param.metavar and param.param_type_name == "argument" else _spelt(param)
    match type(error).__name__:
        case "MissingParameter":
            return text(language, "cli.usage.needs_a_value", name=name)
        case "NoSuchOption":
            unknown = text(language, "cli.usage.no_such_option", name=name)
            close = ", ".join(getattr(error, "possibilities", None) or ())
            return text(language, "cli.usage.similar_options", error=unknown, options=close) if close else unknown
        case "BadParameter":
            return text(language, "cli.usage.is_not_right", name=name, why=_why(error.message, language))
        case "BadOptionUsage":
            return text(language, "cli.usage.takes_one_value", name=name)
        case _:
            return _why(error.format_message(), language)


def _why(message: str, language: str) -> str:
    """Translate the parser's message; unchanged where a newer parser words it in another way."""
    for pattern, key in _WHYS:
        if (found := re.search(pattern, message)) is not None:
            return text(language, key, **found.groupdict())
    return message


def _spelt(param: Any) -> str:
    """Return an option's name with its dashes ("--limit"), or an argument's name."""
    return str(next((each for each in param.opts if each.startswith("--")), param.name))
