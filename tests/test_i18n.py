"""The catalog of texts: the same keys and places in both languages, every key used, the user's own texts in front.

And what follows from it: no sentence that a person reads stands in the code, and Korean has one register and one word
for each thing.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from notifybot.i18n import _CATALOGS, MESSAGES, OVERRIDES, _catalog, keys_of, listed, localized, places_of, text
from notifybot.rendering import error_text

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "notifybot"
TAKING_A_KEY = ("text", "reader_text", "localized", "Localized", "_text")  # functions
SAY = {*TAKING_A_KEY, "t", "ok", "note", "wrong"}  # `t` in pages, the last three in the doctor


BY_CODE = {  # the texts of a service's codes: one for each meaning of those that the code tells apart
    "slack.error.": {*(each.code for each in error_text._EXPLAINED.values()), *error_text._ON_THE_WAY},
    "kakao.error.": {error_text._SAME_AT_KAKAO.get(each, each) for each in error_text.KAKAO_CODES},
}


@cache
def written() -> tuple[set[str], tuple[str, ...]]:
    """The keys that stand in the code and the pages, and the beginnings of those that are put together there."""
    keys: set[str] = set()
    beginnings: set[str] = set()
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginnings.add(str(node.values[0].value))
    for path in [*(ROOT / "templates").rglob("*.html"), *(ROOT / "templates").rglob("*.j2")]:
        keys |= set(re.findall(r"""\bt\((?:[\w.']+, )?["']([\w.-]+)["']""", path.read_text("utf-8")))
    return keys, tuple(each for each in beginnings if re.fullmatch(r"[a-z_]+\.(?:[\w-]+\.)*[\w-]*", each))


def said_keys() -> Iterator[tuple[str, str]]:
    """Where in the code a key stands as a constant, and the key."""
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in SAY:
                continue
            for each in node.args[:3]:
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and "." in each.value:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", each.value


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    english, korean = _catalog("en"), _catalog("ko")

    assert english.keys() == korean.keys()
    assert {key for key in english if places_of(english[key]) != places_of(korean[key])} == set()


def test_every_key_that_is_said_is_in_the_catalog() -> None:
    assert [(where, key) for where, key in said_keys() if key not in _catalog("en")] == []


def given_places() -> Iterator[tuple[str, str, set[str]]]:
    """Where in the code a key is said with its values, the key, and the names of the values."""
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in SAY:
                continue
            names = [each.arg for each in node.keywords]
            keys = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            if None not in names and keys and isinstance(keys[-1], str) and "." in keys[-1]:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", keys[-1], {name for name in names if name}


def test_every_place_of_a_text_is_given_a_value() -> None:
    """A value that is not given would be a question mark, and one without a place would be lost."""
    english = _catalog("en")

    assert [
        (where, key, places_of(english[key]) ^ names)
        for where, key, names in given_places()
        if key in english and names != places_of(english[key])
    ] == []


def test_every_text_is_used() -> None:
    """A key stands in the code as a whole or is put together there from a beginning: f"kakao.picture.{kind}"."""
    keys, beginnings = written()
    others = tuple(each for each in beginnings if each not in BY_CODE)

    assert [key for key in _catalog("en") if not _is_said(key, keys, others)] == []


def _is_said(key: str, keys: set[str], beginnings: tuple[str, ...]) -> bool:
    """Of a service's error, its code stands in the code; Slack's and Kakao's have a test of their own."""
    service, _, code = key.partition(".error.")
    return key in keys or key.startswith((*beginnings, *BY_CODE)) or (service != key and code in keys)


@pytest.mark.parametrize("beginning", BY_CODE)
def test_every_code_of_slack_and_kakao_has_its_text_and_no_text_is_without_a_code(beginning: str) -> None:
    assert set(keys_of(beginning)) == BY_CODE[beginning]


def test_a_text_is_filled_in_the_language_asked_for() -> None:
    assert "-: " not in text("en", "i18n.unfit", path="a.toml", keys="x")
    assert text("en", "i18n.unfit", path="a.toml", keys="x").startswith("a.toml: texts that stay ours")
    assert text("ko", "i18n.unfit", path="a.toml", keys="x").startswith("a.toml: 모르는 키")


def test_what_is_missing_costs_no_message() -> None:
    """A value that is not given, a key that is not known, a language that we do not speak."""
    assert text("ko", "i18n.unfit", path="a.toml").endswith(": ?")
    assert text("en", "no.such_key") == "no.such_key"
    assert text("fr", "i18n.unfit", path="a.toml") == text("en", "i18n.unfit", path="a.toml")


def test_a_catalog_that_cannot_be_read_is_read_again_the_next_time() -> None:
    """No descriptor may have been left; a training would show keys to people until its end."""
    assert _catalog("fr") == {}

    assert "fr" not in _CATALOGS
    assert _CATALOGS["en"] is _catalog("en")


def test_a_text_that_is_said_later_takes_others_into_its_places() -> None:
    inner = localized("i18n.unfit", path="b.toml", keys="y")

    outer = localized("i18n.unfit", path="a.toml", keys=inner)

    assert outer.ko.endswith(inner.ko)
    assert outer.en.endswith(inner.en)


def test_a_place_may_be_filled_by_what_asks_for_the_language() -> None:
    """As for an error, whose words somebody else puts into the language."""
    told = localized("i18n.unfit", path="a.toml", keys=lambda language: f"in {language}")

    assert told.ko.endswith(": in ko")
    assert told.en.endswith(": in en")


@pytest.fixture
def own_texts(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "ko").mkdir()
    OVERRIDES.use(tmp_path)
    yield tmp_path / "ko" / MESSAGES
    OVERRIDES.use(None)


def test_a_users_own_text_stands_for_ours(own_texts: Path) -> None:
    own_texts.write_text('[i18n]\nunfit = "{path}에서 {keys}는 쓰지 않아요"\n', "utf-8")

    assert text("ko", "i18n.unfit", path="a", keys="b") == "a에서 b는 쓰지 않아요"
    assert text("en", "i18n.unfit", path="a", keys="b").startswith("a: texts")


@pytest.mark.parametrize(
    "own",
    ['[i18n]\nunfit = "{nothing_of_ours}"', '[i18n]\nunfit = "{path"', "[i18n]\nunfit = 3", "[[", '[other]\nkey = "x"'],
    ids=["place", "brace", "number", "no TOML", "key"],
)
def test_a_users_text_that_cannot_be_said_is_told_and_ours_stays(
    own: str, own_texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_texts.write_text(own, "utf-8")

    assert text("ko", "i18n.unfit", path="a", keys="b").startswith("a: 모르는 키")
    assert text("ko", "i18n.unfit", path="a", keys="b").startswith("a: 모르는 키")
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [str(own_texts)]


def test_a_folder_that_cannot_be_looked_into_costs_no_text(tmp_path: Path) -> None:
    """To ask for a name that is too long raises as a folder does that another user has closed."""
    OVERRIDES.use(tmp_path / ("n" * 300))
    try:
        assert text("en", "i18n.unfit", path="a", keys="b").startswith("a: texts")
    finally:
        OVERRIDES.use(None)


def test_the_catalogs_are_toml_with_nothing_but_texts() -> None:
    for language in ("en", "ko"):
        tables = [tomllib.loads((ROOT / "templates" / language / MESSAGES).read_text("utf-8"))]
        while tables:
            for value in tables.pop().values():
                assert isinstance(value, str | dict)
                if isinstance(value, dict):
                    tables.append(value)


@pytest.mark.parametrize("own", ["{path:d}", "{path.missing}", "{path[x]}", "{}"])
def test_a_users_text_that_its_values_do_not_fit_is_ours(own: str, own_texts: Path) -> None:
    """A place is one of ours, and yet cannot be filled as it is written."""
    own_texts.write_text(f'[i18n]\nunfit = "{own}"\n', "utf-8")

    assert text("ko", "i18n.unfit", path="a", keys="b").startswith("a: 모르는 키")


@pytest.mark.parametrize(
    ("language", "names", "text_of"),
    [("en", ["a"], "a"), ("en", ["a", "b", "c"], "a, b or c"), ("ko", ["a", "b", "c"], "a, b, c"), ("en", [], "")],
)
def test_names_are_listed_as_they_are_read(language: str, names: list[str], text_of: str) -> None:
    assert listed(language, names, "or") == text_of


LOOKED_AT = """
import sys, threading
opened = []
def look(event, arguments):
    if event == "open" and str(arguments[0]).endswith("messages.toml"):
        opened.append((threading.current_thread() is threading.main_thread(), str(arguments[0]).split("/")[-2]))
sys.addaudithook(look)
from notifybot import notify_epoch
with notify_epoch(range(2), name="digits") as epochs:
    for epoch in epochs:
        epochs.log(train_loss=1.0)
print(opened, file=sys.stderr)
"""


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_training_reads_the_catalog_of_its_language_once_and_in_a_thread_of_ours(
    language: str, tmp_path: Path
) -> None:
    """The loop does not wait for it, and nothing is read twice."""
    own = {"STATE_DIR": str(tmp_path), "RUNS_DIR": str(tmp_path), "TENSORBOARD": "off", "WANDB": "off"}
    settings = {f"NOTIFYBOT_{name}": value for name, value in {**own, "LANG": language}.items()}

    ended = subprocess.run(
        [sys.executable, "-c", LOOKED_AT],
        cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ended.stderr.splitlines()[-1] == str([(False, language)])


# ── Nothing of it in the code ────────────────────────────────────────────────────────────────────────────────────────

HANGUL = re.compile("[\uac00-\ud7a3]")
KOREAN_OF_USE = {  # no text of ours: why it stands in the code
    "charts/fonts.py": "the letter by which a font is seen to write Korean",
    "metric_names.py": "words in names of metrics that mean validation",
    "rendering/format.py": "examples in docstrings",
    "notifiers/kakao/login.py": "how a person says yes",
    "preferences.py": "the units that people write in their settings",
    "notifiers/kakao/button_domains.py": "Kakao's own name of the field that its site asks for",
}

# Three words of English in a row, in a string that is no docstring, no pattern and no line for the log's debug level.
PHRASE = re.compile(r"[A-Za-z’']+(?:,? [a-z’']{2,}){2,}")
UNREAD = {"debug", "info", "compile", "filterwarnings"}  # calls whose strings nobody reads, or who looks into us
ENGLISH_OF_USE = {  # modules whose English is no text of ours: why
    "cli/help.py": "the patterns of what click says, to be said in Korean",
    "cli/samples.py": "a traceback of PyTorch's, an error of the system's, and the keys of samples",
    "integrations/__init__.py": "lines of Python to be copied",
    "redaction.py": "words in the names of secrets",
    "rendering/error_text.py": "codes of Slack's, and the notes of older versions in the outbox",
    "sandbox/blockkit.py": "as Slack answers",
    "sandbox/kakao_api.py": "as Kakao answers",
    "sandbox/kakao_oauth.py": "as Kakao answers",
    "sandbox/kakao_state.py": "as Kakao answers",
    "sandbox/pages.py": "as HTTP answers",
    "sandbox/webhook.py": "as a receiver of webhooks answers",
    "store/migrations/versions/0004_runs_by_project.py": "SQL, and an error for whoever develops us",
    "watchdog/ingest.py": "the API's answers, which programs get",
    "watchdog/schemas.py": "the API's answers, which programs get",
    "web/api.py": "the API's answers, which programs get",
    "web/middleware.py": "the API's answers, which programs get",
}
PHRASES_OF_USE = {  # English that is no text of ours, by its beginning: why
    "module 'notifybot": "Python's own words for an attribute that is not there",
    "Traceback (most recent": "Python's own words, to be looked for",
    "Root Cause (first": "the launcher's own words, to be looked for",
    "it is not mounted any": "an error of the system's: Korean has the words of its code",
    " bytes written the disk": "an error of the system's: Korean has the words of its code",
    "Tells how your training": "what Slack shows of the app, in whichever language its readers have",
    "All settings. `Config(": "a docstring",
    " is no number": "stands beside Python's own words for a damaged manifest",
    "not a regular file": "an error of the system's, with words of its own in the catalog",
    " is locked by another": "is caught by whoever waits for the lock",
    "\nimport os, sys": "a program",
    ")  # not on Windows": "a program",
    "no module named": "Python's own words, to be looked for",
    "default-src 'none'": "the header of a page",
    "the Kakao sign-in was": "the error's own line in the log of whoever develops us",
    "a moment without a": "an error for whoever develops us",
    "no answer, or not now": "a line of the log's debug level",
    "this token gives no access": "the API's answer, which programs get",
}


def modules() -> Iterator[tuple[str, str]]:
    """Every module of the package by its path in it, and its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")


def phrases(source: str) -> Iterator[str]:
    """The strings of a module that hold a phrase of English which somebody may read."""
    tree = ast.parse(source)
    unread: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            unread.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNREAD:
            unread.update(ast.walk(node))
    for node in ast.walk(tree):
        text_of = node.value if isinstance(node, ast.Constant) and node not in unread else None
        if isinstance(text_of, str) and PHRASE.search(re.sub(r"%[-.\d]*[a-z]", "…", text_of)):
            yield text_of


def test_no_korean_stands_in_the_code() -> None:
    """Nor in a comment: what is said in Korean is the catalog's and the templates'."""
    found = {module for module, source in modules() if HANGUL.search(source)}

    assert found - KOREAN_OF_USE.keys() == set()
    assert KOREAN_OF_USE.keys() - found == set()


def test_no_sentence_stands_in_the_code() -> None:
    found = [
        (module, phrase)
        for module, source in modules()
        if module not in ENGLISH_OF_USE
        for phrase in phrases(source)
        if not phrase.startswith(tuple(PHRASES_OF_USE))
    ]

    assert found == []


def test_what_is_let_stand_in_the_code_is_there() -> None:
    """A list that names what is gone would let it come back."""
    found = {module: list(phrases(source)) for module, source in modules()}

    assert [module for module in ENGLISH_OF_USE if not found[module]] == []
    every = [phrase for each in found.values() for phrase in each]
    assert [begin for begin in PHRASES_OF_USE if not any(phrase.startswith(begin) for phrase in every)] == []


def test_the_search_for_sentences_finds_them() -> None:
    """In a call, in a table, and inside an f-string; not in a docstring, a pattern or a line for debugging."""
    assert list(phrases('print("nothing was sent at all")')) == ["nothing was sent at all"]
    assert list(phrases('X = {"a": f"{n} of them were left out"}')) == [" of them were left out"]
    assert list(phrases('"""A module that says this."""\nlog.debug("it was sent now")\nre.compile("as it is")')) == []


# ── Korean ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# A person is asked in "…하세요" and told in "…습니다"; a question of a prompt ends in "…까요?".
OTHER_REGISTER = re.compile(
    "십시" + r"오|[가-힣] 주세요|해주세요|(?:[어아해예여]요|에요|네요|군요|지요|죠|나요|돼요)(?![가-힣])"
)
PLAIN_END = re.compile(r"(?:[한된진인른난간온]|이|었|았|였|했|됐|있|없)다(?=[.!]|$)", re.MULTILINE)
OTHER_WORDS = {  # the words of the glossary, and those that would be second names of the same
    "감시 서버": ("워치" + "독", "파수", "모니터링 서버"),
    "보낼 편지함": ("발신" + "함", "아웃박스", "보낼 메시지함"),
    "하트비트": ("생존 신호", "심박"),
    "트래커": ("기록 도구", "로거"),
    "장비": ("컴퓨터", "머신"),
    "에포크": ("에폭",),
    "체크포인트": ("첵포인트", "저장점"),
    "알림 수단": ("알림 채널", "노티파이어"),
    "웹훅": ("웹 훅",),
    "매니페스트": ("목록 파일",),
    "랭크": ("순위 번호",),
    "하이퍼파라미터": ("초매개변수",),
}


def korean() -> Iterator[tuple[str, str]]:
    """Every Korean text by its key, and every Korean template by its path."""
    yield from _catalog("ko").items()
    for path in sorted((ROOT / "templates" / "ko").rglob("*.j2")):
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_korean_has_one_register() -> None:
    """Messages, prompts and remedies speak to the same person."""
    found = {key: OTHER_REGISTER.findall(each) + PLAIN_END.findall(each) for key, each in korean()}

    assert {key: each for key, each in found.items() if each} == {}


def test_korean_has_one_word_for_a_thing() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    others = [other for each in OTHER_WORDS.values() for other in each]

    assert [word for word in OTHER_WORDS if f"| {word} |" not in glossary] == []
    assert [(key, other) for key, each in korean() for other in others if other in each] == []
