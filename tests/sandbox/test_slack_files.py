"""Uploads to the pretended Slack, by Slack's own client library and by hand."""

from __future__ import annotations

import pytest
import requests
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import CHANNEL

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def announced(client: WebClient, length: int = len(PNG)) -> tuple[str, str]:
    answer = client.files_getUploadURLExternal(filename="a.png", length=length)
    return str(answer["upload_url"]), str(answer["file_id"])


def refusal(client: WebClient, file_id: str, channel_id: str = "C0TRAINING") -> str:
    with pytest.raises(SlackApiError) as caught:
        client.files_completeUploadExternal(files=[{"id": file_id}], channel_id=channel_id)
    return str(caught.value.response["error"])


def test_the_clients_own_upload_ends_in_the_thread(sandbox: Sandbox, client: WebClient) -> None:
    """files_upload_v2 is the three calls; the picture is a message of the thread, and can be looked at."""
    root = client.chat_postMessage(channel=CHANNEL, text="root")

    client.files_upload_v2(channel="C0TRAINING", thread_ts=root["ts"], content=PNG, filename="a.png", title="Curves")

    (file,) = sandbox.slack.shared
    (reply,) = sandbox.slack.thread(str(root["ts"]))
    assert (file.title, file.body) == ("Curves", PNG)
    assert reply.blocks[0]["image_url"] == file.path
    shown = requests.get(sandbox.url + file.path, timeout=5)
    assert (shown.content, shown.headers["Content-Type"]) == (PNG, "image/png")


def test_what_is_not_completed_is_seen_by_nobody(sandbox: Sandbox, client: WebClient) -> None:
    """Nor is what is completed without a channel."""
    url, file_id = announced(client)
    requests.post(url, data=PNG, timeout=5)
    assert sandbox.slack.shared == []

    client.files_completeUploadExternal(files=[{"id": file_id}])

    assert sandbox.slack.shared == []
    assert sandbox.slack.messages == []


def test_wrong_calls_are_refused_as_slack_does(sandbox: Sandbox, client: WebClient) -> None:
    """No length, no bytes, a second completion, a channel by its name."""
    with pytest.raises(SlackApiError, match="missing_argument"):
        announced(client, length=0)
    url, file_id = announced(client)
    assert refusal(client, file_id) == "file_not_found"
    assert requests.post(url, data=PNG[:-1], timeout=5).status_code == 400
    requests.post(url, data=PNG, timeout=5)
    assert refusal(client, file_id, "training") == "channel_not_found"
    client.files_completeUploadExternal(files=[{"id": file_id}], channel_id="C0TRAINING")
    assert refusal(client, file_id) == "file_not_found"


def test_without_the_scope_there_are_no_files(sandbox: Sandbox, client: WebClient) -> None:
    sandbox.slack.scopes.discard("files:write")

    with pytest.raises(SlackApiError) as caught:
        announced(client)

    assert caught.value.response["error"] == "missing_scope"
    assert caught.value.response["needed"] == "files:write"


def test_an_unknown_file_is_not_found(sandbox: Sandbox) -> None:
    assert requests.get(f"{sandbox.url}/files/F9", timeout=5).status_code == 404
    assert requests.post(f"{sandbox.url}/files/upload/F9", data=PNG, timeout=5).status_code == 404
