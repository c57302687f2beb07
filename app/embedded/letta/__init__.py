"""The embedded Letta, as 0.16.8 answers."""

from app.embedded.letta.service import EmbeddedLetta

__all__ = ["EmbeddedLetta"]
