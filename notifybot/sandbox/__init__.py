"""Slack and KakaoTalk on loopback: for tests, the demo, and dry runs without an account."""

from __future__ import annotations

from notifybot.sandbox.http import Fault, PretendedService, Request, Response, json_response, text_response
from notifybot.sandbox.server import Sandbox

__all__ = ["Fault", "PretendedService", "Request", "Response", "Sandbox", "json_response", "text_response"]
