"""Private names of libraries that the gateway assigns: after a rename there, an assignment would do nothing."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.websockets import websockets_sansio_impl
from websockets import protocol

NAMES = {
    httptools_impl: "pipeline message_event on_response",
    flow_control: "_is_writable_event",
    websockets_sansio_impl: (
        "queue writable close_timeout conn read_paused frames close_sent pong_timer close_timer initial_response "
        "last_ping_rtt pending_ping_payload ping_sent_at ping_timer request response scope"
    ),
    protocol: "max_message_size current_size parser_exc close_sent",
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names.split()]
)
def test_a_library_still_uses_a_name_that_the_gateway_assigns(module: ModuleType, name: str) -> None:
    assert re.search(rf"self\.{name}\b", inspect.getsource(module))
