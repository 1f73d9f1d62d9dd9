"""The driver owns the replica, feeds it and carries out what it decides.

Every input goes into the inbox; each turn hands the whole inbox to the replica, takes the effects, and executes them in
order. The event loop gives it its turns, and nothing waits inside one, so whoever reads the replica's tree between two
awaits sees a consistent state. What has to wait (the disk, a peer's acknowledgement) comes back through the inbox.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import anyio
from anyio.abc import TaskStatus

from kvnode.core.effects import Change, LinkId, Notify, Now, Refused, Report, Wrote
from kvnode.core.messages import Event, Message
from kvnode.core.replica import Replica
from kvnode.core.ticks import Known
from kvnode.transport.chores import Chore, chore
from kvnode.transport.signals import clock
from kvnode.transport.tasks import run_beside

from . import acks
from .acks import AckLevel
from .alarm import NEVER, Alarm
from .conditions import Conditions
from .config import Compress
from .errors import NodeError, Overloaded, RefusedError, Stopping, StoreUnavailable
from .outlet import Outlet
from .pending import PendingCall, PendingWrite, Port
from .reports import Reports
from .status import PeerRow, status_of
from .waiting import Waiting
from .writer import Commits, Writer

MAX_INBOX: Final = 1_000
"""Inputs in the inbox above which readers of links wait (:meth:`Driver.admit`)."""
MAX_WAITING: Final = 10_000
"""Writes that wait for their ack level above which :attr:`Driver.is_full`; :meth:`Driver.propose` refuses more."""
LATE_MS: Final = 500
"""A turn that comes so much later than planned counts as late (an overloaded or suspended machine)."""

T = TypeVar("T")


def system_clock() -> Now:
    """The time of this machine; `mono` is the event loop's clock, so virtual time works."""
    return Now(int(anyio.current_time() * 1000), time.time_ns() // 1_000_000)


def running_clock() -> Callable[[], Now]:
    """What gives the same in the running event loop, without asking each time which one that is."""
    mono = clock()
    return lambda: Now(int(mono() * 1000), time.time_ns() // 1_000_000)


class Driver:
    """Owns `replica`; see the module's text. `store` is what the replica was loaded from, `clock` gives the time;
    `compress` is for the writer.

    `counters` has running totals, `reports` what people must see.
    """

    def __init__(
        self,
        replica: Replica,
        store: Commits,
        *,
        clock: Callable[[], Now] = system_clock,
        compress: Compress = "auto",
    ) -> None:
        self.replica: Final = replica
        self.reports: Final = Reports()
        self.counters: dict[str, int] = dict.fromkeys(
            (
                *("turns", "late_turns", "writes", "refused", "sent", "received", "notified", "events"),
                *("scrubbed_rows", "scrub_rounds", "store_faults", "memory_faults"),
            ),
            0,
        )
        self.store: Final = Writer(store, self._durable, self._store_failing, compress=compress)
        self.peer_rows: Callable[[], list[PeerRow]] = list
        """Who the peers are; whoever dials and accepts puts its function here."""
        self._clock: Final = clock
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._turns: Chore | None = None
        """In place when it runs."""
        self._turned: anyio.Event | None = None
        self._due = NEVER
        """When the next turn is due of itself, in milliseconds of `Now.mono`; only turns change that."""
        self._alarm: Final = Alarm(lambda: self._due, clock, self._ring)
        self._outlet: Final = Outlet(self.store, self.reports, self.counters)
        self._next_link: LinkId = 1
        self._waiting: Final = Waiting(replica)
        self._made: list[PendingWrite] = []
        self._hurry = False
        """Whether a writer waits for this node's disk since the last turn."""
        self._conditions: Final = Conditions()
        self._ended = False
        self._stopping = False

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Drive until :meth:`stop` (or cancellation); everything accepted before is stored at the end."""
        self._due = self.replica.next_deadline
        self._turns = chore(self._turn)
        if self._stopping:
            self._turns.end()
        if self._inbox:
            self._turns.ask()
        try:
            await run_beside(self._have_turns, self._had_turns, (self._write_shielded, self._alarm.run), task_status)
            self._turn()  # what the last commit made durable
        finally:
            self._end()

    async def _have_turns(self) -> None:
        assert self._turns is not None
        await self._turns.run()
        self._turn()

    def _had_turns(self) -> None:
        self._stopping = True
        self.store.end()

    def stop(self) -> None:
        """End :meth:`run` after what is in the inbox."""
        self._stopping = True
        if self._turns is not None:
            self._turns.end()

    async def _write_shielded(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.store.run()

    def _rouse(self) -> None:
        """Let the driver have a turn."""
        if self._turns is not None:
            self._turns.ask()

    def _turn(self) -> None:
        now = self._clock()
        inbox, self._inbox = self._inbox, deque()
        for handler, args in inbox:
            handler(now, *args)
        replica = self.replica
        effects = replica.take_effects()
        deadline = replica.next_deadline
        if deadline <= now.mono:
            replica.wake(now)
            effects += replica.take_effects()
            deadline = replica.next_deadline
        self._outlet.carry_out(effects, now)
        if self._hurry or replica.hurried:
            self._hurry = replica.hurried = False
            self.store.hurry()
        self._answer(now)
        self._conditions.look()
        self.counters["turns"] += 1
        if self._turned is not None:
            self._turned.set()
            self._turned = None
        due = self._waiting.next_due
        self._due = deadline if due is None or deadline < due else due
        self._alarm.changed()

    def _ring(self) -> None:
        """A turn is due."""
        if self._alarm.late_ms > LATE_MS:
            self.counters["late_turns"] += 1
        self._rouse()

    def _answer(self, now: Now) -> None:
        """Tell those whose writes have reached their level, or have waited long enough for it."""
        if self._outlet.acknowledged:
            self._outlet.acknowledged = False
            self._waiting.look()
        if self._made:
            made, self._made = self._made, []
            self._waiting.add(made, self._outlet.token)
        due = self._waiting.next_due
        if due is not None and due <= now.mono:
            self._waiting.expire(now.mono)

    def _post(self, handler: Callable[..., None], *args: Any) -> None:
        self._inbox.append((handler, args))
        self._rouse()

    async def _next_turn(self) -> None:
        """Wait until the next turn is over."""
        if self._turned is None:
            self._turned = anyio.Event()
        await self._turned.wait()

    def _end(self) -> None:
        """Tell everybody who still waits that nothing will come."""
        self._ended = self._stopping = True
        inbox, self._inbox = self._inbox, deque()
        for _, args in inbox:
            if args and isinstance(args[0], (PendingWrite, PendingCall)):
                args[0].answer(Stopping())
        self._waiting.end()
        if self._turned is not None:
            self._turned.set()

    # -- listening --------------------------------------------------------------------------------------------

    def on_notify(self, callback: Callable[[Sequence[Notify]], None]) -> Callable[[], None]:
        """Call `callback` in the turn in which the siblings of paths changed, with all changes of the turn in order. It
        must not raise or wait. Calling what this returns ends it.
        """
        return self._outlet.notified.add(callback)

    def on_deliver(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` for every event; otherwise like :meth:`on_notify`."""
        return self._outlet.delivered.add(callback)

    def now(self) -> Now:
        """The time, by this node's clock."""
        return self._clock()

    def report(self, kind: str, subject: str, text: str, *, resolved: bool = False) -> None:
        """Add to :attr:`reports` from outside the replica."""
        self.reports.take(Report(kind, subject, text, resolved), self._clock())

    # -- writing ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many writes wait for their ack level."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so many writes wait that whoever takes them from outside should pause, see :meth:`room`."""
        return len(self._waiting) + len(self._inbox) >= MAX_WAITING

    async def room(self) -> None:
        """Wait until some of what waits may have been answered, or the driver has ended."""
        if not self._ended:
            await self._next_turn()

    def submit(self, write: PendingWrite) -> None:
        """Make a write in the next turn. Its `done` is told how it ends, by the errors that :meth:`propose` raises."""
        if self._stopping:
            write.answer(Stopping())
        else:
            self._post(self._propose, write)

    def abandon(self, write: PendingWrite) -> None:
        """Nobody waits for this write any more: its `done` will not be called, and if it was not made yet, it will not
        be. Harmless for one that was answered.
        """
        self._waiting.forget(write)

    async def propose(
        self, changes: Sequence[Change], ack: AckLevel = acks.DISK, timeout_s: float = 5.0
    ) -> list[Wrote]:
        """Make these changes, all or none, and wait for the ack level.

        Raises RefusedError (nothing was made), StoreUnavailable (its `wrote` says whether it was made), AckTimeout (the
        write stands), Overloaded and Stopping (nothing was made). When cancelled, the write may stand or not.
        """
        if self.is_full:
            raise Overloaded(f"{MAX_WAITING} writes wait for their acknowledgement already")
        answered = anyio.Event()
        due = self._clock().mono + int(timeout_s * 1000)
        write = PendingWrite(changes, ack, due, lambda _: answered.set())
        self.submit(write)
        try:
            await answered.wait()
        finally:
            self.abandon(write)
        if write.error is not None:
            raise write.error
        return write.wrote

    def _propose(self, now: Now, write: PendingWrite) -> None:
        if write.answered:
            return
        if write.due <= now.mono:
            write.answer(Overloaded())
            return
        if write.level.needs_disk and self.store.failure is not None:
            write.answer(StoreUnavailable(self.store.failure))
            return
        result = self.replica.propose(write.changes, now, prompt=write.level.needs_others)
        if isinstance(result, Refused):
            self.counters["refused"] += 1
            write.answer(RefusedError(result))
            return
        self.counters["writes"] += len(result)
        self._hurry = self._hurry or write.level.needs_disk
        write.wrote = result
        self._made.append(write)

    def _durable(self, token: int) -> None:
        self._waiting.stored(token)  # first of all: those who wait for the disk have waited enough
        self._post(self._persisted, token)

    def _persisted(self, now: Now, token: int) -> None:
        self.replica.persisted(token, now)

    def _store_failing(self, why: str | None) -> None:
        if why is None:
            self.report("store_failed", "store", "the store works again", resolved=True)
            return
        self.report("store_failed", "store", f"the store fails, nothing is acknowledged as on disk: {why}")
        self._waiting.failing(why)
        self._rouse()  # whoever waits for room looks again

    # -- other requests --------------------------------------------------------------------------------------

    async def call(self, do: Callable[[Replica, Now], T]) -> T:
        """Run `do` with the replica in a turn of its own task; for what changes it. Raises Stopping."""
        if self._stopping:
            raise Stopping
        call = PendingCall(do)
        self._post(self._run_call, call)
        await call.event.wait()
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def _run_call(self, now: Now, call: PendingCall) -> None:
        try:
            call.result = call.do(self.replica, now)
        except NodeError as err:
            call.answer(err)
        else:
            call.answer()

    async def wait_known(self, known: Known, timeout_s: float) -> bool:
        """Wait until this node knows everything in `known`; False if it does not in time."""
        return await self._conditions.wait(lambda: known <= self.replica.known, timeout_s)

    async def wait_current(self, timeout_s: float) -> bool:
        """Wait until this node serves as current (R5); False if it does not in time."""
        return await self._conditions.wait(lambda: self.replica.is_current, timeout_s)

    def status(self) -> dict[str, Any]:
        """The state of the node as plain data, see :mod:`.status`."""
        found = status_of(self.replica, self.store, self.reports, self.peer_rows())
        return found | {"counters": dict(self.counters)}

    # -- links -----------------------------------------------------------------------------------------------

    def link(self, port: Port, *, dialled: bool) -> LinkId:
        """A connection stands; gives its id. The replica's hello goes to `port`."""
        link = self._next_link
        self._next_link += 1
        self._outlet.ports[link] = port
        self._post(self._linked, link, dialled)
        return link

    def unlink(self, link: LinkId) -> None:
        """The connection is gone."""
        self._outlet.ports.pop(link, None)
        self._post(self._unlinked, link)

    def received(self, link: LinkId, seq: int, message: Message) -> None:
        """A message came on this link."""
        self.counters["received"] += 1
        self._post(self._receive, link, seq, message)

    def writable(self, link: LinkId) -> None:
        """The link's output queue has drained."""
        self._post(self._writable, link)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits in the inbox that readers of links are to pause, see :meth:`admit`."""
        return len(self._inbox) >= MAX_INBOX

    async def admit(self) -> None:
        """Wait while the inbox is crowded."""
        while self.is_crowded and not self._ended:
            await self._next_turn()

    def _linked(self, now: Now, link: LinkId, dialled: bool) -> None:
        if link in self._outlet.ports:
            self.replica.linked(link, now, dialled=dialled)

    def _unlinked(self, now: Now, link: LinkId) -> None:
        self.replica.unlinked(link, now)

    def _receive(self, now: Now, link: LinkId, seq: int, message: Message) -> None:
        self.replica.receive(link, seq, message, now)

    def _writable(self, now: Now, link: LinkId) -> None:
        self.replica.writable(link, now)
