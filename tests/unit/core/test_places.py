"""What the places of live dots take."""

from __future__ import annotations

import tracemalloc

from kvnode.core.places import Places

COUNT = 20_000
KEY = b"key"


def _bytes_each(step: int, *, backwards: bool = False) -> float:
    ticks = list(range(1, COUNT * step, step))
    if backwards:
        ticks.reverse()
    tracemalloc.start()
    places = Places()
    for tick in ticks:
        places.set(tick, KEY)
    if backwards:
        places.pack()
    took, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return took / len(ticks)


def test_ticks_that_follow_one_another_take_a_pointer_each() -> None:
    assert _bytes_each(1) < 12


def test_in_another_order_they_do_so_once_they_are_packed() -> None:
    assert _bytes_each(1, backwards=True) < 12


def test_single_ones_take_no_more_than_in_a_table() -> None:
    table = dict.fromkeys(range(1, COUNT * 100, 100), KEY)
    assert _bytes_each(100) < 1.1 * table.__sizeof__() / COUNT + 32
