"""The state of a replica that its parts share, and the few primitives that change it.

Everything that must stay consistent is changed in one place each: :meth:`State.put` (tree, index of live dots,
counts, rows to store, notifications), :meth:`State.learn` (known), :meth:`State.take` (effects in order).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from . import marks, system
from .appointments import Appointments
from .effects import Close, Deliver, Effect, LinkId, Loaded, Notify, Now, Persist, Report, Send
from .entry import PLAIN, VALUE, Siblings, Version, encode_one, encode_record, fingerprint, merge
from .history import Recorder
from .limits import Limits
from .loading import DOUBTED_META, MARKS_META, load
from .messages import Message
from .path import Path, Pattern
from .places import Places
from .policy import NEWEST, Rules, in_conflict
from .quarantine import Quarantine
from .stamp import Clock, wall_ms
from .system import SYSTEM_KEY
from .ticks import Dot, Incarnation, Known, Ticks, durable_twin, is_volatile
from .tree import Tree


class State:
    """See the module's text. `name` is the node's, `session` random per process, `view` None for a full replica."""

    def __init__(
        self,
        name: str,
        session: int,
        random_bits: Callable[[int], int],
        limits: Limits,
        loaded: Loaded,
        view: tuple[Pattern, ...] | None,
        now: Now,
    ) -> None:
        self.name: Final = name
        self.session: Final = session
        self.random_bits: Final = random_bits
        self.limits: Final = limits
        self.view: Final = view
        self.tree: Final = Tree()
        self.known = Known(loaded.known)
        self.durable = Known()
        self.clock: Final = Clock(limits.max_skew_ms)
        self.inc: Incarnation | None = None
        self.counters: dict[Incarnation, int] = {}
        self.behind = False
        self.rejoining = False
        self.doubted = False
        """The store lost something and no peer has made up for it yet, also if nobody is known to ask: our holes are no
        void ticks then, and what we lack is nobody's verdict (R3, R5, R6). Stored, since a restart changes nothing.
        """
        self.doubted_changed = False
        self.live: dict[Incarnation, Places] = {}
        self.conflicts: dict[bytes, None] = {}
        self.tombstones = 0
        self.unsettled: dict[bytes, None] = {}
        self.quarantine: Final = Quarantine(limits.quarantine, limits.quarantine_bytes)
        self.members: frozenset[str] = frozenset()
        self.closed: frozenset[Incarnation] = frozenset()
        self.finished: frozenset[Incarnation] = frozenset()
        """Closed incarnations of which nobody lacks anything: their marks are dropped."""
        self.durable_marks: frozenset[Incarnation] = frozenset()
        self.rules = Rules(NEWEST)
        self.history: Final = Recorder()
        self.volatile_patterns: tuple[Pattern, ...] = ()
        self.nodes_changed = True
        self._rows: dict[bytes, None] = {}
        self.known_changed: dict[Incarnation, None] = {}
        self._marks_changed = False
        self.volatile_grown: dict[Incarnation, None] = {}
        """Volatile incarnations of which more is held (which is their "durable", R7) and not acknowledged yet."""
        self.hurried = False
        """Whether a writer elsewhere waits until what came from there is durable here."""
        self._token = 0
        self._pending: deque[tuple[int, dict[Incarnation, Ticks | None], frozenset[Incarnation]]] = deque()
        self._sends: list[Send | Close] = []
        self._notes: list[Notify | Deliver | Report | Effect] = []
        self._deferred: dict[bytes, None] = {}
        self._expiries = Appointments()
        self._wall = now.wall
        load(self, loaded, now)

    # -- the tree --------------------------------------------------------------------------------------------

    def put(self, key: bytes, new: Siblings, *, notify: bool = True) -> None:
        """Set the siblings of a path, and all that follows from it."""
        old = self.tree.put(key, new)
        for version in old:
            self._unindex(key, version)
        for version in new:
            self.index(key, version)
        if not new:
            self.unsettled.pop(key, None)
        if len(new) > 1 and in_conflict(new):
            self.conflicts[key] = None
        elif self.conflicts:
            self.conflicts.pop(key, None)
        if _stored_else(old, new):
            self._rows[key] = None
            if old and self.history.keeps:
                self.history.replaced(old, new, wall_ms(self.clock.last))
        if key.startswith(SYSTEM_KEY):
            self.read_system(key)
        if notify and not self.rejoining:
            self._notes.append(Notify(key, new))
        elif notify:
            self._deferred[key] = None

    def _replace(self, key: bytes, old: Version | None, new: Version, *, durable: bool) -> None:
        """The same as :meth:`put` for the frequent case: one version, where there was one or none."""
        if old is not None:
            new.key = key = old.key  # equal, and kept once
            self._unindex(key, old)
            durable = durable or not is_volatile(old.inc)
            if self.history.keeps:
                self.history.replaced((old,), (new,), wall_ms(self.clock.last))
        self.tree.put_one(key, new)
        self.index(key, new)
        if durable:
            self._rows[key] = None
        if key.startswith(SYSTEM_KEY):
            self.read_system(key)
        if self.rejoining:
            self._deferred[key] = None
        else:
            self._notes.append(Notify(key, (new,)))

    def _unindex(self, key: bytes, version: Version) -> None:
        if version.extra.kind != VALUE:
            self.tombstones -= 1
        places = self.live.get(version.inc)
        if places is not None:
            places.discard(version.tick, key)
            if not places.count:
                del self.live[version.inc]

    def index(self, key: bytes, version: Version) -> None:
        """Enter a version of the tree in the indexes."""
        places = self.live.get(version.inc)
        if places is None:
            places = self.live[version.inc] = Places()
        places.set(version.tick, key)
        extra = version.extra
        if extra is PLAIN:
            return
        if extra.kind != VALUE:
            self.tombstones += 1
            self.unsettled[key] = None
        elif extra.vector:
            self.unsettled[key] = None
        if extra.expiry is not None:
            self.unsettled[key] = None
            self._expiries.expect(extra.expiry, key)

    def add(self, key: bytes, version: Version) -> bool:
        """Merge a version whose dot is new here; says whether it is now a sibling."""
        inc = version.inc
        self.known.add(inc, version.tick)
        durable = not is_volatile(inc)
        if durable:
            self.known_changed[inc] = None
        else:
            self.durable.add(inc, version.tick)
            self.volatile_grown[inc] = None
        old = self.tree.held(key)
        if old is None or (isinstance(old, Version) and version.replaces(old)):
            self._replace(key, old, version, durable=durable)
            return True
        merged = merge(self.tree.get(key), version)
        if merged.added:
            self.put(key, merged.siblings)
        return merged.added

    def drop(self, key: bytes, version: Version, why: str, now: Now) -> None:
        """Take a live version away without a write (R5): a value goes to the quarantine."""
        self.put(key, tuple(v for v in self.tree.get(key) if v.dot != version.dot))
        self.isolate(version, why, now)

    def isolate(self, version: Version, why: str, now: Now) -> None:
        """Keep a version that is not, or no longer, in the tree where people can see it."""
        if not version.is_gone(now.wall):
            self.quarantine.add(version, why, now.wall)
            self.report("quarantine", str(version.dot), f"{version!r} was set aside: {why}")

    def compare(self, version: Version, now: Now) -> None:
        """A dot that is held already must name the same change (law 6); only a copied process can break that."""
        for held in self.tree.get(version.key):
            if held.inc == version.inc and held.tick == version.tick and held.body != version.body:
                self._clash(held, version, now)

    def _clash(self, held: Version, other: Version, now: Now) -> None:
        """Everybody keeps the same one of the two, and shows the other one."""
        marks.hit("dot-clash")
        text = f"{held.dot} names two changes at {Path.from_key(held.key)}: was a running machine copied?"
        self.report("dot_clash", str(held.dot), text)
        keep, leave = (other, held) if fingerprint(other) > fingerprint(held) else (held, other)
        if keep is other:
            siblings = self.tree.get(held.key)
            self.put(held.key, tuple(other if v is held else v for v in siblings))
        self.isolate(leave, "its dot names another change, too", now)

    def learn(self, inc: Incarnation, ticks: Ticks) -> bool:
        """Add ticks to known; says whether any was new."""
        if not self.known.union(inc, ticks):
            return False
        if is_volatile(inc):
            self.durable.union(inc, ticks)
            self.volatile_grown[inc] = None
        else:
            self.known_changed[inc] = None
        return True

    def holds(self, dot: tuple[Incarnation, int], key: bytes) -> bool:
        """Whether this dot is live here, at this key."""
        places = self.live.get(dot[0])
        return places is not None and places.get(dot[1]) == key

    def in_view(self, path: tuple[str | int, ...]) -> bool:
        """Whether this replica holds the path at all."""
        return self.view is None or any(p.matches(path) for p in self.view)

    # -- what the system's own tree says -----------------------------------------------------------------------

    def read_system(self, key: bytes) -> None:
        """What is at this key of the system's own tree has changed."""
        if key.startswith((system.NODES, system.PARTIAL)):
            self._read_node(key)
        elif key.startswith(system.POLICY):
            self._read_rules()
        elif key.startswith(system.HISTORY):
            self.history.keeps = system.keeps(self.tree, lambda where, why: self.report("bad_history", where, why))
        elif key.startswith(system.VOLATILE):
            self.volatile_patterns = system.volatile_patterns(self.tree)

    def _read_node(self, key: bytes) -> None:
        self.nodes_changed = True
        siblings = self.tree.get(key)
        name = system.member(key)
        if name is not None and system.owns(siblings) != (name in self.members):
            self.members ^= {name}
        if self.inc in system.closed(siblings):
            self.mark((self.inc,))  # somebody closed the running incarnation: a new one is to be minted

    def _read_rules(self) -> None:
        new = system.rules(self.tree, lambda where, why: self.report("bad_policy", where, why))
        if new == self.rules:
            return
        old, self.rules = self.rules, new
        for key in self.conflicts:
            path = Path.from_key(key)
            if old.of(path) != new.of(path):
                self.notify(key)

    def mark(self, incs: Iterable[Incarnation]) -> None:
        """Take note of marks (R3): of a record that is written here, or of a peer that has them. They are stored."""
        new = self.closed | frozenset(incs) - self.finished
        if new != self.closed:
            self.closed = new
            self._marks_changed = self.nodes_changed = True

    def finish(self, inc: Incarnation) -> None:
        """Everybody has the mark, and all of the incarnation: the mark has done its work."""
        self.closed -= {inc}
        self.finished |= {inc}
        self._marks_changed = True

    def reopen(self, incs: Iterable[Incarnation]) -> None:
        """Something of these turned up elsewhere: their marks count again."""
        self.finished -= frozenset(incs)
        self.mark(incs)

    def is_closed(self, inc: Incarnation) -> bool:
        """Whether a record here closes this incarnation, or the run it belongs to (R3)."""
        return durable_twin(inc) in self.closed

    def is_volatile_path(self, path: tuple[str | int, ...]) -> bool:
        """Whether writes of this path are kept in memory only (R7)."""
        return path[:1] != (system.SYSTEM,) and any(p.matches(path) for p in self.volatile_patterns)

    # -- effects ---------------------------------------------------------------------------------------------

    def send(self, link: LinkId, seq: int, message: Message) -> None:
        """Queue a message."""
        self._sends.append(Send(link, seq, message))

    def close(self, link: LinkId, why: str, *, fatal: bool = False) -> None:
        """Queue the end of a link."""
        self._sends.append(Close(link, why, fatal))

    def notify(self, key: bytes) -> None:
        """Tell watchers of the present siblings; while a node that was behind rejoins (R5) this waits for its end."""
        if self.rejoining:
            self._deferred[key] = None
        else:
            self._notes.append(Notify(key, self.tree.get(key)))

    def trust(self) -> None:
        """A session with a full peer is complete: what the store had lost is back."""
        if self.doubted:
            self.doubted = False
            self.doubted_changed = True
            self.report("store_doubt", "store", "a peer made up for what the store had lost", resolved=True)

    def caught_up(self) -> None:
        """The rejoin is complete."""
        self.behind = False
        self.end_rejoin()

    def end_rejoin(self) -> None:
        """Tell what was held back: the rejoin is complete, or there is nobody left to rejoin."""
        self.rejoining = False
        for key in self._deferred:
            self.notify(key)
        self._deferred.clear()

    def note(self, effect: Effect) -> None:
        """Queue any other effect."""
        self._notes.append(effect)

    def report(self, kind: str, subject: str, text: str, *, resolved: bool = False) -> None:
        """Queue something that people must see."""
        self._notes.append(Report(kind, subject, text, resolved))

    def next_expiry(self) -> int | None:
        """Wall clock of the next appointment, in milliseconds."""
        return self._expiries.next()

    def expire(self, now: Now) -> bool:
        """Tell watchers of entries that have expired; says whether some may be forgotten now. That comes `max_skew_ms`
        later: each node decides by its own clock, and the version must have expired on all of them.
        """
        if now.wall < self._wall - 1_000:  # the clock was set back: what had expired lives again
            for key, version in self.tree.versions():
                if version.expiry is not None:
                    self._expiries.expect(version.expiry, key)
        looked, self._wall = self._wall, now.wall
        forgettable = False
        while due := self._expiries.pop(now.wall):
            _, key = due  # made for a version that may be superseded by now: see what stands there
            for expiry in {v.expiry for v in self.tree.get(key) if v.expiry is not None}:
                forget_at = expiry + self.limits.max_skew_ms
                if looked < expiry <= now.wall:
                    self.notify(key)
                if forget_at <= now.wall:
                    self.unsettled[key] = None
                    forgettable = True
                else:
                    self._expiries.expect(forget_at if expiry <= now.wall else expiry, key)
        return forgettable

    @property
    def next_token(self) -> int:
        """That of the transaction that stores what has changed since the last one."""
        return self._token + 1

    def take(self) -> list[Effect]:
        """All effects since the last call, in order of durability."""
        out: list[Effect] = []
        if self._to_persist():
            out.append(self._persist())
        out += self._sends
        out += self._notes
        self._sends, self._notes = [], []
        return out

    def _to_persist(self) -> bool:
        changed = self._rows or self.known_changed or self._marks_changed or self.doubted_changed
        return bool(changed) or self.quarantine.changed

    def _persist(self) -> Persist:
        self._token += 1
        rows = {key: self.record(key) for key in self._rows}
        of_each = self.known.map
        known = {inc: of_each.get(inc) for inc in self.known_changed}
        self._pending.append((self._token, known, self.closed))
        meta = {MARKS_META: msgspec.msgpack.encode(sorted(self.closed))} if self._marks_changed else {}
        if self.doubted_changed:
            meta[DOUBTED_META] = b"1" if self.doubted else b"0"
        self._rows, self.known_changed, self._marks_changed, self.doubted_changed = {}, {}, False, False
        return Persist(self._token, rows, known, meta, self.quarantine.take_changed(), self.history.take())

    def rewrite(self, key: bytes) -> None:
        """Store this entry again: what the store has of it is damaged."""
        self._rows[key] = None

    def record(self, key: bytes) -> bytes | None:
        """What the store holds of an entry once all is written; None for nothing."""
        held = self.tree.held(key)
        if isinstance(held, Version) and not is_volatile(held.inc):
            return encode_one(held)
        siblings = tuple(v for v in self.tree.get(key) if not is_volatile(v.inc))
        return encode_record(siblings) if siblings else None

    def persisted(self, token: int) -> list[Incarnation]:
        """The store has everything up to this token; gives the incarnations of which more is durable now."""
        changed: dict[Incarnation, None] = {}
        while self._pending and self._pending[0][0] <= token:
            _, learned, closed = self._pending.popleft()
            self.durable_marks = closed
            for inc, ticks in learned.items():
                if ticks and self.durable.union(inc, ticks):
                    changed[inc] = None
        return list(changed)

    def is_durable(self, dot: Dot) -> bool:
        """Whether this dot's effect is durable here (a volatile one: held)."""
        return self.durable.has(dot.inc, dot.tick)


def _stored_else(old: Siblings, new: Siblings) -> bool:
    """Whether the store holds something else for these siblings than for those. Versions are immutable, so it is the
    objects that count.
    """
    if len(new) == 1 and len(old) < 2 and not is_volatile(new[0].inc):
        return not old or old[0] is not new[0]
    return [id(v) for v in old if not is_volatile(v.inc)] != [id(v) for v in new if not is_volatile(v.inc)]
