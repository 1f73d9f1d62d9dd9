"""Waiting for something to become true of the replica."""

from __future__ import annotations

from collections.abc import Callable

import anyio

Condition = Callable[[], bool]


class Conditions:
    """Those who wait, and what for. What they wait for changes in the driver's turns only."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Condition, anyio.Event]] = []

    async def wait(self, condition: Condition, timeout_s: float) -> bool:
        """Wait until it holds; False if it does not in time."""
        if condition():
            return True
        event = anyio.Event()
        entry = (condition, event)
        self._waiting.append(entry)
        try:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return event.is_set()

    def look(self) -> None:
        """A turn is over."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for condition, event in waiting:
            if condition():
                event.set()
            else:
                self._waiting.append((condition, event))
