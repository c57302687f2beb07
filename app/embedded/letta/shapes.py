"""Fields of Letta 0.16.8's responses whose values are constant here, as recorded."""

from __future__ import annotations

from app.embedded.state import Json

USER = "user-00000000-0000-4000-8000-000000000000"
ORGANIZATION = "org-00000000-0000-4000-8000-000000000000"
ENDPOINT = "http://127.0.0.1/v1"
PROVIDER = "openai-proxy"
"""The prefix of the handles of models."""
CONTEXT_WINDOW = 30000
DIMENSIONS = 1536
PADDED_DIMENSIONS = 4096
"""The length of Letta's vectors, with zeros at the end."""

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
    "compaction_settings": None,
    "response_format": None,
    "sources": [],
    "tool_exec_environment_variables": [],
    "secrets": [],
    "project_id": None,
    "template_id": None,
    "base_template_id": None,
    "deployment_id": None,
    "entity_id": None,
    "identity_ids": [],
    "identities": [],
    "message_buffer_autoclear": False,
    "enable_sleeptime": None,
    "multi_agent_group": None,
    "managed_group": None,
    "last_run_completion": None,
    "last_run_duration_ms": None,
    "last_stop_reason": None,
    "timezone": "UTC",
    "max_files_open": 5,
    "per_file_view_window_char_limit": 15000,
    "hidden": None,
}

BLOCK: Json = {
    "limit": 100000,
    "project_id": None,
    "template_name": None,
    "is_template": False,
    "template_id": None,
    "base_template_id": None,
    "deployment_id": None,
    "entity_id": None,
    "preserve_on_migration": False,
    "read_only": False,
    "description": None,
    "metadata": {},
    "hidden": None,
    "created_by_id": None,
    "last_updated_by_id": None,
    "tags": [],
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
    "completed_at": None,
    "base_template_id": None,
    "request_config": {
        "use_assistant_message": True,
        "assistant_message_tool_name": "send_message",
        "assistant_message_tool_kwarg": "message",
        "include_return_message_types": None,
    },
    "stop_reason": None,
    "callback_url": None,
    "callback_sent_at": None,
    "callback_status_code": None,
    "callback_error": None,
    "ttft_ns": None,
    "total_duration_ns": None,
}

STEP: Json = {
    "origin": None,
    "organization_id": ORGANIZATION,
    "provider_id": None,
    "provider_name": "openai",
    "provider_category": "base",
    "model_endpoint": ENDPOINT,
    "context_window_limit": CONTEXT_WINDOW,
    "cached_input_tokens": None,
    "cache_write_tokens": None,
    "reasoning_tokens": None,
    "completion_tokens_details": None,
    "prompt_tokens_details": None,
    "tags": [],
    "tid": None,
    "trace_id": None,
    "request_id": None,
    "messages": [],
    "feedback": None,
    "project_id": None,
    "error_type": None,
    "error_data": None,
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
    "model_wrapper": None,
    "context_window": CONTEXT_WINDOW,
    "put_inner_thoughts_in_kwargs": False,
    "temperature": 1.0,
    "max_tokens": 16384,
    "reasoning_effort": None,
    "max_reasoning_tokens": 0,
    "effort": None,
    "frequency_penalty": None,
    "compatibility_type": None,
    "verbosity": None,
    "tier": None,
    "parallel_tool_calls": False,
    "response_format": None,
    "strict": False,
    "return_logprobs": False,
    "top_logprobs": None,
    "return_token_ids": False,
    "tool_call_parser": None,
}


def llm_config(handle: str) -> Json:
    """Return an agent's model, by its handle with the provider's prefix."""
    name = handle.split("/", 1)[-1]
    return {**_MODEL, "model": name, "display_name": None, "handle": handle, "enable_reasoner": False}


def llm_model(name: str) -> Json:
    """Return an item of ``GET /v1/models/``."""
    own = {"name": name, "display_name": name, "provider_type": "openai", "model_type": "llm", "model": name}
    return {
        "handle": f"{PROVIDER}/{name}",
        **own,
        **_MODEL,
        "enable_reasoner": True,
        "max_context_window": CONTEXT_WINDOW,
    }


def embedding_config(handle: str | None) -> Json | None:
    """Return an agent's embedding model."""
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
    own = {"name": name, "display_name": name, "provider_type": "openai", "provider_name": "openai"}
    return {"handle": handle, **own, "model_type": "embedding", **(embedding_config(handle) or {})}


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
