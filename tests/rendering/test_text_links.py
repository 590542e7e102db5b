"""Addresses in other people's words: read as before, and no link to any app."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.rendering.text import defang_links
from notifybot.sandbox.mrkdwn import bare_addresses

ADDRESSES = (
    "http://evil.example/a?b=c", "https://localhost:8080", "ftp://a", "evil.example", "www.evil.example", "train.py",
    "a@evil.example", "10.0.0.1:6006", "예시.한국", "xn--a.xn--b", "HTTPS://EVIL.EXAMPLE", "http://[::1]/", "1.2.3.4.5",
)  # fmt: skip


@given(st.lists(st.sampled_from(ADDRESSES) | st.text(max_size=3), max_size=6).map("".join))
def test_no_address_is_found_and_every_letter_is_kept(text: str) -> None:
    """Whatever stands around them; without the invisible splits it is the same text."""
    shown = defang_links(text)

    assert bare_addresses(shown) == []
    assert shown.replace("\u200b", "") == text.replace("\u200b", "")


@pytest.mark.parametrize(
    "text",
    [
        "loss 0.0312 (-12.5%)",
        "에포크 3/30을 마쳤습니다. 다음은 4입니다.",
        "Tried 2.5 GiB... then 3.",
        "v1.2",
        "",
        "/content/drive/MyDrive/exp.1/checkpoint_epoch12_0.3962.pt",
        "saved: runs/a.b/c.pt (45 MB)",
    ],
)
def test_numbers_sentences_and_paths_are_left_as_they_are(text: str) -> None:
    assert defang_links(text) == text
