"""Decodes what ``agentgraph doctor`` reads from LiteLLM: its version, its settings, and the facts of a key."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

ALIVE_PATH = "/health/liveliness"
"""The path at which every LiteLLM answers without a key."""

CALLED_ROUTES = ("llm_api_routes", "/key/info", "/user/daily/activity")
"""What a virtual key's ``allowed_routes`` must contain, if the key has any."""

Amount = float | str | None
"""A number, which LiteLLM sends as it is written in the configuration."""


class Readiness(msgspec.Struct, kw_only=True):
    """Whether LiteLLM is ready. ``db`` is ``connected``, ``disconnected`` or ``Not connected``."""

    db: str | None = None
    version: str | None = msgspec.field(name="litellm_version", default=None)


class KeyFacts(msgspec.Struct, kw_only=True):
    """The facts of a virtual key."""

    user_id: str | None = None
    expires: datetime | None = None
    blocked: bool | None = None
    spend: Decimal = Decimal(0)
    max_budget: Decimal | None = None
    allowed_routes: list[str] | None = None


class KeyAnswer(msgspec.Struct):
    """An answer with a key's facts."""

    info: KeyFacts


class Params(msgspec.Struct, kw_only=True):
    """A deployment's ``litellm_params``."""

    timeout: Amount = None
    stream_timeout: Amount = None
    rpm: Amount = None
    tpm: Amount = None


class Info(msgspec.Struct, kw_only=True):
    """A deployment's ``model_info``."""

    mode: str | None = None


class Deployment(msgspec.Struct, kw_only=True):
    """A deployment of a model."""

    model_name: str
    params: Params = msgspec.field(name="litellm_params", default_factory=Params)
    info: Info = msgspec.field(name="model_info", default_factory=Info)

    @property
    def streams(self) -> bool:
        """Whether the model can stream. Embedding models cannot."""
        return self.info.mode != "embedding"


class Deployments(msgspec.Struct):
    """All deployments that a key may call."""

    data: list[Deployment]


_CALLED_MODES = frozenset({None, "chat", "completion", "responses", "embedding"})


class Group(msgspec.Struct, kw_only=True):
    """A model with its prices in US dollars per token."""

    name: str = msgspec.field(name="model_group")
    input_cost: Decimal | None = msgspec.field(name="input_cost_per_token", default=None)
    output_cost: Decimal | None = msgspec.field(name="output_cost_per_token", default=None)
    mode: str | None = None

    @property
    def is_called(self) -> bool:
        """Whether the gateway can call the model: for chat, responses or embeddings."""
        return self.mode in _CALLED_MODES

    @property
    def is_priced(self) -> bool:
        """Whether LiteLLM knows what the model's tokens cost. Embedding models have no output."""
        return self.input_cost is not None and (self.output_cost is not None or self.mode == "embedding")


class Groups(msgspec.Struct):
    """All models that a key may call."""

    data: list[Group]


class RouterValues(msgspec.Struct, kw_only=True):
    """The current ``router_settings``."""

    timeout: Amount = None
    stream_timeout: Amount = None
    num_retries: int | None = None
    enable_pre_call_checks: bool | None = None
    optional_pre_call_checks: list[str] | None = None


class RouterAnswer(msgspec.Struct):
    """An answer with the ``router_settings``."""

    values: RouterValues = msgspec.field(name="current_values")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A path of LiteLLM, and the form of its answer."""

    path: str
    kind: type[T]

    def of(self, body: bytes) -> T:
        """Decode an answer. Raises msgspec.DecodeError or UnicodeDecodeError."""
        return msgspec.json.decode(body, type=self.kind)


READY = Reading("/health/readiness", Readiness)
DETAILS = Reading("/health/readiness/details", Readiness)
"""LiteLLM 1.106 and later tell their version only here, and only to an administrator."""

KEY = Reading("/key/info", KeyAnswer)
DEPLOYMENTS = Reading("/model/info", Deployments)
GROUPS = Reading("/model_group/info", Groups)
ROUTER = Reading("/router/settings", RouterAnswer)
"""Only an administrator may read these settings."""


def seconds(amount: Amount) -> float | None:
    """Return a number that LiteLLM has sent, or ``None`` if it is not a number."""
    try:
        return None if amount is None else float(amount)
    except ValueError:
        return None
