"""The embedded LiteLLM proxy, which answers like LiteLLM 1.106.2, and in the Responses API like LiteLLM 1.110.2."""

from app.embedded.litellm.service import EmbeddedLiteLLM

__all__ = ["EmbeddedLiteLLM"]
