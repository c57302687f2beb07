"""Creates, changes, upgrades and deletes agents. AMS stores the idempotency keys of these calls."""

from typing import Any

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.litellm import ModelMode, ModelRecord
from clients.owned import OwnedAgentId
from resolvers import checks
from resolvers.context import RequestContext
from resolvers.loaders import state_missing
from resolvers.models import model_by_name
from resolvers.owned import not_found

_AGENT_MODES = frozenset({ModelMode.CHAT, ModelMode.UNKNOWN})


async def create(
    context: RequestContext, *, template_slug: str, version: str | None, variables: Any, name: str | None, key: str
) -> str:
    """Create an agent from a template's given or latest version. Return the agent's id."""
    version, name = checks.version(version), checks.agent_name(name)
    body: dict[str, Any] = {"template_id": template_slug, "variables": checks.variables(variables)}
    body |= {"use_latest": True} if version is None else {"version": version}
    body |= {} if name is None else {"agent_name": name}
    checks.header_key(key)
    agent_id = await context.resources.ams.create_agent(context.scope, context.principal.user_id, body, key)
    context.reset_loaders()
    return agent_id


async def upgrade(context: RequestContext, agent_id: str, *, to: str | None, queue: bool, key: str | None) -> bool:
    """Upgrade the user's agent. Return True after the upgrade, or False if AMS has queued the upgrade."""
    number, sent = checks.version(to), checks.header_key(key)
    row = await context.access.agent(agent_id)
    ams, user_id = context.resources.ams, context.principal.user_id
    applied = await ams.upgrade_agent(context.scope, user_id, row.agent_id, version=number, queue=queue, key=sent)
    context.reset_loaders()
    return applied


async def update(
    context: RequestContext,
    agent_id: str,
    *,
    name: str | None,
    description: str | None,
    tags: list[str] | None,
    model: str | None,
) -> None:
    """Change the user's agent in Letta. Arguments that are ``None`` change nothing. Raises NotFound."""
    tags = checks.tags(tags)
    changes: dict[str, Any] = {"name": checks.agent_name(name), "description": checks.description(description)}
    changes = {field: value for field, value in changes.items() if value is not None}
    if not changes and tags is None and model is None:
        message = "The input has no changes. Set `name`, `description`, `tags` or `model`."
        raise BadUserInput(message, reason=Reason.EMPTY)
    row = await context.access.agent(agent_id)
    record = None if model is None else await _agent_model(context, model)
    try:
        if tags is not None or record is not None:
            changes |= await _merged(context, row.agent_id, tags, record)
        await context.resources.letta.update_agent(context.scope, row.agent_id, changes)
    except NotFound as error:
        raise state_missing(error) from error
    context.reset_loaders()


async def _agent_model(context: RequestContext, name: str) -> ModelRecord:
    model = await model_by_name(context, name)
    if model.mode not in _AGENT_MODES:
        raise BadUserInput(
            "Agents cannot use this model. Choose a model that has the mode `CHAT` in `models`.",
            reason=Reason.MODEL,
        )
    return model


async def _merged(
    context: RequestContext, agent_id: OwnedAgentId, tags: list[str] | None, model: ModelRecord | None
) -> dict[str, Any]:
    """Return the changes to send to Letta.

    New tags are sent with the platform's tags. A new model is sent with the agent's current endpoint.
    """
    before = await context.resources.letta.agent_to_change(context.scope, agent_id)
    changes: dict[str, Any] = {}
    if tags is not None:
        kept = [tag for tag in before.tags if tag.startswith(checks.PLATFORM_TAG)]
        changes["tags"] = [*kept, *tags]
    if model is not None:
        limits = {"context": model.context_window, "output": model.max_output_tokens}
        changes["llm_config"] = before.with_model(model.name, **limits)
    return changes


async def delete(context: RequestContext, agent_id: str, key: str | None) -> str:
    """Delete the user's agent and return the agent's id. If AMS cannot delete agents, delete the agent in Letta."""
    sent = checks.header_key(key)
    row = await context.access.agent(agent_id)
    ams, user_id = context.resources.ams, context.principal.user_id
    deleted = await ams.delete_agent(context.scope, user_id, row.agent_id, sent)
    context.reset_loaders()
    if deleted is False:
        await context.access.agent(agent_id)  # raises NotFound if another request has deleted it
        ams.deletes_no_agents()
    if not deleted:
        try:
            await context.resources.letta.delete_agent(context.scope, row.agent_id)
        except NotFound as error:
            raise not_found("agent") from error
    return row.agent_id
