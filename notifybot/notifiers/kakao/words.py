"""What the sign-in says and asks, in Korean and English. How sure we are of what rings is said too."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's sentences; those with braces are format strings."""

    modes: str
    which_mode: str
    before: str
    same_app: str
    which_key: str
    which_secret: str
    which_secret_now: str
    not_a_key: str
    friend_steps: str
    receiver_agreed: str
    receiver_signs_in: str
    sender_signs_in: str
    signs_in: str
    opened: str
    open_this: str
    waiting: str
    port_taken: str
    not_heard: str
    paste_how: str
    paste: str
    again: str
    stopped: str
    friends: str
    which_friends: str
    only_friend: str
    not_a_choice: str
    done_memo: str
    done_friend: str
    renews: str
    try_it: str
    lost_with_machine: str
    cannot_store: str
    no_answer: str
    nobody: str
    unreachable: str
    account: str
    mode: str
    mode_memo: str
    mode_friend: str
    receivers: str
    ends: str
    ends_in: str
    ends_unknown: str
    left: str
    kept_in: str
    signed_out: str
    disconnected: str
    was_out: str
    still_configured: str
    still_there: str
    not_friend_mode: str
    chosen: str
    nickname: str


_EN = Words(
    modes="""Two ways to be told on KakaoTalk:
  1  memo    to yourself (나와의 채팅). Set up in minutes. It does NOT ring and
             shows no banner: good as a record. Kakao's documents do not say so,
             but everybody who tried does (eleven open-source projects).
  2  friend  from a spare account to at most 5 friends, your own account among
             them. It is an ordinary message from another person, so it should
             ring: two projects say so, nobody has measured it. Needs a second
             Kakao account. 20 messages a day to each receiver.
  For an alarm that must ring today, use Slack beside it.""",
    which_mode="1 or 2 (q stops) [1]: ",
    before="""Before you go on, once, at developers.kakao.com (free, no business needed):
  1  [앱] → 앱 생성
  2  [카카오 로그인] → 사용 설정: ON
  3  [카카오 로그인] → [동의항목] → [접근권한]:
     카카오톡 메시지 전송 (talk_message)
  4  [앱] → [플랫폼 키] → [REST API 키] → 카카오 로그인 리다이렉트 URI:
     {redirect_uri}
  5  [앱] → [제품 링크 관리] → [웹 도메인]:
     {sites}
     A message's button leads there; a site that is not registered does not open""",
    same_app="With the app of the login before. For another one, first: notifybot kakao logout",
    which_key="REST API key, from [앱] → [플랫폼 키] → [REST API 키] (not shown while you type): ",
    which_secret="클라이언트 시크릿 of the same key (on for new keys; Enter if it is off): ",  # noqa: S106 - a question
    which_secret_now="클라이언트 시크릿 (Enter to give up): ",  # noqa: S106
    not_a_key="That holds a space or a character that no key has. Copy it again, without quotes.",
    friend_steps="""Friend mode needs, for both accounts (the spare one sends, yours receives):
  1  they are friends in KakaoTalk; the receiver's profile is public
  2  both are in [앱] → [멤버]
  3  [카카오 로그인] → [동의항목] → [개인정보]:
     카카오 서비스 내 친구목록 (friends) is on as well
  4  both sign in and agree once. Only the spare account's login is kept""",
    receiver_agreed="Has the receiving account signed in and agreed before? y or n [n]: ",
    receiver_signs_in="First the RECEIVING account (your own): sign in with it and agree. Its login is not kept.",
    sender_signs_in="Now the SENDING account (the spare one): sign in with it and agree.",
    signs_in="Sign in to Kakao and agree.",
    opened="A browser should have opened. If not, open this address:",
    open_this="Open this address in any browser, on any device:",
    waiting="Waiting for the browser, up to {minutes} minutes. A page with a KOE code? Press Ctrl-C to type it here.",
    port_taken="Port {port} is taken, so the answer has to be pasted.",
    not_heard="Nothing came from the browser, so paste its answer.",
    paste_how="""After you agree, the browser shows a page that cannot be reached. That is meant
to be: its address holds the answer. Copy the WHOLE address. If Kakao's page
shows an error instead, type its code (such as KOE006).""",
    paste="Address or KOE code (q stops): ",
    again="Enter to try again, q to stop: ",
    stopped="The sign-in was stopped; nothing was changed.",
    friends="Friends who can be written to:",
    which_friends="Who receives? Numbers, at most 5, such as 1 or 1,3: ",
    only_friend="There is one, who will receive: {nickname}",
    not_a_choice="Numbers from 1 to {most} of the list, at most 5.",
    done_memo="Signed in. Messages go to 나와의 채팅, silently.",
    done_friend="Signed in. Messages go to: {receivers}",
    renews="The login lasts 60 days and renews itself when it is used in the last 30.\n"
    "Kept in {path}, readable by you alone.",
    try_it="Try it: notifybot test --notifier kakao --kind run_ended",
    lost_with_machine="The login would be kept in {path}, on this machine, which goes away with the session. To keep "
    "it on Drive, stop with q, run `colab = setup(…)`, and sign in with notifybot.kakao_login(config=colab.config).",
    cannot_store="{path} cannot be written: make it writable, or name another with NOTIFYBOT_KAKAO_TOKEN_FILE",
    no_answer="nobody answered: the sign-in needs a terminal or a notebook to ask in",
    nobody="Nobody is signed in: notifybot kakao login",
    unreachable="Kakao could not be asked: {why}",
    account="Account",
    mode="Mode",
    mode_memo="memo: to yourself, silent",
    mode_friend="friend: should ring, not measured",
    receivers="Receivers",
    ends="Login ends",
    ends_in="{day}, in {days} days; renewed by use in its last month",
    ends_unknown="not told by Kakao yet (a configured token lasts about 60 days)",
    left="Left today",
    kept_in="Kept in",
    signed_out="Signed out: the token file is deleted. A training that runs now keeps its login; --disconnect ends it.",
    disconnected="Disconnected: every token of this app and account has ended, and the token file is deleted.",
    was_out="Nobody was signed in.",
    still_configured="NOTIFYBOT_KAKAO_REFRESH_TOKEN is still set, and signs in by itself: remove it too.",
    still_there="{path} of another program still holds a login, and signs in by itself: name another file with "
    "NOTIFYBOT_KAKAO_TOKEN_FILE, or take the setting out.",
    not_friend_mode="This login is in memo mode. To write to friends: notifybot kakao login --mode friend",
    chosen="Receives",
    nickname="Name",
)

