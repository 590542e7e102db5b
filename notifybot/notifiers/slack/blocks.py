"""A message as Slack shows it. Pure: Message in, payload out, within every limit of Block Kit.

Where things stand and why: the headline is a block of its own and the rest a coloured attachment, because Slack shows
the top-level `text` above an attachment that stands alone, but hides it once the message has blocks. So `text` can be
the whole story in one line, for the phone's lock screen, and nobody reads it twice. The table goes into the attachment
as Slack puts it there anyway.

Other people's words (run names, exceptions, parameters) stand in plain_text and rich_text only, where `*`, `_` and
`~` are letters; mrkdwn is for what we compose ourselves, and is `verbatim`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from notifybot.i18n import text
from notifybot.notifiers.slack.mrkdwn import escape, escaped, last_lines, safe_url
from notifybot.rendering.format import headings
from notifybot.rendering.labels import epoch_name
from notifybot.rendering.text import clean, one_line, shorten
from notifybot.types import Fact, Message, Severity

Block = dict[str, Any]

COLOURS = {
    Severity.INFO: "#1d9bd1",
    Severity.SUCCESS: "#2eb67d",
    Severity.WARNING: "#ecb22e",
    Severity.ERROR: "#e01e5a",
}
TEXT_CHARS = 3000  # of the 4,000 that chat.update takes
TITLE_CHARS, BODY_CHARS, CODE_CHARS = 150, 2800, 2900
ROWS, FACTS = 20, 24
NAME_CHARS, CELL_CHARS, FACT_CHARS = 80, 40, 160
BAR_STEPS = 14
EMPTY = "–"
GAP = "\u00a0\u00a0·  "  # the dot stays with the fact before it when the line breaks


@dataclass(frozen=True, slots=True)
class Payload:
    """Body of a Slack post: `text` for notifications and screen readers, and the layout."""

    text: str
    blocks: tuple[Block, ...] = ()
    attachments: tuple[Block, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """The arguments that chat.postMessage, chat.update and the webhook have in common."""
        return {"text": self.text, "blocks": list(self.blocks), "attachments": list(self.attachments)}

    def calling(self, mention: str, message: Message) -> Payload:
        """The same with people called by `mention`, which is Slack's markup, below the headline.

        Slack notifies by the text of a message that has no blocks, else by its own blocks, never by an attachment's:
        https://docs.slack.dev/messaging/formatting-message-text#mentioning-users
        """
        call = {**_section(mention), "block_id": f"{shorten(message.event_id, 100)}.call"}
        own = (*self.blocks[:1], call, *self.blocks[1:]) if self.blocks else ()
        return replace(self, text=f"{self.text}\n{mention}", blocks=own)


def full_message(message: Message) -> Payload:
    """Everything in one message: for a webhook, which cannot edit or answer in a thread."""
    card = [*_body(message), *_bar(message), *_table(message), *_facts(message), *_code(message)]
    return _payload(message, _header(message.title), [*card, *_link(message), *_footer(message)])


def root(message: Message) -> Payload:
    """Return a run's root message, which is edited to show the present state. Details are in the thread."""
    facts = [] if message.kind == "run_started" else _facts(message)  # a start's facts are parameters, for the thread
    card = [*_body(message), *_bar(message), *_table(message), *facts, *_link(message), *_footer(message)]
    return _payload(message, _header(message.title), card)


def placeholder_root(message: Message) -> Payload:
    """Return a root for a run whose first event is no state, such as an alert: its name and progress."""
    card = [*_bar(message), *_table(message), *_link(message), *_footer(message)]
    text = escaped(one_line(message.run.name) or "notifybot", TEXT_CHARS)
    return Payload(text, _numbered(message, [_header(message.run.name)]), _attachment(message, card, Severity.INFO))


def reply(message: Message) -> Payload:
    """One line of a run's thread, in full."""
    table = [] if message.kind == "checkpoint_saved" else _table(message)  # the root has the same numbers
    card = [*_body(message), *table, *_facts(message), *_code(message), *_footer(message)]
    return _payload(message, _bold(message.title), card)


def new_best_reply(message: Message, metric: str, value: str, *, epoch: int | None = None) -> Payload:
    """A new best value, for the thread: of this epoch, or of the earlier `epoch` that this message stands for."""
    row = next((row for row in message.rows if row.name == metric), None)
    shown = row.value if row is not None and epoch is None else value
    name = shorten(one_line(metric), NAME_CHARS)
    line = text(message.language, "slack.message.new_best", name=name, value=shown)
    epoch = message.epoch if epoch is None else epoch
    if epoch is not None:
        line += f" · {epoch_name(epoch, message.language)}"
    return Payload(escaped(line, TEXT_CHARS), _numbered(message, [_bold(line), *_footer(message)]))


