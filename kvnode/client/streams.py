"""Streams as a client reads them: trees, watches, events, dumps, backups.

The node sends as far as the credits of a stream go; they are given back as the items are consumed, so what waits
here is bounded by the window, whatever the node has to send.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from kvnode.core.entry import Version, decode_record
from kvnode.core.path import Path, path_key
from kvnode.core.ticks import Known

from . import protocol as p
from .errors import Closed, KvError, ProtocolError, error, unavailable
from .inbox import Inbox, NewestInbox, Waiting
from .items import Change, EventItem, Reading, event_of, reading_of
from .mirror import Item, Mirror
from .session import Session
from .wire import cost_of, known_of

WINDOW: Final = 4_096
"""Credits of a stream: so many rows, or KiB, wait here at most (and one message)."""
RESUME_WAIT_S: Final = 10.0
"""How long a node may take to learn what a resuming watch was told elsewhere."""

T = TypeVar("T")


class Scope(msgspec.Struct, frozen=True):
    """What a stream covers: `path` and below, of that what fits `pattern` as a whole path, to `depth` levels."""

    path: Path
    pattern: str | None = None
    depth: int | None = None


class Stream(ABC, Generic[T]):
    """An asynchronous iterator of items; leave its block, or call :meth:`aclose`, to end it."""

    def __init__(
        self, session: Session, window: int = WINDOW, *, key: Callable[[T], Hashable | None] | None = None
    ) -> None:
        self._session: Final = session
        self._id: Final = session.next_id()
        self._window: Final = window
        paid = self._give_back
        self._inbox: Final[Waiting[T]] = Inbox(paid) if key is None else NewestInbox(paid, key)
        self._due = 0
        self._filled: anyio.Event | None = None
        self._over = False
        self._error: KvError | None = None

    async def __aenter__(self) -> Stream[T]:
        await anyio.lowlevel.checkpoint()
        self._session.open(self._id, self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it; the node is told."""
        self._end(Closed("closed", "the stream is closed"), cancel=True)
        self._inbox.clear()

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        while not self._inbox:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            if self._filled is None:
                self._filled = anyio.Event()
            await self._filled.wait()
        return self._inbox.take()

    # -- the session's side ----------------------------------------------------------------------------------

    @property
    def credits(self) -> int:
        """What to grant when it is asked for again: the window less what waits here."""
        return max(self._window - self._inbox.held, 1)

    @abstractmethod
    def request(self) -> p.Message:
        """See :class:`.session.Fed`."""

    def feed(self, message: p.Answer, size: int) -> None:
        """See :class:`.session.Fed`."""
        match message:
            case p.Done():
                self._done(message)
                self._end(None, cancel=False)
            case p.Fail():
                self._end(error(message.code, message.message, message.fields), cancel=False)
            case _:
                self._message(message, size)

    def broken(self) -> None:
        """See :class:`.session.Fed`."""
        self._due = 0

    def fail(self, err: KvError) -> None:
        """See :class:`.session.Fed`."""
        self._end(err, cancel=False)

    @abstractmethod
    def _message(self, message: p.Answer, size: int) -> None:
        """A message of the stream, of so many bytes."""

    def _done(self, message: p.Done) -> None:
        """The last message."""

    def _end(self, err: KvError | None, *, cancel: bool) -> None:
        if not self._over:
            self._over = True
            self._error = err
            self._session.forget(self._id, cancel=cancel)
            self._notice()

    def _put(self, items: Sequence[T], rows: int, size: int) -> None:
        """Take in the items of a message of so many rows and bytes."""
        self._inbox.put(items, cost_of(rows, size) if rows else 0)
        if items:
            self._notice()

    def _notice(self) -> None:
        if self._filled is not None:
            self._filled.set()
            self._filled = None

    def _give_back(self, cost: int) -> None:
        self._due += cost
        if self._due >= self._window // 2 and not self._over:
            self._session.send(p.Grant(self._id, self._due))
            self._due = 0


class TreeStream(Stream[Reading]):
    """Readings in path order. After a broken connection it goes on behind the last one that came. It begins behind the
    key `after`.
    """

    def __init__(
        self,
        session: Session,
        scope: Scope,
        *,
        conflicts: bool = False,
        keys: bool = False,
        after: bytes | None = None,
        window: int = WINDOW,
    ) -> None:
        super().__init__(session, window)
        self._scope: Final = scope
        self._conflicts: Final = conflicts
        self._keys: Final = keys
        self._after = after

    def request(self) -> p.Message:
        """Ask for what has not come yet."""
        path, pattern, depth = self._scope.path, self._scope.pattern, self._scope.depth
        return p.Tree(self._id, path, pattern, depth, self.credits, self._after, self._conflicts, self._keys)

    def _message(self, message: p.Answer, size: int) -> None:
        if isinstance(message, p.Rows) and message.rows:
            readings = [reading_of(row) for row in message.rows]
            self._after = path_key(readings[-1].path)
            self._put(readings, len(readings), size)