_KO = Words(
    modes="""카카오톡으로 알림을 받는 방법은 두 가지입니다.
  1  memo    나에게 보내기(나와의 채팅). 몇 분이면 설정합니다.
             소리도 배너도 없이 조용히 옵니다. 기록용으로 좋습니다.
             카카오 문서에는 나와 있지 않지만, 써 본 사람들은 모두 울리지
             않는다고 합니다(오픈소스 프로젝트 11곳).
  2  friend  부계정에서 친구(최대 5명)에게 보내기. 내 본계정도 친구입니다.
             다른 사람이 보낸 일반 메시지라서 울릴 것으로 예상합니다.
             두 프로젝트가 그렇게 밝혔지만 측정한 기록은 없습니다.
             카카오 계정이 하나 더 필요하고, 받는 사람마다 하루 20건입니다.
  반드시 울려야 하는 알림은 Slack을 함께 쓰세요.""",
    which_mode="1 또는 2 (q는 그만두기) [1]: ",
    before="""먼저 developers.kakao.com에서 한 번만 설정합니다.
무료이며 사업자가 아니어도 됩니다.
  1  [앱] → 앱 생성
  2  [카카오 로그인] → 사용 설정: ON
  3  [카카오 로그인] → [동의항목] → [접근권한]:
     카카오톡 메시지 전송 (talk_message)
  4  [앱] → [플랫폼 키] → [REST API 키] → 카카오 로그인 리다이렉트 URI:
     {redirect_uri}
  5  [앱] → [제품 링크 관리] → [웹 도메인]:
     {sites}
     메시지 버튼이 여는 사이트입니다. 등록하지 않은 사이트는 열리지 않습니다""",
    same_app="앞서 로그인한 앱을 그대로 씁니다. 다른 앱을 쓰려면 먼저: notifybot kakao logout",
    which_key="REST API 키 ([플랫폼 키] 화면에 있습니다. 입력해도 보이지 않습니다): ",
    which_secret="같은 키의 클라이언트 시크릿 (새 키는 켜져 있습니다. 꺼져 있으면 Enter): ",  # noqa: S106 - a question
    which_secret_now="클라이언트 시크릿 (그만두려면 Enter): ",  # noqa: S106
    not_a_key="빈칸이나 키에 쓰이지 않는 문자가 들어 있습니다. 따옴표 없이 다시 복사해 주세요.",
    friend_steps="""friend 방식은 두 계정(보내는 부계정, 받는 본계정) 모두 다음이 필요합니다.
  1  두 계정이 카카오톡 친구이고, 받는 계정의 프로필이 공개되어 있습니다
  2  두 계정이 모두 [앱] → [멤버]에 있습니다
  3  [카카오 로그인] → [동의항목] → [개인정보]:
     카카오 서비스 내 친구목록 (friends)도 켜져 있습니다
  4  두 계정이 각각 한 번 로그인해 동의합니다. 부계정의 로그인만 저장합니다""",
    receiver_agreed="받는 계정이 전에 로그인해 동의한 적이 있습니까? y 또는 n [n]: ",
    receiver_signs_in="먼저 받는 계정(본계정)으로 로그인해 동의해 주세요. 이 로그인은 저장하지 않습니다.",
    sender_signs_in="이제 보내는 계정(부계정)으로 로그인해 동의해 주세요.",
    signs_in="카카오에 로그인해 동의해 주세요.",
    opened="브라우저가 열립니다. 열리지 않으면 다음 주소를 여세요.",
    open_this="아무 기기의 브라우저에서 다음 주소를 여세요.",
    waiting="브라우저의 응답을 최대 {minutes}분 동안 기다립니다. KOE 코드가 보이면 Ctrl-C를 누르고 입력해 주세요.",
    port_taken="포트 {port}번을 다른 프로그램이 쓰고 있어 주소를 붙여 넣어야 합니다.",
    not_heard="브라우저에서 응답이 오지 않았습니다. 주소를 붙여 넣어 주세요.",
    paste_how="""동의하고 나면 ‘연결할 수 없는 페이지’가 나옵니다. 정상입니다.
그 페이지의 주소에 결과가 들어 있으니, 주소창의 주소 전체를 복사하세요.
카카오 오류 페이지가 나오면 그 코드(예: KOE006)를 입력하세요.""",
    paste="주소 또는 KOE 코드 (q는 그만두기): ",
    again="다시 하려면 Enter, 그만두려면 q: ",
    stopped="로그인을 그만두었습니다. 바뀐 것은 없습니다.",
    friends="메시지를 보낼 수 있는 친구:",
    which_friends="누가 받습니까? 번호를 최대 5개까지 입력해 주세요 (예: 1 또는 1,3): ",
    only_friend="친구가 한 명이므로 이 친구가 받습니다: {nickname}",
    not_a_choice="목록에 있는 1부터 {most}까지의 번호를 최대 5개 입력해 주세요.",
    done_memo="로그인했습니다. 메시지는 나와의 채팅에 조용히 쌓입니다.",
    done_friend="로그인했습니다. 메시지를 받는 사람: {receivers}",
    renews="로그인은 60일 동안 유효하고, 마지막 30일 안에 한 번이라도 쓰면 저절로 연장됩니다.\n"
    "{path}에 본인만 읽을 수 있게 저장했습니다.",
    try_it="시험해 보기: notifybot test --notifier kakao --kind run_ended",
    lost_with_machine="로그인을 이 런타임의 {path}에 저장하므로 런타임이 초기화되면 사라집니다. 드라이브에 저장하려면 "
    "q로 그만두고 `colab = setup(…)`을 실행한 뒤 notifybot.kakao_login(config=colab.config)로 로그인하세요.",
    cannot_store="{path} 파일에 쓸 수 없습니다. 쓰기 권한을 주거나 "
    "NOTIFYBOT_KAKAO_TOKEN_FILE로 다른 경로를 정해 주세요",
    no_answer="입력을 받지 못했습니다. 로그인하려면 터미널이나 노트북에서 실행해 주세요",
    nobody="로그인되어 있지 않습니다: notifybot kakao login",
    unreachable="카카오에 물어보지 못했습니다: {why}",
    account="계정",
    mode="방식",
    mode_memo="memo: 나에게 보내기, 울리지 않습니다",
    mode_friend="friend: 울릴 것으로 예상하나 측정한 기록은 없습니다",
    receivers="받는 사람",
    ends="로그인 만료",
    ends_in="{day}, {days}일 남음. 마지막 한 달에 쓰면 연장됩니다",
    ends_unknown="카카오가 아직 알려 주지 않음 (설정한 토큰은 약 60일 동안 유효)",
    left="오늘 남은 메시지",
    kept_in="저장 위치",
    signed_out="로그아웃했습니다. 토큰 파일을 지웠습니다. 지금 실행 중인 학습은 로그인을 유지하며, "
    "--disconnect로 끊을 수 있습니다.",
    disconnected="연결을 끊었습니다. 이 앱과 계정의 토큰이 모두 만료되었고 토큰 파일을 지웠습니다.",
    was_out="로그인되어 있지 않았습니다.",
    still_configured="NOTIFYBOT_KAKAO_REFRESH_TOKEN이 남아 있으면 그 값으로 로그인됩니다. 함께 지워 주세요.",
    still_there="다른 프로그램의 {path}에 로그인이 남아 있어 그것으로 로그인됩니다. NOTIFYBOT_KAKAO_TOKEN_FILE로 "
    "다른 파일을 지정하거나 설정을 지워 주세요.",
    not_friend_mode="memo 방식으로 로그인되어 있습니다. 친구에게 보내려면: notifybot kakao login --mode friend",
    chosen="수신",
    nickname="이름",
)

_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
