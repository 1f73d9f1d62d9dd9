"""A client's session with a cluster, over one connection at a time (see :mod:`.connecting`): its calls and streams.

What comes is dispatched in the event loop's call that has read it; a task keeps the time limits of all calls. A call
in flight when the connection breaks is sent again if it may be (reads, and writes that are safe to repeat); else it
fails with an unknown outcome. What was not sent yet waits for the next connection, within its time limit. Streams are
asked for again; see :mod:`.streams`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, Protocol

import anyio

from kvnode.codec.framing import FrameError
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed
from kvnode.transport.signals import clock, endings

from . import protocol as p
from .call import Call
from .calls import Calls, result_of
from .errors import NOT_DONE, UNKNOWN, Closed, KvError, ProtocolError, error, unavailable
from .options import Options
from .wire import AnyRequest, Needs, decode_answer, framed, is_served, needs_of, serves_all

READS_AT_ONCE: Final = 32
"""So many reads leave together, not all that are asked for in one turn of the event loop: the node answers these while
the next ones are still being asked for. (Writes do leave together: the node stores them together.)
"""
_log: Final = logging.getLogger("kvnode.client")


class Fed(Protocol):
    """A stream, as the session sees it."""

    def request(self) -> p.Message:
        """What to send to open it, or to open it again."""

    def feed(self, message: p.Answer, size: int) -> None:
        """A message for it, with the size of its payload."""

    def broken(self) -> None:
        """The connection is gone; another may come."""

    def fail(self, err: KvError) -> None:
        """It is over."""


class Session:
    """See the module's text."""

    def __init__(self, options: Options | None = None) -> None:
        self.options: Final = options or Options()
        self._max_calls: Final = self.options.max_calls
        self.node: p.ServerHello | None = None
        """Who is at the other end; None while there is nobody."""
        self.connections = 0
        """How many connections there have been."""
        self._connection: Connection | None = None
        self._serves_all = False
        """Whether the node at the other end takes all requests there are."""
        self._ending: Final = endings()
        self._time: Final = clock()
        self._calls: Final = Calls(self.options.grace)
        self._streams: dict[int, Fed] = {}
        self._last_id = 0
        self._failures: dict[Address, KvError] = {}
        self._tried = anyio.Event()
        self._closed: Closed | None = None
        self._late: list[bytes] = []
        self._full = anyio.Event()
        self._wake = anyio.Event()
        self._look_at = 0.0
        self._heard = 0.0
        self._pinged: float | None = None

    # -- its life --------------------------------------------------------------------------------------------

    async def first_connection(self) -> None:
        """Wait for a connection; if all addresses have failed once, raise the last failure."""
        await self._tried.wait()
        if self.node is None:
            raise self.failure()

    def failure(self, outcome: str = NOT_DONE) -> KvError:
        """Why there is no connection."""
        for err in self._failures.values():
            if isinstance(err, ProtocolError):
                return err
        whys = "; ".join(str(err) for err in self._failures.values())
        return unavailable(f"no node could be reached: {whys or 'not connected yet'}", outcome)

    def close(self) -> None:
        """The end: all calls and streams fail."""
        self._closed = Closed("closed", "the client is closed")
        self._calls.fail(self._closed)
        for stream in list(self._streams.values()):
            stream.fail(self._closed)
        self._streams.clear()
        if self._connection is not None:
            self._connection.close()

    def up(self, connection: Connection, hello: p.Answer | None) -> None:
        """The other end has answered our hello so. Raises KvError if it is not what we want."""
        if isinstance(hello, p.Fail):
            raise error(hello.code, f"{connection.peer}: {hello.message}", hello.fields)
        if not isinstance(hello, p.ServerHello):
            raise ProtocolError("protocol_error", f"{connection.peer} is no kvnode")
        self.node = hello
        self._serves_all = serves_all(hello)
        self.connections += 1
        self._connection = connection
        self._failures.clear()
        self._heard = self._time()
        self._pinged = None
        self._tried.set()
        self._wake.set()
        for call in self._calls:
            call.refusal = None
            self._post(call)
        for id, stream in list(self._streams.items()):
            self._ask(id, stream)

    def failed(self, address: Address, err: KvError) -> None:
        """This is why there is no connection to that address."""
        self._failures[address] = err

    def all_tried(self) -> None:
        """Every address has been dialled once."""
        self._tried.set()

    def down(self, address: Address) -> None:
        """The connection is gone, or did not come about."""
        why = ""
        if self._connection is not None:
            why = self._connection.why
            self._failures[address] = unavailable(f"{address}: {why or 'closed'}")
            _log.debug("connection lost", extra={"address": str(address), "why": why})
        self._connection = self.node = None
        self._late.clear()
        self._calls.broken(str(address), why)
        for stream in list(self._streams.values()):
            stream.broken()

    def take(self, payloads: Iterable[bytes]) -> None:
        """Something came on the connection, and with it these answers. Raises WireError, KvError."""
        self._heard = self._time()
        self._pinged = None
        calls = self._calls.by_id
        for payload in payloads:
            message = decode_answer(payload)
            if message is None or isinstance(message, p.ServerHello):
                continue
            call = calls.pop(message.id, None)
            if call is None:
                self._take_other(message, len(payload))
            elif type(message) is p.Fail and message.code == "stopping":
                call.sent, call.refusal = False, message  # nothing was done: it goes to the next connection, if in time
                calls[call.id] = call
            else:
                call.succeed(message)

    def _take_other(self, message: p.Answer, size: int) -> None:
        """What answers no call: it is for a stream, or for nobody any more."""
        assert not isinstance(message, p.ServerHello)
        stream = self._streams.get(message.id)
        if stream is not None:
            stream.feed(message, size)
        elif message.id == 0 and isinstance(message, p.Fail):
            raise error(message.code, message.message, message.fields)

    # -- calls -----------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """A new id."""
        self._last_id += 1
        return self._last_id

    async def call(self, request: AnyRequest, timeout_s: float, *, read: bool = False, again: bool = False) -> p.Answer:
        """Send a request, whose id is one of :meth:`next_id`, and wait for its answer. A `read` changes nothing;
        `again` says that a write may be sent twice.

        Raises the error that the node answers, Unavailable or Closed. A cancelled call is cancelled at the node.
        """
        if self._closed is not None:
            raise self._closed
        calls = self._calls.by_id
        if len(calls) >= self._max_calls:
            raise unavailable(f"{self._max_calls} calls are under way already")
        try:
            frame = framed(request)
        except FrameError as err:
            raise error("too_large", str(err)) from None
        limit = self._time() + timeout_s
        call = Call(request, frame, limit, self._ending(), read, again or read)
        calls[request.id] = call
        self._post(call)
        if self._calls.limit_of(call) < self._look_at:
            self._wake.set()
        try:
            await call.ended
        except BaseException:
            if calls.pop(request.id, None) is not None and call.sent:
                self.send(p.Cancel(request.id))
            raise
        return result_of(call)

    def _post(self, call: Call) -> None:
        """Send a call, if there is a connection with room; if not, it waits for either."""
        if self._connection is None or call.sent:
            return
        if not self._serves_all and (why := self._too_old(needs_of(call.request))) is not None:
            self._calls.by_id.pop(call.id, None)
            call.fail(unavailable(str(why), UNKNOWN) if call.outcome == UNKNOWN else why)
            return
        connection = self._connection
        call.sent = connection.queue(call.frame)
        if not call.sent:
            self._full.set()
        elif call.read and connection.queued_frames >= READS_AT_ONCE:
            connection.push()

    def send(self, message: p.Message) -> None:
        """Send something that has no answer; without a connection it is dropped."""
        if self._connection is None:
            return
        frame = framed(message)
        if self._late or not self._connection.queue(frame):
            self._late.append(frame)
            self._full.set()

    async def send_late(self) -> None:
        """Send what found the connection's queue full, until cancelled."""
        while True:
            self._full = anyio.Event()
            await self._full.wait()
            connection = self._connection
            try:
                while connection is not None and connection is self._connection:
                    await connection.drained()
                    if self._sent_late(connection):
                        break
            except ConnectionClosed:
                continue

    def _sent_late(self, connection: Connection) -> bool:
        """Queue what there is room for; says whether that was all."""
        while self._late and connection.queue(self._late[0]):
            del self._late[0]
        for call in self._calls.unsent():
            if self._late or not connection.queue(call.frame):
                return False
            call.sent = True
        return not self._late

    # -- streams ---------------------------------------------------------------------------------------------

    def open(self, id: int, stream: Fed) -> None:
        """Open a stream, now and on each connection to come."""
        if self._closed is not None:
            raise self._closed
        self._streams[id] = stream
        if self._connection is not None:
            self._ask(id, stream)

    def _ask(self, id: int, stream: Fed) -> None:
        request = stream.request()
        if (why := self._too_old(needs_of(request))) is None:
            self.send(request)
        else:
            self._streams.pop(id, None)
            stream.fail(why)

    def _too_old(self, needs: Needs) -> KvError | None:
        """Why the node at the other end is not asked that; None if it may be."""
        node = self.node
        if node is None or is_served(needs, node):
            return None
        return error("too_old", f"the node {node.name} is too old for {needs.what}; upgrade it, or ask a newer one")

    def forget(self, id: int, *, cancel: bool) -> None:
        """A stream is over; `cancel` if the node does not know."""
        if self._streams.pop(id, None) is not None and cancel:
            self.send(p.Cancel(id))

    # -- time ------------------------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """Fail what is overdue, and see whether the other side lives, until cancelled."""
        while True:
            now = self._time()
            self._fail_overdue(now)
            self._look_at = min(self._calls.next_limit(), self._liveness(now))
            self._wake = anyio.Event()
            with anyio.CancelScope(deadline=self._look_at):
                await self._wake.wait()

    def _fail_overdue(self, now: float) -> None:
        for call in self._calls.overdue(now):
            if call.sent:
                self.send(p.Cancel(call.id))
                call.fail(unavailable("the node did not answer in time", call.outcome, "timeout"))
            elif call.refusal is not None:
                call.fail(error(call.refusal.code, call.refusal.message))
            else:
                call.fail(self.failure(call.outcome))

    def _liveness(self, now: float) -> float:
        """Ask a silent node; give it up if it stays silent. (A process that slept asks first, too.)"""
        connection, wait = self._connection, self.options.ping_after
        if connection is None:
            return float("inf")
        if now < self._heard + wait:
            return self._heard + wait
        if self._pinged is None:
            self._pinged = now
            self.send(p.Ping(self.next_id()))
        elif now >= self._pinged + wait:
            connection.close(f"nothing was heard for {now - self._heard:.1f} s")
            return float("inf")
        return self._pinged + wait
