"""The routes of models: OpenAI's list, model groups with prices, and LiteLLM's details."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.litellm.answers import Refused, Routes, ok
from app.embedded.litellm.keys import Keys
from app.embedded.state import Json, State

_CREATED = 1677610602
_CHAT: Json = {
    **dict.fromkeys(("supports_response_schema", "supports_prompt_caching", "supports_pdf_input"), True),
    **dict.fromkeys(("supports_audio_input", "supports_audio_output", "output_vector_size"), None),
}
_DETAILS: dict[str, Json] = {
    "chat": _CHAT,
    "embedding": {**dict.fromkeys(_CHAT), "output_vector_size": 1536},
}
"""Details that a model has and its model group lacks, by the model's mode."""


class Models:
    """The routes of models. A virtual key sees only the models that it can call."""

    def __init__(self, state: State, keys: Keys) -> None:
        self._state = state
        self._keys = keys

    def routes(self) -> Routes:
        """Return the routes."""
        return [
            ("GET", "/v1/models", self._list),
            ("GET", "/v1/models/{id}", self._one),
            ("GET", "/model_group/info", self._groups),
            ("GET", "/v1/model/info", self._info),
            ("GET", "/model/info", self._info),
        ]

    async def _list(self, _: Request, record: Json) -> Response:
        return ok({"data": [self._openai(name) for name in self._keys.allowed(record)], "object": "list"})

    async def _one(self, request: Request, record: Json) -> Response:
        name = request.path_params["id"]
        if name not in self._keys.allowed(record):
            text = f"The model `{name}` does not exist"
            raise Refused(404, "invalid_request_error", text, param="model")
        return ok(self._openai(name))

    def _openai(self, name: str) -> Json:
        model = self._state.models[name]
        shape = {"id": name, "object": "model", "created": _CREATED, "owned_by": "openai", "mode": model["mode"]}
        return {**shape, **_limits(model)}

    async def _groups(self, _: Request, record: Json) -> Response:
        return ok({"data": [{"model_group": name, **self._state.models[name]} for name in self._keys.allowed(record)]})

    async def _info(self, _: Request, record: Json) -> Response:
        return ok({"data": [self._details(name) for name in self._keys.allowed(record)]})

    def _details(self, name: str) -> Json:
        model = self._state.models[name]
        prices = ("input_cost_per_token", "output_cost_per_token")
        supports = ("supports_function_calling", "supports_vision", "supports_reasoning", "supported_endpoints")
        copied = (*prices, "mode", *supports)
        info = {
            "cache_read_input_token_cost": _cached(model),
            **{
                field: model[field]
                for field in (*copied, "supports_vision", "supports_reasoning", "supported_endpoints")
            },
            **_limits(model),
            "id": f"{name}-id",
            "db_model": False,
            "member_auto_router": False,
            "pricing_overrides": [],
            "key": f"openai/{name}",
            "max_tokens": None,
            "litellm_provider": "openai",
            **_DETAILS[model["mode"]],
        }
        return {"model_name": name, "litellm_params": {"model": f"openai/{name}"}, "model_info": info}


def _limits(model: Json) -> Json:
    return {name: model[name] and int(model[name]) for name in ("max_input_tokens", "max_output_tokens")}


def _cached(model: Json) -> float | None:
    """Return the price of a cached token: for chat models, half the price of an input token."""
    return model["input_cost_per_token"] / 2 if model["mode"] == "chat" else None
