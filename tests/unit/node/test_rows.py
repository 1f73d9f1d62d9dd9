from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.client import protocol as p
from kvnode.client.items import reading_of
from kvnode.client.wire import decode_answer, encode_part
from kvnode.codec.values import pack
from kvnode.core.entry import Siblings, Version, body_of, ordered
from kvnode.core.path import ROOT, Path, Pattern
from kvnode.core.policy import NEWEST, Policy
from kvnode.core.ticks import Dot, Known
from kvnode.core.tree import Tree
from kvnode.node.rows import MAX_ROW_BYTES, RowEncoder, Scope
from kvnode.node.streams import Cursor
from kvnode.node.watching import WatchIndex, WatchStream

paths = st.lists(st.sampled_from(["a", "b", "c", 1, 2]), max_size=4).map(Path)
patterns = st.lists(st.sampled_from(["a", "b", ":1", "+", "#"]), min_size=1, max_size=4).map(".".join).map(Pattern)


class Holder:
    """What the encoder needs of a replica."""

    is_current = True

    def __init__(self, policy: Policy = NEWEST) -> None:
        self.tree = Tree()
        self.known = Known()
        self.policy = policy

    def policy_of(self, path: tuple[str | int, ...]) -> Policy:
        return self.policy


def version(tick: int, value: object = None, *, node: str = "n", expiry: int | None = None, path: str = "x") -> Version:
    packed = None if value is None else pack(value)
    dot = Dot(f"{node}~0123456789abcdef", tick)
    return Version.make(dot, {}, body_of(Path.parse(path), tick << 16, packed, expiry=expiry))


def row_of(encoder: RowEncoder, *versions: Version) -> p.Row:
    row: Any = decode_answer(encode_part((100, 1, [p.msgspec.Raw(encoder.encode(b"\x02x\0", ordered(versions)))])))
    return row.rows[0]  # type: ignore[no-any-return]  # it was decoded as one


@given(paths, paths, st.none() | patterns, st.none() | st.integers(0, 3))
def test_a_scope_covers_what_it_says(path: Path, base: Path, pattern: Pattern | None, depth: int | None) -> None:
    scope = Scope(base, pattern, depth)
    wanted = (
        path.is_below(base)
        and (pattern is None or pattern.matches(path))
        and (depth is None or len(path) - len(base) <= depth)
    )
    assert scope.fits(path) == wanted
    held = (Version.make(Dot("n~0123456789abcdef", 1), {}, body_of(path, 1, b"\x01")),)
    assert scope.holds(path.key, held) == wanted
    assert scope.holds(path.key, ()) == wanted


@given(
    st.lists(st.tuples(paths, st.none() | patterns, st.none() | st.integers(0, 2)), max_size=8),
    paths,
    st.sampled_from((0, 16)),
)
def test_the_index_finds_exactly_the_watches_that_cover(scopes: list[Any], path: Path, few: int) -> None:
    holder = Holder()
    encoder = RowEncoder(holder, lambda: 0)
    index = WatchIndex(few)
    watches = [WatchStream(n, 1, Scope(*scope), holder, encoder) for n, scope in enumerate(scopes)]
    for watch in watches:
        index.add(watch)
    assert len(index) == len(watches)
    assert {w.id for w in index.of(path.key, ())} == {w.id for w in watches if w.scope.fits(path)}
    for watch in watches:
        index.remove(watch)
    assert index.of(path.key, ()) == []
    assert len(index) == 0


def test_a_row_without_its_value_is_made_once() -> None:
    encoder = RowEncoder(Holder(), lambda: 0, values=False)
    siblings = (version(1, "v"),)
    assert encoder.part(b"k", siblings)[0] is encoder.part(b"k", siblings)[0]
    for tick in range(1_000):
        encoder.part(b"k", (version(tick, "v"),))
    assert len(encoder._cache) <= 256


@given(st.integers(1, 3), st.none() | st.sampled_from(["v", 3]), st.booleans(), st.booleans())
def test_an_answer_to_a_get_is_the_row_or_none(count: int, value: object, current: bool, expires: bool) -> None:
    holder = Holder()
    holder.is_current = current
    encoder = RowEncoder(holder, lambda: 100)
    held = ordered([version(1, value, node=name, expiry=50 if expires else None) for name in "abc"[:count]])
    got: Any = decode_answer(encoder.got(7, b"\x02x\0", held))
    assert got.id == 7
    assert got.row == (row_of(encoder, *held) if value is not None and not expires else None)
    assert decode_answer(encoder.got(7, b"\x02x\0", ())) == p.Got(7, None)


