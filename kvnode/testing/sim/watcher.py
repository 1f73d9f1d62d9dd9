"""Simulated clients that watch everything, lose their connection, and go on at the same node or another one (R10).

Both halves are the real ones: the node's :class:`~kvnode.node.watching.WatchStream` and the client's
:class:`~kvnode.client.mirror.Mirror`, with bytes between them. What the client is told is checked as it comes (no
duplicate, no step back without a gap that was told, nothing left out while connected, no marker before its time) and
at the end (it shows what the node shows).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from kvnode.client.items import Change, Gap, Uptodate
from kvnode.client.mirror import Item, Mirror
from kvnode.client.protocol import DELTA, FULL, RESET, Begin, Marker, Message, Ranges, Rows
from kvnode.client.wire import cost_of, decode_answer, encode_part, known_of
from kvnode.core.effects import Notify
from kvnode.core.entry import Siblings
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Known
from kvnode.node.requests import obtainable
from kvnode.node.rows import RowEncoder, Scope
from kvnode.node.watching import WatchStream

if TYPE_CHECKING:
    from .host import Process
    from .world import World

_WAIT_MS: Final = 4_000
_POLL_MS: Final = 100
_CREDITS: Final = 8
"""So many rows may be under way to a client."""
_EVERYTHING: Final = Scope(Path(()))

Reading = tuple[frozenset[Dot], bool, object]
"""What a path reads like: live dots, whether in conflict, the value."""


class Watcher:
    """One client. `latest`: it wants the latest values only."""

    def __init__(self, world: World, number: int, *, latest: bool) -> None:
        self._world: Final = world
        self._number: Final = number
        self._latest: Final = latest
        self._rng: Final = Random(f"kvnode watcher {world.plan.seed} {number}")
        self._mirror: Final = Mirror()
        self._process: Process | None = None
        self._stream: WatchStream | None = None
        self._connection = 0
        self._arrives = 0
        self._in_gap = False
        self._live = False
        """Whether the node is behind its marker, so that every change counts."""
        self._owed: dict[bytes, deque[frozenset[Dot]]] = {}
        """Changes that are yet to come."""
        self._promises: deque[dict[bytes, frozenset[Dot]]] = deque()
        self._promised: dict[bytes, frozenset[Dot]] = {}
        """What the node showed when the passes began whose beginning is yet to arrive, and the one under way."""
        self._told: dict[bytes, Reading] = {}
        self._past: dict[bytes, set[Dot]] = {}

    # -- the connection --------------------------------------------------------------------------------------

    def connect(self, process: Process) -> None:
        """Begin, or go on, at a node."""
        self.disconnect()
        self._process = process
        context, mirrored = self._mirror.request()
        self._world.log("watch", self._number, process.label, context is not None, mirrored)
        encoder = RowEncoder(process.replica, lambda: process.now().wall)
        queue = self._rng.choice((3, 1_000))
        self._stream = WatchStream(
            1, _CREDITS, _EVERYTHING, process.replica, encoder, latest=self._latest, max_queue=queue, refresh_after=5
        )
        self._begin(self._connection, context, mirrored, self._world.now + _WAIT_MS)

    def _begin(self, connection: int, context: Ranges | None, mirrored: bool, deadline: int) -> None:
        """As the node's session does it: a node that does not know what the client has seen waits first."""
        process, stream = self._process, self._stream
        if connection != self._connection or process is None or stream is None:
            return
        replica = process.replica
        known = None if context is None else known_of(context)
        ready = replica.is_current and (known is None or obtainable(known, replica) <= replica.known)
        if not ready and self._world.now < deadline:
            self._world.after(_POLL_MS, self._begin, connection, context, mirrored, deadline)
        elif not ready:
            self._to_node(connection, lambda: self._open(stream, RESET, None))
        else:
            self._to_node(connection, lambda: self._open(stream, DELTA if mirrored else FULL, known))

    def _open(self, stream: WatchStream, kind: int, context: Known | None) -> None:
        stream.begin(kind, context, "the node is behind" if kind == RESET else "")

    def _shown(self) -> dict[bytes, frozenset[Dot]]:
        """What the node shows, but for what the clock decides."""
        tree = self._process.replica.tree.scan() if self._process is not None else ()
        return {k: frozenset(v.dot for v in s if not v.is_tombstone) for k, s in tree if not _expires(s)}

    def disconnect(self) -> None:
        """The connection is gone, with what was under way."""
        self._connection += 1
        self._process = self._stream = None
        self._promises.clear()
        self._promised.clear()
        self._owed.clear()
        self._live = False

    def lost(self, process: Process) -> None:
        """A process ended."""
        if process is self._process:
            self.disconnect()

    def come_back(self) -> None:
        """All is healed: whoever is not connected connects somewhere."""
        full = [p for p in self._world.processes() if p.host.view is None]
        if self._process is None and full:
            self.connect(self._rng.choice(full))

    def _to_node(self, connection: int, do: Callable[[], None]) -> None:
        """A request that the node handles in its own time."""
        if self._process is not None:
            self._process.feed(lambda replica, now: do() if connection == self._connection else None)

    # -- the node's side -------------------------------------------------------------------------------------

    def notified(self, process: Process, effect: Notify) -> None:
        """A path changed at a node."""
        if process is self._process and self._stream is not None:
            self._stream.notify(effect.key, effect.siblings)
            if self._live and not self._latest and not _expires(effect.siblings):
                owed = self._owed.setdefault(effect.key, deque())
                reading = frozenset(v.dot for v in effect.siblings if not v.is_tombstone)
                if reading != (owed[-1] if owed else self._dots(effect.key)):
                    owed.append(reading)

    def pump(self, process: Process) -> None:
        """Let the node send what its credits allow."""
        if process is not self._process or self._stream is None:
            return
        while self._stream.ready:
            self._stream.produce(self._emit)

    def _emit(self, message: Message) -> int:
        payload = encode_part(message)
        self._arrives = max(self._arrives, self._world.now + self._rng.choice((0, 1, 10, 100)))
        self._world.at(self._arrives, self._receive, self._connection, payload)
        if isinstance(message, Begin):
            self._promises.append(self._shown())
        if isinstance(message, Begin) or (isinstance(message, Marker) and message.whole):
            self._live = isinstance(message, Marker)
            self._owed.clear()
        return len(payload)

    # -- the client's side -----------------------------------------------------------------------------------

    def _receive(self, connection: int, payload: bytes) -> None:
        if connection != self._connection:
            return
        message = decode_answer(payload)
        items: list[Item] = []
        again = False
        match message:
            case Begin():
                self._promised = self._promises.popleft()
                items = self._mirror.begin(message)
            case Rows(_, rows):
                items = self._mirror.rows(rows)
                self._grant(connection, cost_of(len(rows), len(payload)))
            case Marker():
                items, again = self._mirror.marker(message)
        for item in items:
            self._take(item)
        if again:
            self._to_node(connection, self._resync)
        elif isinstance(message, Marker) and message.whole:
            self._check_promise()

    def _grant(self, connection: int, credits: int) -> None:
        stream = self._stream
        if stream is not None:
            self._to_node(connection, lambda: stream.grant(credits))

    def _resync(self) -> None:
        if self._stream is not None:
            self._open(self._stream, FULL, None)

    def _take(self, item: Item) -> None:
        """What the application hears."""
        if isinstance(item, Gap):
            self._world.log("gap", self._number, item.reason)
            self._past.clear()
            self._in_gap = True
        if isinstance(item, Uptodate):
            self._in_gap = False
        if not isinstance(item, Change):
            return
        key = item.path.key
        reading: Reading = (item.dots, item.conflict, item.value if item.dots else None)
        self._world.log("told", self._number, str(item.path), *map(str, sorted(item.dots)))
        if self._told.get(key, (frozenset(), False, None)) == reading:
            self._broken(f"was told twice of {item.path}: {_text(item.dots)}")
        self._check_direction(key, item)
        self._check_order(key, item)
        self._told[key] = reading

    def _check_direction(self, key: bytes, item: Change) -> None:
        """A reading never goes back to what was superseded, unless a gap was told."""
        ledger = self._world.ledger
        before = self._dots(key)
        past = self._past.setdefault(key, set())
        back = sorted(d for d in (item.dots - before) & past if not self._may_return(d))
        if back:
            self._broken(f"was told of {back[0]} at {item.path}, which it had seen superseded")
        past |= ledger.past_of(item.dots)
        if not self._in_gap:  # what a node that is behind does not have yet will come again
            past |= {d for d in before - item.dots if d in ledger.writes}

    def _check_order(self, key: bytes, item: Change) -> None:
        """While connected nothing is left out: each change of a path is told, one after the other. (What was under way
        before the marker is not owed; it may read like something that is.)
        """
        owed = self._owed.get(key)
        if owed and owed[0] == item.dots:
            owed.popleft()

    def _check_promise(self) -> None:
        """The marker came: all that the node showed when it began, and still shows, was told."""
        now = self._shown()
        for key, dots in self._promised.items():
            lacking = sorted((dots & now.get(key, frozenset())) - self._dots(key))
            if lacking:
                self._broken(f"got a marker before {lacking[0]} at {Path.from_key(key)}")
        self._promised.clear()

    def _dots(self, key: bytes) -> frozenset[Dot]:
        """What was told of a path."""
        return self._told[key][0] if key in self._told else frozenset()

    def _may_return(self, dot: Dot) -> bool:
        """Whether nodes may rightly differ about it: volatile, by the clock, blurred, or at a node for which nobody
        waits before a delete is forgotten: until it has compared (R5), it may show what it knows to be superseded.
        """
        write = self._world.ledger.writes.get(dot)
        if write is None or write.volatile or write.expires is not None or write.excused:
            return True
        waited_for = self._process is not None and self._world.sound(self._process, dot)
        return not waited_for or self._world.ledger.is_blurred(dot)

    # -- at the end ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At rest it shows what its node shows."""
        process = self._process
        if process is None:
            return
        tree, shown = process.replica.tree, self._shown()
        for key, owed in self._owed.items():
            if owed and not _expires(tree.get(key)):
                self._broken(f"was never told of {_text(owed[0])} at {Path.from_key(key)}")
        told = {key: dots for key, (dots, _, _) in self._told.items() if not _expires(tree.get(key))}
        for key in sorted(shown.keys() | told.keys()):
            if shown.get(key, frozenset()) != told.get(key, frozenset()):
                was, has = _text(told.get(key, frozenset())), _text(shown.get(key, frozenset()))
                self._broken(f"was told {was} at {Path.from_key(key)}, {process.label} has {has}")

    def _broken(self, text: str) -> None:
        self._world.broken("watcher", f"watcher {self._number} {text}")


def _expires(siblings: Siblings) -> bool:
    return any(v.expiry is not None for v in siblings)


def _text(dots: frozenset[Dot]) -> str:
    return " ".join(map(str, sorted(dots))) or "nothing"
