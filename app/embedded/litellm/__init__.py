"""The embedded LiteLLM proxy, as 1.106.2 answers."""

from app.embedded.litellm.service import EmbeddedLiteLLM

__all__ = ["EmbeddedLiteLLM"]
