"""The writes of one client, from the request to the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvnode.client import protocol as p

from .acks import parse_ack
from .driver import Driver
from .pending import PendingWrite
from .requests import RequestError, checked_changes, failure


class ClientWrites:
    """Hands writes to the driver, and their answers to `send`. At most `most` wait at once: whoever reads the requests
    pauses while :attr:`is_full`. No answer takes longer than `timeout_ms`; writes say `author` unless they name one.
    """

    def __init__(
        self, driver: Driver, send: Callable[[p.Message], object], author: str, *, most: int, timeout_ms: int
    ) -> None:
        self._driver: Final = driver
        self._send: Final = send
        self._author: Final = author
        self._most: Final = most
        self._timeout_ms: Final = timeout_ms
        self._waiting: Final[dict[int, PendingWrite]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken for now."""
        return len(self._waiting) >= self._most or self._driver.is_full

    async def room(self) -> None:
        """Wait until more may be taken."""
        while self.is_full:
            await self._driver.room()

    def take(self, request: p.Batch, mono: int) -> None:
        """A write that came at this time, in milliseconds of `Now.mono`. Raises RequestError."""
        id = request.id
        if id in self._waiting:
            raise RequestError("bad_request", f"the id {id} is in use")
        author = self._author if request.author is None else request.author
        changes = checked_changes(request.ops, author)
        if not changes:
            raise RequestError("bad_request", "an empty batch")
        try:
            level = parse_ack(request.ack)
        except ValueError as err:
            raise RequestError("bad_request", str(err)) from None
        due = mono + min(max(request.timeout_ms, 0), self._timeout_ms)
        write = self._waiting[id] = PendingWrite(changes, level, due, self._answer, id)
        self._driver.submit(write)

    def cancel(self, id: int) -> None:
        """The client does not want to know any more; what was not made yet will not be."""
        write = self._waiting.pop(id, None)
        if write is not None:
            self._driver.abandon(write)

    def close(self) -> None:
        """The client is gone."""
        for id in list(self._waiting):
            self.cancel(id)

    def _answer(self, write: PendingWrite) -> None:
        id = write.id
        del self._waiting[id]
        if write.error is not None:
            self._send(failure(id, write.error))
            return
        wrote = tuple([(*w.dot, w.stamp) for w in write.wrote])
        unchanged = tuple([at for at, w in enumerate(write.wrote) if w.unchanged])
        self._send(p.Wrote(id, wrote, unchanged))
