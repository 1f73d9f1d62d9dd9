"""The node's side of a watch (law 5, rule R10), without I/O.

A watch is either in a *pass* over its subtree, in path order, or live. The pass keeps the key that it has come to.
A change behind that key is kept, the newest per path, and follows after the marker; a change before it needs
nothing, since the pass will come there. The marker's context is what the node knew when the pass began, or, if nothing
was kept, what it knows at its end: in either case each of its dots shows in what was sent.

Live, each change is queued. When the queue is full, a watcher of every value is told of the gap and gets a new pass;
one that wants the latest value only has at most one change per path in its queue, and gets a new pass without
ado. After some changes a marker brings the client's context up to date, so that it stays small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from kvnode.client.protocol import DELTA, FULL, GAP, Begin, Marker, Rows
from kvnode.client.wire import cost_of, ranges_of, reading_print
from kvnode.core.entry import Siblings
from kvnode.core.ticks import Known

from .rows import Readable, RowEncoder, Scope
from .streams import FRAME_BYTES, Cursor, Emit, Stream

MAX_QUEUE: Final = 10_000
"""Changes that wait for one watcher."""
MAX_BEHIND: Final = 100_000
"""Changed paths that a pass has already gone by."""
FEW_PREFIXES: Final = 16
"""So many prefixes of watches are tried one after the other; of more, those that a path has are looked up."""
REFRESH_AFTER: Final = 1_000
"""So many changes after a marker there comes another."""


class _Pass:
    """A pass that is under way."""

    def __init__(self, kind: int, cursor: Cursor, known: Known, context: Known | None) -> None:
        self.kind: Final = kind
        self.cursor: Final = cursor
        self.known: Final = known
        self.context: Final = context
        self.fingerprint = 0
        self.behind: dict[bytes, Siblings] = {}

    def is_new(self, siblings: Siblings) -> bool:
        """Whether a version is outside the client's context, or has a lease: that may read as stale by now."""
        context = self.context
        return context is None or any(v.until is not None or not context.has(v.inc, v.tick) for v in siblings)


