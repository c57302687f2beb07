"""The embedded AMS: templates, who owns which agent, and the agents made in Letta."""

from app.embedded.ams.service import EmbeddedAms

__all__ = ["EmbeddedAms"]
