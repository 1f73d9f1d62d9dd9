"""Appointments: one a key, the earliest, in order of time and within bounds."""

from __future__ import annotations

from kvnode.core.appointments import Appointments


def drained(of: Appointments, wall: int) -> list[tuple[int, bytes]]:
    out = []
    while due := of.pop(wall):
        out.append(due)
    return out


def test_they_come_up_in_order_and_not_before_their_time() -> None:
    of = Appointments()
    of.expect(30, b"c")
    of.expect(10, b"a")
    of.expect(20, b"b")
    assert of.next() == 10
    assert drained(of, 9) == []
    assert drained(of, 20) == [(10, b"a"), (20, b"b")]
    assert of.next() == 30


def test_a_key_has_one_and_the_earliest_counts() -> None:
    of = Appointments()
    for when in (20, 10, 15):
        of.expect(when, b"a")
    assert drained(of, 100) == [(10, b"a")]
    assert of.next() is None


def test_a_key_can_be_looked_at_again() -> None:
    of = Appointments()
    of.expect(10, b"a")
    of.pop(10)
    of.expect(20, b"a")
    assert drained(of, 20) == [(20, b"a")]


def test_what_was_replaced_does_not_pile_up() -> None:
    of = Appointments()
    for when in range(10_000, 0, -1):
        of.expect(when, b"a")
    assert len(of) <= 100