class WatchStream(Stream[Item]):
    """A snapshot in path order, :class:`.items.Uptodate`, then every change. Survives broken connections and lost
    nodes: it goes on, on the same node or another, without gap, duplicate or step back (see :mod:`.mirror`), or
    says :class:`.items.Gap`. With `latest` a reader that is slow skips values: at most one change waits for each path.
    """

    def __init__(
        self,
        session: Session,
        scope: Scope,
        *,
        latest: bool = False,
        keys: bool = False,
        wait_s: float = RESUME_WAIT_S,
    ) -> None:
        super().__init__(session, key=_path_of if latest else None)
        self._scope: Final = scope
        self._latest: Final = latest
        self._keys: Final = keys
        self._wait_ms: Final = int(wait_s * 1000)
        self._mirror: Final = Mirror()

    def request(self) -> p.Message:
        """Ask for what is new."""
        context, mirrored = self._mirror.request()
        path, pattern, depth = self._scope.path, self._scope.pattern, self._scope.depth
        credits, wait_ms = self.credits, self._wait_ms
        return p.Watch(self._id, path, pattern, depth, self._latest, credits, context, mirrored, wait_ms, self._keys)

    def _message(self, message: p.Answer, size: int) -> None:
        match message:
            case p.Rows(_, rows):
                self._put(self._mirror.rows(rows), len(rows), size)
            case p.Begin():
                self._put(self._mirror.begin(message), 0, 0)
            case p.Marker():
                items, resync = self._mirror.marker(message)
                self._put(items, 0, 0)
                if resync:
                    self._session.send(p.Resync(self._id))


def _path_of(item: Item) -> Path | None:
    return item.path if isinstance(item, Change) else None


class EventStream(Stream[EventItem]):
    """Events as they come. They are not stored: `lost` counts those dropped because this client was slow,
    `interruptions` the broken connections, during which any number may have been missed.
    """

    def __init__(self, session: Session, scope: Scope) -> None:
        super().__init__(session)
        self._scope: Final = scope
        self.lost = 0
        self.interruptions = 0

    def request(self) -> p.Message:
        """Ask for events from now on."""
        scope = self._scope
        return p.Events(self._id, scope.path, scope.pattern, scope.depth, self.credits)

    def broken(self) -> None:
        """Count it."""
        super().broken()
        self.interruptions += 1

    def _message(self, message: p.Answer, size: int) -> None:
        if isinstance(message, p.EventRows):
            self.lost += message.lost
            self._put([event_of(row) for row in message.events], len(message.events), size)


class DumpRow(NamedTuple):
    """A stored record: all versions at a path, tombstones and vectors included."""

    key: bytes
    record: bytes

    @property
    def path(self) -> Path:
        """Its path."""
        return Path.from_key(self.key)

    def versions(self) -> tuple[Version, ...]:
        """The record, decoded."""
        return decode_record(self.record)


class _OnceStream(Stream[T]):
    """What is of one node at one time, and so does not survive a broken connection. `what` names it for people."""

    what: ClassVar[str]

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._asked = False

    def request(self) -> p.Message:
        """Ask for it."""
        self._asked = True
        return self._ask()

    def broken(self) -> None:
        """End it with an error, if it had begun."""
        super().broken()
        if self._asked:
            self.fail(unavailable(f"the connection broke during the {self.what}"))

    @abstractmethod
    def _ask(self) -> p.Message:
        """The request that begins it."""


class DumpStream(_OnceStream[DumpRow]):
    """Records in path order; then `known` is set."""

    what = "dump"

    def __init__(self, session: Session, path: Path) -> None:
        super().__init__(session)
        self._path: Final = path
        self.known = Known()
        """The ticks that the dump stands for; empty before its end."""

    def _ask(self) -> p.Message:
        return p.Dump(self._id, self._path, self.credits)

    def _message(self, message: p.Answer, size: int) -> None:
        if isinstance(message, p.DumpRows):
            self._put([DumpRow(key, record) for key, record in message.rows], len(message.rows), size)

    def _done(self, message: p.Done) -> None:
        ranges = message.value.get("known") if isinstance(message.value, dict) else None
        if not isinstance(ranges, dict):
            raise ProtocolError("protocol_error", "a dump without its known ticks")
        self.known = known_of({inc: tuple(bounds) for inc, bounds in ranges.items()})


class BackupStream(_OnceStream[bytes]):
    """The bytes of a file, in pieces; then `size` is set."""

    what = "backup"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.size = 0
        """How many bytes the file has; 0 before its end."""

    def _ask(self) -> p.Message:
        return p.Backup(self._id, self.credits)

    def _message(self, message: p.Answer, size: int) -> None:
        if isinstance(message, p.Chunk):
            self._put([message.data], 1, size)

    def _done(self, message: p.Done) -> None:
        if not isinstance(message.value, int):
            raise ProtocolError("protocol_error", "a backup without its size")
        self.size = message.value
