"""OpenAI's Responses API, as LiteLLM 1.110.2 serves it."""

from app.embedded.litellm.responses.routes import RESPONSES, Responses

__all__ = ["RESPONSES", "Responses"]
