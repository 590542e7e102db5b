"""A message as Slack shows it. Pure: Message in, payload out, within every limit of Block Kit.

Where things stand and why: the headline is a block of its own and the rest a coloured attachment, because Slack shows
the top-level `text` above an attachment that stands alone, but hides it once the message has blocks. So `text` can be
all of it in one line, for the phone's lock screen, and nobody reads it twice. The table goes into the attachment as
Slack puts it there anyway.

Other people's words (run names, exceptions, parameters) stand in plain_text and rich_text only, where `*`, `_` and
`~` are letters; mrkdwn is for what we compose ourselves, and is `verbatim`.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Literal

from notifybot.i18n import text
from notifybot.notifiers.slack.mrkdwn import escape, escaped, last_lines, safe_url
from notifybot.rendering.format import headings
from notifybot.rendering.labels import epoch_name, grouped
from notifybot.rendering.text import clean, one_line, shorten
from notifybot.types import Message, Severity

Block = dict[str, Any]
_Part = Literal["body", "bar", "table", "facts", "code", "link"]  # of a card, in this order

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
        block_id = f"{shorten(message.event_id, 100)}.call"
        call = {"type": "section", "text": {"type": "mrkdwn", "text": mention, "verbatim": True}, "block_id": block_id}
        own = (*self.blocks[:1], call, *self.blocks[1:]) if self.blocks else ()
        return replace(self, text=f"{self.text}\n{mention}", blocks=own)


def full_message(message: Message) -> Payload:
    """Everything in one message: for a webhook, which cannot edit or answer in a thread."""
    return _payload(message, "header", {"body", "bar", "table", "facts", "code", "link"})


def root(message: Message) -> Payload:
    """Return a run's root message, which is edited to show the present state. Details are in the thread."""
    parts: set[_Part] = {"body", "bar", "table", "facts", "link"}
    if message.kind == "run_started":
        parts.remove("facts")  # they are parameters, for the thread
    return _payload(message, "header", parts)


def placeholder_root(message: Message) -> Payload:
    """Return a root for a run whose first event is no state, such as an alert: its name and progress."""
    name = one_line(message.run.name)
    shown = _payload(replace(message, severity=Severity.INFO), "header", {"bar", "table", "link"}, headline=name)
    return replace(shown, text=escaped(name or "notifybot", TEXT_CHARS))


def reply(message: Message) -> Payload:
    """One line of a run's thread, in full."""
    parts: set[_Part] = {"body", "table", "facts", "code"}
    if message.kind == "checkpoint_saved":
        parts.remove("table")  # the root has the same numbers
    return _payload(message, "bold", parts)


def new_best_reply(message: Message, metric: str, value: str, *, epoch: int | None = None) -> Payload:
    """A new best value, for the thread: of this epoch, or of the earlier `epoch` that this message stands for."""
    row = next((row for row in message.rows if row.name == metric), None)
    shown = row.value if row is not None and epoch is None else value
    name = shorten(one_line(metric), NAME_CHARS)
    line = text(message.language, "slack.message.new_best", name=name, value=shown)
    epoch = message.epoch if epoch is None else epoch
    if epoch is not None:
        line += f" · {epoch_name(epoch, message.language, message.unit)}"
    span = {"type": "text", "text": shorten(one_line(line), TITLE_CHARS) or EMPTY, "style": {"bold": True}}
    bold = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [span]}]}
    mark = shorten(message.event_id, 100)
    blocks = {**bold, "block_id": f"{mark}.0"}, {**_footer(message), "block_id": f"{mark}.1"}
    return Payload(escaped(line, TEXT_CHARS), blocks)


