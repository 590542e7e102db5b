"""Errors of a checkpoint or a message in the reader's language: the meaning of each code, and the remedy.

A code is notifybot's own for a checkpoint, such as `cut_short`, or `service.code` for a delivery, such as
`slack.not_in_channel`; a prefix with a slash is the outcome: `late/slack.no-answer` was given up for its
age. The texts are the catalog's `[slack.error]`, `[kakao.error]`, `[checkpoint.error]` and so on, by the service's own
code; some are ours, for what happens on the way to the service. Values are data, shown as they are.

Slack's codes: https://docs.slack.dev/reference/methods/chat.postMessage#errors, and for webhooks
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Kakao's are numbers of kapi.kakao.com and KOE
codes of its login, which it shows mostly in the browser, so that a person may have to type them:
https://developers.kakao.com/docs/ko/rest-api/error-code, https://developers.kakao.com/docs/ko/kakaologin/trouble-shooting.
The texts name the menus of Kakao's site since December 2025, where the keys hold the redirect URI and the secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from notifybot.errors import READER, DeliveryError, system_text
from notifybot.i18n import Localized, has_text, keys_of, localized, text
from notifybot.redaction import redact
from notifybot.rendering.text import one_line, shorten
from notifybot.services import SERVICES
from notifybot.types import Language, Reason

NOTED = "noted"  # the code of a text that is shown unchanged
# Differences between a resumed session and the program, reported when it starts.
NOTES = frozenset({"setting_kept", "setting_own", "frozen_here", "learns_here", "held_here", "moves_here"})

_LIMIT_VALUE = 200  # characters
_MOST_UNREAD = 3
_CAME_OF_IT = ("late", "kept")


def reason_line(reason: Reason, language: Language) -> str:
    """Return a reason in words: "epoch3.pt: it is missing". One from a later version shows its text, or its code."""
    delivery = delivery_line(reason.code, reason.values, language)
    if delivery is not None:
        return delivery
    values = dict(reason.values)
    values["which"] = f"{values['part']} " if "part" in values else text(language, "checkpoint.phrase.the_whole")
    if reason.code == "disk":
        values["text"] = system_text(language, values.get("name", ""), values.get("text", "?"))
    key = f"checkpoint.error.{reason.code}"
    line = text(language, key, **values) if has_text(key, language) else reason.values.get("text", reason.code)
    return f"{reason.about}: {line}" if reason.about else line


def error_line(error: DeliveryError, language: Language) -> str:
    """Return why a message was not delivered, in words and without secrets."""
    return reason_line(delivery_reason(error), language)


def unread_words(unread: Sequence[Reason], used: str, language: Language) -> str:
    """Return why a training does not begin while its checkpoints cannot be read, and the ways on."""
    lines = [reason_line(each, language) for each in unread[:_MOST_UNREAD]]
    more = [f"+{len(unread) - _MOST_UNREAD}"] if len(unread) > _MOST_UNREAD else []
    ways_on = text(language, "checkpoint.phrase.step_back" if used else "checkpoint.phrase.start_over", used=used)
    return text(language, "checkpoint.phrase.unread", what=", ".join(lines + more), ways_on=ways_on)


def delivery_reason(error: Exception) -> Reason:
    """Return the reason that a message was not delivered, as it may be stored: in no language, without secrets."""
    if isinstance(error, DeliveryError) and error.code:
        values = {name: shorten(one_line(redact(value)), _LIMIT_VALUE) for name, value in error.values.items()}
        return Reason(f"{error.service}.{error.code}", values=values)
    noted = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
    return Reason(NOTED, values={"text": redact(noted)})


def delivery_line(code: str, values: Mapping[str, str], language: Language) -> str | None:
    """Return a reason of a delivery in words; None for one that is about something else."""
    came_of_it, slash, why = code.partition("/")
    if slash and came_of_it in _CAME_OF_IT:
        line = delivery_line(why, values, language) or why
        return text(language, f"delivery.came_of_it.{came_of_it}", why=line)
    if code == NOTED:
        return _noted(values.get("text", ""), language)
    service, dot, own = code.partition(".")
    if service == "slack":
        return f"Slack: {slack_line(own, values, language)}"
    if service == "kakao":
        return kakao_line(own, values, language)
    return _service_line(service, own, values, language) if dot else None


def brief_reason(reason: Reason, language: Language) -> str:
    """Return a reason of a delivery without the remedy, as far as the service's texts separate the two."""
    service, _, own = reason.code.partition(".")
    if service == "slack":
        return slack_error(own, reason.values).in_(language)
    return delivery_line(reason.code, reason.values, language) or reason.code


def in_words(service: str, code: str, values: Mapping[str, str]) -> str:
    """Return the text of an error with these values, as a traceback shows it."""
    return delivery_line(f"{service}.{code}", values, Language(READER.language)) or code


_OTHERS = tuple(each.name for each in SERVICES if each.name not in ("slack", "kakao"))


