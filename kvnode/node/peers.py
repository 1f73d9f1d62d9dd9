"""Links to peers: dialling, accepting, watching over them, and dialling again.

The replica decides which of two links between the same nodes stays; this module decides when to have one. One task
per target keeps it linked: a target rests while its node is linked by another way. A link that was cut is
redialled at once, failures wait longer and longer, and any success elsewhere (the network is back) ends the waiting.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from kvnode.codec.framing import FrameError
from kvnode.codec.peer import Framed, PeerCodecError, decode
from kvnode.core.effects import LinkId, Notify, Now
from kvnode.core.messages import Hello, PingReq, Pong
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed, DialFailed, Transport

from .clocks import Clocks
from .dial import Backoff, DialLimits, Target
from .discovery import NODES_KEY, learned
from .driver import Driver
from .frames import Frames
from .links import LINK_LEVEL, Link, is_name
from .liveness import LINK_MESSAGES, Dead, Liveness, LivenessLimits, Tell, Verdict
from .status import PeerRow
from .verifying import VERIFY_MESSAGES, Verifier

GREETING_TIMEOUT_S: Final = 10.0
"""A connection whose hello does not come in this time is closed."""
NUDGE_EVERY_MS: Final = 5_000
"""A new link ends the waiting of all targets at most this often."""
CLOSE_TIMEOUT_S: Final = 1.0
LOOK_MS: Final = 1_000
"""How often is looked which links wait for an answer."""
REST_MS: Final = 60_000
"""Sleep of the watching task while there is nothing to watch; it is woken for a new link."""

_log: Final = logging.getLogger(__name__)


class Peers:
    """All links of a node. `seeds` are dialled always, learned addresses if `discover`; `loopback` says that this node
    listens on loopback only, as do all that it can meet.

    `random` gives 0 <= x < 1 for jitter. :meth:`run` works until cancelled; :meth:`serve` takes accepted connections.
    """

    def __init__(
        self,
        driver: Driver,
        transport: Transport,
        *,
        seeds: Iterable[Address],
        clock: Callable[[], Now],
        random: Callable[[], float],
        discover: bool = True,
        loopback: bool = False,
        liveness: LivenessLimits | None = None,
        dial: DialLimits | None = None,
    ) -> None:
        self._driver: Final = driver
        self._name: Final = driver.replica.name
        self._transport: Final = transport
        self._clock: Final = clock
        self._random: Final = random
        self._discover: Final = discover
        self._loopback: Final = loopback
        self._dial: Final = dial or DialLimits()
        self._liveness: Final = Liveness(liveness)
        self._clocks: Final = Clocks(clock)
        self._links: dict[LinkId, Link] = {}
        self._targets: list[Target] = [self._target((seed,)) for seed in seeds]
        self._engaged: dict[str, Target] = {}
        self._changed = anyio.Event()
        self._kick = anyio.Event()
        self._records_changed = anyio.Event()
        self._nudged = -NUDGE_EVERY_MS
        self.local_hosts: set[str] = set()
        """Own addresses that links use, for what the node announces of itself."""
        self.on_local_host: Callable[[], None] = lambda: None
        self.verifier: Final = Verifier(driver, lambda: [link for link in self._links.values() if not link.why])
        driver.peer_rows = self.rows

    def _target(self, addresses: tuple[Address, ...], name: str = "") -> Target:
        return Target(addresses, Backoff(self._random, self._dial), name, learned=bool(name))

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep all targets linked, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, name="liveness")
            for target in self._targets:
                tasks.start_soon(self._keep, target, name=f"dial {target.text}")
            if self._discover:
                forget = self._driver.on_notify(self._on_notify)
                try:
                    await self._learn(tasks)
                finally:
                    forget()

    async def close(self) -> None:
        """End all links in order: what is queued leaves, for at most :data:`CLOSE_TIMEOUT_S`."""
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            async with anyio.create_task_group() as tasks:
                for link in list(self._links.values()):
                    tasks.start_soon(link.connection.finish, "the node stops")

    def connections(self) -> set[Connection]:
        """The connections of all links."""
        return {link.connection for link in self._links.values()}

    def rows(self) -> list[PeerRow]:
        """The peers for status: links first, then targets that have none."""
        links = sorted(self._links.values(), key=lambda link: (link.name, link.connection.peer))
        rows = [
            PeerRow(n.name, n.connection.peer, "linked" if n.name else "greeting", skew_ms=n.skew_ms)
            for n in links
            if not n.why
        ]
        names = {link.name for link in links}
        for target in self._targets:
            if not (target.name and target.name in names):
                rows.append(PeerRow(target.name, target.text, target.state, target.error))
        return rows

    async def compare_clocks(self) -> None:
        """Ask all linked peers for their time, see :meth:`.clocks.Clocks.compare`."""
        await self._clocks.compare(list(self._links.values()))

    # -- learning addresses ----------------------------------------------------------------------------------

    def _on_notify(self, changes: Sequence[Notify]) -> None:
        for change in changes:
            if change.key.startswith(NODES_KEY):
                self._records_changed.set()
                return

    async def _learn(self, tasks: TaskGroup) -> None:
        """Follow the records of the nodes."""
        while True:
            self._records_changed = anyio.Event()
            self._retarget(learned(self._driver.replica.tree, self._name, loopback=self._loopback), tasks)
            await self._records_changed.wait()

    def _retarget(self, wanted: dict[str, tuple[Address, ...]], tasks: TaskGroup) -> None:
        have = {target.name: target for target in self._targets if target.learned}
        for name, target in have.items():
            if name not in wanted:
                self._targets.remove(target)
                target.scope.cancel()
            elif target.addresses != wanted[name]:
                target.addresses = wanted[name]
                target.backoff.reset()
                target.wake()
        for name in wanted.keys() - have.keys():
            target = self._target(wanted[name], name)
            self._targets.append(target)
            tasks.start_soon(self._keep, target, name=f"dial {name}")

    # -- dialling --------------------------------------------------------------------------------------------

    async def _keep(self, target: Target) -> None:
        """Keep one target linked."""
        with target.scope:
            patience_s = self._dial.learn_again_s if target.is_local else self._dial.learn_first_s
            while True:
                await self._until_wanted(target, patience_s if target.learned else 0.0)
                delay = await self._attempt(target)
                patience_s = 0.0
                target.state = "waiting"
                with anyio.move_on_after(delay):
                    await target.nudge.wait()

    async def _until_wanted(self, target: Target, patience_s: float) -> None:
        """Wait until nobody else links this node, for so long that nobody else will."""
        while True:
            while self._is_engaged(target):
                target.state = "elsewhere"
                patience_s = self._dial.learn_again_s if target.learned else 0.0
                await self._look_again()
            target.state = "waiting"
            if patience_s and self._name > target.name:
                patience_s += self._dial.yield_s * 10
            with anyio.move_on_after(patience_s) as waiting:
                while not self._is_engaged(target):
                    await self._look_again()
            if waiting.cancelled_caught:
                return

    async def _look_again(self) -> None:
        """Wait for a change of our links; those of others show only by looking."""
        with anyio.move_on_after(self._dial.look_s):
            await self._changed.wait()

    def _is_engaged(self, target: Target) -> bool:
        """Whether the node is linked, or being dialled, by another way. One on this machine need not be linked directly
        as long as others lead to it: whoever runs several nodes on one machine has arranged them so.
        """
        if not target.name:
            return False
        if target.is_local and target.name in self._driver.replica.reachable():
            return True
        if any(link.name == target.name for link in self._links.values()):
            return True
        return self._engaged.get(target.name, target) is not target

    async def _attempt(self, target: Target) -> float:
        """Dial the addresses one after the other until one gives a link, and stay until its end; gives the pause."""
        for address in target.addresses:
            target.state = "dialling"
            if target.name:
                self._engaged[target.name] = target
            try:
                link = await self._dialled(address, target)
            except DialFailed as err:
                target.error = str(err)
                _log.debug("dialling failed", extra={"address": str(address), "why": str(err)})
                continue
            finally:
                if self._engaged.get(target.name) is target:
                    del self._engaged[target.name]
                    self._note_change()
            if link.name or link.fatal:
                return self._pause_after(target, link)
            target.error = f"{address}: {link.connection.why or 'no answer'}"
        return target.backoff.failed(anyio.current_time())

    async def _dialled(self, address: Address, target: Target) -> Link:
        """Dial, and be linked until the end. Raises DialFailed."""
        limit_s = target.backoff.answer_within(anyio.current_time())
        with anyio.move_on_after(limit_s) as patience:
            async with self._transport.dial(address) as connection:
                patience.deadline = math.inf
                return await self._converse(connection, Frames(connection), target=target)
        raise DialFailed(f"{address}: no answer within {limit_s:.1f} s")

    def _pause_after(self, target: Target, link: Link) -> float:
        if link.fatal:
            target.error = f"{link.connection.peer}: {link.why}"
            return target.backoff.unfit()
        up_for_s = (self._clock().mono - link.since) / 1000
        return target.backoff.lost(up_for_s, anyio.current_time(), yielding=self._name > link.name)

    # -- conversations ---------------------------------------------------------------------------------------

    async def serve(self, connection: Connection, frames: Frames, first: bytes) -> None:
        """An accepted connection whose first payload is a peer's; until its end."""
        await self._converse(connection, frames, first=first)

    async def _converse(
        self, connection: Connection, frames: Frames, *, first: bytes | None = None, target: Target | None = None
    ) -> Link:
        """Be linked by this connection until its end. Never raises for what a peer does."""
        link = Link(connection, dialled=target is not None)
        link.id = self._driver.link(link, dialled=link.dialled)
        self._links[link.id] = link
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._report_drained, link)
                tasks.start_soon(link.finished)
                await self._read(link, frames, first, target)
                tasks.cancel_scope.cancel()
        finally:
            self._gone(link)
        return link

    async def _report_drained(self, link: Link) -> None:
        try:
            while True:
                await link.drained()
                self._driver.writable(link.id)
        except ConnectionClosed:
            return

    async def _read(self, link: Link, frames: Frames, first: bytes | None, target: Target | None) -> None:
        try:
            with anyio.move_on_after(GREETING_TIMEOUT_S):
                if first is None:
                    first = await frames.first()
            if first is None:
                link.connection.close("no greeting")
                return
            frames.on_bytes = lambda: self._heard(link)
            self._take(link, first, target)

            def take(payloads: list[bytes]) -> bool:
                for payload in payloads:
                    self._take(link, payload, target)
                return not self._driver.is_crowded

            while True:
                await frames.deliver(take)
                await self._driver.admit()
        except ConnectionClosed:
            return
        except (FrameError, PeerCodecError) as err:
            link.connection.close(str(err))

    def _take(self, link: Link, payload: bytes, target: Target | None) -> None:
        """One payload: the link layer's own, or the replica's. Raises PeerCodecError."""
        seq, message = decode(payload)
        if isinstance(message, Pong):
            self._clocks.told(link, message)
        if isinstance(message, LINK_MESSAGES):
            self._carry_out(self._liveness.received(link.id, message, self._clock().mono))
            if isinstance(message, PingReq):
                self._kick.set()
            return
        if seq == LINK_LEVEL and isinstance(message, VERIFY_MESSAGES):
            self.verifier.received(link, message)
            return
        if isinstance(message, Hello) and not link.name:
            self._greeted(link, message, target)
        self._driver.received(link.id, Framed(seq, message).seq, message)

    def _greeted(self, link: Link, hello: Hello, target: Target | None) -> None:
        """The peer has said who it is. (Whether that will do is for the replica to say.)"""
        if not is_name(hello.name):
            return
        if hello.session == self._driver.replica.session:
            link.fatal, link.why = True, "it is this node itself"
        elif target is not None and target.learned and hello.name != target.name:
            link.why = f"it is {hello.name!r}, not {target.name!r}"
            link.connection.close(link.why)
            return
        now = self._clock().mono
        link.name, link.session, link.since = hello.name, hello.session, now
        if target is not None:
            target.state, target.error = "linked", ""
            target.name = target.name if target.learned else hello.name
        self._carry_out(self._liveness.up(link.id, link.name, now))
        self._kick.set()
        self._note_change()
        self._note_local_host(link)
        _log.info("peer linked", extra={"peer": link.name, "address": link.connection.peer})
        if now - self._nudged >= NUDGE_EVERY_MS:
            self._nudged = now
            for waiting in self._targets:
                waiting.backoff.reset()
                waiting.wake()

    def _note_local_host(self, link: Link) -> None:
        try:
            local = link.connection.attribute(SocketAttribute.local_address)
        except (OSError, ValueError, AttributeError):  # what uvloop and asyncio say of a socket that is gone already
            return
        if isinstance(local, tuple) and local[0] not in self.local_hosts:
            self.local_hosts.add(local[0])
            self.on_local_host()

    def _gone(self, link: Link) -> None:
        del self._links[link.id]
        self._clocks.look()
        self._liveness.down(link.id)
        self._driver.unlink(link.id)
        self._note_change()
        why = link.why or link.connection.why
        if link.fatal:
            _log.warning("peer unfit", extra={"peer": link.name, "address": link.connection.peer, "why": why})
        elif link.name:
            _log.info("peer lost", extra={"peer": link.name, "address": link.connection.peer, "why": why})

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- liveness --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wake the liveness when it is due."""
        while True:
            now = self._clock().mono
            due = self._liveness.next_deadline()
            delay_ms = REST_MS if due is None else min(max(due - now, 1), LOOK_MS)
            self._kick = anyio.Event()
            with anyio.move_on_after(delay_ms / 1000):
                await self._kick.wait()
            now = self._clock().mono
            for link in self._links.values():
                if link.moved():
                    self._liveness.moving(link.id, now)
                if link.awaits:
                    self._liveness.awaiting(link.id, now)
            self._carry_out(self._liveness.wake(now))

    def _heard(self, link: Link) -> None:
        link.awaits = False
        self._carry_out(self._liveness.heard(link.id, self._clock().mono))

    def _carry_out(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            link = self._links.get(verdict.link)
            if link is None:
                continue
            match verdict:
                case Tell(_, Pong(number)):
                    link.tell(Pong(number, self._clock().wall))
                case Tell(_, message):
                    link.tell(message)
                case Dead(_, why, _):
                    link.why = why
                    link.connection.close(why)
