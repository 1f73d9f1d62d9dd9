"""Real replicas on a virtual network: time stands still while they think, and every message goes through the codec.

What a cluster of many nodes sends and computes can be measured this way on one small machine. It is the simulator
(`kvnode.testing.sim`) without faults and without the checks of all laws after each event, which cost far more than
what is to be measured: nodes (the pure core, with the liveness probes of the node), disks that sync after a fixed
time, and links with a fixed latency. Bytes are those of the frames, without TLS, TCP and IP. CPU is that of the core
and the codec; sockets, event loop and store are not in it.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from kvnode.codec import peer as codec
from kvnode.codec.framing import HEADER_BYTES
from kvnode.core.effects import Change, Close, LinkId, Now, Persist, Send, Wrote
from kvnode.core.limits import Limits
from kvnode.core.messages import Event, Message, Versions
from kvnode.core.path import Pattern
from kvnode.core.replica import Replica
from kvnode.node.liveness import LINK_MESSAGES, Liveness, Tell, Verdict

WALL_0: Final = 1_700_000_000_000
LATENCY_MS: Final = 1
SYNC_MS: Final = 1
"""One message's way, and one commit of a store."""


@dataclass(slots=True)
class Counted:
    """What went over the wires, by kind of message, and what it took to compute."""

    frames: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    cpu_ns: int = 0

    @property
    def all_bytes(self) -> int:
        """Of all kinds."""
        return sum(self.bytes.values())

    def since(self, before: Counted) -> Counted:
        """What came after `before`, which is an earlier copy."""
        return Counted(self.frames - before.frames, self.bytes - before.bytes, self.cpu_ns - before.cpu_ns)

    def copy(self) -> Counted:
        """As it is now."""
        return Counted(Counter(self.frames), Counter(self.bytes), self.cpu_ns)


class Node:
    """One replica with its links: what the driver does, in virtual time. Inputs of one moment share a turn."""

    def __init__(self, mesh: Mesh, name: str, limits: Limits, view: Sequence[Pattern] | None) -> None:
        self.mesh: Final = mesh
        self.name: Final = name
        self.ends: Final[dict[LinkId, tuple[Node, LinkId]]] = {}
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._turn_at = -1
        self._wake_at: int | None = None
        self._links = 0
        self._rng = Random(f"kvnode growth {name}")
        self.liveness: Final = Liveness()
        self.replica: Final = Replica(
            name,
            session=self._rng.getrandbits(64),
            random_bits=self._rng.getrandbits,
            now=mesh.now(),
            limits=limits,
            view=view,
        )

    # -- inputs ----------------------------------------------------------------------------------------------

    def put_in(self, call: Callable[..., object], *args: Any) -> None:
        """Hand this to the replica, with the time as the last argument, in the turn of this moment."""
        self._inbox.append((call, args))
        if self._turn_at != self.mesh.time:
            self._turn_at = self.mesh.time
            self.mesh.at(self.mesh.time, self._turn, late=True)

    def write(self, changes: Sequence[Change]) -> None:
        """Propose a batch."""
        self.put_in(self._propose, changes)

    def _propose(self, changes: Sequence[Change], now: Now) -> None:
        wrote = self.replica.propose(changes, now)
        assert isinstance(wrote, list), wrote
        self.mesh.wrote.extend(wrote)

    def announce(self) -> None:
        """Become a member."""
        self.put_in(self.replica.set_addresses, (f"{self.name}:27590",))

    def new_link(self) -> LinkId:
        """A number for a link."""
        self._links += 1
        return self._links

    def linked(self, link: LinkId, end: tuple[Node, LinkId], *, dialled: bool) -> None:
        """A link stands."""
        self.ends[link] = end
        self.put_in(lambda now: self.replica.linked(link, now, dialled=dialled))

    def unlinked(self, link: LinkId) -> None:
        """A link is gone."""
        if self.ends.pop(link, None) is not None:
            self.liveness.down(link)
            self.put_in(self.replica.unlinked, link)

    def arrived(self, link: LinkId, data: bytes) -> None:
        """A frame came."""
        if link in self.ends:
            self.put_in(self._receive, link, data)

    def _receive(self, link: LinkId, data: bytes, now: Now) -> None:
        seq, message = codec.decode(data)
        self._obey(self.liveness.heard(link, now.mono))
        if isinstance(message, LINK_MESSAGES):
            self._obey(self.liveness.received(link, message, now.mono))
            return
        self.replica.receive(link, seq, message, now)
        known = self.replica.links.get(link)
        if known is not None and known.ready and known.seq_in == 1:
            self._obey(self.liveness.up(link, known.name, now.mono))

    def drained(self, link: LinkId) -> None:
        """What was sent on a link has left."""
        if link in self.ends:
            self.put_in(self.replica.writable, link)

    # -- turns -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        began = time.process_time_ns()
        now = self.mesh.now()
        self._turn_at = -1
        inbox, self._inbox = self._inbox, deque()
        for call, args in inbox:
            call(*args, now)
        if self.replica.next_deadline <= now.mono:
            self.replica.wake(now)
        probe = self.liveness.next_deadline()
        if probe is not None and probe <= now.mono:
            self._obey(self.liveness.wake(now.mono))
        for effect in self.replica.take_effects():
            if isinstance(effect, Send):
                self._send(effect.link, effect.seq, effect.message)
            elif isinstance(effect, Persist):
                self.mesh.at(now.mono + SYNC_MS, self.put_in, self.replica.persisted, effect.token)
            elif isinstance(effect, Close):
                self.mesh.cut(self, effect.link)
        self._plan_wake()
        self.mesh.counted.cpu_ns += time.process_time_ns() - began

    def _obey(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Tell):
                self._send(verdict.link, 0, verdict.message)
            else:
                self.mesh.cut(self, verdict.link)

    def _send(self, link: LinkId, seq: int, message: Message) -> None:
        if link in self.ends:
            data = codec.encode(seq, message)
            self.mesh.carry(self, link, data, type(message).__name__, isinstance(message, Versions | Event))

    def _plan_wake(self) -> None:
        times = (self.replica.next_deadline, self.liveness.next_deadline())
        due = min((t for t in times if t is not None), default=None)
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._wake_at = max(due, self.mesh.time + 1)
            self.mesh.at(self._wake_at, self._wake, self._wake_at)

    def _wake(self, at: int) -> None:
        if self._wake_at == at:
            self._wake_at = None
            self.put_in(lambda now: None)


