"""What is set aside: bounded by number and size, and there after a restart."""

from __future__ import annotations

from kvnode.core.entry import Version
from kvnode.core.limits import Limits
from kvnode.core.quarantine import Quarantine, Quarantined
from kvnode.core.ticks import Dot, volatile_twin
from tests.support.replicas import Net
from tests.support.strangers import Z, version


def numbers(of: Quarantine) -> list[int]:
    return [held.number for held in of]


def filled(*, most: int = 10, most_bytes: int = 10_000, versions: int = 3, size: int = 1) -> Quarantine:
    quarantine = Quarantine(most, most_bytes)
    for tick in range(1, versions + 1):
        quarantine.add(version("x", tick, "v" * size), f"reason {tick}", 100 + tick)
    return quarantine


def stored(of: Quarantine) -> dict[int, bytes]:
    return {number: record for number, record in of.take_changed().items() if record is not None}


def test_the_oldest_go() -> None:
    assert numbers(filled(most=3, versions=5)) == [3, 4, 5]
    assert numbers(filled(most_bytes=2_500, versions=5, size=1_000)) == [4, 5]


def test_one_that_is_too_large_is_kept_alone() -> None:
    assert numbers(filled(most_bytes=10, versions=3, size=100)) == [3]


def test_what_left_makes_room() -> None:
    quarantine = filled(most_bytes=2_500, versions=2, size=1_000)
    assert quarantine.remove(1) == Quarantined(1, version("x", 1, "v" * 1_000), "reason 1", 101)
    assert quarantine.remove(1) is None
    quarantine.add(version("y", 9, "v" * 1_000), "again", 7)
    assert numbers(quarantine) == [2, 3]
    assert (quarantine.get(1), len(quarantine)) == (None, 2)


def test_changes_are_told_once() -> None:
    quarantine = filled(most=2, versions=3)
    records = quarantine.take_changed()
    assert records[1] is None
    assert set(records) == {1, 2, 3}
    assert not quarantine.changed
    assert quarantine.take_changed() == {}
    quarantine.remove(3)
    assert quarantine.changed
    assert quarantine.take_changed() == {3: None}


def test_it_comes_back_from_the_store() -> None:
    first = filled()
    first.remove(2)
    records = stored(first)
    second = Quarantine(10, 10_000)
    assert second.load(records) == []
    assert list(second) == list(first)
    assert not second.changed
    second.add(version("z", 9, 9), "later", 200)
    assert numbers(second) == [1, 3, 4]


def test_a_tighter_bound_holds_from_the_load_on() -> None:
    second = Quarantine(2, 10_000)
    second.load(stored(filled(versions=4)))
    assert numbers(second) == [3, 4]
    assert second.take_changed() == {1: None, 2: None}


def test_an_unreadable_record_is_told_and_goes() -> None:
    records = stored(filled()) | {2: b"\xc1", 7: b"\x93\xa1w\x01\xc4\x01\x90"}
    quarantine = Quarantine(10, 10_000)
    told = quarantine.load(records)
    assert [line.partition(":")[0] for line in told] == [f"unreadable record {n} of the quarantine" for n in (2, 7)]
    assert numbers(quarantine) == [1, 3]
    assert quarantine.take_changed() == {2: None, 7: None}


def test_what_is_volatile_is_not_stored() -> None:
    durable = version("x", 1, 1)
    quarantine = Quarantine(10, 10_000)
    quarantine.add(
        Version(volatile_twin(Z), 1, durable.key, durable.body, durable.stamp, durable.extra),
        "",
        1,
    )
    assert quarantine.take_changed() == {1: None}
    assert len(quarantine) == 1


def test_what_a_node_set_aside_survives_its_restart() -> None:
    net = Net(limits=Limits(quarantine=3))
    net.start("A")
    state = net["A"].state
    for tick in range(1, 6):
        v = version("x", tick, tick)
        state.add(v.key, v)
        state.drop(v.key, v, "for a test", net.now)
    net.flow()
    before = list(state.quarantine)
    net.restart("A")
    after = list(net["A"].state.quarantine)
    assert after == before
    assert [(q.number, q.version.dot) for q in after] == [(n, Dot(Z, n)) for n in (3, 4, 5)]
    assert "store_doubt" not in net.nodes["A"].kinds()


def test_a_node_tells_what_it_cannot_read_of_its_quarantine() -> None:
    net = Net("A")
    store = net.crash("A")
    store.quarantine[4] = b"\xc1"
    node = net.start("A", store=store)
    net.flow()
    assert any("record 4 of the quarantine" in r.text for r in node.reports if r.kind == "store_doubt")
    assert store.quarantine == {}
    assert not node.replica.state.doubted
