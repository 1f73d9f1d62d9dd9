"""One call of a client's session, from its request to its answer; see :mod:`.session`."""

from __future__ import annotations

from typing import Any

import anyio

from . import protocol as p
from .errors import NOT_DONE, UNKNOWN, KvError, error, unavailable
from .wire import Needs


class Call:
    """A call: the request as bytes, what it needs of a node, and what became of it so far.

    `limit` is when it is overdue, on the event loop's clock. A `read` changes nothing; `again` says that the call may
    be sent twice, `resent` that it will be: its first connection broke before the answer came.
    """

    __slots__ = (
        "again",
        "answer",
        "error",
        "event",
        "frame",
        "id",
        "limit",
        "needs",
        "read",
        "refusal",
        "resent",
        "sent",
    )

    def __init__(self, id: int, needs: Needs, frame: bytes, limit: float, *, read: bool, again: bool) -> None:
        self.id = id
        self.needs = needs
        self.frame = frame
        self.read = read
        self.again = again or read
        self.limit = limit
        self.sent = False
        self.resent = False
        self.event = anyio.Event()
        self.answer: p.Answer | None = None
        self.refusal: p.Fail | None = None
        self.error: KvError | None = None

    @property
    def outcome(self) -> str:
        """What is known of its effect, if no answer comes."""
        return UNKNOWN if (self.sent or self.resent) and not self.read else NOT_DONE

    def fail(self, err: KvError) -> None:
        """It ends with this error."""
        self.error = err
        self.event.set()


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
