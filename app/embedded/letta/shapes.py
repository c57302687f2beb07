"""Constant fields of responses, with the values from Letta 0.16.8."""

from __future__ import annotations

from app.embedded.state import Json

USER = "user-00000000-0000-4000-8000-000000000000"
ORGANIZATION = "org-00000000-0000-4000-8000-000000000000"
ENDPOINT = "http://127.0.0.1/v1"
PROVIDER = "openai-proxy"
"""The prefix of model handles."""
CONTEXT_WINDOW = 30000
DIMENSIONS = 1536
PADDED_DIMENSIONS = 4096
"""The length to which Letta pads vectors with zeros."""

BASE_TOOLS = frozenset({"conversation_search", "memory_insert"})
"""The tools that ``include_base_tools`` attaches."""

AGENT: Json = {
    "created_by_id": USER,
    "last_updated_by_id": USER,
    "tool_rules": [],
    "agent_type": "letta_v1_agent",
    "model_settings": {
        "max_output_tokens": 16384,
        "parallel_tool_calls": True,
        "provider_type": "openai",
        "temperature": 1.0,
        "reasoning": {"reasoning_effort": "minimal"},
        "response_format": None,
        "strict": False,
    },
    "response_format": None,
    "sources": [],
    "tool_exec_environment_variables": [],
    "secrets": [],
    "identity_ids": [],
    "identities": [],
    "message_buffer_autoclear": False,
    "timezone": "UTC",
    "max_files_open": 5,
    "per_file_view_window_char_limit": 15000,
    **dict.fromkeys(("project_id", "template_id", "base_template_id", "deployment_id", "entity_id")),
    **dict.fromkeys(("enable_sleeptime", "multi_agent_group", "managed_group", "last_run_completion")),
    **dict.fromkeys(("last_run_duration_ms", "last_stop_reason", "hidden", "compaction_settings")),
}

BLOCK: Json = {
    "limit": 100000,
    "is_template": False,
    "preserve_on_migration": False,
    "read_only": False,
    "description": None,
    "metadata": {},
    "created_by_id": None,
    "last_updated_by_id": None,
    "tags": [],
    **dict.fromkeys(("project_id", "template_name", "template_id", "base_template_id", "deployment_id")),
    **dict.fromkeys(("entity_id", "hidden")),
}

CONVERSATION: Json = {
    "created_by_id": USER,
    "last_updated_by_id": USER,
    "in_context_message_ids": [],
    "isolated_block_ids": [],
    "model": None,
    "model_settings": None,
    "last_message_at": None,
}

MESSAGE: Json = dict.fromkeys(("name", "otid", "sender_id", "step_id", "is_err", "seq_id", "run_id"))

RUN: Json = {
    "request_config": {
        "use_assistant_message": True,
        "assistant_message_tool_name": "send_message",
        "assistant_message_tool_kwarg": "message",
        "include_return_message_types": None,
    },
    **dict.fromkeys(("completed_at", "base_template_id", "stop_reason", "callback_url", "callback_sent_at")),
    **dict.fromkeys(("callback_status_code", "callback_error", "ttft_ns", "total_duration_ns")),
}

STEP: Json = {
    "organization_id": ORGANIZATION,
    "provider_name": "openai",
    "provider_category": "base",
    "model_endpoint": ENDPOINT,
    "context_window_limit": CONTEXT_WINDOW,
    "tags": [],
    "messages": [],
    **dict.fromkeys(("origin", "provider_id", "cached_input_tokens", "cache_write_tokens")),
    **dict.fromkeys(("reasoning_tokens", "completion_tokens_details", "prompt_tokens_details", "tid")),
    **dict.fromkeys(("trace_id", "request_id", "feedback", "project_id", "error_type", "error_data")),
}

PASSAGE: Json = {
    "created_by_id": USER,
    "last_updated_by_id": USER,
    "is_deleted": False,
    "organization_id": ORGANIZATION,
    "source_id": None,
    "file_id": None,
    "file_name": None,
    "metadata": {},
}

_MODEL: Json = {
    "model_endpoint_type": "openai",
    "model_endpoint": ENDPOINT,
    "provider_name": "openai",
    "provider_category": "base",
    "context_window": CONTEXT_WINDOW,
    "put_inner_thoughts_in_kwargs": False,
    "temperature": 1.0,
    "max_tokens": 16384,
    "max_reasoning_tokens": 0,
    "parallel_tool_calls": False,
    "strict": False,
    "return_logprobs": False,
    "return_token_ids": False,
    **dict.fromkeys(("model_wrapper", "reasoning_effort", "effort", "frequency_penalty")),
    **dict.fromkeys(("compatibility_type", "verbosity", "tier", "response_format", "top_logprobs", "tool_call_parser")),
}


def llm_config(handle: str) -> Json:
    """Return an agent's model configuration for a model handle. The handle begins with ``PROVIDER``."""
    name = handle.split("/", 1)[-1]
    return {**_MODEL, "model": name, "display_name": None, "handle": handle, "enable_reasoner": False}


def llm_model(name: str) -> Json:
    """Return an item of ``GET /v1/models/``."""
    fields = {"name": name, "display_name": name, "provider_type": "openai", "model_type": "llm", "model": name}
    return {
        "handle": f"{PROVIDER}/{name}",
        **fields,
        **_MODEL,
        "enable_reasoner": True,
        "max_context_window": CONTEXT_WINDOW,
    }


def embedding_config(handle: str | None) -> Json | None:
    """Return an agent's embedding configuration."""
    if handle is None:
        return None
    return {
        "embedding_endpoint_type": "openai",
        "embedding_endpoint": ENDPOINT,
        "embedding_model": handle.split("/", 1)[-1],
        "embedding_dim": DIMENSIONS,
        "embedding_chunk_size": 300,
        "handle": handle,
        "batch_size": 32,
        "azure_endpoint": None,
        "azure_version": None,
        "azure_deployment": None,
    }


def embedding_model(name: str) -> Json:
    """Return an item of ``GET /v1/models/embedding``."""
    handle = f"openai/{name}"
    fields = {"name": name, "display_name": name, "provider_type": "openai", "provider_name": "openai"}
    return {"handle": handle, **fields, "model_type": "embedding", **(embedding_config(handle) or {})}


def tool(tool_id: str, name: str, description: str, properties: Json, *, approval: bool | None = None) -> Json:
    """Make a tool whose arguments are all required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "id": tool_id,
        "tool_type": "letta_core" if name in BASE_TOOLS else "custom",
        "description": description,
        "source_type": "json",
        "name": name,
        "tags": [],
        "source_code": None,
        "json_schema": {"name": name, "description": description, "parameters": parameters},
        "args_json_schema": None,
        "return_char_limit": 50000,
        "pip_requirements": None,
        "npm_requirements": None,
        "default_requires_approval": approval,
        "enable_parallel_execution": False,
        "created_by_id": USER,
        "last_updated_by_id": USER,
        "metadata_": {},
        "project_id": None,
    }
