"""The places of live dots against a plain dict: dense runs, sparse ones, and those that thin out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.places import Places

KEYS = [bytes([n]) for n in range(3)]

_span = st.tuples(st.sampled_from(["set", "discard"]), st.integers(1, 900), st.integers(1, 600), st.integers(1, 40))
_steps = st.lists(st.one_of(_span, st.just(("pack", 0, 0, 1))), max_size=12)


def _check(places: Places, model: dict[int, bytes]) -> None:
    assert places.count == len(model)
    assert {tick: places.get(tick) for tick in places} == model
    assert len(list(places)) == len(model)
    assert all(places.get(tick) == model.get(tick) for tick in range(1_600))


@given(_steps, st.sampled_from(KEYS), st.booleans())
def test_places_are_a_map(steps: list[tuple[str, int, int, int]], other: bytes, backwards: bool) -> None:
    places, model = Places(), dict[int, bytes]()
    for what, first, count, step in steps:
        ticks = list(range(first, first + count, step))
        for tick in reversed(ticks) if backwards else ticks:
            key = KEYS[tick % 3]
            if what == "set":
                places.set(tick, key)
                model[tick] = key
            elif what == "discard":
                places.discard(tick, other)
                if model.get(tick) == other:
                    del model[tick]
        if what == "pack":
            places.pack()
        _check(places, model)


@given(st.integers(0, 300), st.integers(1, 3))
def test_a_tick_that_is_set_again_counts_once(first: int, times: int) -> None:
    places = Places()
    for _ in range(times):
        for tick in range(first, first + 600):
            places.set(tick, KEYS[0])
    assert places.count == 600
    for tick in range(first, first + 600):
        places.discard(tick, KEYS[1])
        places.discard(tick, KEYS[0])
    assert (places.count, list(places)) == (0, [])
