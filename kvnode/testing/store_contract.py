"""What every store must do, as a list of checks: run each with a fresh :class:`Bench`.

A test module parametrizes over :data:`CONTRACT` and calls ``check(bench)``; the checks raise AssertionError. They
need no particular test framework. The checks of backup and compact are in :mod:`.store_upkeep_contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from kvnode.core.effects import Loaded, Persist
from kvnode.core.ticks import Incarnation, Ticks
from kvnode.store.base import Store, StoreFull, StoreLocked


class Bench(Protocol):
    """The place where one kind of store is tested, empty at first."""

    def make(self) -> Store:
        """A store, not loaded yet. All that are made here stand for one node: they have the same data."""

    def no_room(self, store: Store) -> AbstractContextManager[None]:
        """While the block runs, a commit of a mebibyte to this open store meets a full disk."""

    def damage_row(self, key: bytes) -> None:
        """Damage this record, while no store is open."""

    def damage_known(self, inc: Incarnation) -> None:
        """Damage the known ticks of this incarnation, while no store is open."""


Check = Callable[[Bench], None]

INC: Final = "attic~0123456789abcdef"
OTHER: Final = "cellar~fedcba9876543210"


@dataclass(frozen=True, slots=True)
class Held:
    """All that a store gave at load, read to the end."""

    rows: Mapping[bytes, bytes]
    known: Mapping[Incarnation, Ticks]
    meta: Mapping[str, bytes]
    doubts: tuple[str, ...] = ()
    quarantine: Mapping[int, bytes] = field(default_factory=dict)


EMPTY: Final = Held({}, {}, {})


def read_all(loaded: Loaded) -> Held:
    """Read the rows; they must ascend."""
    rows = list(loaded.rows)
    keys = [key for key, _ in rows]
    assert keys == sorted(set(keys)), "rows do not ascend by key"
    return Held(dict(rows), dict(loaded.known), dict(loaded.meta), loaded.doubts, dict(loaded.quarantine))


def persist(
    token: int = 1,
    rows: Mapping[bytes, bytes | None] | None = None,
    known: Mapping[Incarnation, Ticks | None] | None = None,
    meta: Mapping[str, bytes] | None = None,
    quarantine: Mapping[int, bytes | None] | None = None,
) -> Persist:
    """A :class:`Persist` of what is given."""
    return Persist(token, rows or {}, known or {}, meta or {}, quarantine or {})


@contextmanager
def opened(bench: Bench) -> Iterator[Store]:
    """A loaded store, closed at the end."""
    store = bench.make()
    try:
        read_all(store.load())
        yield store
    finally:
        store.close()


def held(bench: Bench) -> Held:
    """What a process that starts now finds."""
    store = bench.make()
    try:
        return read_all(store.load())
    finally:
        store.close()


def commit(bench: Bench, *batches: Persist) -> None:
    """One commit by a process of its own."""
    with opened(bench) as store:
        store.commit(batches)


E_ = TypeVar("E_", bound=Exception)


def refused(kind: type[E_], action: Callable[[], object]) -> E_:
    """The error of this kind that the action must raise."""
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


# -- keeping ---------------------------------------------------------------------------------------------------


def a_new_store_is_empty(bench: Bench) -> None:
    """No rows, nothing known, no doubts."""
    assert held(bench) == EMPTY
    assert held(bench) == EMPTY


def what_is_committed_is_there_for_the_next_process(bench: Bench) -> None:
    """Rows, known and meta."""
    commit(bench, persist(1, {b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}, {"name": b"attic"}))
    assert held(bench) == Held({b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}, {"name": b"attic"})
    assert held(bench) == Held({b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}, {"name": b"attic"})


def several_commits_add_up(bench: Bench) -> None:
    """In one process and over several."""
    with opened(bench) as store:
        store.commit([persist(1, {b"a": b"1"})])
        store.commit([persist(2, {b"b": b"2"})])
    commit(bench, persist(1, {b"c": b"3", b"a": b"4"}))
    assert held(bench).rows == {b"a": b"4", b"b": b"2", b"c": b"3"}


def none_removes(bench: Bench) -> None:
    """A row or known ticks; what is not there may be removed too."""
    commit(bench, persist(1, {b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(1), OTHER: Ticks.upto(2)}))
    commit(bench, persist(2, {b"a": None, b"no": None}, {INC: None, "nobody~0000000000000000": None}))
    assert held(bench) == Held({b"b": b"2"}, {OTHER: Ticks.upto(2)}, {})
    commit(bench, persist(3, {b"b": None}, {OTHER: None}))
    assert held(bench) == EMPTY


def known_is_replaced(bench: Bench) -> None:
    """Not united."""
    commit(bench, persist(1, known={INC: Ticks.of(1, 2, 3, 9)}))
    commit(bench, persist(2, known={INC: Ticks.of(2)}))
    assert held(bench).known == {INC: Ticks.of(2)}


def ticks_of_any_shape_are_kept(bench: Bench) -> None:
    """Empty, whole, full of holes, as high as they go."""
    shapes = {
        "a~0000000000000000": Ticks(),
        "b~0000000000000000": Ticks.upto((1 << 63) - 1),
        "c~0000000000000000v": Ticks.of_sorted(range(1, 20_000, 2)),
    }
    commit(bench, persist(1, known=shapes))
    assert held(bench).known == shapes


def meta_is_replaced_by_name(bench: Bench) -> None:
    """Other names stay."""
    commit(bench, persist(1, meta={"a": b"1", "ä\0": b""}))
    commit(bench, persist(2, meta={"a": b"2"}))
    assert held(bench).meta == {"a": b"2", "ä\0": b""}


def what_is_set_aside_is_kept_by_number(bench: Bench) -> None:
    """Added, replaced and removed; ascending; also alone in a transaction."""
    highest = (1 << 63) - 1
    commit(bench, persist(1, quarantine={highest: b"last", 300: b"b", 2: b"a"}))
    assert held(bench) == Held({}, {}, {}, (), {2: b"a", 300: b"b", highest: b"last"})
    commit(bench, persist(2, quarantine={2: None, 300: b"c", 7: None}), persist(3, quarantine={highest: None}))
    assert held(bench) == Held({}, {}, {}, (), {300: b"c"})


def later_batches_win(bench: Bench) -> None:
    """Within one commit the batches apply in their order."""
    commit(
        bench,
        persist(1, {b"a": b"1", b"b": b"1", b"c": None}, {INC: Ticks.upto(1)}, {"m": b"1"}),
        persist(2, {b"a": None, b"b": b"2", b"c": b"2"}, {INC: None, OTHER: Ticks.upto(1)}, {"m": b"2"}),
        persist(3, {b"d": b"3", b"c": b"3"}, {OTHER: Ticks.upto(3)}),
    )
    assert held(bench) == Held({b"b": b"2", b"c": b"3", b"d": b"3"}, {OTHER: Ticks.upto(3)}, {"m": b"2"})


def an_empty_commit_is_none(bench: Bench) -> None:
    """No batches, or batches with nothing in them."""
    commit(bench, persist(1, {b"a": b"1"}))
    commit(bench)
    commit(bench, persist(2), persist(3))
    assert held(bench).rows == {b"a": b"1"}


def keys_and_records_are_any_bytes(bench: Bench) -> None:
    """The empty key (the root), zeros, 0xff, long ones; a record of a mebibyte and an empty one."""
    keys = (b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"\xff", b"\xff" * 2048, b"\x02home\0\x01" + bytes(8))
    rows: dict[bytes, bytes | None] = {key: bytes([n]) * 3 for n, key in enumerate(keys)}
    rows[b"large"] = bytes(range(256)) * 4096
    rows[b"empty"] = b""
    commit(bench, persist(1, rows))
    assert held(bench) == Held({k: v for k, v in rows.items() if v is not None}, {}, {})


def many_rows_are_kept(bench: Bench) -> None:
    """Written, overwritten and removed over many pages."""
    rows = {b"%06d" % n: b"x" * (n % 700) for n in range(5_000)}
    commit(bench, persist(1, rows))
    commit(bench, persist(2, dict.fromkeys(list(rows)[::3])), persist(3, dict.fromkeys(list(rows)[1::3], b"y")))
    want = {key: b"y" if n % 3 == 1 else record for n, (key, record) in enumerate(rows.items()) if n % 3}
    assert held(bench) == Held(want, {}, {})


def dense_commits_are_like_others(bench: Bench) -> None:
    """Rows of either kind replace those of the other, in whatever order."""
    first = {b"\x02home\0room%04d\0" % n: b"the value of %04d" % n for n in range(300)}
    second = dict.fromkeys(list(first)[::2], b"another")
    with opened(bench) as store:
        store.commit([persist(1, {b"a": b"1"})], dense=True)
        store.commit([persist(2, first, {INC: Ticks.upto(300)}), persist(3, meta={"m": b"1"})], dense=True)
        store.commit([persist(4, second)], dense=False)
        store.commit([persist(5, dict.fromkeys(list(first)[::3])), persist(6, {b"a": b"2"})], dense=True)
        want = first | second | {b"a": b"2"}
        for key in list(first)[::3]:
            del want[key]
        assert read_all(store.load()) == Held(want, {INC: Ticks.upto(300)}, {"m": b"1"})
        assert store.read_back(b"", 1_000) == sorted(want.items())
    assert held(bench) == Held(want, {INC: Ticks.upto(300)}, {"m": b"1"})


# -- opening and closing -----------------------------------------------------------------------------------------


def rows_can_be_read_back(bench: Bench) -> None:
    """A part at a time, as they are stored now."""
    with opened(bench) as store:
        assert store.read_back(b"", 10) == []
        store.commit([persist(1, {b"": b"0", b"a": b"1", b"b": b"2", b"\xff": b"3"})])
        assert store.read_back(b"", 2) == [(b"", b"0"), (b"a", b"1")]
        assert store.read_back(b"a", 1) == [(b"a", b"1")]
        assert store.read_back(b"a\0", 1) == [(b"b", b"2")]
        store.commit([persist(2, {b"a": None, b"b": b"4"})])
        assert store.read_back(b"a", 10) == [(b"b", b"4"), (b"\xff", b"3")]
        assert store.read_back(b"\xff\0", 10) == []


def load_may_be_repeated(bench: Bench) -> None:
    """It gives what is committed by then."""
    with opened(bench) as store:
        assert read_all(store.load()) == EMPTY
        store.commit([persist(1, {b"a": b"1"})])
        assert read_all(store.load()).rows == {b"a": b"1"}
        store.commit([persist(2, {b"b": b"1"})])
        assert read_all(store.load()).rows == {b"a": b"1", b"b": b"1"}


def a_commit_does_not_wait_for_the_rows_to_be_read(bench: Bench) -> None:
    """Rows that are not read do not hold up a commit, nor the end."""
    commit(bench, persist(1, {b"%d" % n: bytes(1000) for n in range(100)}))
    store = bench.make()
    rows = iter(store.load().rows)
    next(rows)
    store.commit([persist(2, {b"a": b"1"})])
    next(iter(store.load().rows))
    store.close()
    assert len(held(bench).rows) == 101


def load_comes_first(bench: Bench) -> None:
    """A commit to a store that is not open is a mistake of the caller."""
    store = bench.make()
    refused(RuntimeError, lambda: store.commit([persist(1, {b"a": b"1"})]))
    read_all(store.load())
    store.close()
    refused(RuntimeError, lambda: store.commit([persist(1, {b"a": b"1"})]))
    assert held(bench) == EMPTY


def close_may_be_repeated(bench: Bench) -> None:
    """Also before load; and a closed store can be loaded again."""
    store = bench.make()
    store.close()
    store.load()
    store.close()
    store.close()
    read_all(store.load())
    store.commit([persist(1, {b"a": b"1"})])
    store.close()
    assert held(bench).rows == {b"a": b"1"}


def one_process_at_a_time(bench: Bench) -> None:
    """The second is told who the first is; the first is not disturbed."""
    with opened(bench) as store:
        late = bench.make()
        error = refused(StoreLocked, late.load)
        assert error.pid is not None
        assert f"process {error.pid}" in str(error)
        assert "\n" not in str(error)
        late.close()
        refused(StoreLocked, bench.make().load)
        store.commit([persist(1, {b"a": b"1"})])
    assert held(bench).rows == {b"a": b"1"}


def the_stores_own_names_are_refused(bench: Bench) -> None:
    """A name in meta that starts with an exclamation mark; nothing of the commit is stored."""
    with opened(bench) as store:
        refused(ValueError, lambda: store.commit([persist(1, {b"a": b"1"}, meta={"!tally": b""})]))
        refused(ValueError, lambda: store.commit([persist(1, {b"a": b"1"}), persist(2, meta={"!": b""})]))
    assert held(bench) == EMPTY


# -- failure and damage ------------------------------------------------------------------------------------------


def a_commit_that_fails_changes_nothing_and_may_be_repeated(bench: Bench) -> None:
    """All batches or none; smaller commits are not blocked for ever."""
    large = persist(2, {b"a": b"new", b"large": bytes(1 << 20), b"b": None}, {INC: None}, {"m": b"new"})
    before = Held({b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}, {"m": b"1"})
    with opened(bench) as store:
        store.commit([persist(1, before.rows, before.known, before.meta)])
        with bench.no_room(store):
            error = refused(StoreFull, lambda: store.commit([persist(2, {b"a": b"mid"}), large]))
            assert "\n" not in str(error)
            assert read_all(store.load()) == before
            refused(StoreFull, lambda: store.commit([large]))
        store.commit([large, persist(3, {b"c": b"3"})])
    assert held(bench) == Held({b"a": b"new", b"c": b"3", b"large": bytes(1 << 20)}, {}, {"m": b"new"})


def what_is_damaged_is_left_out_and_told(bench: Bench) -> None:
    """A line for each; everything else is given."""
    before = persist(1, {b"a": b"1", b"b": b"2", b"c": b"3"}, {INC: Ticks.upto(3), OTHER: Ticks.upto(1)}, {"m": b"1"})
    commit(bench, before)
    bench.damage_row(b"b")
    bench.damage_known(OTHER)
    found = held(bench)
    assert (found.rows, found.known) == ({b"a": b"1", b"c": b"3"}, {INC: Ticks.upto(3)})
    assert found.meta == {"m": b"1"}
    assert len(found.doubts) == 2
    assert any(OTHER in line for line in found.doubts)
    assert all("\n" not in line for line in found.doubts)


def doubts_stay_until_a_commit_answers_them(bench: Bench) -> None:
    """A process that dies before it has acted on them leaves them to the next; nothing else brings them back."""
    commit(bench, persist(1, {b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}))
    bench.damage_row(b"b")
    first = held(bench)
    assert first.doubts
    assert held(bench) == first
    commit(bench)
    assert held(bench) == first
    with opened(bench) as store:
        with bench.no_room(store):
            refused(StoreFull, lambda: store.commit([persist(1, {b"large": bytes(1 << 20)})]))
        assert read_all(store.load()) == first
    commit(bench, persist(1, known={INC: Ticks.of(1)}))
    assert held(bench) == Held({b"a": b"1"}, {INC: Ticks.of(1)}, {})


def a_damaged_row_can_be_written_again(bench: Bench) -> None:
    """Also by the very commit that answers the doubts; later commits leave it alone."""
    commit(bench, persist(1, {b"a": b"1", b"b": b"2"}, {INC: Ticks.upto(2)}))
    bench.damage_row(b"b")
    bench.damage_known(INC)
    with opened(bench) as store:
        store.commit([persist(1, {b"b": b"3"}, {INC: Ticks.upto(3)})])
        store.commit([persist(2, {b"c": b"1"})])
        assert read_all(store.load()) == Held({b"a": b"1", b"b": b"3", b"c": b"1"}, {INC: Ticks.upto(3)}, {})
        store.commit([persist(3, {b"b": b"4", b"a": None, b"c": None})])
    assert held(bench) == Held({b"b": b"4"}, {INC: Ticks.upto(3)}, {})


CONTRACT: Final[tuple[Check, ...]] = (
    a_new_store_is_empty,
    what_is_committed_is_there_for_the_next_process,
    several_commits_add_up,
    none_removes,
    known_is_replaced,
    ticks_of_any_shape_are_kept,
    meta_is_replaced_by_name,
    what_is_set_aside_is_kept_by_number,
    later_batches_win,
    an_empty_commit_is_none,
    keys_and_records_are_any_bytes,
    many_rows_are_kept,
    dense_commits_are_like_others,
    rows_can_be_read_back,
    load_may_be_repeated,
    a_commit_does_not_wait_for_the_rows_to_be_read,
    load_comes_first,
    close_may_be_repeated,
    one_process_at_a_time,
    the_stores_own_names_are_refused,
    a_commit_that_fails_changes_nothing_and_may_be_repeated,
    what_is_damaged_is_left_out_and_told,
    doubts_stay_until_a_commit_answers_them,
    a_damaged_row_can_be_written_again,
)
"""Every check, in the order of this file."""
