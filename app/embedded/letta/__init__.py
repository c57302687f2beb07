"""The embedded Letta, which answers as 0.16.8."""

from app.embedded.letta.service import EmbeddedLetta

__all__ = ["EmbeddedLetta"]
