"""The help of every command in Korean, and what is wrong with a command line. The English stands with the commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text
from typer import rich_utils

_TITLES = {  # of typer's frames, as far as its version has them
    "ARGUMENTS_PANEL_TITLE": "인자",
    "OPTIONS_PANEL_TITLE": "옵션",
    "COMMANDS_PANEL_TITLE": "명령",
    "DEFAULT_STRING": "[기본값: {}]",
    "REQUIRED_LONG_STRING": "[필수]",
}
_LANGUAGE = "쓸 언어입니다. 기본값은 설정 `lang`입니다."
_JSON = "표 대신 프로그램이 읽을 JSON을 출력합니다."
_DB = "감시 서버의 데이터베이스 파일입니다(기본값: 상태 폴더의 watchdog.db)."
_IDS = "`outbox list`에 나오는 ID입니다."
_EPILOG = "설정은 NOTIFYBOT_* 환경 변수나 notifybot.toml에서 읽습니다. 목록은 설명서에 있습니다."
_SHOW_HELP = "도움말을 보여 주고 끝냅니다."

HELP = {
    "": "학습 진행 상황을 Slack과 카카오톡으로 받고, 학습이 갑자기 끊겨도 알림을 받습니다.",
    " --version": "버전을 출력하고 끝냅니다.",
    "demo": "작은 학습을 실제로 돌리다 강제로 끊고, ‘연결 끊김’ 알림과 이어서 끝내는 과정을 보여 줍니다.\n\n"
    "계정은 필요 없습니다. 메시지는 이 컴퓨터의 샌드박스로 갑니다. 1분쯤 걸립니다.\n"
    "모든 과정이 확인되어야만 종료 코드가 0입니다.",
    "demo --real": "샌드박스 대신 내 Slack과 카카오톡으로 알립니다.",
    "demo --deadman": "감시 서버 없이 Slack이 스스로 알리는 모습을 보여 줍니다. 몇 초 걸립니다.",
    "demo --language": _LANGUAGE,
    "send": "설정된 모든 알림 수단으로 알림 하나를 보내고 결과를 기다립니다.\n\n"
    "하나라도 보내지 못하면 종료 코드가 1입니다. 셸 스크립트에서는 이렇게 씁니다.\n"
    'python train.py || notifybot send "train.py failed" -s error',
    "send text": "보낼 내용입니다.",
    "send --title": "내용 위에 쓸 제목 한 줄입니다(없으면 내용이 제목이 됩니다).",
    "send --severity": "얼마나 중요한 알림인지 정합니다.",
    "test": "종류마다 예시 메시지를 하나씩 모든 알림 수단으로 보내고 결과를 보여 줍니다.\n\n"
    "카카오톡은 하루에 보낼 수 있는 메시지가 적은데, 이 여덟 건도 포함됩니다.\n"
    "하나라도 거절되면 종료 코드가 1입니다.",
    "test --notifier": "slack처럼 한 가지 알림 수단만 씁니다.",
    "test --kind": "run_lost처럼 한 종류의 메시지만 보냅니다.",
    "test --explain": "보내지 않고, 누구에게 무엇을 언제 왜 알리는지 보여 줍니다.",
    "test --project": "이 프로젝트의 실행인 것처럼 보냅니다. 알림을 나누는 설정이 적용됩니다.",
    "test --run": "이 이름의 실행인 것처럼 보냅니다. 알림을 나누는 설정이 적용됩니다.",
    "status": "이 컴퓨터의 실행 목록을 보여 줍니다. 상태, 진행 정도, 마지막 소식이 나옵니다.",
    "status --limit": "최근 것부터 몇 개를 보여 줄지 정합니다.",
    "status --project": "이 프로젝트의 실행만 보여 줍니다.",
    "status --json": _JSON,
    "doctor": "계정과 서비스, 이 컴퓨터를 점검하고 문제가 있으면 해결 방법을 알려 줍니다.\n\n"
    "메시지는 보내지 않습니다. 문제가 있거나 아무것도 설정하지 않았으면 종료 코드가 1입니다.",
    "doctor --language": _LANGUAGE,
    "doctor --json": _JSON,
    "gallery": "모든 메시지를 두 언어로, Slack과 휴대폰 등에서 보이는 모습 그대로 한 페이지에 모읍니다.\n\n"
    "이 컴퓨터의 샌드박스 말고는 어디에도 보내지 않습니다.",
    "gallery --out": "페이지를 저장할 폴더입니다. 없으면 만듭니다.",
    "sandbox": "이 컴퓨터에서 Slack과 카카오톡을 흉내 내고, 도착한 메시지를 실제 화면처럼 보여 줍니다.\n\n"
    "학습이 이곳으로 보내게 하는 환경 변수를 출력합니다. Ctrl-C로 끝냅니다.",
    "sandbox --port": "0이면 비어 있는 포트를 씁니다.",
    "sandbox --language": _LANGUAGE,
    "watchdog": "소식이 끊긴 실행을 알려 주는 감시 서버를 실행합니다.\n\n"
    "학습 프로세스의 이벤트와 생존 신호를 받고, 여기에 설정된 알림 수단으로 알립니다.\n"
    "실행 목록은 http://HOST:PORT/ 에서 로그인한 사람만 볼 수 있습니다. 시작할 때 출력하는 링크나 프로젝트의 토큰으로 "
    "로그인합니다.\n"
    "먼저 프로젝트마다 토큰을 만드세요: `notifybot watchdog token new PROJECT`",
    "watchdog --host": "0.0.0.0이면 다른 컴퓨터에서도 보고할 수 있습니다.",
    "watchdog --behind-proxy": "모든 요청이 프록시를 거칠 때 지정합니다. HTTPS 여부를 프록시가 알려 준 대로 봅니다.",
    "watchdog --db": _DB,
    "watchdog login": "감시 서버의 페이지를 여는 링크를 출력합니다. 한 시간 안에 한 번만 쓸 수 있습니다.",
    "watchdog login --url": "페이지에 접속하는 주소입니다.",
    "watchdog login --db": _DB,
    "watchdog token": "학습 프로세스가 보고할 때 쓰는 토큰을 만들고 없앱니다.",
    "watchdog token new": "토큰을 만들어 한 번만 출력합니다. 저장하는 것은 해시뿐입니다.",
    "watchdog token new project": "이 토큰으로 보고할 실행의 프로젝트입니다.",
    "watchdog token new --label": "누구의 토큰인지 기억해 두기 위한 이름표입니다.",
    "watchdog token new --db": _DB,
    "watchdog token list": "토큰의 ID, 프로젝트, 만든 시각을 보여 줍니다. 토큰 자체는 다시 볼 수 없습니다.",
    "watchdog token list --db": _DB,
    "watchdog token list --json": _JSON,
    "watchdog token revoke": "토큰을 폐기합니다. 이 토큰으로는 더 이상 보고할 수 없습니다.",
    "watchdog token revoke token_id": "`token list`에 나오는 ID입니다.",
    "watchdog token revoke --db": _DB,
    "kakao": "카카오톡에 로그인하고 로그인 상태를 확인합니다.",
    "kakao login": "안내에 따라 한 번만 로그인합니다. 도중에 카카오 오류가 나면 원인을 설명합니다.\n\n"
    "비밀 값은 출력하지 않습니다. 로그인은 설정 `kakao_token_file`에 저장되고 스스로 갱신됩니다.",
    "kakao login --mode": "memo: 나에게 보내기(소리 없음). friend: 다른 계정에서 보내기. 생략하면 물어봅니다.",
    "kakao login --way": "browser: 이 컴퓨터의 브라우저로. paste: 주소를 붙여 넣어서. auto: 알아서 고릅니다.",
    "kakao login --redirect-uri": "앱에 등록한 주소와 한 글자도 다르지 않아야 합니다.",
    "kakao login --language": _LANGUAGE,
    "kakao status": "누가 언제까지 로그인되어 있는지, 어디로 보내는지, 오늘 몇 건 남았는지 보여 줍니다.\n\n"
    "로그인한 사람이 없으면 종료 코드가 1입니다.",
    "kakao friends": "메시지를 보낼 수 있는 친구를 번호와 함께 보여 주고, 받을 사람을 고릅니다.",
    "kakao friends --choose": "앞으로 받을 사람의 번호입니다. 예: 1,3",
    "kakao logout": "로그아웃하고 토큰 파일을 지웁니다.",
    "kakao logout --disconnect": "앱과의 연결을 끊고 이 앱의 토큰을 모두 없앱니다.",
    "outbox": "보낼 편지함에 무엇이 들어왔고 어떻게 되었는지 보여 주고, 빠진 것이 없는지 확인합니다.\n\n"
    "알림 수단마다 접수 = 전송됨 + 대기 + 포기 + 생략이어야 하며, 맞지 않으면 종료 코드가 1입니다.",
    "outbox --dead": "전송을 포기한 메시지와 그 이유를 보여 줍니다.",
    "outbox --json": _JSON,
    "outbox list": "전송을 포기한 메시지를 이유, 그리고 다른 명령에 쓸 ID와 함께 보여 줍니다.",
    "outbox list --state": "어떤 상태의 메시지를 볼지 정합니다.",
    "outbox list --limit": "최근 것부터 몇 개를 보여 줄지 정합니다.",
    "outbox list --json": _JSON,
    "outbox show": "메시지 하나의 내용과 보낼 곳, 지금까지 있었던 일을 보여 줍니다.",
    "outbox show letter_id": _IDS,
    "outbox show --json": _JSON,
    "outbox retry": "전송을 포기한 메시지를 다시 보냅니다. 시도 횟수도 처음부터 다시 셉니다.\n\n"
    "새로 설정한 알림 수단(새 토큰, 다른 채널)의 메시지는 새로운 곳으로 갑니다.\n"
    "지금 보낼 수 없는 것은 기다립니다. 되돌리지 못했거나 다시 거절된 것이 있으면 종료 코드가 1입니다.",
    "outbox retry ids": _IDS,
    "outbox retry --all": "ID 대신, 전송을 포기한 메시지를 모두 다시 보냅니다.",
    "outbox retry --notifier": "--all과 함께: slack처럼 이 알림 수단의 메시지만 다시 보냅니다.",
    "outbox retry --run": "--all과 함께: 이 이름이나 ID를 가진 실행의 메시지만 다시 보냅니다.",
    "outbox retry --json": _JSON,
    "outbox drop": "대기 중이거나 포기한 메시지를 완전히 버립니다. 목록에는 ‘생략’으로 남습니다.",
    "outbox drop ids": _IDS,
    "outbox drop --json": _JSON,
    "slack": "Slack 앱과 토큰, 채널을 설정합니다.",
    "slack manifest": "https://api.slack.com/apps 에 붙여 넣을 Slack 앱 매니페스트를 출력합니다.",
    "slack manifest --json": "출력 형식입니다. Slack 페이지는 둘 다 받습니다.",
    "slack setup": "5분 동안 안내에 따라 앱을 만들고, 토큰을 넣고, 채널을 고르고, 설정을 저장합니다.\n\n"
    "모두 Slack에 바로 확인합니다. 토큰은 화면에 나오지 않고 메시지도 보내지 않습니다.",
    "slack setup --language": _LANGUAGE,
}
"""By command, and by command and option or argument."""


def places(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below and with this one, and every option and argument that explains itself, by its key."""
    yield path, command
    for each in command.params:
        if getattr(each, "help", None):
            yield f"{path} {_spelt(each)}", each
    for name, inner in getattr(command, "commands", {}).items():
        yield from places(inner, f"{path} {name}".strip())


