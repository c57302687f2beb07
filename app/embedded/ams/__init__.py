"""The embedded AMS: templates, the owners of agents, and the agents made in Letta."""

from app.embedded.ams.service import EmbeddedAms

__all__ = ["EmbeddedAms"]
