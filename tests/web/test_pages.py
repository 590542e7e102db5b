"""The pages: who sees them, what they say, and what they never contain."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifybot.events import AlertRaised, RunEnded
from notifybot.types import (
    Checkpoint,
    Host,
    Metric,
    ModelSize,
    Progress,
    Resumed,
    Severity,
    Status,
    Tier,
    uuid7,
)
from notifybot.watchdog import logins, tokens
from notifybot.web.auth import COOKIE
from notifybot.web.pages import A_PAGE
from tests.support.watchdog_runs import Watchdog as Bench
from tests.support.watchdog_runs import trained

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def test_the_list_tells_status_epoch_silence_and_metrics(bench: Bench, local: TestClient) -> None:
    trained(bench)
    bench.clock.advance(12)
    page = local.get("/").text

    assert "name of run-1" in page
    assert '<span class="state is-running">running</span>' in page
    assert "epoch 3 / 30" in page
    assert '<progress max="30" value="3"' in page
    assert "12 s ago" in page
    assert "<dt>loss</dt><dd>0.25</dd>" in page


def test_a_lost_run_comes_first_and_its_page_says_how_to_go_on(bench: Bench, local: TestClient) -> None:
    process = trained(bench)
    bench.watch(180)
    bench.running("run-2")
    first = local.get("/?lang=en").text
    page = local.get(f"/runs/{process.run.id}?lang=en").text

    assert first.index("name of run-1") < first.index("name of run-2")
    assert "Nothing was heard for 3 min." in page
    assert "it can go on from the checkpoint of epoch 3." in page
    assert "/content/drive/ck/epoch-3.pt" in page
    assert '<span class="state is-lost">lost</span>' in page


def test_a_lost_run_stays_on_the_board_whatever_comes_after_it(bench: Bench, local: TestClient) -> None:
    """Newer runs push older ones onto the next page, never those that somebody should look at."""
    bench.running()
    bench.watch(180)
    for number in range(A_PAGE + 1):
        process = bench.process(f"newer-{number}", beat_s=3600)
        process.send(process.started())
    first, second, none = (local.get(f"/?lang=en&page={number}") for number in (1, 2, 3))

    assert "name of run-1" in first.text
    assert ">lost 1</span>" in first.text
    assert f">running {A_PAGE + 1}</span>" in first.text
    assert '<a href="/?page=2&amp;lang=en">Next →</a>' in first.text
    assert f"1–{A_PAGE} of {A_PAGE + 2}" in first.text
    assert "name of run-1" not in second.text
    assert ">lost 1</span>" in second.text
    assert second.text.count('<li class="run') == 2
    assert '<a href="/?lang=en">← Previous</a>' in second.text
    assert none.status_code == 303


def test_two_runs_of_one_id_are_told_apart_by_their_project(bench: Bench, local: TestClient) -> None:
    mine, theirs = trained(bench, 1), bench.of("speech").process()
    theirs.send(theirs.started())
    board, choice = local.get("/?lang=en").text, local.get(f"/runs/{mine.run.id}?lang=en").text

    for page in (board, choice):
        assert 'href="/runs/run-1?project=speech&amp;lang=en"' in page
        assert 'href="/runs/run-1?project=vision&amp;lang=en"' in page
    one = local.get("/runs/run-1?project=vision&lang=en").text
    assert "epoch 1 / 30" in one
    assert 'href="/runs/run-1?project=vision&amp;lang=ko"' in one


def test_every_page_exists_in_both_languages(bench: Bench, local: TestClient) -> None:
    process = trained(bench)
    paths = ["/", f"/runs/{process.run.id}", "/runs/unknown"]

    for path in paths:
        assert '<html lang="ko">' in local.get(f"{path}?lang=ko").text
        assert '<html lang="ko">' in local.get(path, headers={"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"}).text
        assert '<html lang="en">' in local.get(path, headers={"accept-language": "fr"}).text
    assert "진행 중" in local.get("/?lang=ko").text
    assert local.get("/runs/unknown").status_code == 404


def test_a_printed_link_opens_all_pages_once(bench: Bench, public: TestClient) -> None:
    bench.running()
    link = logins.link(bench.store, "http://watchdog.example")

    answer = public.get(link)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert re.search("HttpOnly; Path=/; SameSite=lax", answer.headers["set-cookie"])
    assert "name of run-1" in public.get("/").text
    other = TestClient(public.app, base_url="http://watchdog.example", follow_redirects=False)
    again = other.get(link)
    assert again.status_code == 401
    assert "This link has been used" in again.text
    assert other.get("/").status_code == 401


@pytest.mark.parametrize("language", ["ko", "en"])
def test_commands_are_shown_as_code_and_not_between_backticks(bench: Bench, public: TestClient, language: str) -> None:
    """On the first pages that anybody sees: the login, an old link, and a list without a run."""
    login = public.get(f"/login?lang={language}").text
    old_link = public.get(f"/login?key=used&lang={language}").text
    public.get(logins.link(bench.store, "http://watchdog.example"))
    empty = public.get(f"/?lang={language}").text

    assert "<code>notifybot watchdog login</code>" in login
    assert old_link.count("<code>notifybot watchdog login</code>") == 2
    assert "<code>notifybot watchdog token new" in empty
    assert "`" not in login + old_link + empty


def test_a_printed_link_is_good_for_an_hour_and_a_session_for_a_month(bench: Bench, public: TestClient) -> None:
    old, fresh = (logins.link(bench.store, "http://watchdog.example") for _ in range(2))
    public.get(fresh)
    bench.clock.advance(3601)
    assert public.get(old).status_code == 401
    assert public.get("/").status_code == 200
    bench.clock.advance(30 * 86_400)
    assert public.get("/").status_code == 401


def test_a_session_reports_nothing_and_a_token_is_no_session(bench: Bench, public: TestClient) -> None:
    """What the browser keeps cannot speak for the project, and a copy of the token in the cookie opens nothing."""
    public.post("/login", data={"token": bench.token})
    session = public.cookies[COOKIE]
    assert session != bench.token

    answer = public.get("/api/v1/runs", headers={"authorization": f"Bearer {session}"})
    public.cookies.set(COOKIE, bench.token)

    assert answer.status_code == 401
    assert public.get("/", headers={"cookie": f"{COOKIE}={bench.token}"}).status_code == 401


def test_a_session_that_was_left_is_over_on_the_server_too(bench: Bench, public: TestClient) -> None:
    public.post("/login", data={"token": bench.token})
    session = public.cookies[COOKIE]
    public.post("/logout")

    assert public.get("/", headers={"cookie": f"{COOKIE}={session}"}).status_code == 401


@pytest.mark.parametrize(("language", "said"), [("en", "tells nobody"), ("ko", "아무에게도 알리지 않습니다")])
def test_the_board_says_when_nobody_would_be_told(
    bench: Bench, public: TestClient, local: TestClient, language: str, said: str
) -> None:
    public.get(logins.link(bench.store, "http://watchdog.example"))

    assert said in public.get(f"/?lang={language}").text
    assert said not in local.get(f"/?lang={language}").text


def test_a_token_opens_the_pages_of_its_project(bench: Bench, public: TestClient) -> None:
    process = bench.running()
    assert public.get("/").status_code == 401

    answer = public.post("/login", data={"token": f" {bench.token}\n", "next": f"/runs/{process.run.id}?lang=ko"})

    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{process.run.id}?lang=ko")
    assert re.search("HttpOnly; Path=/; SameSite=lax", answer.headers["set-cookie"])
    assert "name of run-1" in public.get("/").text
    public.post("/logout")
    assert public.get("/").status_code == 401


def test_a_token_opens_nobody_elses_pages(bench: Bench, public: TestClient) -> None:
    process = bench.running()
    public.post("/login", data={"token": tokens.create(bench.store, "speech")})

    assert "name of run-1" not in public.get("/").text
    theirs, none = public.get(f"/runs/{process.run.id}"), public.get("/runs/unknown")
    assert (theirs.status_code, none.status_code) == (404, 404)
    assert "name of run-1" not in theirs.text


def test_a_revoked_token_closes_the_pages_at_once(bench: Bench, public: TestClient) -> None:
    public.post("/login", data={"token": bench.token})
    assert public.get("/").status_code == 200

    tokens.revoke(bench.store, tokens.list_tokens(bench.store)[0].id)

    assert public.get("/").status_code == 401


@pytest.mark.parametrize("token", ["", "nb_canary-not-a-token", "\x00", "x" * 5_000])
def test_a_wrong_token_opens_nothing(public: TestClient, token: str) -> None:
    answer = public.post("/login", data={"token": token})

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "nb_canary" not in answer.text


@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example", "/\\evil.example", "/\n", "javascript:1"])
def test_a_login_leads_nowhere_else(bench: Bench, public: TestClient, there: str) -> None:
    answer = public.post("/login", data={"token": bench.token, "next": there})

    assert answer.headers["location"] == "/"


def test_reading_changes_nothing(bench: Bench, local: TestClient) -> None:
    process = trained(bench)
    before = process.row()
    for path in ("/", f"/runs/{process.run.id}", "/login", "/logout", "/api/v1/events", "/api/v1/heartbeats"):
        local.get(path)

    assert process.row() == before


def test_every_answer_carries_its_headers(bench: Bench, local: TestClient, public: TestClient) -> None:
    process = trained(bench)
    paths = ["/", f"/runs/{process.run.id}", "/runs/unknown", "/nowhere", "/favicon.ico", "/healthz", "/api/v1/runs"]
    answers = [each.get(path) for each in (local, public) for path in paths]
    answers.append(public.post("/login", data={"token": "wrong"}))
    answers.append(public.post("/api/v1/events", content=b"x" * 2_000_000))

    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", answer.text)


def test_each_page_has_a_nonce_of_its_own(local: TestClient) -> None:
    nonces = {re.search(r"'nonce-([\w-]+)'", local.get("/").headers["content-security-policy"]) for _ in range(5)}

    assert len({each.group(1) for each in nonces if each}) == 5


def test_other_peoples_text_is_never_markup(bench: Bench, local: TestClient) -> None:
    page = _page_about(bench, local, NASTY)

    assert NASTY not in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert ">49<" not in page


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=80))
def test_no_text_adds_an_element_to_a_page(bench: Bench, local: TestClient, text: str) -> None:
    plain, other = _page_about(bench, local, "plain"), _page_about(bench, local, text + "<b>")

    assert _elements(other) == _elements(plain)


def _page_about(bench: Bench, local: TestClient, text: str) -> str:
    """The pages of a run that bears `text` wherever a stranger could put it."""
    process = bench.process(uuid7())
    run = replace(process.run, name=text)
    stamp = {"run": run, "at": bench.clock.now()}
    progress = Progress(epoch=1, done=1, metrics={text: Metric(0.5), f"val_{text}": Metric(float("nan"))})
    progress = replace(progress, checkpoint=Checkpoint(text, 1, 1, Tier.REMOTE))
    start = replace(process.started(), run=run, params={text: text}, host=Host(text, text, text, text, 1, 1, 1.0))
    process.send(
        replace(start, resumed=Resumed(1, text, 1.0, new_machine=True), model=ModelSize(2, 1, (text,))),
        replace(process.epoch(), run=run, progress=progress, new_best=text),
        AlertRaised(id=uuid7(), **stamp, title=text, text=text, severity=Severity.WARNING, progress=progress),  # type: ignore[arg-type]
        RunEnded(id=uuid7(), **stamp, status=Status.FAILED, error=text, frames=text, progress=progress),  # type: ignore[arg-type]
    )
    pages = local.get(f"/runs/{run.id}").text
    with bench.store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM runs")
    return pages


def _elements(page: str) -> list[str]:
    """The tags of a page in order, without those that an empty text leaves out."""
    return [tag for tag in re.findall(r"</?([a-z0-9]+)", page) if tag not in ("details", "summary", "pre")]
