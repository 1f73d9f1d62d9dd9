"""Waking somebody when something is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from kvnode.core.effects import Now

NEVER: Final = 1 << 62
"""A time that does not come, in milliseconds."""
REST_MS: Final = 60_000
"""It looks that often even if nothing is due."""


class Alarm:
    """Calls `ring` when something is due: `due` tells when that is (:data:`NEVER`: not for now), in milliseconds of
    `clock`'s `mono`. Whoever changes that calls :meth:`changed`.

    Most changes move it back, such as an answer that came in time. That is found out when the old time has come, so
    that they need not touch the timer.
    """

    def __init__(self, due: Callable[[], int], clock: Callable[[], Now], ring: Callable[[], None]) -> None:
        self._due: Final = due
        self._clock: Final = clock
        self._ring: Final = ring
        self._at = NEVER
        self._earlier = anyio.Event()
        self.late_ms = 0
        """How much too late it rang last."""

    def changed(self) -> None:
        """What is due, or when, is another than before."""
        if self._due() < self._at:
            self._earlier.set()

    async def run(self) -> None:
        """Ring until cancelled. Having rung, it waits for :meth:`changed`."""
        while True:
            self._earlier = anyio.Event()
            now = self._clock().mono
            self._at = min(self._due(), now + REST_MS)
            with anyio.move_on_after(max(self._at - now, 1) / 1000):
                await self._earlier.wait()
                continue
            now = self._clock().mono
            if self._due() <= now:
                self.late_ms = now - self._at
                self._at = NEVER
                self._ring()
                await self._earlier.wait()
