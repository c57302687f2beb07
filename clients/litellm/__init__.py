"""LiteLLM: models, completions, embeddings, and what they cost, paid for by the caller's own virtual key."""

from clients.litellm.client import CompletionStream, LiteLLM, passed_headers
from clients.litellm.keys import KeyInfo
from clients.litellm.models import ModelDetails, ModelMode, ModelRecord, ModelSupports
from clients.litellm.usage import UsageLine

__all__ = [
    "CompletionStream",
    "KeyInfo",
    "LiteLLM",
    "ModelDetails",
    "ModelMode",
    "ModelRecord",
    "ModelSupports",
    "UsageLine",
    "passed_headers",
]
