"""The tree at its real chunk size: thousands of keys, so that chunks split and vanish; scans while it changes."""

from __future__ import annotations

from functools import reduce

import pytest

from kvnode.core.entry import Lease, Siblings, Version, body_of, fingerprint
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation
from kvnode.core.tree import KEY_END, Tree, entry_print

INC = incarnation("A", 1)
COUNT = 3_000


def version(path: Path, tick: int, value: bytes | None = b"\x01", stamp: int = 5) -> Version:
    return Version.make(Dot(INC, tick), {}, body_of(path, stamp, value))


def path_of(number: int) -> Path:
    return Path(("n", number))


PATHS = [path_of(n) for n in range(COUNT)]
ENTRIES: list[tuple[bytes, Siblings]] = [(p.key, (version(p, n + 1),)) for n, p in enumerate(PATHS)]


def full_tree() -> Tree:
    tree = Tree()
    for key, siblings in ENTRIES:
        tree.put(key, siblings)
    return tree


def brute(tree: Tree, low: bytes = b"", high: bytes = KEY_END) -> int:
    prints = (fingerprint(v) for k, v in tree.versions() if low <= k < high and not v.is_tombstone)
    return reduce(lambda a, b: a ^ b, prints, 0)


def test_keys_come_in_path_order_however_they_were_put() -> None:
    tree = Tree()
    for step in (7, 11, 13):
        for n in range(0, COUNT, step):
            tree.put(*ENTRIES[n])
    got = list(tree.keys())
    assert got == sorted(set(got))
    assert len(tree) == len(got)


def test_fingerprints_of_ranges_while_chunks_split_and_vanish() -> None:
    tree = full_tree()
    spans = [(0, COUNT), (0, 1), (511, 513), (100, 2_500), (1_023, 1_025), (2_999, 3_000)]
    keys = [key for key, _ in ENTRIES]
    for gone in (range(1_000, 2_000), range(500), range(2_500, COUNT), range(500, 1_000)):
        for low, high in spans:
            ends = (keys[low], keys[high] if high < COUNT else KEY_END)
            assert tree.print_of(*ends) == brute(tree, *ends)
        assert tree.print_of_all == tree.print_of(b"", KEY_END) == brute(tree)
        for n in gone:
            tree.put(keys[n], ())
        assert tree.print_of_all == tree.print_of(b"", KEY_END) == brute(tree)
    assert len(tree) == 500


def test_an_emptied_tree_is_as_new() -> None:
    tree = full_tree()
    for key, _ in reversed(ENTRIES):
        tree.put(key, ())
    assert len(tree) == 0
    assert tree.print_of_all == 0 == tree.print_of(b"", KEY_END)
    assert list(tree.scan()) == []
    tree.put(*ENTRIES[7])
    assert list(tree.scan()) == [ENTRIES[7]]
    assert tree.print_of_all == tree.print_of(b"", KEY_END) == entry_print(ENTRIES[7][1])


def test_removing_what_is_not_there_changes_nothing() -> None:
    tree = full_tree()
    before = tree.print_of_all
    tree.put(Path(("absent",)).key, ())
    assert (tree.print_of_all, len(tree)) == (before, COUNT)


def test_a_scan_sees_each_key_at_most_once_while_chunks_split_and_vanish() -> None:
    tree = full_tree()
    between = [Path(("n", n, "x")) for n in range(0, COUNT, 2)]
    seen: list[bytes] = []
    for at, (key, _) in enumerate(tree.scan()):
        seen.append(key)
        if at == 100:  # split what lies ahead, and make what lies behind vanish
            for n, path in enumerate(between):
                tree.put(path.key, (version(path, COUNT + n + 1),))
            for key_behind, _ in ENTRIES[:90]:
                tree.put(key_behind, ())
        if at == 200:  # whole chunks ahead vanish
            for key_ahead, _ in ENTRIES[1_000:2_400]:
                tree.put(key_ahead, ())
    assert seen == sorted(set(seen))
    stayed = {key for key, _ in ENTRIES} - {key for key, _ in ENTRIES[1_000:2_400]}
    assert stayed <= set(seen)
    assert not {key for key, _ in ENTRIES[1_000:2_400]} & set(seen)