def delivery_codes() -> dict[str, tuple[str, ...]]:
    """Return the codes that have words, by service: for the manual."""
    simple = {service: keys_of(f"{service}.error.") for service in (*_OTHERS, "watchdog")}
    return {"slack": SLACK_CODES, "kakao": KAKAO_CODES, **simple}


# English notes of the outbox from before they had codes: rows of old databases are still read.
_ENGLISH_NOTES = {
    "quiet hours": "quiet_hours",
    "daily budget": "daily_budget",
    "one message of this kind per gap": "gap",
    "folded into a newer one": "folded",
    "told together with others": "in_digest",
    "its run has ended": "run_ended",
    "dropped by hand": "dropped_by_hand",
    "its event cannot be read": "unreadable",
    "no space": "no_space",
}
_EVERY = re.compile(r"told every (\d+) epochs")


def _noted(note: str, language: Language) -> str:
    if every := _EVERY.fullmatch(note):
        return text(language, "held.every_epochs", epochs=every[1])
    return text(language, f"held.{_ENGLISH_NOTES[note]}") if note in _ENGLISH_NOTES else note


@dataclass(frozen=True, slots=True)
class Explained:
    """Meaning of an error of Slack's, and the remedy, if there is one.

    `setup` says that no message will pass before a person has applied it.
    """

    code: str
    remedy_key: str | None = None
    setup: bool = False

    @property
    def remedy(self) -> Localized | None:
        """Remedy of the error; None without one."""
        return localized(f"slack.remedy.{self.remedy_key}") if self.remedy_key else None

    def meaning(self, values: Mapping[str, str]) -> Localized:
        """Return the meaning; a channel or a scope that is not known is mentioned without its name."""
        name, needed = values.get("channel"), values.get("needed")
        channel = localized("slack.phrase.the_channel", name=name) if name else localized("slack.phrase.some_channel")
        named = {"channel": channel, "needed": needed or localized("slack.phrase.some_scope")}
        return localized(f"slack.error.{self.code}", **{**values, **named})


# Slack's codes of one meaning, the first of which has the text, and their remedy.
_SLACK: tuple[tuple[str, str | None], ...] = (
    ("invalid_auth bad_token", "copy_the_token"),
    ("not_authed", "copy_the_token"),
    ("not_allowed_token_type is_bot", "copy_the_token"),
    ("token_revoked", "install_the_app_again"),
    ("token_expired", "install_the_app_again"),
    ("account_inactive", "install_the_app_again"),
    ("missing_scope no_permission", "paste_the_manifest"),
    ("not_in_channel", "invite_the_bot"),
    ("channel_not_found", "check_the_channel"),
    ("is_archived channel_is_archived is_inactive", "unarchive_the_channel"),
    ("messages_tab_disabled", "turn_on_the_messages_tab"),
    ("restricted_action", "ask_an_administrator"),
    ("posting_to_general_channel_denied posting_to_channel_denied", "ask_an_administrator_or_choose_another"),
    (
        "access_denied accesslimited ekm_access_denied enterprise_is_restricted team_access_not_granted "
        "two_factor_setup_required action_prohibited",
        "ask_an_administrator",
    ),
    ("team_disabled team_not_found", "ask_an_administrator"),
    ("no_service no_service_id no_active_hooks no_team user_not_found", "make_a_webhook"),
    ("invalid_token", "make_a_webhook"),
    (
        "invalid_payload no_text too_many_attachments invalid_attachments attachment_payload_limit_exceeded "
        "invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long only_one_table_allowed "
        "markdown_text_conflict metadata_too_large invalid_arguments invalid_arg_name invalid_array_arg "
        "invalid_charset invalid_form_data invalid_post_type missing_post_type invalid_json missing_argument",
        "report_it",
    ),
    (
        "message_not_found thread_not_found cannot_reply_to_message cant_update_message edit_window_closed "
        "block_mismatch update_failed",
        "goes_on_by_itself",
    ),
    ("ratelimited rate_limited", None),
    ("message_limit_exceeded", None),
    ("team_added_to_org org_login_required", None),
    ("request_timeout", None),
    ("internal_error fatal_error service_unavailable rollup_error", None),
)
# notifybot's own codes, for failures on the way to Slack.
_ON_THE_WAY: dict[str, str | None] = {
    "no-connection": "check_the_network",
    "no-secure-connection": "check_the_network",
    "no-answer": None,
    "broken": None,
    "unreadable": None,
    "foreign": None,
    "failing": None,
    "slow-down": None,
    "incomplete": None,
    "http": "check_the_settings",
}
_NO_SETUP = (None, "report_it", "goes_on_by_itself")
_EXPLAINED = {
    code: Explained(codes.split()[0], remedy, setup=remedy not in _NO_SETUP)
    for codes, remedy in _SLACK
    for code in codes.split()
}
SLACK_CODES = (*_EXPLAINED, *_ON_THE_WAY)
PASTE_MANIFEST = localized("slack.remedy.paste_the_manifest")


def explained(code: str) -> Explained | None:
    """Return the meaning of a code of Slack's; None for an unknown one. All of restricted_action… mean the same."""
    return _EXPLAINED.get("restricted_action" if code.startswith("restricted_action") else code)


