"""The embedded Letta, which answers like Letta 0.16.8. "Measured" and "recorded" refer to that version."""

from app.embedded.letta.service import EmbeddedLetta

__all__ = ["EmbeddedLetta"]
