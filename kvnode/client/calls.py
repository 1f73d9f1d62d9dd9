"""The calls of a client's session, from their requests to their answers; see :mod:`.session`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from . import protocol as p
from .call import Call
from .errors import UNKNOWN, KvError, error, unavailable


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