def slack_error(code: str, values: Mapping[str, str]) -> Localized:
    """Return the meaning of an error, with Slack's own code."""
    if code in _ON_THE_WAY:
        return Explained(code).meaning(values)
    if known := explained(code):
        return localized("slack.phrase.error_with_code", error=known.meaning(values), code=code)
    return localized("slack.phrase.unknown_code", code=code, method=values.get("method", "?"))


def slack_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """Return an error in one line: its meaning, Slack's own code to search for, and the remedy."""
    known = Explained(code, _ON_THE_WAY[code]) if code in _ON_THE_WAY else explained(code)
    remedy = known.remedy if known else localized("slack.remedy.look_the_error_up")
    error = slack_error(code, values).in_(language)
    if remedy is None:
        return error
    return text(language, "slack.phrase.error_and_remedy", error=error, remedy=remedy.in_(language))


KAKAO_API = (
    "-1", "-7", "-603", "-9798", "-10", "-531", "-532", "-533", "-536", "-2", "-6", "-8", "-9", "-3", "-4", "-5", "-11",
    "-12", "-101", "-103", "-401", "-402", "-405", "-406", "-501", "-502", "-504", "-530", "-903",
)  # fmt: skip
KAKAO_SIGN_IN = (
    "KOE003", "KOE237", "KOE001", "KOE002", "KOE201", "KOE202", "KOE310", "KOE004", "KOE005", "KOE006", "KOE008",
    "KOE009", "KOE010", "KOE101", "KOE205", "KOE303", "KOE319", "KOE320", "KOE322",
)  # fmt: skip
_SAME_AT_KAKAO = {**dict.fromkeys(("KOE002", "KOE201", "KOE202", "KOE310"), "KOE001"), "KOE101": "KOE008"}
_ABOUT_MESSAGES = ("ip", "refused", "no-friend", "day-is-full")
_NAMING_KAKAO = (
    "slow-down", "failing", "unknown-answer", "no-connection", "no-answer", "no-secure-connection", "broken", "no-end",
    "address", "locked",
)  # fmt: skip
_SIGNING_IN = (
    "sign-in-failing", "sign-in-refused", "sign-in-unknown", "already-expired", "no-token", "no-refresh-token",
    "rotation-lost",
)  # fmt: skip
KAKAO_CODES = (*KAKAO_API, *KAKAO_SIGN_IN, *_ABOUT_MESSAGES, *_NAMING_KAKAO, *_SIGNING_IN)
RENEWING = "renewal/"  # before the code of what went wrong while a login was renewed


def kakao_values(values: Mapping[str, str], language: Language) -> dict[str, str]:
    """Return the values of the texts: the redirect URI, and the scopes ("talk_message, friends") with their menus.

    https://developers.kakao.com/docs/ko/kakaotalk-message/common
    """
    given = {"redirect_uri": text(language, "kakao.phrase.redirect_uri"), "scopes": "talk_message", **values}
    known = [scope for scope in given["scopes"].split(", ") if has_text(f"kakao.consent.{scope}")]
    named = [f"{text(language, f'kakao.consent.{scope}')} ({scope})" for scope in known]
    sections = [text(language, f"kakao.consent_section.{scope}") for scope in known]
    places = ", ".join(map(" ".join, zip(sections, named, strict=True)))
    return {"places": places, "named": ", ".join(named), **given}


def kakao_error(code: str, values: Mapping[str, str], language: Language) -> str:
    """Return the meaning of a code of Kakao's or notifybot's own, and the remedy, without the code."""
    key = f"kakao.error.{_SAME_AT_KAKAO.get(code, code)}"
    return text(
        language, key if has_text(key, language) else "kakao.phrase.unknown_code", **kakao_values(values, language)
    )


def kakao_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """Return an error in one line: its meaning, the remedy, and Kakao's own code to search for."""
    if code.startswith(RENEWING):
        why = kakao_line(code.removeprefix(RENEWING), values, language)
        return text(language, "kakao.phrase.login_not_renewed", why=why)
    theirs = code in KAKAO_API or code in KAKAO_SIGN_IN
    meant = "sign-in-refused" if code.startswith("KOE") and not theirs else code
    line = kakao_error(meant, values, language)
    if theirs or meant not in KAKAO_CODES:
        line = f"{line} ({', '.join(filter(None, (code, values.get('http'))))})"
    if meant in _NAMING_KAKAO:
        return line
    signing_in = code.startswith("KOE") or code in _SIGNING_IN
    return text(language, f"kakao.phrase.about_{'the_login' if signing_in else 'a_message'}", error=line)


def watchdog_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error on the way to the watchdog in one line."""
    return _service_line("watchdog", code, values, language) or code


def _service_line(service: str, code: str, values: Mapping[str, str], language: Language) -> str | None:
    """The words of a service whose codes have one text each; None of a code that has none."""
    key = f"held.{code}" if service == "held" else f"{service}.error.{code}"
    return text(language, key, **values) if has_text(key, language) else None
