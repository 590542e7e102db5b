"""What `notifybot slack setup` says, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.config_sources import Origin
from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences. Those with braces are format strings."""

    make_app: str
    give: str
    no_answer: str
    not_a_bots: str
    invite: str
    channel: str
    channel_again: str
    write: str
    replace: str
    written: str
    by_hand: str
    cannot_write: str
    elsewhere: str
    done: str
    not_yet: str
    overridden: str
    not_done: str


_EN = Words(
    make_app="""\
1. Make the app. Open this page, choose your workspace, and press Create:

{address}

   (Or at https://api.slack.com/apps choose “Create New App”, “From a manifest”, and paste what
   `notifybot slack manifest` prints.)

2. On the app's page choose “Install App”, install it, and copy the “Bot User OAuth Token”: it begins with xoxb-.
""",
    give="Paste the token (it stays hidden)",
    no_answer="nobody answered: the setup needs a terminal to ask in",
    not_a_bots="That is no bot token: it begins with xoxb-. A token with xoxp- or xapp- is for something else.",
    invite="\n3. In Slack open the channel that is to be told, and write there: /invite @notifybot\n"
    "   Its ID (C0123456789) outlasts a new name: click the channel's name, it stands at the very bottom.\n",
    channel="Channel: its ID, or its name such as training",
    channel_again="Another channel, or Enter to try {tried} again (such as after an invitation)",
    write="\nWrite both into {path}, readable by you alone?",
    replace="\n{path} holds other values for {keys}. Replace them? All else in it stays as it is",
    written="Written to {path}. Keep it out of git: add {name} to the .gitignore beside it.",
    by_hand="\n{path} cannot be changed without touching other lines: write these there yourself.",
    cannot_write="\n{path} cannot be written: {why}.",
    elsewhere="""
Set them where your training runs, with your token in place of xoxb-…:

   notifybot.toml       slack_bot_token = "xoxb-…"
                        slack_channel = "{channel}"
   shell                export NOTIFYBOT_SLACK_BOT_TOKEN=xoxb-…
                        export NOTIFYBOT_SLACK_CHANNEL={channel}
   Colab, key symbol    NOTIFYBOT_SLACK_BOT_TOKEN   xoxb-…
                        NOTIFYBOT_SLACK_CHANNEL     {channel}
   (in Colab switch “Notebook access” on for both)
""",
    done="Slack is set up. See a message of each kind there: notifybot test -n slack",
    not_yet="Token and channel work. Slack is set up once they stand where your training runs; then: "
    "notifybot test -n slack",
    overridden="{name} in {place} holds another value, and that is the one used: change it, or take it out.",
    not_done="Slack is not set up with what you gave: notifybot doctor",
)

_KO = Words(
    make_app="""\
1. 앱을 만듭니다. 다음 주소를 열어 워크스페이스를 고르고 Create를 누르세요.

{address}

   (또는 https://api.slack.com/apps 에서 “Create New App” → “From a manifest”를 고르고
   `notifybot slack manifest`의 출력을 붙여 넣으세요.)

2. 앱 화면의 “Install App”에서 설치한 뒤 “Bot User OAuth Token”을 복사하세요. xoxb-로 시작합니다.
""",
    give="토큰을 붙여 넣으세요(화면에 표시되지 않습니다)",
    no_answer="입력을 받지 못했습니다. 설정하려면 터미널에서 실행하세요",
    not_a_bots="봇 토큰이 아닙니다. 봇 토큰은 xoxb-로 시작합니다. xoxp-나 xapp-로 시작하는 토큰은 용도가 다릅니다.",
    invite="\n3. Slack에서 알림을 받을 채널을 열고 다음과 같이 입력하세요: /invite @notifybot\n"
    "   채널 ID(C0123456789)는 이름이 바뀌어도 그대로입니다. 채널 이름을 누르면 나오는 창의 맨 아래에 있습니다.\n",
    channel="채널 ID 또는 이름(예: training)",
    channel_again="다른 채널을 입력하거나, 봇을 초대한 뒤 {tried} 채널을 다시 확인하려면 Enter를 누르세요",
    write="\n두 값을 {path} 파일에 적어 둘까요? 본인만 읽을 수 있게 저장합니다.",
    replace="\n{path} 파일에 다른 {keys} 값이 있습니다. 바꿀까요? 나머지 내용은 그대로 둡니다",
    written="{path} 파일에 저장했습니다. git에 올라가지 않도록 같은 폴더의 .gitignore에 {name}을 추가하세요.",
    by_hand="\n{path} 파일의 다른 줄을 건드리지 않고는 고칠 수 없습니다. 다음 내용을 직접 적으세요.",
    cannot_write="\n{path} 파일에 쓸 수 없습니다: {why}.",
    elsewhere="""
학습을 실행하는 곳에 다음과 같이 설정하세요. xoxb-… 자리에는 받은 토큰을 넣습니다.

   notifybot.toml       slack_bot_token = "xoxb-…"
                        slack_channel = "{channel}"
   셸                   export NOTIFYBOT_SLACK_BOT_TOKEN=xoxb-…
                        export NOTIFYBOT_SLACK_CHANNEL={channel}
   Colab 열쇠 아이콘     NOTIFYBOT_SLACK_BOT_TOKEN   xoxb-…
                        NOTIFYBOT_SLACK_CHANNEL     {channel}
   (Colab에서는 두 값 모두 “노트북 액세스”를 켜세요.)
""",
    done="Slack 설정이 끝났습니다. 종류별 메시지를 받아 보려면: notifybot test -n slack",
    not_yet="토큰과 채널을 확인했습니다. 학습하는 곳에 두 값을 설정하면 끝납니다. 그다음: notifybot test -n slack",
    overridden="{place}의 {name}에 다른 값이 있고 그 값이 쓰입니다. 고치거나 지우세요.",
    not_done="입력하신 값으로 Slack이 설정되지 않았습니다. 확인: notifybot doctor",
)

PLACES: dict[Language, dict[str, str]] = {
    Language.EN: {Origin.ENVIRONMENT: "the environment", Origin.COLAB: "Colab's secrets"},
    Language.KO: {Origin.ENVIRONMENT: "환경 변수", Origin.COLAB: "Colab 보안 비밀"},
}
_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_of(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
