"""Requests of one client that take time and are no writes: events, retiring, loading, looking after the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from anyio.abc import TaskGroup

from kvnode.client import protocol as p
from kvnode.core.entry import decode_record

from .client_limits import ClientLimits
from .driver import Driver
from .errors import NodeError, RefusedError
from .inspecting import Answer, Inspector
from .jobs import Jobs
from .loading import take_in
from .requests import RequestError, check_value, checked_path, failure


class ClientCalls:
    """Has them done by a few tasks of `tasks`, and gives their answers to `send`. Its `handlers` take requests, by
    their type, and raise RequestError for what is refused at once.
    """

    def __init__(
        self,
        driver: Driver,
        inspector: Inspector,
        tasks: TaskGroup,
        send: Callable[[p.Message], object],
        author: str,
        limits: ClientLimits,
    ) -> None:
        self._driver: Final = driver
        self._send: Final = send
        self._author: Final = author
        self._jobs: Final = Jobs(tasks, max_workers=limits.workers, max_waiting=limits.waiting)
        self._cancelled: set[int] = set()
        self._in_work: set[int] = set()
        self.handlers: Final[Mapping[type[p.Message], Callable[[Any], None]]] = {
            p.SendEvent: self._send_event,
            p.Retire: self._retire,
            p.Load: self._load,
            **{kind: partial(self._inspect, answer) for kind, answer in inspector.answers.items()},
        }

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken for now."""
        return self._jobs.full

    async def room(self) -> None:
        """Wait until more may be taken."""
        await self._jobs.room()

    def cancel(self, id: int) -> None:
        """The client does not want to know any more; what has not begun will not."""
        if id in self._in_work:
            self._cancelled.add(id)

    def _send_event(self, request: p.SendEvent) -> None:
        path = checked_path(request.path)
        check_value(request.value)
        author = self._author if request.author is None else request.author

        async def send() -> p.Message:
            await self._driver.call(lambda replica, now: replica.send_event(path, request.value, author, now))
            return p.Done(request.id)

        self._later(request.id, send)

    def _retire(self, request: p.Retire) -> None:
        async def retire() -> p.Message:
            refused = await self._driver.call(lambda replica, now: replica.retire(request.name, now))
            if refused is not None:
                raise RefusedError(refused)
            return p.Done(request.id)

        self._later(request.id, retire)

    def _load(self, request: p.Load) -> None:
        try:
            records = [decode_record(record) for record in request.records]
        except ValueError as err:
            raise RequestError("bad_value", f"not a stored record: {err}") from None

        async def load() -> p.Message:
            new = await self._driver.call(lambda replica, now: take_in(replica, records, now))
            return p.Done(request.id, new)

        self._later(request.id, load)

    def _inspect(self, answer: Answer, request: Any) -> None:
        """One of the requests for looking after the node."""

        async def inspect() -> p.Message:
            try:
                return p.Done(request.id, await answer(request, self._author))
            except RequestError as err:
                return p.Fail(request.id, err.code, str(err))

        self._later(request.id, inspect)

    def _later(self, id: int, answer: Callable[[], Any]) -> None:
        """Answer by an async function, in the pool."""
        self._in_work.add(id)

        async def job() -> None:
            if id not in self._cancelled:
                await self._answer(id, answer)
            self._in_work.discard(id)
            self._cancelled.discard(id)

        self._jobs.add(job)

    async def _answer(self, id: int, answer: Callable[[], Any]) -> None:
        try:
            message: p.Message = await answer()
        except NodeError as err:
            message = failure(id, err)
        if id not in self._cancelled:
            self._send(message)
