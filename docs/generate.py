"""Write the manual's reference pages from the code that they describe: `python docs/generate.py`.

What exists comes from the code (settings, commands, variables, events, error codes), what it means from
`templates/<language>/reference.toml` and from the help and the remedies that the program itself shows. Whatever the
code has and the words lack, or the other way round, is a KeyError here, and so a failing test.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import EnumType
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from notifybot.cli import app
from notifybot.cli.help import dress
from notifybot.cli.samples import endings, samples
from notifybot.config import Config
from notifybot.events import EPOCH_FINISHED, EVENT_TYPES, Event, kind_of, to_json
from notifybot.notifiers.kakao.oauth import SETUP_CODES, remedy
from notifybot.rendering.error_text import delivery_codes, delivery_line
from notifybot.rendering.view import View, view_of
from notifybot.types import Checkpoint, Host, Language, Metric, ModelSize, Progress, Resumed

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
NOTE = "<!-- written by docs/generate.py from the code: `make docs` writes it anew -->"
Words = Mapping[str, Any]


def reference() -> dict[str, str]:
    """Every reference page by its path in the repository."""
    found = {}
    for language in Language:
        words = words_of(language)
        for name, page in _PAGES.items():
            text = f"{NOTE}\n\n# {words['nav'][name]}\n\n" + "\n\n".join(page(language, words)) + "\n"
            found[f"docs/{language}/reference/{name}.md"] = text
    return found


def words_of(language: Language) -> Words:
    return tomllib.loads((ROOT / "templates" / language / "reference.toml").read_text("utf-8"))


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown; a bar within a cell would end it."""
    lines = [list(headings), *(list(row) for row in rows)]
    shown = ["| " + " | ".join(cell.replace("|", "\\|").strip() for cell in line) + " |" for line in lines]
    return "\n".join([shown[0], "|---" * len(lines[0]) + "|", *shown[1:]])


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings_page(language: Language, words: Words) -> Iterator[str]:
    """Every setting in the section that its words stand in."""
    said = words["settings"]
    sections = [each for each in said.values() if isinstance(each, dict)]
    settled = {key for section in sections for key in section if key != "title"}
    if settled != set(Config.model_fields):
        raise KeyError(f"settings and their words differ: {sorted(settled ^ set(Config.model_fields))}")
    columns = [words["columns"][each] for each in ("setting", "meaning", "default")]
    yield said["intro"].strip()
    for section in sections:
        yield f"## {section['title']}"
        rows = (
            (code(f"NOTIFYBOT_{key.upper()}"), section[key], default(key, words)) for key in section if key != "title"
        )
        yield table(columns, rows)
    yield said["outro"].strip()


def default(key: str, words: Words) -> str:
    """A setting's default in a cell; empty where there is none."""
    if key in words["defaults"]:
        return str(words["defaults"][key])
    value = Config.model_fields[key].default
    return "" if value is None else code(f"{value:g}" if isinstance(value, float) else value)


# ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def cli_page(language: Language, words: Words) -> Iterator[str]:
    """Each command's help as the program prints it, in its order."""
    command = typer.main.get_command(app)
    dress(command, language)
    yield words["cli"]["intro"].strip()
    for path, each in _commands(command, ()):
        yield f"## notifybot {' '.join(path)}".rstrip()
        yield from _paragraphs(each.help or "")
        rows = [(_spelt(param), _explained(param, words["cli"])) for param in each.params if not _is_help(param)]
        if rows:
            yield table([words["columns"]["argument"], words["columns"]["meaning"]], rows)
    if command.epilog:
        yield command.epilog


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def _paragraphs(text: str) -> Iterator[str]:
    """Its lines of code, which the help writes as they are, in a block of their own."""
    plain = re.sub(r"(?m)^(python .*)$", r"\n```bash\n\1\n```\n", text.replace("\f", "").strip())
    yield re.sub(r"\n{3,}", "\n\n", plain).strip()


def _is_help(param: Any) -> bool:
    return "--help" in param.opts


def _spelt(param: Any) -> str:
    if param.param_type_name == "argument":
        return code(param.metavar or param.name.upper())
    return ", ".join(code(each) for each in sorted(param.opts, key=len, reverse=True))


def _explained(param: Any, words: Words) -> str:
    """What the help says, with the choices, the default and whether it must be given."""
    kind = getattr(param, "bare_type", None)
    allowed = [each.value for each in kind] if isinstance(kind, EnumType) else get_args(kind)
    choices = [code(each) for each in allowed if get_origin(kind) in (None, Literal)]
    value = getattr(param.default, "value", param.default)
    notes = [
        f"{words['choices']}: {', '.join(choices)}" if choices else "",
        words["required"] if param.required else "",
        "" if value in (None, "", False) else f"{words['default']}: {code(value)}",
    ]
    told = "; ".join(filter(None, notes))
    return " ".join(filter(None, (param.help or "", f"({told})" if told else "")))


# ── Variables and events ─────────────────────────────────────────────────────────────────────────────────────────────


def _events(language: Language) -> list[Event]:
    """A believable one of each kind, with ids that do not change from one writing to the next."""
    found = [*samples(language, NOW), *endings(language, NOW)]
    run = dataclasses.replace(found[0].run, id="0195934f-5cc8-7a5b-8c11-3d8c1f2a7be0")
    return [dataclasses.replace(each, id=f"{run.id[:-2]}{at:02x}", run=run) for at, each in enumerate(found)]


