"""The calls of a client's session, from their requests to their answers; see :mod:`.session`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from kvnode.transport.signals import Ending

from . import protocol as p
from .errors import NOT_DONE, UNKNOWN, KvError, error, unavailable
from .wire import AnyRequest


class Call(msgspec.Struct, eq=False):
    """A call: the request, also as bytes, and what became of it so far.

    `limit` is when it is overdue, on the event loop's clock; `ended` ends with it. A `read` changes nothing; `again`
    says that it may be sent twice, `resent` that it will be: its first connection broke before the answer came.
    """

    request: AnyRequest
    frame: bytes
    limit: float
    ended: Ending
    read: bool
    again: bool
    sent: bool = False
    resent: bool = False
    answer: p.Answer | None = None
    refusal: p.Fail | None = None
    error: KvError | None = None

    @property
    def id(self) -> int:
        """The request's."""
        return self.request.id

    @property
    def outcome(self) -> str:
        """What is known of its effect, if no answer comes."""
        return UNKNOWN if (self.sent or self.resent) and not self.read else NOT_DONE

    def succeed(self, answer: p.Answer) -> None:
        """It ends with this answer."""
        self.answer = answer
        if not self.ended.done():
            self.ended.set_result(None)

    def fail(self, err: KvError) -> None:
        """It ends with this error."""
        self.error = err
        if not self.ended.done():
            self.ended.set_result(None)


class Calls:
    """The calls under way, in the order in which they were made. One that was sent has `grace_s` beyond its limit."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s: Final = grace_s
        self.by_id: Final[dict[int, Call]] = {}
        """By their ids. Whoever ends a call takes it out."""

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self.by_id.values()))

    def unsent(self) -> Iterator[Call]:
        """Those that wait for a connection, or for room on it."""
        return (call for call in self.by_id.values() if not call.sent and call.refusal is None)

    def broken(self, where: str, why: str) -> None:
        """The connection is gone: what was sent is sent again if it may be, else its outcome is unknown."""
        for call in self:
            if call.sent and call.again:
                call.sent, call.resent = False, True
            elif call.sent:
                del self.by_id[call.id]
                call.fail(unavailable(f"the connection to {where} broke before the answer came ({why})", UNKNOWN))

    def fail(self, err: KvError) -> None:
        """All end with this error."""
        for call in self:
            call.fail(err)
        self.by_id.clear()

    def next_limit(self) -> float:
        """When the next one is overdue."""
        return min(map(self.limit_of, self.by_id.values()), default=float("inf"))

    def overdue(self, now: float) -> list[Call]:
        """Those whose time is up; they are no longer under way."""
        late = [call for call in self.by_id.values() if self.limit_of(call) <= now]
        for call in late:
            del self.by_id[call.id]
        return late

    def limit_of(self, call: Call) -> float:
        """When a call is overdue."""
        return call.limit + (self._grace_s if call.sent else 0.0)


def result_of(call: Call) -> p.Answer:
    """The answer of a call that has ended. Raises the error that it ended with."""
    if call.error is not None:
        raise call.error
    answer = call.answer
    assert answer is not None
    if isinstance(answer, p.Fail):
        fields: dict[str, Any] = answer.fields
        if call.resent and answer.code == "cas_failed":
            # It may have been its own first try that changed the entry.
            raise unavailable("the connection broke, and the write could not be repeated", UNKNOWN)
        raise error(answer.code, answer.message, fields)
    return answer
