"""Two processes of one name (R3), and stores that are older than their peers remember."""

from __future__ import annotations

import pytest

from tests.support.replicas import Net, linked

# -- clones (R3) -------------------------------------------------------------------------------------------------------


ALARM_MS = 20_000
"""Two beats: by then two living processes of one name must have been noticed."""


def cloned(*peers: str) -> Net:
    """A with a clone A2 that was started from the same store, and B as the third node."""
    net = Net("A", "B", *peers)
    net.link("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.start("A2", name="A", store=net.nodes["A"].store.copy())
    return net


def has_alarm(net: Net, label: str) -> bool:
    return "A" in net[label].acks.processes.duplicates


def test_two_linked_processes_of_one_name_are_clones() -> None:
    net = cloned()
    dot = net.write("B", "y", 1)
    net.run()
    assert net["B"].ackers(dot) == {"A"}
    net.link("A2", "B")
    net.run(ALARM_MS)
    assert has_alarm(net, "B")
    assert [r.subject for r in net.nodes["B"].reports if r.kind == "duplicate_session"] == ["A"]
    assert net["B"].ackers(dot) == set()


def test_both_clones_writes_live_and_nothing_is_forgotten_meanwhile() -> None:
    """Trace 11."""
    net = cloned()
    net.link("A2", "B")
    net.run(ALARM_MS)
    first, second = net.write("A", "p", 1), net.write("A2", "q", 2)
    net.run(100)
    assert first.inc != second.inc
    net.delete("B", "x")
    net.run(60_000)
    for label in ("A", "A2", "B"):
        assert net.read(label, "p") == 1
        assert net.read(label, "q") == 2
        assert net.read(label, "x") is None
    assert len(net.at("B", "x")) == 1
    assert net.converged()


def test_clones_that_write_the_same_path_are_siblings() -> None:
    net = cloned()
    net.write("A", "p", 1)
    net.write("A2", "p", 2)
    net.link("A2", "B")
    net.run(100)
    assert net.values("B", "p") == [1, 2]


def test_clones_are_found_through_relays() -> None:
    net = cloned("C")
    net.link("A2", "C")
    net.link("C", "B")
    net.run(60_000)
    assert has_alarm(net, "B")
    assert has_alarm(net, "C")
    assert has_alarm(net, "A")
    assert has_alarm(net, "A2")


def test_the_alarm_ends_when_one_of_them_has_gone() -> None:
    net = cloned()
    net.link("A2", "B")
    net.run(20_000)
    net.delete("B", "x")
    net.run(5_000)
    assert net.at("B", "x")
    net.crash("A2")
    net.run(60_000)
    assert not has_alarm(net, "B")
    assert not has_alarm(net, "A")
    last = [r for r in net.nodes["B"].reports if r.kind == "duplicate_session"][-1]
    assert last.resolved
    net.run(60_000)
    assert net.at("B", "x") == ()


@pytest.mark.parametrize("pause", [0, 50, 1_000, 5_000, 60_000])
def test_a_restart_is_no_clone(pause: int) -> None:
    net = linked(*"ABC")
    net.link("C", "A")
    net.run(30_000)
    store = net.crash("A")
    net.run(pause)
    net.start("A", store=store)
    net.link("A", "B")
    net.link("A", "C")
    net.run(60_000)
    for label in "ABC":
        assert "duplicate_session" not in net.nodes[label].kinds()


def test_a_late_word_of_the_process_before_is_no_clone() -> None:
    """C was cut off with the last words of A's old process; it comes back when the new one has lived for a while."""
    net = linked(*"ABC", "D")
    net.run(30_000)
    net.cut("B", "C")
    net.run(8_000)
    net.link("A", "D")
    net.run(1_000)
    store = net.crash("A")
    net.start("A", store=store)
    net.link("A", "B")
    net.run(12_000)
    net.link("C", "B")
    net.run(30_000)
    for label in "ABCD":
        assert "duplicate_session" not in net.nodes[label].kinds()


def test_a_restart_in_a_row_is_no_clone() -> None:
    net = linked(*"ABC", mesh=True)
    for _ in range(5):
        net.run(1_500)
        store = net.crash("A")
        net.start("A", store=store)
        net.link("A", "B")
        net.link("A", "C")
    net.run(60_000)
    for label in "ABC":
        assert "duplicate_session" not in net.nodes[label].kinds()


# -- an older store (trace 10) -----------------------------------------------------------------------------------------


def test_a_restored_store_gets_its_lost_changes_back() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    backup = net.nodes["A"].store.copy()
    net.write("A", "x", 2)
    net.write("A", "y", 2)
    net.delete("A", "x")
    net.run()
    net.crash("A")
    net.start("A", store=backup)
    assert net.read("A", "x") == 1
    net.link("A", "B")
    net.run(60_000)
    assert net.converged()
    assert net.read("A", "y") == 2
    assert net.at("A", "x") == ()
    assert "duplicate_session" not in net.nodes["A"].kinds()


def test_a_restored_store_hears_from_a_third_node_what_it_lost() -> None:
    """B, which A meets first, never got the changes; it knows by C's relay that A once had more."""
    net = linked(*"ABC", mesh=True)
    net.write("A", "x", 1)
    net.run()
    backup = net.nodes["A"].store.copy()
    net.hold("A", "B")
    net.hold("C", "B")
    dot = net.write("A", "x", 2)
    net.run(100)
    assert net["C"].ackers(dot) == {"A"}
    net.crash("A")
    net.start("A", store=backup)
    net.link("A", "C")
    net.run(10_000)
    assert net.has("A", dot)
    net.release("C", "B")
    net.run(60_000)
    assert net.converged()


# -- suspicion and proof -----------------------------------------------------------------------------------------------


def test_what_a_dead_process_had_queued_proves_nothing() -> None:
    """A kernel goes on to send what a killed process left in its buffers, long after the next one has linked."""
    net = Net("A", "B")
    net.mesh("A", "B")
    net.run(10_000)
    net.hold("A", "B")
    for n in range(5):
        net.write("A", "x", n)
        net.run(net.limits.beat_ms)
    store = net.crash("A", links_stay=True)
    net.start("A", store=store)
    net.link("A", "B")
    dot = net.write("B", "y", 1)
    net.run(2 * net.limits.duplicate_grace_ms)
    net.release("A", "B")
    net.run(2 * net.limits.duplicate_grace_ms)
    assert "duplicate_session" not in net.nodes["B"].kinds()
    assert net["B"].ackers(dot) == {"A"}
    assert net.read("B", "x") == 4


def test_a_suspicion_travels() -> None:
    """A hears nobody any more, and a copy of it was started. C, which was away, hears of both from B, and once only."""
    net = linked(*"ABC")
    net.run(net.limits.beat_ms)
    store = net.nodes["A"].store.copy()
    net.hold("B", "A")
    net.cut("B", "C")
    net.start("A2", name="A", store=store)
    net.link("A2", "B")
    net.run(net.limits.beat_ms)
    net.cut("A", "B")
    net.run(net.limits.beat_ms)
    net.restart("C")
    net.link("B", "C")
    net.run(1_500)
    assert "A" in net["C"].acks.processes.suspects
    net.run(net.limits.duplicate_clear_ms + net.limits.beat_ms)
    assert not net["C"].acks.processes.suspects


def test_a_suspicion_ends_though_the_node_restarts_again_and_again() -> None:
    """Two processes within half a minute are no suspicion by themselves, and none that keeps an old one alive."""
    net = Net("A", "B")
    net.link("A", "B")
    net.run(net.limits.beat_ms)
    net.hold("A", "B")
    net.write("A", "x", 1)
    net.run(1_000)
    store = net.crash("A", links_stay=True)
    net.start("A", store=store)
    net.link("A", "B")
    net.run(1_000)
    net.release("A", "B")
    net.run(1_000)
    assert "A" in net["B"].acks.processes.suspects
    for _ in range(4):
        net.run(net.limits.duplicate_clear_ms * 2 // 3)
        net.restart("A")
        net.link("A", "B")
    net.run(1_000)
    assert not net["B"].acks.processes.suspects
