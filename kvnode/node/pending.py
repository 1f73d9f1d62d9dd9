"""What goes in and out of the driver: ports of links, and requests on their way to an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import anyio

from kvnode.core.effects import Change, Now, Wrote
from kvnode.core.messages import Message
from kvnode.core.replica import Replica

from .acks import AckLevel
from .errors import NodeError


class Port(Protocol):
    """One link's way out. Its methods do not wait and do not raise."""

    def send(self, seq: int, message: Message) -> None:
        """Take a message, behind those before it."""

    def flush(self) -> None:
        """The turn is over: what was taken may leave."""

    def close(self, why: str, fatal: bool) -> None:
        """The replica gave the link up. `fatal`: redialling will not help."""


class PendingWrite:
    """A write on its way to its ack level, to be there by `due` (milliseconds of `Now.mono`).

    `wrote` is filled when it is made. When it is answered, `error` tells what went wrong, if anything did, and `done`
    is called, once. It must not raise or wait. `id` is for the use of whoever waits.
    """

    __slots__ = ("answered", "changes", "done", "due", "error", "group", "id", "level", "wrote")

    def __init__(
        self, changes: Sequence[Change], level: AckLevel, due: int, done: Callable[[PendingWrite], None], id: int = 0
    ) -> None:
        self.id = id
        self.changes = changes
        self.level = level
        self.due = due
        self.done = done
        self.wrote: list[Wrote] = []
        self.error: NodeError | None = None
        self.answered = False
        """Whether nobody waits for it any more."""
        self.group: Group = _NONE
        """Those with which it waits."""

    def answer(self, error: NodeError | None = None) -> None:
        """All is done, or `error` has come up. An abandoned write is not answered."""
        if not self.answered:
            self.answered = True
            self.error = error
            self.done(self)


Group = dict[PendingWrite, None]
_NONE: Final[Group] = {}


class PendingCall:
    """Something to be done with the replica, and its result."""

    __slots__ = ("do", "error", "event", "result")

    def __init__(self, do: Callable[[Replica, Now], Any]) -> None:
        self.do = do
        self.event = anyio.Event()
        self.result: Any = None
        self.error: NodeError | None = None

    def answer(self, error: NodeError | None = None) -> None:
        """It was done, or `error` has come up."""
        self.error = error
        self.event.set()
