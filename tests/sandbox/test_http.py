"""Faults made to order: what they answer, how often, and on which path."""

from __future__ import annotations

import requests

from notifybot.sandbox import Fault, Sandbox


def post(sandbox: Sandbox, **payload: object) -> tuple[int, str]:
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    with requests.post(url, json=payload or {"text": "hello"}, timeout=2) as response:
        return response.status_code, response.text


def test_a_status_fault_answers_with_what_was_ordered_and_processes_nothing(sandbox: Sandbox) -> None:
    """Body and headers are the caller's; the next request is served again."""
    sandbox.faults.append(Fault("status", status=503, body=b"busy", headers={"Retry-After": "3"}))

    assert post(sandbox) == (503, "busy")
    assert sandbox.slack.messages == []
    assert post(sandbox) == (200, "ok")


def test_a_fault_waits_for_its_path_and_counts_down(sandbox: Sandbox) -> None:
    """`path` is a substring, `times` how often."""
    sandbox.faults.append(Fault("status", path="/kakao/", status=500))
    sandbox.faults.append(Fault("status", path="/services/", status=502, times=2))

    assert [post(sandbox)[0] for _ in range(3)] == [502, 502, 200]
    assert len(sandbox.faults) == 1


def test_garbage_is_a_page_with_status_200(sandbox: Sandbox) -> None:
    """What a captive portal says."""
    sandbox.faults.append(Fault("garbage"))

    status, text = post(sandbox)

    assert status == 200
    assert text.startswith("<!DOCTYPE html>")