def text_only(message: Message) -> Payload:
    """The same in plain words, for when Slack refuses the layout."""
    rows = [f"{row.name} {row.value} {row.change}".rstrip() for row in message.rows[:ROWS]]
    facts = [f"{fact.label}: {fact.value}" for fact in message.facts[:FACTS]]
    lines = [message.title, message.body, *rows, *facts, last_lines(message.code, CODE_CHARS // 3)]
    mark = f"\n[{message.short_id}]"
    text = escaped("\n".join(line for line in lines if line.strip()), TEXT_CHARS - len(escape(mark)))
    return Payload(text + escape(mark))


def _payload(message: Message, headline: Block, card: list[Block]) -> Payload:
    text = escaped(message.brief.strip(), TEXT_CHARS) or escaped(one_line(message.title), TEXT_CHARS)
    return Payload(text or EMPTY, _numbered(message, [headline]), _attachment(message, card, message.severity))


def _attachment(message: Message, card: list[Block], severity: Severity) -> tuple[Block, ...]:
    fallback = escaped(one_line(message.title), TITLE_CHARS)
    return ({"color": COLOURS[severity], "fallback": fallback, "blocks": list(_numbered(message, card, start=1))},)


def _numbered(message: Message, blocks: list[Block], start: int = 0) -> tuple[Block, ...]:
    """Give each block an id of its own; Slack wants new ones with every update."""
    mark = shorten(message.event_id, 100)
    return tuple({**block, "block_id": f"{mark}.{index}"} for index, block in enumerate(blocks, start))


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": shorten(clean(text).strip(), limit) or EMPTY, "emoji": False}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _rich(kind: str, *spans: Block) -> Block:
    return {"type": "rich_text", "elements": [{"type": kind, "elements": list(spans)}]}


def _span(text: str, *, bold: bool = False) -> Block:
    return {"type": "text", "text": text, "style": {"bold": True}} if bold else {"type": "text", "text": text}


def _header(title: str) -> Block:
    return {"type": "header", "text": _plain(one_line(title), TITLE_CHARS)}


def _bold(title: str) -> Block:
    return _rich("rich_text_section", _span(shorten(one_line(title), TITLE_CHARS) or EMPTY, bold=True))


def _body(message: Message) -> list[Block]:
    if not clean(message.body).strip():
        return []
    return [{"type": "section", "text": _plain(message.body, BODY_CHARS)}]


def _bar(message: Message) -> list[Block]:
    if not message.total or message.total < 0:
        return []
    share = min(max(message.done / message.total, 0.0), 1.0)
    filled = int(share * BAR_STEPS)  # rounded down: the bar is full only at the end
    bar = "▰" * filled + "▱" * (BAR_STEPS - filled)
    return [_section(f"{bar}  *{int(share * 100)}%*  ·  {message.done}/{message.total}")]


def _table(message: Message) -> list[Block]:
    rows = [(row.name, row.value, row.change, row.best, row.spark) for row in message.rows[:ROWS]]
    if not rows:
        return []
    titles = [given or own for given, own in zip(message.headings, headings(message.language), strict=True)]
    shown = [x for x in range(5) if x < 2 or any(row[x] for row in rows)]
    cells = [[_cell(row[x], NAME_CHARS if x == 0 else CELL_CHARS) for x in shown] for row in [titles, *rows]]
    if left := len(message.rows) - len(rows) + message.more:
        more = text(message.language, "slack.message.more", count=left)
        cells.append([_cell(more if x == 0 else "", NAME_CHARS) for x in shown])
    settings = [{"is_wrapped": True} if x == 0 else {"align": "left" if x == 4 else "right"} for x in shown]
    return [{"type": "table", "column_settings": settings, "rows": cells}]


def _cell(text: str, limit: int) -> Block:
    return {"type": "raw_text", "text": shorten(one_line(text), limit) or EMPTY}


def _facts(message: Message) -> list[Block]:
    facts = [fact for fact in message.facts[:FACTS] if one_line(fact.value)]
    if not facts:
        return []
    spans = [span for fact in facts[:-1] for span in _fact(fact, end=GAP)] + _fact(facts[-1])
    if len(message.facts) > FACTS:
        more = text(message.language, "slack.message.more", count=len(message.facts) - FACTS)
        spans.append(_span(GAP + more))
    return [_rich("rich_text_section", *spans)]


def _fact(fact: Fact, *, end: str = "") -> list[Block]:
    label, value = shorten(one_line(fact.label), NAME_CHARS), shorten(one_line(fact.value), FACT_CHARS)
    return [_span(f"{label} ", bold=True), _span(value + end)] if label else [_span(value + end)]


def _code(message: Message) -> list[Block]:
    code = last_lines(message.code, CODE_CHARS)
    return [_rich("rich_text_preformatted", _span(code))] if code.strip() else []


def _link(message: Message) -> list[Block]:
    url = safe_url(message.link or "")
    if url is None:
        return []
    return [_section(f"<{escape(url)}|{text(message.language, 'slack.message.open_the_run')}>")]


def _footer(message: Message) -> list[Block]:
    """Return the footer: time and short id, by which a person recognizes a repeat and finds it in the outbox."""
    utc = message.at.astimezone(UTC)
    moment = f"<!date^{int(message.at.timestamp())}^{{date_short_pretty}} {{time}}|{utc:%Y-%m-%d %H:%M} UTC>"
    elements = [_mrkdwn(moment), _plain(f"#{message.short_id}", NAME_CHARS)]
    return [{"type": "context", "elements": elements}]
