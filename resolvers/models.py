"""The models that the user's LiteLLM key has permission to call."""

from __future__ import annotations

from clients.errors import NotFound
from clients.litellm import ModelDetails, ModelMode, ModelRecord
from resolvers.context import RequestContext


async def models(context: RequestContext, mode: ModelMode | None) -> list[ModelRecord]:
    """Return the models of one mode, or all, sorted by name."""
    known = await context.loaders.models.load(await context.access.model_key())
    return sorted((m for m in known.values() if mode is None or m.mode is mode), key=lambda m: m.name)


async def model_by_name(context: RequestContext, name: str) -> ModelRecord:
    """Return one model. Raises NotFound."""
    model = await model_if_callable(context, name)
    if model is None:
        raise NotFound("The model does not exist.")
    return model


async def model_if_callable(context: RequestContext, name: str | None) -> ModelRecord | None:
    """Return one model; ``None`` if the key has no permission to call it."""
    if name is None:
        return None
    return (await context.loaders.models.load(await context.access.model_key())).get(name)


async def details(context: RequestContext, name: str) -> ModelDetails:
    """Return LiteLLM's details of a model; empty if it has none."""
    known = await context.loaders.model_details.load(await context.access.model_key())
    return known.get(name) or ModelDetails()
