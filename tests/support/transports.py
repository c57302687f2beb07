"""Transports for connections without sockets."""

from dataclasses import dataclass, field


@dataclass
class Transport:
    """A transport that records what is written."""

    sent: bytearray = field(default_factory=bytearray)
    reads: bool = True
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, _: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
