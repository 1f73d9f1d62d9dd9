"""How what a store held becomes the state of a replica, and what is left of it in doubt (rule R6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from . import marks, system
from .effects import Loaded, Now
from .entry import Siblings, decode_record, plain
from .path import key_range_end
from .policy import in_conflict
from .ticks import Incarnation, Known, Ticks, is_incarnation, is_volatile

if TYPE_CHECKING:
    from .state import State

MARKS_META: Final = "marks"
"""Under this name a store holds the incarnations that are closed, as a list."""
DOUBTED_META: Final = "doubted"
"""Under this name a store holds whether it lost something that no peer has made up for yet: ``1`` or ``0``."""


def load(state: State, loaded: Loaded, now: Now) -> None:
    """Fill a new state."""
    doubts = list(loaded.doubts)
    _load_tree(state, loaded, doubts, now)
    state.closed = frozenset(_read_marks(loaded.meta.get(MARKS_META)))
    if not doubts and not _knows_what_it_holds(state):
        doubts.append("a stored version is missing from the stored known ticks")
    for text in state.quarantine.load(loaded.quarantine):
        state.report("store_doubt", "store", text)
    state.doubted = bool(doubts) or loaded.meta.get(DOUBTED_META) == b"1"
    if doubts:
        doubt(state, doubts)
    else:
        if state.doubted:
            state.report("store_doubt", "store", "the store lost something earlier; no peer has made up for it yet")
        state.durable = state.known.copy()
        state.durable_marks = state.closed
    for key in list(state.unsettled):
        for version in state.tree.get(key):
            for inc, tick in version.vector.items():
                if is_volatile(inc):  # not stored, but superseded by what is: its holes can be found and voided (R3)
                    state.learn(inc, Ticks((tick, tick + 1)))


def _load_tree(state: State, loaded: Loaded, doubts: list[str], now: Now) -> None:
    """The entries, and all that follows from them. What cannot be read is a doubt, and goes from the store."""
    several: list[bytes] = []

    def entries() -> Iterator[tuple[bytes, Siblings]]:
        for key, record in loaded.rows:
            try:
                siblings = decode_record(record)
                if (
                    not siblings
                    or siblings[0].key != key
                    or (len(siblings) > 1 and any(v.key != key for v in siblings))
                ):
                    raise ValueError("it is empty, or of another path")
            except ValueError as err:
                doubts.append(f"unreadable record at key {key.hex()}: {err}")
                state.rewrite(key)
                continue
            for version in siblings:
                state.index(version.key, version)
                if version.stamp > state.clock.last:
                    state.clock.observe(version.stamp, now.wall)
            if len(siblings) > 1:
                several.append(key)
            yield siblings[0].key, siblings  # that key, since the versions have it: it is kept once

    state.tree.fill(entries())
    for places in state.live.values():
        places.pack()
    nodes = [key for key, _ in state.tree.scan_range(system.NODES, key_range_end(system.NODES))]
    for key in (*nodes, system.POLICY, system.HISTORY, system.VOLATILE):
        state.read_system(key)
    state.conflicts.update((key, None) for key in several if in_conflict(state.tree.get(key)))


def _knows_what_it_holds(state: State) -> bool:
    for inc, places in state.live.items():
        ticks = state.known[inc]
        if not ((ticks.is_whole and max(places) <= ticks.highest) or all(tick in ticks for tick in places)):
            return False
    return True


def doubt(state: State, doubts: Iterable[str]) -> None:
    """R6: known becomes exactly the dots still held; the rejoin brings back the rest."""
    marks.hit("doubt")
    state.doubted_changed = True
    state.behind = bool(state.members - {state.name})  # else there is nobody to rejoin
    gone = [inc for inc in state.known.map if inc not in state.live]
    state.known = Known({inc: Ticks.of_sorted(sorted(places)) for inc, places in state.live.items()})
    for inc in (*gone, *state.known.map):
        state.known_changed[inc] = None
    for text in doubts:
        state.report("store_doubt", "store", text)


def _read_marks(stored: bytes | None) -> list[Incarnation]:
    listed = plain(stored) if stored is not None else None
    return [i for i in listed if isinstance(i, str) and is_incarnation(i)] if isinstance(listed, list) else []