class _Folding(rich_utils.OptionHighlighter):
    """Lets Rich fold a line: it cuts Korean by a letter where it may only wrap it."""

    def __call__(self, text: str | Text) -> Text:
        highlighted = super().__call__(text)
        highlighted.overflow = "fold"
        return highlighted


@contextmanager
def frames_in_korean() -> Iterator[None]:
    """Within the block, what typer writes around the help is in Korean, and no letter is lost."""
    ours = {**_TITLES, "highlighter": _Folding()}
    before = {name: getattr(rich_utils, name) for name in ours if hasattr(rich_utils, name)}
    for name in before:
        setattr(rich_utils, name, ours[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(rich_utils, name, value)


def speak_korean(command: Any) -> None:
    """Put the help of a command, and of all below it, into Korean."""
    for place, each in places(command):
        each.help = HELP.get(place, each.help)
        if hasattr(each, "get_help_option"):
            each.get_help_option = _in_korean(each.get_help_option)
    command.epilog = _EPILOG


_WHYS = (  # the parser's own words for a value, and the others that have no class of their own
    (r"valid integer", "정수를 넣으세요"),
    (r"is not one of (.+?)\.?$", "{} 중 하나를 넣으세요"),
    (r"greater than or equal to (\d+)", "{} 이상의 값을 넣으세요"),
    (r"less than or equal to (\d+)", "{} 이하의 값을 넣으세요"),
    (r"No such command (\S+?)\. Did you mean (.+)\?", "{} 명령이 없습니다. 비슷한 명령: {}"),
    (r"No such command (\S+?)\.?$", "{} 명령이 없습니다"),
    (r"unexpected extra arguments? ?(?:\(s\))? ?\((.+)\)", "필요 없는 값이 있습니다: {}"),
)


def explained(error: Any) -> str:
    """What is wrong with a command line, and where its help is. Takes the error of typer's parser."""
    name, param = getattr(error, "option_name", ""), getattr(error, "param", None)
    if param is not None:
        name = param.metavar if param.metavar and param.param_type_name == "argument" else _spelt(param)
    close = ", ".join(getattr(error, "possibilities", None) or ())
    words = {
        "MissingParameter": f"{name} 값이 필요합니다",
        "NoSuchOption": f"{name} 옵션이 없습니다" + (f". 비슷한 옵션: {close}" if close else ""),
        "BadParameter": f"{name} 값이 올바르지 않습니다. {_why(error.message)}",
        "BadOptionUsage": f"{name} 옵션에는 값을 하나 넣어야 합니다",
    }
    place = error.ctx.command_path if getattr(error, "ctx", None) is not None else "notifybot"
    return f"{words.get(type(error).__name__) or _why(error.format_message())}\n사용법 보기: {place} --help"


def _why(message: str) -> str:
    """The parser's words in Korean; as they are where a newer parser has others."""
    for pattern, korean in _WHYS:
        if (found := re.search(pattern, message)) is not None:
            return korean.format(*found.groups())
    return message


def _spelt(param: Any) -> str:
    """An option as it is typed, an argument by its name."""
    return str(next((each for each in param.opts if each.startswith("--")), param.name))


def _in_korean(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def asked(context: Any) -> Any:
        option = ask(context)
        if option is not None:
            option.help = _SHOW_HELP
        return option

    return asked
