"""What the log holds, laid over what the snapshot holds: for a load, a look from outside, and to bring the one up to
the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import islice
from typing import Final, TypeVar

from kvnode.core.effects import Loaded
from kvnode.core.history import Past

from .base import Batch, last_of_each
from .checks import Tally
from .frames import REMOVED
from .mark import LOG_KEY, Mark
from .segments import Segment, changed_rows, places_in
from .sqlite import put_past, put_small
from .tables import META, ROWS

Found = tuple[bytes, bytes | None]

_AT_LEAST: Final = 16
"""So many rows of the snapshot are read at once."""

B = TypeVar("B")
A = TypeVar("A")
K = TypeVar("K")
V = TypeVar("V")


def overlaid(below: Iterable[tuple[bytes, B]], above: Iterable[tuple[bytes, A]]) -> Iterator[tuple[bytes, B | A]]:
    """The rows of both, ascending as they are; of a key that both have the one above."""
    upper = iter(above)
    over = next(upper, None)
    for row in below:
        while over is not None and over[0] < row[0]:
            yield over
            over = next(upper, None)
        if over is not None and over[0] == row[0]:
            yield over
            over = next(upper, None)
        else:
            yield row
    if over is not None:
        yield over
        yield from upper


def live_rows(stored: Iterable[tuple[bytes, bytes]], segments: Sequence[Segment]) -> Iterator[tuple[bytes, bytes]]:
    """The rows of the snapshot as the segments leave them. Raises what :meth:`Segment.content` raises."""
    contents = [segment.content() for segment in segments]
    for key, record in overlaid(stored, changed_rows(segments, contents)):
        if record is not None:
            yield key, record


def read_over(
    stored: Callable[[bytes, int], list[Found]], segments: Sequence[Segment], low: bytes, limit: int
) -> list[Found]:
    """At most `limit` rows from the key `low` on, ascending; `stored` gives those of the snapshot. None stands for a
    record that is damaged.
    """
    changed = _first_changed(segments, low, limit)
    gone = {key for key, (_, place) in changed.items() if place == REMOVED}
    of = {segment.path: segment.records(_places(changed, segment)) for segment in segments}
    above = [(key, of[segment.path][place]) for key, (segment, place) in changed.items() if key not in gone]
    below = (row for row in _on_from(stored, low, max(limit, _AT_LEAST)) if row[0] not in gone)
    return list(islice(overlaid(below, above), limit))


def _first_changed(segments: Sequence[Segment], low: bytes, limit: int) -> dict[bytes, tuple[Segment, int]]:
    """Where the first keys from `low` on are that the segments hold, ascending: at least `limit` of rows that are set,
    with all that are removed between them; or all there are.
    """
    keys = set[bytes]().union(*(segment.index.keys_from(low) for segment in segments))
    count = limit
    while True:
        wanted = nsmallest(count, keys)
        found = places_in(segments, set(wanted))
        first = {key: found[key] for key in wanted}
        if len(first) == len(keys) or sum(place != REMOVED for _, place in first.values()) >= limit:
            return first
        count *= 4


def _places(changed: Mapping[bytes, tuple[Segment, int]], segment: Segment) -> list[int]:
    return [place for of, place in changed.values() if of is segment and place != REMOVED]


def _on_from(stored: Callable[[bytes, int], list[Found]], low: bytes, limit: int) -> Iterator[Found]:
    rows = stored(low, limit)
    while rows:
        yield from rows
        rows = stored(rows[-1][0] + b"\0", limit) if len(rows) == limit else []


def loaded_over(loaded: Loaded, segments: Sequence[Segment], rows: Iterable[tuple[bytes, bytes]]) -> Loaded:
    """What the snapshot gave, as the segments leave it; `rows` are the rows of both."""
    known, meta, quarantine = dict(loaded.known), dict(loaded.meta), dict(loaded.quarantine)
    for segment in segments:
        _update(known, segment.known)
        _update(quarantine, segment.quarantine)
        meta.update(segment.meta)
    return replace(loaded, rows=rows, known=known, meta=meta, quarantine=quarantine)


def _update(into: dict[K, V], changes: dict[K, V | None]) -> None:
    for key, value in changes.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value


def apply(db: sqlite3.Connection, tally: Tally, segments: Sequence[Segment], batch: Batch, mark: Mark | None) -> None:
    """Put what the segments hold, and the batch over it, into the snapshot, with its new mark (None: it stands alone
    from now on), within a transaction of the caller's. Raises what :meth:`Segment.content` raises.
    """
    contents = [segment.content() for segment in segments]
    ROWS.put_all(db, tally, overlaid(changed_rows(segments, contents), sorted(batch.rows.items())))
    past: list[Past] = []
    for segment in segments:
        put_small(db, tally, segment.known, segment.meta, segment.quarantine)
        past += segment.past()
    put_small(db, tally, batch.known, batch.meta, batch.quarantine)
    put_past(db, tally, last_of_each([*past, *batch.past]))
    META.put(db, tally, LOG_KEY, None if mark is None else mark.encode())
