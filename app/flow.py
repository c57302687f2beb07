"""When a connection is read, and when it waits."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class HoldingFlow(FlowControl):
    """uvicorn's flow control, but while enough is held nothing makes it read on.

    An application does so when it awaits a body, or the client's leaving.
    """

    _holds = False

    def hold(self, holds: bool) -> None:
        """Read nothing, or go on."""
        if holds:
            self.pause_reading()
        if holds is not self._holds:
            self._holds = holds
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless enough is held."""
        if not self._holds:
            super().resume_reading()
