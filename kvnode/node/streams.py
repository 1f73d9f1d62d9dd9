"""Streams to clients, without I/O: a stream is asked to produce, and emits messages as far as its credits go.

Scans hold no iterator between two turns, only the key they have come to; so a slow client costs nothing but a few
numbers, and never sees half of a change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, BinaryIO, Final

from kvnode.client.protocol import Chunk, Done, DumpRows, EventRow, EventRows, Fail, Message, Rows
from kvnode.client.wire import cost_of, ranges_of
from kvnode.core.entry import Siblings, encode_record
from kvnode.core.messages import Event
from kvnode.core.policy import in_conflict
from kvnode.core.ticks import Known
from kvnode.store.base import StoreError

from .errors import NodeError
from .rows import Readable, RowEncoder, Scope

Emit = Callable[[Message], int]
"""Sends a message and gives the size of its payload in bytes."""

FRAME_BYTES: Final = 64 * 1024
"""Rows are sent in frames of about this size."""
TURN_KEYS: Final = 1_000
"""Entries looked at in one turn of one stream."""
MAX_EVENTS: Final = 1_000
"""Events that wait for one client; of more, the oldest are dropped and counted."""
MAX_CREDITS: Final = 1 << 24


def _nothing() -> None:
    """In the place of a callback."""


class Stream(ABC):
    """One stream: `id` is the request's, `credits` what the client has granted."""

    def __init__(self, id: int, credits: int) -> None:
        self.id: Final = id
        self.credits = min(credits, MAX_CREDITS)
        self.ended = False
        """Whether its last message has been emitted."""
        self.wake: Callable[[], None] = _nothing
        """To be called when it may have become ready."""

    def grant(self, credits: int) -> None:
        """The client takes more."""
        self.credits = min(self.credits + credits, MAX_CREDITS)

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether produce() would emit something now."""

    @abstractmethod
    def produce(self, emit: Emit) -> None:
        """Emit about one frame's worth."""


class Cursor:
    """How far a scan has come."""

    def __init__(self, scope: Scope, after: bytes | None = None) -> None:
        self.scope: Final = scope
        self.at = scope.low if after is None else max(scope.low, after + b"\0")
        self.done = False

    def next(self, replica: Readable) -> Iterator[tuple[bytes, Siblings]]:
        """Entries of the scope from here on, at most :data:`TURN_KEYS` looked at. To be used up in one turn; whoever
        stops early stands behind the last entry it was given.
        """
        left = TURN_KEYS
        scope = self.scope
        for key, siblings in replica.tree.scan_range(self.at, scope.high):
            self.at = key + b"\0"
            left -= 1
            if scope.is_whole or scope.holds(key, siblings):
                yield key, siblings
            if not left:
                return
        self.done = True


class TreeStream(Stream):
    """A subtree in path order; with `conflicts` only what is in conflict."""

    def __init__(
        self, id: int, credits: int, cursor: Cursor, replica: Readable, encoder: RowEncoder, *, conflicts: bool
    ) -> None:
        super().__init__(id, credits)
        self._cursor = cursor
        self._replica = replica
        self._encoder = encoder
        self._conflicts = conflicts

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return not self.ended and self.credits > 0

    def produce(self, emit: Emit) -> None:
        """Emit some rows."""
        rows: list[Any] = []
        size = 0
        encoder, most = self._encoder, self.credits
        for key, siblings in self._cursor.next(self._replica):
            wanted = in_conflict(siblings) if self._conflicts else encoder.reads(siblings)
            if not wanted:
                continue
            row, row_bytes = encoder.part(key, siblings)
            rows.append(row)
            size += row_bytes
            if size >= FRAME_BYTES or len(rows) >= most:
                break
        if rows:
            message = Rows(self.id, tuple(rows))  # parts to be encoded stand for rows
            self.credits -= cost_of(len(rows), emit(message))
        if self._cursor.done:
            self.ended = True
            emit(Done(self.id))


class DumpStream(Stream):
    """All records, then the known ticks frozen at the start: what they claim is in the records, or superseded there."""

    def __init__(self, id: int, credits: int, cursor: Cursor, replica: Readable) -> None:
        super().__init__(id, credits)
        self._cursor = cursor
        self._replica = replica
        self._known: Final[Known] = replica.known.copy()

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return not self.ended and self.credits > 0

    def produce(self, emit: Emit) -> None:
        """Emit some records."""
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        for key, siblings in self._cursor.next(self._replica):
            record = encode_record(siblings)
            rows.append((key, record))
            size += len(key) + len(record)
            if size >= FRAME_BYTES or len(rows) >= self.credits:
                break
        if rows:
            self.credits -= cost_of(len(rows), emit(DumpRows(self.id, tuple(rows))))
        if self._cursor.done:
            self.ended = True
            emit(Done(self.id, {"known": ranges_of(self._known)}))


class EventStream(Stream):
    """Events as they come."""

    def __init__(self, id: int, credits: int, scope: Scope) -> None:
        super().__init__(id, credits)
        self._scope = scope
        self._waiting: deque[EventRow] = deque()
        self._lost = 0

    def deliver(self, event: Event, row: EventRow) -> bool:
        """An event has arrived; says whether it is covered."""
        if not self._scope.fits(event.path):
            return False
        if len(self._waiting) >= MAX_EVENTS:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(row)
        return True

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting) and self.credits > 0

    def produce(self, emit: Emit) -> None:
        """Emit some events."""
        rows: list[EventRow] = []
        size = 0
        lost, self._lost = self._lost, 0
        while self._waiting and len(rows) < self.credits and size < FRAME_BYTES:
            row = self._waiting.popleft()
            rows.append(row)
            size += len(row.value)
        self.credits -= cost_of(len(rows), emit(EventRows(self.id, tuple(rows), lost)))


class BackupStream(Stream):
    """The bytes of a file that :meth:`begin` gets from `make`, which raises NodeError or StoreError."""

    def __init__(self, id: int, credits: int, make: Callable[[], Awaitable[BinaryIO]]) -> None:
        super().__init__(id, credits)
        self._make = make
        self._file: BinaryIO | None = None
        self._failure: Fail | None = None
        self._closed = False
        self._sent = 0

    async def begin(self) -> None:
        """Get the file."""
        try:
            self._file = await self._make()
        except (NodeError, StoreError) as err:
            self._failure = Fail(self.id, err.code, str(err))
        if self._closed:
            self.close()
        self.wake()

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return not self.ended and (self._failure is not None or (self._file is not None and self.credits > 0))

    def produce(self, emit: Emit) -> None:
        """Emit the next piece. (It was written a moment ago: reading it does not wait for the disk.)"""
        if self._failure is not None:
            self.ended = True
            emit(self._failure)
        elif self._file is not None:
            data = self._file.read(FRAME_BYTES)
            self.ended = not data
            self._sent += len(data)
            if data:
                self.credits -= cost_of(1, emit(Chunk(self.id, data)))
            else:
                emit(Done(self.id, self._sent))

    def close(self) -> None:
        """Nobody reads any further."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None


def event_row(event: Event) -> EventRow:
    """An event for the wire."""
    return EventRow(event.path, event.value, event.author, event.name, event.session, event.seq, event.principal)