class Mesh:
    """Nodes, the links between them, and the virtual clock (`time`, in milliseconds)."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits: Final = limits or Limits()
        self.time = 0
        self.nodes: Final[list[Node]] = []
        self.counted: Final = Counted()
        self.wrote: Final[list[Wrote]] = []
        self.received: Final[Counter[str]] = Counter()
        """Bytes that arrived, by node."""
        self._heap: list[tuple[int, bool, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def now(self) -> Now:
        """The clocks of all nodes."""
        return Now(self.time, WALL_0 + self.time)

    def at(self, when: int, call: Callable[..., object], *args: Any, late: bool = False) -> None:
        """Do this at a virtual time; what is `late` comes behind all else of that moment."""
        self._count += 1
        heapq.heappush(self._heap, (when, late, self._count, call, args))

    def run_for(self, ms: int) -> None:
        """Let so much time pass."""
        self.run_until(lambda: False, ms)

    def run_until(self, done: Callable[[], bool], most_ms: int) -> bool:
        """Let time pass until `done`, looked at once a millisecond; False if it is not within `most_ms`."""
        end = self.time + most_ms
        while not done():
            if not self._heap or self._heap[0][0] > end:
                self.time = end
                return done()
            self.time = self._heap[0][0]
            while self._heap and self._heap[0][0] == self.time:
                _, _, _, call, args = heapq.heappop(self._heap)
                call(*args)
        return True

    # -- building --------------------------------------------------------------------------------------------

    def add(self, name: str, view: Sequence[Pattern] | None = None) -> Node:
        """A node that runs from now on, without links; a member unless it has a view."""
        node = Node(self, name, self.limits, view)
        self.nodes.append(node)
        if view is None:
            node.announce()
        return node

    def link(self, a: Node, b: Node) -> None:
        """`a` dials `b`."""
        ids = a.new_link(), b.new_link()
        a.linked(ids[0], (b, ids[1]), dialled=True)
        b.linked(ids[1], (a, ids[0]), dialled=False)

    def cut(self, node: Node, link: LinkId) -> None:
        """A link ends, for both."""
        end = node.ends.get(link)
        node.unlinked(link)
        if end is not None:
            end[0].unlinked(end[1])

    def isolate(self, node: Node) -> list[Node]:
        """Cut all links of a node; gives the nodes they led to."""
        peers = [peer for peer, _ in node.ends.values()]
        for link in list(node.ends):
            self.cut(node, link)
        return peers

    def carry(self, sender: Node, link: LinkId, data: bytes, kind: str, heavy: bool) -> None:
        """One frame from a node to the other end of its link."""
        peer, peer_link = sender.ends[link]
        size = HEADER_BYTES + len(data)
        self.counted.frames[kind] += 1
        self.counted.bytes[kind] += size
        self.received[peer.name] += size
        self.at(self.time + LATENCY_MS, peer.arrived, peer_link, data)
        if heavy:
            self.at(self.time + LATENCY_MS, sender.drained, link)

    # -- looking ---------------------------------------------------------------------------------------------

    def agree(self) -> bool:
        """Whether all full nodes know the same."""
        hashes = {node.replica.known.hash() for node in self.nodes if node.replica.state.view is None}
        return len(hashes) <= 1