def test_expiry_is_decided_at_the_time_of_reading() -> None:
    now = 100
    encoder = RowEncoder(Holder(), lambda: now)
    held: Siblings = (version(1, "v", expiry=150),)
    assert row_of(encoder, *held).live == 1
    assert encoder.live_dots(held) == [held[0].dot]
    now = 150
    assert row_of(encoder, *held).live == 0
    assert encoder.live_dots(held) == []


@pytest.mark.parametrize(
    ("policy", "value", "order"),
    [
        ("newest", 3, [3, 9, 7]),
        ("max", 9, [9, 3, 7]),
        ("min", 3, [3, 9, 7]),
        ("owner=b", 9, [9, 3, 7]),
        ("union", [3, 7, 9], [3, 9, 7]),
        ("ask", 3, [3, 9, 7]),
    ],
)
def test_the_policy_chooses_the_winner(policy: str, value: object, order: list[int]) -> None:
    encoder = RowEncoder(Holder(Policy.parse(policy)), lambda: 0)
    row = row_of(encoder, version(1, 7, node="a"), version(2, 9, node="b"), version(3, 3, node="c"))
    reading = reading_of(row)
    assert reading.value == value
    assert [s.value for s in reading.siblings] == order
    assert reading.conflict


def test_without_values_the_winner_is_the_same_and_no_value_leaves() -> None:
    encoder = RowEncoder(Holder(Policy.parse("union")), lambda: 0, values=False)
    secret = [f"secret{n}" for n in range(3)]
    versions = ordered(tuple(version(n + 1, [secret[n]], node="abc"[n]) for n in range(3)))
    assert b"secret" not in encoder.encode(b"\x02x\0", versions)
    row = row_of(encoder, *versions)
    assert [s.inc[0] for s in row.siblings] == ["c", "b", "a"]
    assert (row.flags & p.KEYS, row.value, reading_of(row).conflict) == (p.KEYS, None, True)
    assert b"secret" not in encoder.encode(b"\x02x\0", versions[:1])


def test_tombstones_come_last_and_lose() -> None:
    encoder = RowEncoder(Holder(), lambda: 0)
    reading = reading_of(row_of(encoder, version(9, None, node="a"), version(2, 5, node="b")))
    assert reading.value == 5
    assert [s.deleted for s in reading.siblings] == [False, True]


def test_a_value_that_cannot_be_read_loses_its_policy_only() -> None:
    encoder = RowEncoder(Holder(Policy.parse("max")), lambda: 0)
    bad = Version.make(Dot("z~0123456789abcdef", 1), {}, body_of(("x",), 1, b"\xc7\x01\x63\x00"))
    row = row_of(encoder, bad, version(5, 5))
    assert reading_of(row).value == 5


def test_a_row_that_is_too_large_keeps_its_winner() -> None:
    encoder = RowEncoder(Holder(), lambda: 0)
    big = "x" * 1_000_000
    versions = [version(tick, big, node=f"n{tick}") for tick in range(1, 9)]
    row = row_of(encoder, *versions)
    reading = reading_of(row)
    assert reading.cut
    assert reading.value == big
    assert [s.value for s in reading.others] == [None] * 7
    assert reading.dots == {v.dot for v in versions}
    assert sum(len(v.body) for v in versions) > MAX_ROW_BYTES


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(1, 70))
def test_a_cursor_meets_what_is_there_all_the_time(first: set[int], later: set[int], stop: int) -> None:
    """Entries come and go while a scan pauses: what stays is met once, in order."""
    holder = Holder()
    for n in first:
        holder.tree.put(Path((n,)).key, (version(1, n, path=f":{n}"),))
    cursor = Cursor(Scope(ROOT))
    seen: list[bytes] = []
    for key, _ in cursor.next(holder):
        seen.append(key)
        if len(seen) >= stop:
            break
    for n in first - later:
        holder.tree.put(Path((n,)).key, ())
    for n in later - first:
        holder.tree.put(Path((n,)).key, (version(1, n, path=f":{n}"),))
    while not cursor.done:
        seen += [key for key, _ in cursor.next(holder)]
    assert seen == sorted(set(seen))
    assert {Path((n,)).key for n in first & later} <= set(seen)