def variables_page(language: Language, words: Words) -> Iterator[str]:
    """Every variable of a template with the first value that an event gives it."""
    said = words["variables"]
    views = [view_of(each, language) for each in _events(language)]
    rows = []
    for name, hint in get_type_hints(View).items():
        first = next((value for view in views if (value := view.get(name)) not in (None, "", 0, False, ())), "")
        rows.append((code(name), said[name], typed(hint), code(_brief(first))))
    yield said["intro"].strip()
    yield table([words["columns"][each] for each in ("variable", "meaning", "type", "example")], rows)


def _brief(value: object) -> str:
    """An example that has room in a cell: of objects there is none."""
    text = "" if isinstance(value, tuple) else str(value).replace("\n", " ").replace("`", "'")
    return text if len(text) <= 60 else f"{text[:59]}…"


def events_page(language: Language, words: Words) -> Iterator[str]:
    """Every kind with its fields, and one event as JSON."""
    said = words["events"]
    columns = [words["columns"][each] for each in ("field", "meaning", "type")]
    common = [each.name for each in dataclasses.fields(EVENT_TYPES[0]) if each.name in ("id", "run", "at", "kind")]
    example = next(each for each in _events(language) if each.kind == EPOCH_FINISHED)
    yield said["intro"].strip()
    yield f"## {said['common']}"
    yield table(columns, _fields(EVENT_TYPES[0], common, said["fields"]))
    for event_type in EVENT_TYPES:
        kind = kind_of(event_type)
        yield f"## {kind}"
        yield said[kind]
        own = [each.name for each in dataclasses.fields(event_type) if each.name not in common]
        yield table(columns, _fields(event_type, own, said["fields"]))
        if kind == EPOCH_FINISHED:
            yield said["json"]
            yield f"```json\n{_as_json(example)}\n```"
    yield f"## {said['values_title']}"
    inside = ((f"{each.__name__}.{name}", hint) for each in _VALUES for name, hint in get_type_hints(each).items())
    yield table(columns[0::2], ((code(name), typed(hint)) for name, hint in inside))


def _as_json(event: Event) -> str:
    """As the webhook posts it, but for line breaks and the last digits of numbers."""
    rounded = json.loads(to_json(event), parse_float=lambda text: round(float(text), 4))
    lines = json.dumps(rounded, ensure_ascii=False, indent=2)
    return re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", lines)


_VALUES = (Progress, Metric, Checkpoint, Host, Resumed, ModelSize)


def _fields(event_type: type, names: Iterable[str], said: Words) -> Iterator[tuple[str, str, str]]:
    hints = get_type_hints(event_type)
    return ((code(name), said[name], typed(hints[name]) if name != "kind" else code("str")) for name in names)


def typed(hint: Any) -> str:
    """A type as it is read in a cell."""
    allowed = get_args(hint) if get_origin(hint) is Literal else list(hint) if isinstance(hint, EnumType) else ()
    return " ".join(code(json.dumps(each)) for each in allowed) or code(_name(hint))


def _name(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_name(each) for each in get_args(hint))
    if get_args(hint):
        inner = ", ".join("…" if each is ... else _name(each) for each in get_args(hint))
        kind = "list" if get_origin(hint) is tuple else get_origin(hint).__name__  # JSON has no tuples
        return f"{kind}[{inner.removesuffix(', …')}]"
    return "None" if hint is type(None) else str(hint.__name__)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_UNSAID = ("kind", "status", "path", "named", "why", "tries", "method")  # what is known only once it has happened
_PLACES = {**dict.fromkeys(_UNSAID, "…"), "label": "Discord", "limit": "20", "since": "2026-03-14 18:26"}
_OPENING = re.compile(r"^(?:Slack|KakaoTalk|Kakao login|카카오톡|카카오 로그인): ")


def errors_page(language: Language, words: Words) -> Iterator[str]:
    """Every code of a service, those that mean the same in one row, and what can go wrong while signing in to Kakao."""
    said = words["errors"]
    columns = [words["columns"]["code"], words["columns"]["remedy"]]
    yield said["intro"].strip()
    for service, codes in delivery_codes().items():
        lines = [(each, _line(service, each, language)) for each in codes if not each.startswith("KOE")]
        yield from _section(said, service, table(columns, _together(lines)))
        if service == "kakao":
            signing_in = [(each, remedy(each, language)) for each in sorted(SETUP_CODES)]
            yield from _section(said, "sign_in", table(columns, _together(signing_in)))


def _section(said: Words, name: str, rows: str) -> Iterator[str]:
    yield f"## {said[name]}"
    if f"{name}_intro" in said:
        yield said[f"{name}_intro"]
    yield rows


def _line(service: str, each: str, language: Language) -> str:
    """What a person is told, without the name of the service and the code, which stand in the row already."""
    told = delivery_line(f"{service}.{each}", _PLACES, language) or each
    return re.sub(rf" ?\({re.escape(each)}\)", "", _OPENING.sub("", told))


def _together(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    codes: dict[str, list[str]] = {}
    for each, told in lines:
        is_name = "_" in told.partition(" ")[0]  # a setting's or a scope's, which has no capital
        codes.setdefault(told if is_name else told[:1].upper() + told[1:], []).append(each)
    return ((" ".join(map(code, each)), told) for told, each in codes.items())


_PAGES = {
    "settings": settings_page,
    "cli": cli_page,
    "template-variables": variables_page,
    "events": events_page,
    "errors": errors_page,
}


def main() -> None:
    for path, text in reference().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
