"""Models, as the principal's own key may call them."""

from __future__ import annotations

from clients.errors import NotFound
from clients.litellm import ModelDetails, ModelMode, ModelRecord
from resolvers.context import RequestContext


async def models(context: RequestContext, mode: ModelMode | None) -> list[ModelRecord]:
    """The models the principal may call, by name; one mode's, or all."""
    known = await context.loaders.models.load(await context.access.model_key())
    return sorted((m for m in known.values() if mode is None or m.mode is mode), key=lambda m: m.name)


async def model_by_name(context: RequestContext, name: str) -> ModelRecord:
    """One model. Raises NotFound."""
    known = await context.loaders.models.load(await context.access.model_key())
    if name not in known:
        raise NotFound("The model does not exist.")
    return known[name]


async def model_if_callable(context: RequestContext, name: str | None) -> ModelRecord | None:
    """One model; ``None`` where the principal's key may not call it, or not any more."""
    if name is None:
        return None
    return (await context.loaders.models.load(await context.access.model_key())).get(name)


async def details(context: RequestContext, name: str) -> ModelDetails:
    """What LiteLLM's page on a model adds to its group; nothing where it has none."""
    known = await context.loaders.model_details.load(await context.access.model_key())
    return known.get(name) or ModelDetails()
