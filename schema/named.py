"""Declares which data records hold of the objects whose ids they contain (decision 0072).

``access`` has checked the owner of each of these records. An id that a client sends is not held, because only a call
can determine whether the object belongs to the user. A model is not held, because only LiteLLM can determine whether
the user's key permits calls to the model.
"""

from typing import Any, Protocol

from clients.ams import AgentRow, PublishedVersion, TemplateRecord
from clients.letta.messages import MessageRecord
from clients.letta.records import ConversationRecord, RunRecord, StepRecord
from resolvers import references
from resolvers.owned import OwnedRun
from resolvers.streams.events import Delivery
from schema.held import Held


class _OfRun(Protocol):
    @property
    def run_id(self) -> str | None: ...


class _OfAgent(Protocol):
    @property
    def agent_id(self) -> str | None: ...


class _OfTemplate(Protocol):
    @property
    def template_id(self) -> str | None: ...


class _Publishing(Protocol):
    @property
    def published(self) -> PublishedVersion | None: ...


def _agent(record: _OfAgent) -> AgentRow | None:
    return references.agent(record.agent_id)


def _template(record: _OfTemplate) -> TemplateRecord | None:
    return references.template(record.template_id)


def _published_template(record: _Publishing) -> TemplateRecord | None:
    return None if record.published is None else references.template(record.published.template_id)


def _run(record: _OfRun) -> RunRecord | None:
    return references.run(record.run_id)


def _run_of_event(delivery: Delivery[Any]) -> RunRecord | None:
    return references.run(delivery.event.run_id)


def _step(record: MessageRecord) -> StepRecord | None:
    return references.step(record.step_id)


def _conversation_of_message(record: MessageRecord) -> ConversationRecord:
    return references.conversation(record.conversation.conversation_id, record.conversation.agent_id)


def _conversation_of_run(record: OwnedRun) -> ConversationRecord:
    return references.conversation(record.conversation_id, record.agent_id)


AGENT = Held({"id", "owner"}, _agent)
TEMPLATE = Held({"id", "slug"}, _template)
PUBLISHED_TEMPLATE = Held({"id", "slug"}, _published_template)
RUN = Held({"id"}, _run)
EVENTS_RUN = Held({"id"}, _run_of_event)
STEP = Held({"id"}, _step)
MESSAGES_CONVERSATION = Held({"id", "agent"}, _conversation_of_message)
RUNS_CONVERSATION = Held({"id", "agent"}, _conversation_of_run)
