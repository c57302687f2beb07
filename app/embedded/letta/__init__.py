"""The embedded Letta, which answers like Letta 0.16.8. In comments, "measured" refers to that version."""

from app.embedded.letta.service import EmbeddedLetta

__all__ = ["EmbeddedLetta"]
