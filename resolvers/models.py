"""The models that the user's LiteLLM key has permission to call."""

from clients.errors import NotFound
from clients.litellm import ModelDetails, ModelMode, ModelRecord
from resolvers.context import RequestContext


async def models(context: RequestContext, mode: ModelMode | None) -> list[ModelRecord]:
    """Return all models, or only the models of the given mode, sorted by name."""
    known = await context.loaders.models.load(await context.access.model_key())
    return sorted((m for m in known.values() if mode is None or m.mode is mode), key=lambda m: m.name)


async def model_by_name(context: RequestContext, name: str) -> ModelRecord:
    """Return a model by its name. Raises NotFound."""
    model = await model_if_callable(context, name)
    if model is None and (uncached := context.loaders.uncached) is not None:
        model = (await uncached.models.load(await context.access.model_key())).get(name)
    if model is None:
        raise NotFound("The model does not exist. Choose a model from `models`.")
    return model


async def model_if_callable(context: RequestContext, name: str | None) -> ModelRecord | None:
    """Return a model by its name, or ``None`` if the user cannot call the model."""
    if name is None:
        return None
    return (await context.loaders.models.load(await context.access.model_key())).get(name)


async def details(context: RequestContext, name: str) -> ModelDetails:
    """Return LiteLLM's details of a model. If LiteLLM has no details, return empty details."""
    known = await context.loaders.model_details.load(await context.access.model_key())
    return known.get(name) or ModelDetails()
