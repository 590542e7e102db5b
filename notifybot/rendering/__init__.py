"""Rendering: turns events into text by templates; formats of numbers and times; texts of alerts and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifybot.rendering.renderer import Renderer

__all__ = ["Renderer"]


def __getattr__(name: str) -> Any:
    """Import the renderer when it is first asked for: `rendering.text` is used where Jinja is not wanted."""
    if name == "Renderer":
        from notifybot.rendering.renderer import Renderer  # Jinja costs 25 ms

        return Renderer
    raise AttributeError(f"module 'notifybot.rendering' has no attribute {name!r}")
