"""How far the clocks of the peers are ahead of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import anyio

from kvnode.core.effects import Now
from kvnode.core.messages import Ping, Pong

from .links import Link

WAIT_S: Final = 1.0
"""Given to peers for telling their time."""


class Clocks:
    """Asks peers for their time. `clock` is ours."""

    def __init__(self, clock: Callable[[], Now]) -> None:
        self._clock: Final = clock
        self._heard = anyio.Event()

    def told(self, link: Link, answer: Pong) -> None:
        """A peer has answered, this or another question."""
        if answer.wall_ms is not None:
            link.skew_ms = answer.wall_ms - self._clock().wall
            self.look()

    def look(self) -> None:
        """Somebody has answered, or will not any more."""
        self._heard.set()
        self._heard = anyio.Event()

    async def compare(self, links: Iterable[Link]) -> None:
        """Comes back when all that are linked have answered, or after :data:`WAIT_S`."""
        asked = [link for link in links if link.name and not link.why]
        for link in asked:
            link.skew_ms = None
            link.tell(Ping(0))
        with anyio.move_on_after(WAIT_S):
            while any(link.skew_ms is None and not link.connection.is_closed for link in asked):
                await self._heard.wait()
