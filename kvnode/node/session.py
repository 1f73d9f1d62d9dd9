"""One client of a node, from its hello to its end.

What comes is handled, and answered if that needs no waiting, in the event loop's call that has read it; a chore
(:meth:`ClientSession._produce`) lets the streams produce as far as the connection takes it, and a small pool of tasks
waits for what takes time. Nothing here ever waits for a slow client on behalf of another: calls pause their own reader,
streams keep to their bounds (see :mod:`.watching`), and a client that does not read at all is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from kvnode.client import protocol as p
from kvnode.client.wire import FEATURES, LAST_REQUEST, WireError, decode_request, encode_part, framed, id_of, known_of
from kvnode.codec.framing import FrameError, frame
from kvnode.core.path import path_key
from kvnode.transport.base import Connection, ConnectionClosed
from kvnode.transport.chores import chore

from .client_calls import ClientCalls
from .client_limits import ClientLimits
from .client_writes import ClientWrites
from .driver import Driver
from .frames import Frames
from .inspecting import Inspector
from .requests import (
    RequestError,
    behind,
    checked_path,
    checked_scope,
    obtainable,
)
from .rows import RowEncoder, Scope
from .streams import BackupStream, Cursor, DumpStream, EventStream, Stream, TreeStream
from .watching import WatchIndex, WatchStream

SOFTWARE: Final = "kvnode"


class Shared(NamedTuple):
    """What the sessions of a node share."""

    driver: Driver
    limits: ClientLimits
    encoders: tuple[RowEncoder, RowEncoder]
    """With values, and without."""
    watches: WatchIndex
    events: dict[EventStream, None]
    status: Callable[[], dict[str, Any]]
    inspector: Inspector


class ClientSession:
    """One client, from its hello to its end. What it does beside reading it does in `tasks`, which end with it."""

    def __init__(
        self, shared: Shared, connection: Connection, frames: Frames, hello: p.ClientHello, tasks: TaskGroup
    ) -> None:
        self._shared: Final = shared
        self._driver: Final = shared.driver
        self._limits: Final = shared.limits
        self._connection: Final = connection
        self._frames: Final = frames
        self._tasks: Final = tasks
        self._streams: Final[dict[int, Stream]] = {}
        self._dirty: dict[Stream, None] = {}
        self._pump: Final = chore(self._produce)
        self._output_full = anyio.Event()
        self._writes: Final = ClientWrites(
            self._driver,
            self._send,
            hello.author,
            most=shared.limits.writes,
            timeout_ms=shared.limits.timeout_ms,
        )
        self._read_at = 0
        self._rest: list[bytes] = []
        """Requests that have come and were not handled yet."""
        self._heard = True
        self._calls: Final = ClientCalls(self._driver, shared.inspector, tasks, self._send, hello.author, shared.limits)
        self._handlers: Final[dict[type[p.Message], Callable[[Any], None]]] = {
            p.Get: self._get,
            p.Batch: self._batch,
            p.Tree: self._tree,
            p.Watch: self._watch,
            p.Events: self._events,
            p.Status: self._status,
            p.GcExplain: self._gc_explain,
            p.Dump: self._dump,
            p.Backup: self._backup,
            p.Grant: self._grant,
            p.Resync: self._resync,
            p.Ping: self._ping,
            p.Cancel: self._cancel,
            **self._calls.handlers,
        }

    @property
    def stream_count(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    async def run(self, version: int) -> None:
        """Serve until the connection's end."""
        replica = self._driver.replica
        self._send(
            p.ServerHello(version, replica.name, replica.session, SOFTWARE, features=FEATURES, requests=LAST_REQUEST)
        )
        self._tasks.start_soon(self._pump.run)
        self._tasks.start_soon(self._mind_output)
        self._tasks.start_soon(self._mind_idle)
        try:
            await self._read()
        except ConnectionClosed:
            return
        except FrameError as err:
            why = str(err)
        self._connection.queue(framed(p.Fail(0, "protocol_error", why)))
        await self._connection.finish(why)

    def close(self) -> None:
        """It has ended: nobody shall tell it anything any more."""
        self._writes.close()
        for stream in self._streams.values():
            self._forget(stream)

    # -- tasks -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Take requests, pausing while there is no room for more, or others shall have a turn. Raises ConnectionClosed,
        FrameError.
        """
        limits, connection, writes, calls = self._limits, self._connection, self._writes, self._calls
        while True:
            if not self._rest:
                await self._frames.deliver(self._take_all)
            if writes.is_full:
                await writes.room()
            if calls.is_full:
                await calls.room()
            if connection.queued_bytes > limits.output_bytes:
                await connection.drained(limits.drained_bytes)
            await anyio.lowlevel.checkpoint()
            if self._rest:
                self._take_all(self._rest)

    def _take_all(self, payloads: list[bytes]) -> bool:
        """Handle requests; False if the reader is to pause. Then it goes on with those in `_rest`."""
        self._heard = True
        self._read_at = self._driver.now().mono
        self._rest = []
        limits, connection, writes, calls = self._limits, self._connection, self._writes, self._calls
        turn = limits.turn_requests
        for at, payload in enumerate(payloads, 1):
            waits = self._take(payload) is not p.Get  # which is answered at once
            if (
                (waits and (writes.is_full or calls.is_full))
                or connection.queued_bytes > limits.output_bytes
                or at == turn
            ):
                self._rest = payloads[at:]
                return False
        return True

    def _produce(self) -> None:
        """Let streams produce, in turn, as far as the connection takes it."""
        limits, connection = self._limits, self._connection
        for stream in list(self._dirty):
            if connection.queued_bytes > limits.output_bytes:
                self._output_full.set()
                return
            if stream.ready:
                stream.produce(self._send)
            if stream.ended:
                self._end_stream(stream.id)
            elif not stream.ready:
                self._dirty.pop(stream, None)
        connection.push()
        if self._dirty:
            self._pump.ask()

    async def _mind_output(self) -> None:
        """Let streams go on when there is room again."""
        with suppress(ConnectionClosed):
            while True:
                await self._output_full.wait()
                self._output_full = anyio.Event()
                await self._connection.drained(self._limits.drained_bytes)
                self._pump.ask()

    async def _mind_idle(self) -> None:
        """Close a connection whose other end is gone without a word."""
        while self._heard:
            self._heard = False
            await anyio.sleep(self._limits.idle_s)
        self._connection.close(f"nothing was heard for {self._limits.idle_s:g} s")

    def _send(self, message: p.Message) -> int:
        """Queue a message; gives the size of its payload."""
        return self._send_encoded(getattr(message, "id", 0), encode_part(message))

    def _send_encoded(self, id: int, payload: bytes) -> int:
        """Queue a message that answers the request `id`; gives the size of its payload."""
        try:
            data = frame(payload)
        except FrameError as err:
            payload = encode_part(p.Fail(id, "too_large", str(err)))
            data = frame(payload)
        if not self._connection.queue(data):
            self._connection.close("it reads too slowly")
        return len(payload)

    # -- requests --------------------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> type[p.Message] | None:
        """Handle a request; gives its type."""
        try:
            request = decode_request(payload)
        except WireError as err:
            self._send(p.Fail(id_of(payload), err.code, str(err)))
            return None
        kind = type(request)
        try:
            self._handlers[kind](request)
        except RequestError as refused:
            self._send(p.Fail(request.id, refused.code, str(refused)))
        return kind

    def _get(self, request: p.Get) -> None:
        id, key = request.id, request.key
        self._send_encoded(id, self._shared.encoders[0].got(id, key, self._driver.replica.tree.get(key)))

    def _status(self, request: p.Status) -> None:
        self._send(p.Done(request.id, self._shared.status()))

    def _gc_explain(self, request: p.GcExplain) -> None:
        key = path_key(checked_path(request.path))
        self._send(p.Done(request.id, self._driver.replica.forget.explain(key)))

    def _ping(self, request: p.Ping) -> None:
        self._send(p.Pong(request.id))

    def _batch(self, request: p.Batch) -> None:
        self._writes.take(request, self._read_at)

    # -- streams ---------------------------------------------------------------------------------------------

    def _open(self, stream: Stream) -> None:
        if stream.id in self._streams or stream.id <= 0:
            raise RequestError("bad_request", f"the id {stream.id} is in use, or no positive number")
        if len(self._streams) >= self._limits.streams:
            raise RequestError("limit", f"a connection has at most {self._limits.streams} streams")
        self._streams[stream.id] = stream
        stream.wake = lambda: self._touch(stream)
        stream.wake()

    def _touch(self, stream: Stream) -> None:
        if stream not in self._dirty:
            self._dirty[stream] = None
            self._pump.ask()

    def _end_stream(self, id: int) -> None:
        stream = self._streams.pop(id, None)
        if stream is not None:
            self._dirty.pop(stream, None)
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """Nobody shall tell this stream anything any more."""
        if isinstance(stream, WatchStream):
            self._shared.watches.remove(stream)
        elif isinstance(stream, EventStream):
            self._shared.events.pop(stream, None)
        elif isinstance(stream, BackupStream):
            stream.close()

    def _tree(self, request: p.Tree) -> None:
        cursor = Cursor(checked_scope(request), request.after)
        replica, encoder = self._driver.replica, self._shared.encoders[request.keys]
        self._open(TreeStream(request.id, request.credits, cursor, replica, encoder, conflicts=request.conflicts))

    def _dump(self, request: p.Dump) -> None:
        cursor = Cursor(Scope(checked_path(request.path)), request.after)
        self._open(DumpStream(request.id, request.credits, cursor, self._driver.replica))

    def _backup(self, request: p.Backup) -> None:
        stream = BackupStream(request.id, request.credits, self._driver.store.backup)
        self._open(stream)
        self._tasks.start_soon(stream.begin)

    def _events(self, request: p.Events) -> None:
        stream = EventStream(request.id, request.credits, checked_scope(request))
        self._open(stream)
        self._shared.events[stream] = None

    def _watch(self, request: p.Watch) -> None:
        replica = self._driver.replica
        try:
            context = None if request.context is None else known_of(request.context)
        except WireError as err:
            raise RequestError("bad_request", str(err)) from None
        watch = WatchStream(
            request.id,
            request.credits,
            checked_scope(request),
            replica,
            self._shared.encoders[request.keys],
            latest=request.latest,
        )
        self._open(watch)
        self._shared.watches.add(watch)
        if context is None and replica.is_current:
            watch.begin(p.FULL)
            return

        async def begin_later() -> None:
            wait_s = min(max(request.wait_ms, 0), self._limits.wait_ms) / 1000
            deadline = anyio.current_time() + wait_s
            knows = context is None or await self._driver.wait_known(obtainable(context, replica), wait_s)
            current = await self._driver.wait_current(max(deadline - anyio.current_time(), 0))
            if self._streams.get(request.id) is not watch:
                return
            if not (knows and current):
                watch.begin(p.RESET, reason=behind(knows, wait_s))
            else:
                watch.begin(p.DELTA if request.mirrored else p.FULL, context)
            watch.wake()

        self._tasks.start_soon(begin_later)

    def _grant(self, request: p.Grant) -> None:
        stream = self._streams.get(request.id)
        if stream is not None and request.credits > 0:
            stream.grant(request.credits)
            self._touch(stream)

    def _cancel(self, request: p.Cancel) -> None:
        if request.id in self._streams:
            self._end_stream(request.id)
        else:
            self._writes.cancel(request.id)
            self._calls.cancel(request.id)

    def _resync(self, request: p.Resync) -> None:
        stream = self._streams.get(request.id)
        if isinstance(stream, WatchStream):
            stream.begin(p.FULL)
            self._touch(stream)