def test_a_scan_of_a_path_has_it_and_all_below_it_only() -> None:
    tree = Tree()
    paths = [Path.parse(t) for t in ("a", "a.b", "a.b.c", "a.:1", "aa", "b", "a.b-", "a.:-1.x")]
    for n, path in enumerate(paths):
        tree.put(path.key, (version(path, n + 1),))
    assert [str(Path.from_key(k)) for k, _ in tree.scan(Path.parse("a"))] == [
        "a",
        "a.:-1.x",
        "a.:1",
        "a.b",
        "a.b.c",
        "a.b-",
    ]
    assert [str(Path.from_key(k)) for k, _ in tree.scan(Path.parse("a.b"))] == ["a.b", "a.b.c"]
    assert len(list(tree.scan())) == len(paths)


def test_the_fingerprint_covers_values_not_tombstones_or_vectors() -> None:
    path = Path(("x",))
    one = version(path, 1)
    over = Version.make(Dot(INC, 1), {incarnation("B", 2): 7}, body_of(path, 5, b"\x01"))
    assert entry_print((one,)) == entry_print((over,)) != 0
    assert entry_print((version(path, 1, None),)) == 0
    assert entry_print((one, version(path, 2, None))) == entry_print((one,))
    for other in (version(path, 2), version(path, 1, b"\x02"), version(path, 1, stamp=6), version(Path(("y",)), 1)):
        assert entry_print((one,)) != entry_print((other,))
    by_someone = Version.make(Dot(INC, 1), {}, body_of(path, 5, b"\x01", author="me"))
    assert entry_print((one,)) != entry_print((by_someone,))


@pytest.mark.parametrize(("low", "high"), [(b"\x05", b"\x01"), (b"", b""), (KEY_END, KEY_END), (b"\xff\xff", b"")])
def test_an_empty_or_reversed_range_holds_nothing(low: bytes, high: bytes) -> None:
    tree = full_tree()
    assert tree.print_of(low, high) == 0
    assert list(tree.keys(low, high)) == []
    assert tree.split(low, high, 8, 16) is None


def test_split_cuts_into_parts_of_about_equal_count() -> None:
    tree = full_tree()
    parts = tree.split(b"", KEY_END, 8, 16)
    assert parts is not None
    counts = [len(list(tree.keys(*part))) for part in parts]
    assert len(parts) == 8
    assert sum(counts) == COUNT
    assert max(counts) - min(counts) <= 8
    assert reduce(lambda a, b: a ^ b, (tree.print_of(*p) for p in parts)) == tree.print_of_all


def test_split_down_to_the_leaves_ends() -> None:
    tree = full_tree()
    todo, leaves = [(b"", KEY_END)], 0
    for _ in range(10_000):
        if not todo:
            break
        low, high = todo.pop()
        parts = tree.split(low, high, 8, 16)
        leaves += parts is None
        todo += parts or []
    assert not todo
    assert COUNT / 16 <= leaves <= COUNT


def test_whether_the_very_same_versions_are_held() -> None:
    tree, key = Tree(), PATHS[0].key
    assert tree.holds(key, ())
    one = Version.make(Dot(INC, 1), {incarnation("B", 2): 7}, body_of(PATHS[0], 5, b"\x01"))
    for siblings in ((one,), (one, version(PATHS[0], 2))):
        tree.put(key, siblings)
        assert tree.holds(key, siblings)
        assert tree.holds(key, tree.get(key))
        assert not tree.holds(key, (one.stripped(), *siblings[1:])), "equal, and not the same"
        assert not tree.holds(key, ())


def test_leases_are_found_alone_and_among_siblings() -> None:
    tree = full_tree()
    assert tree.leased() == []
    for number in (7, 5):
        body = body_of(PATHS[number], 5, b"\x01", lease=Lease("A", 1_000))
        leased = Version.make(Dot(INC, COUNT + number), {}, body)
        other = version(PATHS[number], COUNT + 100)
        tree.put(leased.key, (leased,) if number == 7 else (other, leased))
    assert tree.leased() == [PATHS[5].key, PATHS[7].key]
