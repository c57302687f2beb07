"""The embedded AMS: templates, the agents that AMS makes in Letta, and the owners of agents."""

from app.embedded.ams.service import EmbeddedAms

__all__ = ["EmbeddedAms"]
