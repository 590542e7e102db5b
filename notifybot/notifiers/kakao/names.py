"""Metric names in six characters, as KakaoTalk's item list shows them, still telling one metric from another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from notifybot.notifiers.kakao.text import prefix, units
from notifybot.rendering.text import one_line

LIMIT = 6

_PHASES = {"train": "tr", "training": "tr", "val": "v", "valid": "v", "validation": "v", "dev": "dv",
           "test": "te", "eval": "ev", "evaluation": "ev"}  # fmt: skip
_WHOLE = {"learning_rate": "lr"}
_WORDS = {
    "accuracy": "acc",
    "average": "avg",
    "balanced": "bal",
    "coefficient": "coef",
    "cross": "x",
    "entropy": "ent",
    "error": "err",
    "evaluation": "eval",
    "generator": "gen",
    "discriminator": "disc",
    "gradient": "grad",
    "macro": "mac",
    "micro": "mic",
    "precision": "prec",
    "perplexity": "ppl",
    "recall": "rec",
    "reward": "rew",
    "throughput": "tput",
    "training": "train",
    "validation": "val",
}


def short_names(names: Sequence[str]) -> list[str]:
    """A name of at most six characters for each, in order; no two are the same as long as there are at most 99."""
    taken: list[str] = []
    for name in names:
        taken.append(next(each for each in _candidates(one_line(name)) if each not in taken))
    return taken


def _candidates(name: str) -> Iterator[str]:
    """From the name itself to ever shorter spellings, then numbered ones without end."""
    words = _words(name)
    mild = [_WORDS.get(word.lower(), word) for word in words]
    initials = [_initial(word) for word in words[:-1]]
    short = [*initials, mild[-1]]
    if not "".join(words).isascii():
        yield from _readable(name, words)
        return
    usual = _WHOLE.get("_".join(words).lower(), "")
    spellings = [name, usual, "_".join(mild), _camel(mild), _camel(short), prefix(_camel(short), LIMIT)]
    if len(short) > 1:  # a shorter last word may be what tells it apart
        spellings.append(prefix("".join(initials), 2) + prefix(mild[-1].capitalize(), LIMIT - 2))
    for spelling in spellings:
        if spelling and units(spelling) <= LIMIT:
            yield spelling
    stem = _camel(short)
    for number in range(2, 1000):
        yield prefix(stem, LIMIT - len(str(number))) + str(number)


def _readable(name: str, words: Sequence[str]) -> Iterator[str]:
    """Names that are not English, whose initials say nothing: the phase's mark with their beginning, or their end."""
    mark = "".join(_initial(word) for word in words if word.lower() in _PHASES)
    rest = [word for word in words if word.lower() not in _PHASES]
    ends = (mark + " ".join(rest[at:]) for at in range(1, len(rest)))
    whole = mark + " ".join(rest)
    spellings = [name, whole, prefix(whole, LIMIT).rstrip(), next((each for each in ends if units(each) <= LIMIT), "")]
    yield from (each for each in spellings if each and units(each) <= LIMIT)
    for number in range(2, 1000):
        yield prefix(whole, LIMIT - len(str(number))).rstrip() + str(number)


def _words(name: str) -> list[str]:
    """The words of a name, with the phase first: `Loss/train` and `train_loss` both are train, loss."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\s_/.:\-]+", split) if word]
    phases = [word for word in words if word.lower() in _PHASES]
    rest = [word for word in words if word.lower() not in _PHASES]
    return [*phases, *rest] or ["?"]


def _initial(word: str) -> str:
    """The phase's usual mark, or the first letter with the digits behind: `top5` is t5."""
    digits = re.search(r"\d+$", word)
    first = _first(_WORDS.get(word.lower(), word))
    known = _PHASES.get(word.lower()) or first + (digits.group() if digits else "")
    return known.lower()


def _first(word: str) -> str:
    """What a reader takes for its first character, be it several; nothing where that alone is too long."""
    return next((short for limit in range(1, LIMIT + 1) if (short := prefix(word, limit))), "")


def _camel(words: list[str]) -> str:
    head, *tail = words
    return head + "".join(word[:1].upper() + word[1:] for word in tail)
