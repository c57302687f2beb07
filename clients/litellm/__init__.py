"""The client of LiteLLM, the service that calls models.

Each user's virtual key pays for the user's calls. Other packages import only from ``clients.litellm`` itself, and not
from its modules.
"""

from clients.litellm.answers import EmbeddingRecord, ModelAnswer
from clients.litellm.client import LiteLLM
from clients.litellm.completions import CompletionStream
from clients.litellm.fields import dollars
from clients.litellm.inspection import (
    ALIVE_PATH,
    CALLED_ROUTES,
    DEPLOYMENTS,
    DETAILS,
    GROUPS,
    KEY,
    READY,
    ROUTER,
    Deployment,
    KeyFacts,
    Params,
    Reading,
    RouterValues,
    seconds,
)
from clients.litellm.keys import Counts, KeyInfo, UsageLine, summed
from clients.litellm.models import ModelDetails, ModelMode, ModelRecord, ModelSupports
from clients.litellm.refusals import NoResponsesApi, previous_not_stored
from clients.litellm.response_objects import ResponseLabels
from clients.litellm.responses import ResponseStream
from clients.litellm.stored_responses import StoredResponses
from clients.litellm.streams import Done, ModelStream, Piece, Unreadable

__all__ = [
    "ALIVE_PATH",
    "CALLED_ROUTES",
    "DEPLOYMENTS",
    "DETAILS",
    "GROUPS",
    "KEY",
    "READY",
    "ROUTER",
    "CompletionStream",
    "Counts",
    "Deployment",
    "Done",
    "EmbeddingRecord",
    "KeyFacts",
    "KeyInfo",
    "LiteLLM",
    "ModelAnswer",
    "ModelDetails",
    "ModelMode",
    "ModelRecord",
    "ModelStream",
    "ModelSupports",
    "NoResponsesApi",
    "Params",
    "Piece",
    "Reading",
    "ResponseLabels",
    "ResponseStream",
    "RouterValues",
    "StoredResponses",
    "Unreadable",
    "UsageLine",
    "dollars",
    "previous_not_stored",
    "seconds",
    "summed",
]
