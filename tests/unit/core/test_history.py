"""What is put on record when it leaves the tree, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.entry import Version, body_of
from kvnode.core.history import MOST_VERSIONS, Keep, parts_of, past_of, read_past, row_key, rows_end
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from tests.support.replicas import Net, dec, linked

DAY_MS = 86_400_000


def asked(net: Net, label: str = "A", **row: Any) -> None:
    net.write(label, "@.history.mine", {"pattern": "x.#", "versions": 5} | row)
    net.run()


def recorded(net: Net, label: str) -> list[tuple[str, Any, bool]]:
    """Per row its path, its value, and whether something took its place."""
    out = []
    for past in net.nodes[label].store.past:
        version, by = read_past(past.record)
        value = None if version.is_tombstone else dec(bytes(version.details.value))
        out.append((str(Path.from_key(past.path_key)), value, by is not None))
    return out


def test_what_is_overwritten_is_recorded_with_what_took_its_place() -> None:
    net = linked("A", "B")
    asked(net)
    dots = [net.write("A", "x.a", n) for n in range(3)]
    net.run()
    assert recorded(net, "A") == [("x.a", 0, True), ("x.a", 1, True)]
    rows = [read_past(past.record) for past in net.nodes["A"].store.past]
    assert [(version.dot, by) for version, by in rows] == [(dots[0], dots[1]), (dots[1], dots[2])]


def test_each_node_records_what_it_saw() -> None:
    net = linked("A", "B")
    asked(net)
    net.write("A", "x.a", 0)
    net.run()
    net.cut("A", "B")
    for n in range(1, 5):
        net.write("A", "x.a", n)
    net.link("A", "B")
    net.run()
    assert [value for _, value, _ in recorded(net, "A")] == [0, 1, 2, 3]
    assert recorded(net, "B") == [("x.a", 0, True)]


def test_a_delete_and_its_being_forgotten() -> None:
    net = linked("A", "B")
    asked(net)
    net.write("A", "x.a", 1)
    net.delete("A", "x.a")
    net.run()
    assert net.at("B", "x.a") == ()
    assert recorded(net, "A") == [("x.a", 1, True), ("x.a", None, False)]


def test_both_sides_of_a_conflict_are_recorded_when_it_ends() -> None:
    net = linked("A", "B")
    asked(net)
    net.cut("A", "B")
    net.write("A", "x.a", "left")
    net.write("B", "x.a", "right")
    net.link("A", "B")
    net.run()
    assert recorded(net, "A") == []
    net.write("A", "x.a", "settled")
    net.run()
    assert sorted(recorded(net, "A")) == sorted(recorded(net, "B")) == [("x.a", "left", True), ("x.a", "right", True)]


def test_neither_the_systems_own_tree_nor_what_is_volatile() -> None:
    net = Net("A")
    asked(net, pattern="#")
    for n in range(3):
        net.write("A", "@.volatile.hot", {"pattern": "hot.#", "n": n})
        net.write("A", "hot.x", n)
        net.write("A", "y", n)
    net.flow()
    assert recorded(net, "A") == [("y", 0, True), ("y", 1, True)]


def test_a_volatile_value_that_a_durable_one_replaces() -> None:
    net = Net("A")
    asked(net)
    net.write("A", "x.a", "before")
    net.write("A", "@.volatile.hot", {"pattern": "x.#"})
    net.write("A", "x.a", "volatile")
    net.delete("A", "@.volatile.hot")
    net.write("A", "x.a", "after")
    net.flow()
    assert [value for _, value, _ in recorded(net, "A")] == ["before", None]


def test_nothing_is_recorded_where_nothing_is_asked() -> None:
    net = Net("A")
    for n in range(3):
        net.write("A", "x.a", n)
    net.flow()
    assert net.nodes["A"].store.past == []
    asked(net)
    net.write("A", "x.a", 3)
    net.flow()
    assert recorded(net, "A") == [("x.a", 2, True)]
    net.delete("A", "@.history.mine")
    net.write("A", "x.a", 4)
    net.flow()
    assert len(net.nodes["A"].store.past) == 1


def test_stripping_and_restarting_record_nothing() -> None:
    net = linked("A", "B")
    asked(net)
    net.write("A", "x.a", 1)
    net.run()
    net.write("B", "x.b", 2)
    net.run()
    net.restart("A")
    net.link("A", "B")
    net.run()
    assert recorded(net, "A") == recorded(net, "B") == []


@pytest.mark.parametrize(
    ("row", "keep"),
    [
        ({"versions": 7}, Keep(7)),
        ({"days": 2}, Keep(MOST_VERSIONS, 2 * DAY_MS)),
        ({"versions": 7, "days": 0.5}, Keep(7, DAY_MS // 2)),
    ],
)
def test_how_much_is_kept(row: dict[str, object], keep: Keep) -> None:
    assert Keep.parse(row) == keep


@pytest.mark.parametrize(
    "row",
    [{}, {"versions": 0}, {"versions": True}, {"versions": 10**9}, {"days": -1}, {"days": "7"}, {"days": float("nan")}],
)
def test_a_bad_entry_is_reported_and_keeps_nothing(row: dict[str, object]) -> None:
    net = Net("A")
    asked(net, **({"versions": None} | row))
    net.write("A", "x.a", 1)
    net.write("A", "x.a", 2)
    net.flow()
    assert net.nodes["A"].store.past == []
    assert "bad_history" in net.nodes["A"].kinds()


def test_age_is_counted_from_the_newest_stamp_known() -> None:
    version = Version.make(Dot("A~0123456789abcdef", 1), {}, body_of(Path.parse("x"), 1, b"\x01"))
    assert past_of(version, None, Keep(3, 1_000), 5_000).oldest == past_of(version, None, Keep(3, 3_000), 7_000).oldest


paths = st.lists(st.text(min_size=1, max_size=3) | st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=3)


@given(paths, st.binary(min_size=1, max_size=20))
def test_a_row_key_can_be_taken_apart(elements: list[str | int], place: bytes) -> None:
    try:
        key = Path(elements).key
    except ValueError:
        return
    assert parts_of(row_key(key, place)) == (key, place)
    assert row_key(key) <= row_key(key, place)
    if place[0] != 255:
        assert row_key(key, place) < rows_end(key)