def text_only(message: Message) -> Payload:
    """The same in plain words, for when Slack refuses the layout."""
    rows = [f"{row.name} {row.value} {row.change}".rstrip() for row in message.rows[:ROWS]]
    facts = [f"{fact.label}: {fact.value}" for fact in message.facts[:FACTS]]
    lines = [message.title, message.body, *rows, *facts, last_lines(message.code, CODE_CHARS // 3)]
    mark = escape(f"\n[{message.short_id}]")
    return Payload(escaped("\n".join(line for line in lines if line.strip()), TEXT_CHARS - len(mark)) + mark)


def _payload(
    message: Message, style: Literal["header", "bold"], parts: Set[_Part], *, headline: str | None = None
) -> Payload:
    """Lay a message out: its title (or another headline), and a coloured card with these parts of it."""
    title = one_line(message.title)
    headline = shorten(title if headline is None else headline, TITLE_CHARS) or EMPTY
    if style == "header":
        first: Block = {"type": "header", "text": {"type": "plain_text", "text": headline, "emoji": False}}
    else:
        span = {"type": "text", "text": headline, "style": {"bold": True}}
        first = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [span]}]}
    card: list[Block] = []
    if "body" in parts and (body := clean(message.body).strip()):
        plain = {"type": "plain_text", "text": shorten(body, BODY_CHARS), "emoji": False}
        card.append({"type": "section", "text": plain})
    if "bar" in parts and message.total and message.total > 0:
        share = min(max(message.done / message.total, 0.0), 1.0)
        filled = int(share * BAR_STEPS)  # rounded down: the bar is full only at the end
        count = "/".join(grouped(each, message.unit) for each in (message.done, message.total))
        bar = f"{'▰' * filled + '▱' * (BAR_STEPS - filled)}  *{int(share * 100)}%*  ·  {count}"
        card.append({"type": "section", "text": {"type": "mrkdwn", "text": bar, "verbatim": True}})
    if "table" in parts and message.rows:
        card.append(_table(message))
    if "facts" in parts and (spans := _facts(message)):
        card.append({"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": spans}]})
    if "code" in parts and (code := last_lines(message.code, CODE_CHARS)).strip():
        lines = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": code}]}
        card.append({"type": "rich_text", "elements": [lines]})
    if "link" in parts and message.link and (url := safe_url(message.link)):
        link = f"<{escape(url)}|{text(message.language, 'slack.message.open_the_run')}>"
        card.append({"type": "section", "text": {"type": "mrkdwn", "text": link, "verbatim": True}})
    card.append(_footer(message))
    mark = shorten(message.event_id, 100)  # Slack wants new ids with every update
    blocks = [{**block, "block_id": f"{mark}.{index}"} for index, block in enumerate([first, *card])]
    fallback = escaped(title, TITLE_CHARS)
    coloured = {"color": COLOURS[message.severity], "fallback": fallback, "blocks": blocks[1:]}
    brief = escaped(message.brief.strip(), TEXT_CHARS) or escaped(title, TEXT_CHARS) or EMPTY
    return Payload(brief, (blocks[0],), (coloured,))


def _table(message: Message) -> Block:
    """The metrics: a title over each column, and no column without a value."""
    titles = message.headings
    if not all(titles):  # built by hand, without them
        titles = headings(message.language)
    rows = [[row.name, row.value, row.change, row.best, row.spark] for row in message.rows[:ROWS]]
    shown = [x for x in range(5) if x < 2 or any(row[x] for row in rows)]
    lines = [titles, *rows]
    if left := len(message.rows) - len(rows) + message.more:
        lines.append([text(message.language, "slack.message.more", count=left), "", "", "", ""])
    cells = [
        [
            {"type": "raw_text", "text": shorten(one_line(line[x]), NAME_CHARS if x == 0 else CELL_CHARS) or EMPTY}
            for x in shown
        ]
        for line in lines
    ]
    settings = [{"is_wrapped": True} if x == 0 else {"align": "left" if x == 4 else "right"} for x in shown]
    return {"type": "table", "column_settings": settings, "rows": cells}


def _facts(message: Message) -> list[Block]:
    """The facts as one line of rich text: labels in bold, a dot between two facts."""
    spans: list[Block] = []
    for fact in message.facts[:FACTS]:
        if not (value := one_line(fact.value)):
            continue
        if spans:
            spans[-1]["text"] += GAP
        if label := shorten(one_line(fact.label), NAME_CHARS):
            spans.append({"type": "text", "text": f"{label} ", "style": {"bold": True}})
        spans.append({"type": "text", "text": shorten(value, FACT_CHARS)})
    if spans and len(message.facts) > FACTS:
        more = text(message.language, "slack.message.more", count=len(message.facts) - FACTS)
        spans.append({"type": "text", "text": GAP + more})
    return spans


def _footer(message: Message) -> Block:
    """Time and short id, by which a person recognizes a repeat and finds it in the outbox."""
    utc = message.at.astimezone(UTC)
    moment = f"<!date^{int(message.at.timestamp())}^{{date_short_pretty}} {{time}}|{utc:%Y-%m-%d %H:%M} UTC>"
    short_id = shorten(clean(f"#{message.short_id}").strip(), NAME_CHARS)
    return {
        "type": "context",
        "elements": [
            {"type": "mrkdwn", "text": moment, "verbatim": True},
            {"type": "plain_text", "text": short_id, "emoji": False},
        ],
    }
