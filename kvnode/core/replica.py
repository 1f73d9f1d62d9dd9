"""The replica: a pure state machine from inputs (writes, messages, links, time) to effects.

No I/O, clock, async or global randomness. One owner calls it, in turns; nothing awaits inside. After any input,
:meth:`Replica.take_effects` gives what is to be done, in order of durability, and :attr:`Replica.next_deadline` when
:meth:`Replica.wake` is due. The parts: `state` (what is held), `sync` (digests, sessions, relay), `acks`, `settle`,
`forget`, `identity` (incarnations and records), `events`. What peers say comes by way of `inbound`; `greeting`,
`intake` and, for local writes, `checks` decide what is let in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from . import marks
from .acks import Acks
from .checks import refusal_of_any
from .effects import Acked, Change, Effect, LinkId, Loaded, Now, Refused, Wrote
from .entry import NO_VECTOR, Lease, Siblings, Version, vector_over
from .events import Events
from .forget import Forget
from .identity import Identity
from .inbound import Inbound, Parts
from .intake import Intake
from .limits import Limits
from .link import Link
from .messages import MORE_LINKS, PROTOCOL_MAX, PROTOCOL_MIN, Event, Hello, Message
from .path import Path, Pattern, path_key
from .policy import Policy
from .settle import Settle
from .state import State
from .sync import Sync
from .ticks import Dot, Incarnation, Known, check_name, is_volatile, volatile_twin
from .tree import Tree


class Replica:
    """One node's replica.

    `name` is the node's, `session` 64 random bits per process start, `random_bits(n)` gives n random bits from
    outside, `loaded` what the store held, `view` the patterns of a partial replica (None: full), `cluster` must be
    equal on all peers, `features` is told to them.
    """

    def __init__(
        self,
        name: str,
        *,
        session: int,
        random_bits: Callable[[int], int],
        now: Now,
        limits: Limits | None = None,
        loaded: Loaded | None = None,
        view: Sequence[Pattern] | None = None,
        cluster: str = "kvnode",
        features: Sequence[str] = (),
    ) -> None:
        self.limits: Final = limits or Limits()
        self.cluster: Final = cluster
        self.features: Final = tuple(features)
        shown = None if view is None else tuple(view)
        self.state: Final = State(check_name(name), session, random_bits, self.limits, loaded or Loaded(), shown, now)
        self.links: Final[dict[LinkId, Link]] = {}
        self.acks: Final = Acks(self.state, self.links, self._send, now)
        self.identity: Final = Identity(self.state, self.acks, self._write_own, now)
        self.sync: Final = Sync(self.state, self.links, self._send, self.identity.claimed)
        intake = Intake(self.state, self.sync, self.identity)
        self.settle: Final = Settle(self.state, self.links, self._send, intake.take, self.sync.dropped)
        self.forget: Final = Forget(self.state, self.acks)
        self.events: Final = Events(self.state, self.links, self._send)
        parts = Parts(self.acks, self.sync, self.settle, self.forget, self.identity, self.events)
        self._inbound: Final = Inbound(self.state, self.links, parts, intake, self.cluster, self._cut)
        self._made: list[Version] = []
        """What was written here since the last :meth:`take_effects`; that offers it to peers, all at once."""
        self._prompt = False
        """Whether one of the writers waits for acknowledgements of others."""
        self._last = now
        self.forget.soon(now)

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The node's name."""
        return self.state.name

    @property
    def session(self) -> int:
        """The process's session id."""
        return self.state.session

    @property
    def tree(self) -> Tree:
        """The entries; not to be changed from outside."""
        return self.state.tree

    @property
    def known(self) -> Known:
        """What this node knows; not to be changed from outside."""
        return self.state.known

    def members(self) -> frozenset[str]:
        """The names that own an entry below ``@.nodes``."""
        return self.state.members

    def reachable(self) -> frozenset[str]:
        """The names that links lead to, directly or by way of others, as far as these tell."""
        found: set[str] = set()
        ahead = {link.name for link in self.links.values() if link.introduced}
        while ahead:
            found |= ahead
            held = [self.acks.processes.current(name) for name in sorted(ahead)]
            ahead = {name for h in held if h is not None for name, _ in h.links} - found
        return frozenset(found - {self.name})

    def policy_of(self, path: tuple[str | int, ...]) -> Policy:
        """The policy by which this path is read."""
        return self.state.rules.of(path)

    def ackers(self, dot: Dot) -> set[str]:
        """The other members that hold this dot durably."""
        return self.acks.ackers(dot)

    def durable_here(self, dot: Dot) -> bool:
        """Whether this dot is durable on this node."""
        return self.state.is_durable(dot)

    @property
    def hurried(self) -> bool:
        """Whether a writer at a peer waits until what came from there is durable here; the driver sets it back."""
        return self.state.hurried

    @hurried.setter
    def hurried(self, waits: bool) -> None:
        self.state.hurried = waits

    @property
    def is_current(self) -> bool:
        """False for a node that must complete a session before it serves as current (R5)."""
        return not self.state.behind

    # -- writing ---------------------------------------------------------------------------------------------

    def propose(self, changes: Sequence[Change], now: Now, *, prompt: bool = False) -> list[Wrote] | Refused:
        """Make these changes, all or none; each supersedes the siblings held at its path. With `prompt` the writer
        waits for acknowledgements of others.
        """
        self._last = now
        refused = refusal_of_any(self.state, changes, now)
        if refused is not None:
            return refused
        if len(changes) > self.limits.max_batch_changes:
            detail = f"a batch has at most {self.limits.max_batch_changes} changes, this one {len(changes)}"
            return Refused("too_large", changes[0].path, detail)
        self._prompt = self._prompt or prompt
        return [(change.if_changed and self._unchanged(change)) or self._write(change, now) for change in changes]

    def _unchanged(self, change: Change) -> Wrote | None:
        """The write that made the entry what this change would make it, if that is all there is to it."""
        if change.ttl_ms is not None or change.expiry is not None:
            return None
        siblings = self.state.tree.at(change.path)
        if len(siblings) != 1 or change.value is None or siblings[0].until is not None:
            return None
        (version,) = siblings
        if version.is_tombstone or version.expiry is not None or bytes(version.details.value) != change.value:
            return None
        return Wrote(version.dot, version.stamp, unchanged=True)

    def _write(self, change: Change, now: Now) -> Wrote:
        """One change under its own dot."""
        state = self.state
        if state.inc is None:
            self.identity.mint(now)
        assert state.inc is not None
        inc, key = state.inc, change.key or path_key(change.path)
        over = state.tree.get(key)
        if state.volatile_patterns and state.is_volatile_path(change.path):
            if any(not is_volatile(v.inc) and not v.is_tombstone for v in over):
                marks.hit("volatile-over-durable")
                durable = tuple(v for v in over if not is_volatile(v.inc))
                self._add_own(key, Change(change.path, None, change.author), inc, durable, now)
            inc = volatile_twin(inc)
            over = tuple(v for v in state.tree.get(key) if is_volatile(v.inc))  # R7
        return self._add_own(key, change, inc, over, now)

    def _add_own(self, key: bytes, change: Change, inc: Incarnation, over: Siblings, now: Now) -> Wrote:
        """Write over these siblings."""
        state = self.state
        tick = state.counters.get(inc, 0) + 1
        state.counters[inc] = tick
        dot = Dot(inc, tick)
        above, vector = 0, NO_VECTOR
        if over:
            key = over[0].key  # equal, and kept once
            above = over[0].stamp if len(over) == 1 else max(v.stamp for v in over)
            vector = vector_over(over, inc) or NO_VECTOR
        stamp = state.clock.tick(now.wall, above)
        lease = None if change.ttl_ms is None else Lease(state.name, change.ttl_ms)
        version = Version.written(dot, vector, key, change, stamp, lease)
        state.add(key, version)
        self._made.append(version)
        return Wrote(dot, stamp)

    def _write_own(self, change: Change, now: Now) -> None:
        """The identity's own record; it checks for itself."""
        self._write(change, now)

    def retire(self, name: str, now: Now) -> Refused | None:
        """Remove a member for good: nobody waits for its acknowledgements any more, and its incarnations are closed."""
        self._last = now
        where = Path(("@", "nodes", name))
        if name not in self.state.members:
            return Refused("not_found", where, f"no member is called {name!r}")
        if any(link.name == name for link in self.links.values()):
            return Refused("still_linked", where, f"{name!r} is linked right now: stop it first, or retire it there")
        self.identity.retire(name, now)
        self._write_own(Change(where, None, author="retire"), now)
        return None

    def set_addresses(self, addresses: Sequence[str], now: Now) -> None:
        """Where peers can reach this node; makes it a member. Writes nothing if the record says so already."""
        self._last = now
        self.identity.announce(tuple(addresses), now)

    def send_event(
        self, path: Path, value: bytes, author: str, now: Now, principal: str | None = None
    ) -> Event | Refused:
        """Send an unstored message to all nodes."""
        self._last = now
        return self.events.send(path, value, author, principal, now)

    # -- links -----------------------------------------------------------------------------------------------

    def linked(self, link_id: LinkId, now: Now, *, dialled: bool = True) -> None:
        """A connection to a peer stands; greet it."""
        self._last = now
        state = self.state
        link = Link(link_id, dialled, now.mono, said=state.known.copy(), check_at=now.mono + self.limits.check_ms)
        self.links[link_id] = link
        features = (*self.features, MORE_LINKS, *(("behind",) if state.behind else ()))
        view = None if state.view is None else tuple(p.text for p in state.view)
        hello = Hello(
            PROTOCOL_MIN,
            PROTOCOL_MAX,
            self.cluster,
            self.name,
            self.session,
            state.inc,
            tuple(sorted(state.durable_marks)),
            features,
            view,
            state.known.hash(),
            (),
        )
        self._send(link, hello)

    def unlinked(self, link_id: LinkId, now: Now) -> None:
        """The connection is gone: its session is void."""
        self._last = now
        if self.links.pop(link_id, None) is not None:
            self.acks.grown((), now)
            self.sync.digests.go_on(now)
        if self.state.rejoining and not any(link.ready for link in self.links.values()):
            self.state.end_rejoin()

    def writable(self, link_id: LinkId, now: Now) -> None:
        """The driver's queue of this link has drained."""
        self._last = now
        link = self.links.get(link_id)
        if link is not None:
            self.sync.writable(link, now)

    def receive(self, link_id: LinkId, seq: int, message: Message, now: Now) -> None:
        """A message of a peer. A malformed or untimely one cuts the link; nothing else is harmed."""
        self._last = now
        link = self.links.get(link_id)
        if link is None:
            return
        if seq != link.seq_in:
            if seq < link.seq_in:
                marks.hit("link-duplicate")
                return
            marks.hit("link-gap")
            self._cut(link, f"{link.seq_in - seq} messages are missing", now)
            return
        link.seq_in += 1
        try:
            self._inbound.dispatch(link, message, now)
        except ValueError as err:
            self._cut(link, f"malformed {type(message).__name__}: {err}", now)

    def _cut(self, link: Link, why: str, now: Now, *, fatal: bool = False) -> None:
        self.state.close(link.id, why, fatal=fatal)
        self.unlinked(link.id, now)

    # -- time and effects ------------------------------------------------------------------------------------

    def persisted(self, token: int, now: Now) -> None:
        """The store has everything up to this token."""
        self._last = now
        had = self.state.durable_marks
        changed = self.state.persisted(token)
        if changed or self.state.durable_marks != had:
            self.acks.stored(token, changed, now)
            self.forget.soon(now)
            self.state.note(Acked())

    def wake(self, now: Now) -> None:
        """Do what is due."""
        self._last = now
        if self.state.expire(now):
            self.forget.soon(now)
        self.sync.wake(now)
        voided = self.forget.wake(now)
        self.sync.dirty_others(voided, None, now)
        if self.forget.newly_blocked:
            self._ask_about(self.forget.newly_blocked)
            self.forget.newly_blocked = []
        self.identity.wake(now)
        if self.acks.wake(now):
            self.forget.soon(now)
        for link in self.links.values():
            if link.check_at <= now.mono:
                link.check_at = now.mono + self.limits.check_ms
                link.checks += 1
                self.forget.soon(now)  # what came without an acknowledgement of its own, such as by a settle
                if link.introduced and link.checks % self.limits.retell_checks == 0:
                    self.acks.introduce(link, now)
                    link.asked.clear()
                self.settle.ask(link, self.forget.blocked)
                if link.est is not None and self.state.view is None:
                    self.sync.send_check(link, settle=False)

    def _ask_about(self, keys: Iterable[bytes]) -> None:
        """Ask all peers for these paths; one of them may know better."""
        for link in self.links.values():
            self.settle.ask(link, keys)

    @property
    def next_deadline(self) -> int:
        """When :meth:`wake` is due, on the clock of `Now.mono`."""
        due = self.identity.due  # asked in each turn of the driver: hence no lists
        if self.forget.due is not None and self.forget.due < due:
            due = self.forget.due
        if self.links:
            due = min(due, self.acks.beat_at)
            for link in self.links.values():
                due = self.sync.due(link, min(due, link.check_at))
                if link.ack_at is not None and link.ack_at < due:
                    due = link.ack_at
        expiry = self.state.next_expiry()
        if expiry is not None:
            due = min(due, self._last.mono + max(expiry - self._last.wall, 0))
        return due

    def take_effects(self) -> list[Effect]:
        """What is to be done now, in order; see :mod:`.effects`."""
        if self.state.nodes_changed:
            self.identity.look(self._last)
            if self.state.behind and not self.state.members - {self.name}:
                self.state.caught_up()  # there is nobody left to ask
            self.forget.soon(self._last)
        if self.state.volatile_grown:
            self.acks.grown(self.state.volatile_grown, self._last)
            self.state.volatile_grown.clear()
            self.forget.soon(self._last)
        if self._made:
            made, self._made = self._made, []
            self.sync.offer(made, None, self._last)
        if self._prompt:
            self._prompt = False
            self.sync.hurry()
        self.sync.flush()
        return self.state.take()

    def _send(self, link: Link, message: Message) -> None:
        self.state.send(link.id, link.seq_out, message)
        link.seq_out += 1
