"""Flow control of a connection: when reading is paused and resumed."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class HoldingFlow(FlowControl):
    """uvicorn's flow control, but reading stays paused while ``hold`` is set.

    Without it, an application that awaits a body or a disconnect resumes reading.
    """

    _holds = False

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