class WatchStream(Stream):
    """One watch of one client. It sends nothing before :meth:`begin`."""

    def __init__(
        self,
        id: int,
        credits: int,
        scope: Scope,
        replica: Readable,
        encoder: RowEncoder,
        *,
        latest: bool = False,
        max_queue: int = MAX_QUEUE,
        max_behind: int = MAX_BEHIND,
        refresh_after: int = REFRESH_AFTER,
    ) -> None:
        super().__init__(id, credits)
        self.scope: Final = scope
        self._replica: Final = replica
        self._encoder: Final = encoder
        self._latest: Final = latest
        self._max_queue: Final = max_queue
        self._max_behind: Final = max_behind
        self._refresh_after: Final = refresh_after
        self._begin: Begin | None = None
        self._pass: _Pass | None = None
        self._queue: deque[tuple[bytes, Siblings]] = deque()
        self._newest: dict[bytes, Siblings] = {}
        self._room = max_queue
        self._sent = 0
        self._told: Known | None = None
        self.gaps = 0

    def begin(self, kind: int, context: Known | None = None, reason: str = "") -> None:
        """Begin a pass, whatever was going on; `context` is needed for DELTA."""
        self._queue.clear()
        self._newest.clear()
        self._begin = Begin(self.id, kind, reason)
        known = self._replica.known.copy()
        self._pass = _Pass(kind, Cursor(self.scope), known, context if kind == DELTA else None)

    # -- what happens ----------------------------------------------------------------------------------------

    def notify(self, key: bytes, siblings: Siblings) -> None:
        """An entry of the scope has changed."""
        going = self._pass
        if going is not None:
            if key < going.cursor.at:
                going.behind[key] = siblings
                if len(going.behind) > self._max_behind:
                    self._overflow(f"more than {self._max_behind} entries changed during the snapshot")
        elif self._told is None:
            return
        elif self._latest:
            self._newest[key] = siblings
            if len(self._newest) > self._room:
                self.begin(FULL)
        else:
            self._queue.append((key, siblings))
            if len(self._queue) > self._room:
                self._overflow(f"the watcher was too slow: more than {self._max_queue} changes were waiting")

    def _overflow(self, reason: str) -> None:
        self.gaps += 1
        if self._latest:
            self.begin(FULL)
        else:
            self.begin(GAP, reason=reason)

    # -- what is sent ----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        if self._begin is not None:
            return True
        return self.credits > 0 and (self._pass is not None or bool(self._queue) or bool(self._newest))

    def produce(self, emit: Emit) -> None:
        """Emit some of what is due."""
        if self._begin is not None:
            emit(self._begin)
            self._begin = None
        if self._pass is None:
            self._produce_changes(emit)
        elif self.credits > 0:
            self._produce_pass(self._pass, emit)

    def _send_rows(self, rows: Iterator[tuple[bytes, Siblings]], emit: Emit) -> int:
        """Send rows until the frame is full or the credits are used up; gives how many."""
        parts: list[Any] = []
        size = 0
        part_of, most = self._encoder.part, self.credits
        for key, siblings in rows:
            row, row_bytes = part_of(key, siblings)
            parts.append(row)
            size += row_bytes
            if size >= FRAME_BYTES or len(parts) >= most:
                break
        if parts:
            message = Rows(self.id, tuple(parts))  # parts to be encoded stand for rows
            self.credits -= cost_of(len(parts), emit(message))
        return len(parts)

    def _produce_pass(self, going: _Pass, emit: Emit) -> None:
        self._send_rows(self._of_pass(going), emit)
        if not going.cursor.done:
            return
        self._pass = None
        exact = not going.behind and self._replica.is_current  # else there are changes that are yet to be notified
        context = self._replica.known if exact else going.known
        fingerprint = going.fingerprint if going.kind == DELTA else None
        emit(Marker(self.id, ranges_of(context), True, fingerprint))
        self._told = context.copy()
        self._sent = 0
        self._room = self._max_queue + len(going.behind)
        if self._latest:
            self._newest.update(going.behind)
        else:
            self._queue.extend(going.behind.items())

    def _of_pass(self, going: _Pass) -> Iterator[tuple[bytes, Siblings]]:
        """The rows of a pass: all that read as a value, or all that are new to the client."""
        for key, siblings in going.cursor.next(self._replica):
            dots = self._encoder.live_dots(siblings)
            if going.kind == DELTA:
                going.fingerprint ^= reading_print(key, dots)
                if going.is_new(siblings):
                    yield key, siblings
            elif dots:
                yield key, siblings

    def _produce_changes(self, emit: Emit) -> None:
        self._sent += self._send_rows(self._changes(), emit)
        if self._queue or self._newest:
            return
        self._room = self._max_queue
        if self._sent >= self._refresh_after and self._told is not None and self._replica.is_current:
            self._sent = 0
            self._refresh(self._told, emit)

    def _changes(self) -> Iterator[tuple[bytes, Siblings]]:
        while self._newest:
            key = next(iter(self._newest))
            yield key, self._newest.pop(key)
        while self._queue:
            yield self._queue.popleft()

    def _refresh(self, told: Known, emit: Emit) -> None:
        """All that the node knows has been sent: say so, as far as it is news."""
        known = self._replica.known
        news = {inc: ticks.bounds for inc, ticks in known.map.items() if ticks.bounds != told[inc].bounds}
        self._told = known.copy()
        emit(Marker(self.id, news, False))


class WatchIndex:
    """The watches by the prefix of what they cover, to find those that a change concerns."""

    def __init__(self, few_prefixes: int = FEW_PREFIXES) -> None:
        self._few: Final = few_prefixes
        self._by_low: dict[bytes, list[WatchStream]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, watch: WatchStream) -> None:
        """Add a watch."""
        self._by_low.setdefault(watch.scope.low, []).append(watch)
        self._count += 1

    def remove(self, watch: WatchStream) -> None:
        """Take a watch out."""
        found = self._by_low[watch.scope.low]
        found.remove(watch)
        self._count -= 1
        if not found:
            del self._by_low[watch.scope.low]

    def of(self, key: bytes, siblings: Siblings) -> list[WatchStream]:
        """The watches that cover an entry."""
        by_low = self._by_low
        if len(by_low) <= self._few:
            lows = [low for low in by_low if key.startswith(low)]
        else:
            lows = [low for end in _borders(key) if (low := key[:end]) in by_low]
        found = [watch for low in lows for watch in by_low[low]]
        return [watch for watch in found if watch.scope.is_whole or watch.scope.holds(key, siblings)]


def _borders(key: bytes) -> Iterator[int]:
    """Where the keys of a path and of all above it end."""
    at = 0
    yield 0
    while at < len(key):
        at = at + 9 if key[at] == 1 else key.index(0, at) + 1
        yield at
