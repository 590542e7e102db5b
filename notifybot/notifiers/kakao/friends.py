"""Who of the account's friends is to receive: shown as a list, chosen by number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from notifybot.notifiers.kakao.account import MOST_RECEIVERS, Receiver
from notifybot.notifiers.kakao.person import Person
from notifybot.notifiers.kakao.words import words_in
from notifybot.types import Language


def choice_in(answer: str, friends: Sequence[Receiver]) -> tuple[Receiver, ...]:
    """The friends that an answer such as "1,3" names, in its order, each once; none where it is no such answer."""
    words = [word for word in re.split(r"[\s,]+", answer) if word]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= len(friends) for word in words):
        return ()
    numbers = list(dict.fromkeys(int(word) for word in words))
    return tuple(friends[number - 1] for number in numbers) if len(numbers) <= MOST_RECEIVERS else ()


def chosen_by(person: Person, friends: Sequence[Receiver], language: Language) -> tuple[Receiver, ...]:
    """Ask until at least one of the friends is chosen; an only friend is. There must be one."""
    words = words_in(language)
    if len(friends) == 1:
        person.say(words.only_friend.format(nickname=friends[0].nickname))
        return tuple(friends)
    person.say("\n".join([words.friends, *(f"  {number}  {each.nickname}" for number, each in enumerate(friends, 1))]))
    while not (chosen := choice_in(person.ask(words.which_friends), friends)):
        person.say(words.not_a_choice.format(most=len(friends)))
    return chosen
