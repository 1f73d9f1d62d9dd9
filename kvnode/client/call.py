"""A call of a client's session, from its request to its answer. Pure."""

from __future__ import annotations

import msgspec

from kvnode.transport.signals import Ending

from . import protocol as p
from .errors import NOT_DONE, UNKNOWN, KvError
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
