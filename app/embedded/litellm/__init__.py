"""The embedded LiteLLM proxy, which answers like LiteLLM 1.106.2."""

from app.embedded.litellm.service import EmbeddedLiteLLM

__all__ = ["EmbeddedLiteLLM"]
