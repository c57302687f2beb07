"""Flow control of a connection."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.flow_control import FlowControl

from app.flags import Flag


class HoldingFlow(FlowControl):
    """uvicorn's flow control, but reading stays paused while ``hold`` is set.

    In uvicorn's, an application that awaits a body or a disconnect resumes reading.
    """

    _holds = False

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = cast("asyncio.Event", Flag(is_set=True))

    def hold(self, holds: bool) -> None:
        """Pause reading, or resume it."""
        if holds:
            self.pause_reading()
        if holds is not self._holds:
            self._holds = holds
            self.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading, unless ``hold`` is set."""
        if not self._holds:
            super().resume_reading()
