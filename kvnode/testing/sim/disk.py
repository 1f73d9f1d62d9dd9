"""A simulated store: transactions that are staged, synced after a while, and lost in a crash before that."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from msgspec import structs

from kvnode.core.effects import Loaded, Persist
from kvnode.core.entry import decode_record
from kvnode.core.ticks import Dot, Incarnation, Ticks


@dataclass(frozen=True, slots=True)
class Image:
    """A backup: what a store held at one moment."""

    rows: dict[bytes, bytes]
    known: dict[Incarnation, Ticks]
    meta: dict[str, bytes]
    quarantine: dict[int, bytes]
    doubts: tuple[str, ...] = ()


class Disk:
    """What one host has on disk."""

    def __init__(self, image: Image | None = None) -> None:
        self.rows: dict[bytes, bytes] = dict(image.rows) if image else {}
        self.known: dict[Incarnation, Ticks] = dict(image.known) if image else {}
        self.meta: dict[str, bytes] = dict(image.meta) if image else {}
        self.quarantine: dict[int, bytes] = dict(image.quarantine) if image else {}
        self.dots: dict[bytes, frozenset[Dot]] = {k: dots_of(r) for k, r in self.rows.items()}
        self.staged: list[Persist] = []
        self.forgotten: set[Dot] = set()
        """What was at paths of which nothing is left."""
        self._reached = 0
        """So many of the staged transactions are on the disk though it told of an error."""
        self._fresh: set[Dot] = set()
        self.rewound = False
        """Whether this store was ever set back: acknowledgements of before may be stale."""
        self.damaged = False
        """Whether this store ever lost a record."""
        self.doubts: tuple[str, ...] = image.doubts if image else ()
        """Why the store will not be believed when it is opened next; a commit settles that."""

    def copy(self) -> Disk:
        """All of it, with what is not synced yet."""
        twin = Disk(self.image())
        twin.staged, twin.rewound, twin.damaged = [*self.staged], self.rewound, self.damaged
        return twin

    def image(self) -> Image:
        """A backup of what is synced now."""
        return Image(dict(self.rows), dict(self.known), dict(self.meta), dict(self.quarantine), self.doubts)

    def stage(self, persist: Persist) -> None:
        """Take a transaction; it is not durable yet."""
        self.staged.append(persist)

    def sync(self, count: int) -> int | None:
        """Make the first `count` staged transactions durable; gives the last token."""
        token = None
        for persist in self.staged[:count]:
            self._apply(persist)
            self.doubts = ()
            token = persist.token
        del self.staged[:count]
        self._reached = max(self._reached - count, 0)
        return token

    def reach(self, count: int) -> None:
        """The first `count` staged transactions are on the disk, but it told of an error: they will come once more."""
        for persist in self.staged[self._reached : count]:
            self._apply(persist)
        self._reached = max(self._reached, count)

    def tear(self, rng: Random, *, flipped: bool) -> None:
        """The transaction that was being written is on the disk in parts, or with flipped bits. The store's checksums
        tell: a record that makes no sense is left out, and the whole is not believed.
        """
        self.sync(self._reached)
        if not self.staged:
            return
        torn = self.staged[0]
        rows = {key: record for key, record in torn.rows.items() if rng.random() < 0.6}
        known = {inc: ticks for inc, ticks in torn.known.items() if rng.random() < 0.6}
        self._apply(structs.replace(torn, rows=rows, known=known))
        for key in [key for key in rows if flipped and key in self.rows]:
            del self.rows[key]
            del self.dots[key]
        self._fresh = {dot for dot in self._fresh if any(dot in dots for dots in self.dots.values())}
        self.staged.clear()
        self.damaged = True
        self.distrust("a transaction is torn" if not flipped else "wrong checksums")

    def _apply(self, persist: Persist) -> None:
        for key, record in persist.rows.items():
            if record is None:
                self.rows.pop(key, None)
                self.forgotten |= self.dots.pop(key, frozenset())
            else:
                self.rows[key] = record
                self.dots[key] = dots_of(record)
                self._fresh |= self.dots[key]
        for inc, ticks in persist.known.items():
            if ticks is None:
                self.known.pop(inc, None)
            else:
                self.known[inc] = ticks
        for number, aside in persist.quarantine.items():
            if aside is None:
                self.quarantine.pop(number, None)
            else:
                self.quarantine[number] = aside
        self.meta.update(persist.meta)

    def take_fresh(self) -> list[Dot]:
        """The dots that came to be on this disk since the last call."""
        fresh = sorted(self._fresh)
        self._fresh.clear()
        return fresh

    def crash(self, survive: int) -> None:
        """Power goes: the first `survive` staged transactions happen to be on disk, the others are lost."""
        self.sync(max(survive, self._reached))
        self.staged.clear()

    def lose_row(self, key: bytes) -> None:
        """One record is gone, known says otherwise. The store's own tally of its rows will tell at the next start."""
        del self.rows[key]
        del self.dots[key]
        self.damaged = True
        self.distrust("the tally of the rows is wrong")

    def distrust(self, why: str) -> None:
        """The next process will not believe this store."""
        self.doubts += (why,)

    def knows(self, dot: Dot) -> bool:
        """Whether the store tells the effect of this dot; one that is not believed tells only what it holds (R6)."""
        ticks = self.known.get(dot.inc)
        return not self.doubts and ticks is not None and dot.tick in ticks

    def load(self) -> Loaded:
        """What a process finds when it opens the store."""
        rows = sorted(self.rows.items())
        return Loaded(rows, dict(self.known), dict(self.meta), self.doubts, dict(self.quarantine))


def dots_of(record: bytes) -> frozenset[Dot]:
    """The dots that a stored record names."""
    return frozenset(v.dot for v in decode_record(record))
