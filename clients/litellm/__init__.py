"""LiteLLM: models, completions, embeddings and their cost. The user's own virtual key pays for each call.

The modules of this package decode what LiteLLM sends. Other packages import from here alone.
"""

from clients.litellm.activity import Counts, UsageLine, summed
from clients.litellm.answers import ModelAnswer
from clients.litellm.client import LiteLLM
from clients.litellm.completions import CompletionStream, Done, Piece, Unreadable
from clients.litellm.embeddings import EmbeddingRecord
from clients.litellm.keys import KeyInfo
from clients.litellm.models import ModelDetails, ModelMode, ModelRecord, ModelSupports
from clients.litellm.money import dollars

__all__ = [
    "CompletionStream",
    "Counts",
    "Done",
    "EmbeddingRecord",
    "KeyInfo",
    "LiteLLM",
    "ModelAnswer",
    "ModelDetails",
    "ModelMode",
    "ModelRecord",
    "ModelSupports",
    "Piece",
    "Unreadable",
    "UsageLine",
    "dollars",
    "summed",
]
