"""What the index of a segment takes."""

from __future__ import annotations

import tracemalloc

from kvnode.core.effects import Persist
from kvnode.store.base import Batch
from kvnode.store.frames import encode
from kvnode.store.rowindex import RowIndex

COUNT = 20_000
BATCH = 500


def test_a_row_takes_little_more_than_sixteen_bytes() -> None:
    keys = [b"\x02%d\0" % n for n in range(COUNT)]
    index, end = RowIndex(), 0
    tracemalloc.start()
    for start in range(0, COUNT, BATCH):
        frame, _ = encode(bytes(8), 1, end, Batch([Persist(1, dict.fromkeys(keys[start : start + BATCH], b"x"), {})]))
        end = frame.end
        index.add(frame, 0)
    del frame
    took, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == COUNT
    assert took / COUNT < 20


def test_a_key_that_is_written_over_and_over_takes_no_more() -> None:
    index, end = RowIndex(), 0
    for n in range(COUNT):
        frame, _ = encode(bytes(8), 1, end, Batch([Persist(1, {b"\x02a\0": b"x", b"\x02b\0": None}, {})]))
        end = frame.end
        index.add(frame, 0)
        assert len(index) <= 4_098, n
