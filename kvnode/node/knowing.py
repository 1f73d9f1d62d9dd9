"""Waiting until the node knows what somebody has seen elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from kvnode.core.ticks import Known


class Knowing:
    """Those who wait for something to be known; `known` tells what is."""

    def __init__(self, known: Callable[[], Known]) -> None:
        self._known: Final = known
        self._waiting: list[tuple[Known, anyio.Event]] = []

    async def wait(self, wanted: Known, timeout_s: float) -> bool:
        """Wait until all of this is known; False if it is not in time."""
        if wanted <= self._known():
            return True
        event = anyio.Event()
        entry = (wanted, event)
        self._waiting.append(entry)
        try:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return event.is_set()

    def look(self) -> None:
        """More may be known."""
        if not self._waiting:
            return
        known = self._known()
        waiting, self._waiting = self._waiting, []
        for wanted, event in waiting:
            if wanted <= known:
                event.set()
            else:
                self._waiting.append((wanted, event))
