"""Checksums and the tally."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.store.checks import TABLES, Tally, row_sum

rows = st.tuples(st.sampled_from(TABLES), st.binary(max_size=8), st.binary(max_size=8))


@given(rows, rows)
def test_a_checksum_covers_table_key_and_record(a: tuple[str, bytes, bytes], b: tuple[str, bytes, bytes]) -> None:
    assert (row_sum(*a) == row_sum(*b)) == (a == b)


def test_where_a_key_ends_and_the_record_begins_is_covered() -> None:
    assert row_sum("rows", b"ab", b"c") != row_sum("rows", b"a", b"bc")
    assert row_sum("rows", b"1", b"1:1") != row_sum("rows", b"1:1", b"1")


def test_a_checksum_is_for_ever() -> None:
    """Stores hold it: another value would make every stored row look damaged."""
    assert row_sum("rows", b"\x02a\0", b"record") == -369197580877607069


@given(st.lists(rows, unique_by=lambda row: row[:2], max_size=12))
def test_a_tally_does_not_depend_on_the_order(of: list[tuple[str, bytes, bytes]]) -> None:
    forward, backward, left = Tally(), Tally(), Tally()
    for row in of:
        forward.add(row[0], row_sum(*row))
    for row in reversed(of):
        backward.add(row[0], row_sum(*row))
    assert forward == backward == Tally.decode(forward.encode())
    for row in of:
        forward.remove(row[0], row_sum(*row))
    assert forward == left


def test_a_copy_is_independent() -> None:
    tally = Tally()
    copy = tally.copy()
    copy.add("rows", 5)
    assert tally == Tally()
    assert copy.counts["rows"] == 1


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x90", b"\x92\x92\x01\x01\x92\x01\x01", Tally().encode() + b"\0"])
def test_what_is_no_tally(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Tally.decode(data)
