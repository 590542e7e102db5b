"""Why a delivery stands as it does, in a column of text: what goes in comes out, and old rows are still read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifybot.store.stored_reason import KEPT, LIMIT_CHARS, from_text, noted, to_text
from notifybot.types import Reason

CODES = st.from_regex(r"(late/)?(slack|kakao)\.[a-z_-]{1,60}", fullmatch=True)
NAMES = st.from_regex(r"[a-z]{1,12}", fullmatch=True)


def test_a_reason_is_kept_in_no_language() -> None:
    reason = Reason("slack.not_in_channel", values={"channel": "학습"})

    assert to_text(reason) == '{"code": "slack.not_in_channel", "values": {"channel": "학습"}}'
    assert from_text(to_text(reason)) == reason


@given(CODES, st.dictionaries(NAMES, st.text(max_size=40), max_size=4))
def test_what_is_kept_comes_back(code: str, values: dict[str, str]) -> None:
    reason = Reason(code, values=values)

    back = from_text(to_text(reason))

    assert back.code == code
    assert all(value.startswith(back.values.get(name, "")) for name, value in values.items())


@given(st.text(max_size=300), st.dictionaries(st.text(max_size=300), st.text(max_size=900), max_size=9))
def test_whatever_the_values_the_column_holds_all_of_it(code: str, values: dict[str, str]) -> None:
    """A text that is cut in its middle could not be read again."""
    text = KEPT + to_text(Reason(f"slack.{code}", values=values))

    assert len(text) <= LIMIT_CHARS
    assert from_text(text).code.startswith("kept/slack.")


@given(st.text(max_size=200).filter(lambda text: not text.startswith(("{", KEPT))))
def test_any_other_text_is_a_reason_by_itself(text: str) -> None:
    """What versions before this one noted, and what a notifier without codes says."""
    assert from_text(text) == Reason("noted", values={"text": text})
    assert to_text(from_text(text)) == text


def test_what_only_looks_like_a_reason_is_shown_as_it_is() -> None:
    for text in ('{"code": 1', '{"code": "a"}', '{"code": "a", "values": 3}', "{}", "[1]"):
        assert from_text(text) == Reason("noted", values={"text": text})


def test_what_was_kept_back_says_so() -> None:
    """By the code of today, and by the sentence that an earlier version noted."""
    assert from_text(f"{KEPT}{noted('quiet_hours')}") == Reason("kept/held.quiet_hours")
    assert from_text(f"{KEPT}quiet hours") == Reason("kept/noted", values={"text": "quiet hours"})
