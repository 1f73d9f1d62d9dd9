"""Volatile entries (R7): kept in memory, never over a durable version."""

from __future__ import annotations

from kvnode.core.ticks import volatile_twin
from tests.support.replicas import Net, linked


def vectors(net: Net, label: str, path: str) -> list[dict[str, int]]:
    return [dict(v.vector) for v in net.at(label, path)]


def volatile(*names: str) -> Net:
    net = linked(*names)
    net.write(names[0], "@.volatile.one", {"pattern": "v.#"})
    net.run()
    return net


def test_a_volatile_value_does_not_supersede_a_durable_one() -> None:
    """A held a durable value; it became volatile territory; both the old value's delete and the new value travel."""
    net = linked("A", "B")
    old = net.write("A", "v.x", "durable")
    net.run()
    net.cut("A", "B")
    net.write("A", "@.volatile.one", {"pattern": "v.#"})
    dot = net.write("A", "v.x", "volatile")
    net.flow()
    assert net.values("A", "v.x") == ["volatile"]
    (live,) = [v for v in net.at("A", "v.x") if not v.is_tombstone]
    assert live.dot == dot
    assert old.inc not in live.vector
    net.link("A", "B")
    net.run()
    assert net.values("B", "v.x") == ["volatile"]
    assert not net["B"].state.conflicts
    assert len(net.at("B", "v.x")) == 1  # the durable tombstone is forgotten, it does not wait for the volatile value
    assert net.converged()


def test_after_a_crash_the_durable_value_stays_deleted() -> None:
    net = linked("A", "B")
    net.write("A", "v.x", "durable")
    net.write("A", "@.volatile.one", {"pattern": "v.#"})
    net.write("A", "v.x", "volatile")
    net.run()
    for label in "AB":
        net.restart(label)
    net.link("A", "B")
    net.run()
    assert net.values("A", "v.x") == net.values("B", "v.x") == []


def test_trace_8_a_volatile_value_comes_back_from_a_peer() -> None:
    net = volatile(*"ABC")
    net.write("A", "v.z", 1)
    net.run()
    net.restart("A")
    assert net.read("A", "v.z") is None
    net.link("A", "B")
    net.run()
    assert net.read("A", "v.z") == 1
    assert net.converged()
    net.write("A", "v.z", 2)
    net.run()
    assert [net.values(label, "v.z") for label in "ABC"] == [[2]] * 3


def test_a_volatile_delete_is_forgotten() -> None:
    net = volatile("A", "B")
    net.write("A", "v.z", 1)
    net.run()
    net.delete("B", "v.z")
    net.run()
    assert net.at("A", "v.z") == net.at("B", "v.z") == ()
    assert net.converged()


def test_a_volatile_delete_is_forgotten_after_restarts() -> None:
    net = volatile(*"ABC")
    net.write("A", "v.z", 1)
    net.write("A", "v.y", 1)
    net.run()
    net.restart("B")
    net.link(*"ABC")
    net.run()
    net.restart("A")
    net.link("A", "B")
    net.run()
    net.delete("C", "v.z")
    net.run(60_000)
    assert [net.at(label, "v.z") for label in "ABC"] == [(), (), ()]
    assert [net.read(label, "v.y") for label in "ABC"] == [1, 1, 1]
    assert net.converged()


def test_a_volatile_write_at_a_restarted_node_supersedes_what_it_holds() -> None:
    net = volatile("A", "B")
    net.write("A", "v.z", 1)
    net.run()
    net.restart("A")
    net.link("A", "B")
    net.run()
    net.write("A", "v.z", 2)
    net.run(60_000)
    assert net.values("A", "v.z") == net.values("B", "v.z") == [2]
    assert vectors(net, "B", "v.z") == [{}]


def test_a_delete_over_a_volatile_value_that_nobody_remembers_is_forgotten() -> None:
    """Both hold the durable delete of a volatile value when they restart; with the processes went all that was known of
    the volatile incarnation.
    """
    net = volatile("A", "B")
    net.write("A", "v.x", 1)
    net.write("A", "v.x", 2)
    net.write("A", "@.volatile.one", {"pattern": "nothing"})
    net.run()
    net.hold("A", "B")
    net.hold("B", "A")
    gone = net.delete("A", "v.x")
    net.flow()
    while not net.has("B", gone):
        assert net.deliver("A", "B", 1)
        net.flow()
    assert [volatile_twin(gone.inc) in vectors(net, label, "v.x")[0] for label in "AB"] == [True, True]
    for label in "AB":
        net.restart(label)
    net.link("A", "B")
    net.run(100_000)
    assert net.at("A", "v.x") == net.at("B", "v.x") == ()
    assert net.converged()
