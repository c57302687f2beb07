"""Flow control of an HTTP connection."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.flow_control import FlowControl

from app.flags import Flag


class HoldingFlow(FlowControl):
    """Extends uvicorn's flow control with ``hold``, which pauses reading from the client.

    Without ``hold``, reading resumes when the application waits for a request body or a disconnect.
    """

    _holds = False

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = cast("asyncio.Event", Flag(is_set=True))

    def hold(self, holds: bool) -> None:
        """Pause reading from the client if ``holds`` is true, or else resume reading."""
        if holds:
            self.pause_reading()
        if holds is not self._holds:
            self._holds = holds
            self.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading from the client, unless ``hold`` has paused reading."""
        if not self._holds:
            super().resume_reading()
