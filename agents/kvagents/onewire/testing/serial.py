"""A serial line to an emulated adapter: a pseudo-terminal, which owserver takes for the real one."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from types import TracebackType
from typing import Protocol, Self


class Adapter(Protocol):
    """What is at the other end: bytes in, bytes out."""

    lock: threading.Lock

    def receive(self, data: bytes) -> bytes:
        """The answer to what arrived from the serial line."""
        ...


class AdapterPty:
    """The adapter on a pseudo-terminal, served by a thread of its own; a context manager.

    `path` is what owserver opens; it stays the same while owserver comes and goes.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        # The slave is kept open here too: otherwise the master reads EIO whenever owserver is not there.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="adapter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(fd)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            data = os.read(self._master, 4096)
            with self.adapter.lock:
                answer = self.adapter.receive(data)
            if answer:
                os.write(self._master, answer)
