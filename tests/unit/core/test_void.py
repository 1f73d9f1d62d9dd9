"""Void ticks and the marks that guard them (R3)."""

from __future__ import annotations

from kvnode.core.limits import Limits
from kvnode.core.messages import Ack, AckState, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Ticks, volatile_twin
from tests.support.replicas import Net, Store, linked
from tests.support.strangers import Stranger, version


def vectors(net: Net, label: str, path: str) -> list[dict[str, int]]:
    return [dict(v.vector) for v in net.at(label, path)]


def why(net: Net, label: str, path: str) -> str:
    return "\n".join(net[label].forget.explain(Path.parse(path).key))


def volatile(*names: str) -> Net:
    net = linked(*names)
    net.write(names[0], "@.volatile.one", {"pattern": "v.#"})
    net.run()
    return net


def crashed_with_a_hole() -> tuple[Net, Dot, Dot, Store]:
    """A wrote two changes, of which only the second left; then it crashed without having stored either."""
    net = linked(*"ABC", limits=Limits(chunk_bytes=1, window_bytes=1))
    net.cut("A", "B")
    net.nodes["A"].stuck = True
    lost, left = net.write("A", "b", 1), net.write("A", "a", 2)
    inc = lost.inc
    net.flow()
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    for _ in range(30):
        if left in net["B"].known or lost in net["B"].known:
            break
        net.deliver("A", "B", 1)
        for link in net.links_of("A", "B"):
            net["A"].writable(link, net.now)
        net.flow()
    if lost in net["B"].known:
        lost, left = left, lost
    assert left in net["B"].known
    assert lost not in net["B"].known
    assert not net["B"].known[inc].is_whole or lost.tick > left.tick
    return net, lost, left, net.crash("A")


def holed(late: bool = False, limits: Limits | None = None) -> tuple[Net, Dot, Dot]:
    """A, B, C are members; of A's incarnation that is gone B and C know tick `left`, nobody has tick `lost`."""
    net = linked(*"ABC", limits=limits)
    inc = net["A"].state.inc
    assert inc is not None
    top = net["A"].state.counters[inc]
    lost, left = Dot(inc, top + 1), Dot(inc, top + 2)
    net.crash("A", links_stay=late)
    stranger = Stranger(net, "B", "A", session=4711)
    stranger.introduce()
    stranger.send(Versions((version("a", left.tick, 2, inc),)))
    net._close("B", stranger.link)
    net["B"].unlinked(stranger.link, net.now)
    net.run()
    for label in "BC":
        assert left in net[label].known
        assert lost not in net[label].known
    return net, lost, left


def test_a_hole_blocks_until_the_next_run_closes_it() -> None:
    net, lost, _left = holed()
    net.delete("B", "a")
    net.run(60_000)
    assert len(net.at("B", "a")) == 1
    assert f"lacks ticks of {lost.inc}" in why(net, "B", "a")


def test_a_hole_becomes_void_when_all_members_agree() -> None:
    net, lost, left = holed()
    store = Store()
    net.start("A", store=store)  # its disk has nothing of all this
    net.link("A", "B")
    net.run(100_000)
    for label in "ABC":
        assert net[label].known[lost.inc] == Ticks.upto(left.tick)
        assert net.read(label, "a") == 2
    assert net.converged()
    net.delete("C", "a")
    net.run()
    assert [net.at(label, "a") for label in "ABC"] == [(), (), ()]


def test_a_hole_is_not_void_before_the_last_member_has_the_mark() -> None:
    net, lost, _left = holed()
    net.cut("B", "C")
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    assert lost not in net["A"].known
    assert lost not in net["B"].known
    net.link("C", "B")
    net.run(5_000)
    assert all(lost in net[label].known for label in "ABC")


def test_a_hole_is_not_void_before_the_mark_is_durable_everywhere() -> None:
    net, lost, _left = holed()
    net.start("A")
    net.nodes["C"].stuck = True
    net.link("A", "B")
    net.run(100_000)
    assert lost not in net["A"].known
    net.unstick("C")
    net.run(5_000)
    assert all(lost in net[label].known for label in "ABC")


def test_trace_4_a_late_tick_is_not_resurrected() -> None:
    """The lost tick was in a buffer: it arrives, at a node that has the mark, from one that has not."""
    net, lost, _left = holed()
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    net.delete("C", "a")
    net.run()
    late = Stranger(net, "B", "A", session=4712)
    late.introduce()
    late.send(Versions((version("a", lost.tick, "late", lost.inc),)))
    net.run(60_000)
    assert [net.at(label, "a") for label in "ABC"] == [(), (), ()]
    assert net.converged()


def test_a_late_tick_before_the_hole_is_void_is_refused_without_the_mark() -> None:
    net, lost, _left = holed()
    net.cut("B", "C")
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    late = Stranger(net, "B", "Q", session=4712)
    late.introduce()
    late.send(Versions((version("b", lost.tick, "late", lost.inc),)))
    assert not late.is_cut
    assert lost not in net["B"].known
    assert net.at("B", "b") == ()


def test_a_late_tick_from_a_node_with_the_mark_fills_the_hole() -> None:
    net, lost, _left = holed()
    net.cut("B", "C")
    feeder = Stranger(net, "C", "Q", session=4712)
    feeder.send(Versions((version("b", lost.tick, "late", lost.inc),)))
    net.start("A")
    net.link("A", "B")
    net.run(10_000)
    net.link("B", "C")
    net.run(10_000)
    assert [net.read(label, "b") for label in "ABC"] == ["late"] * 3
    assert net.converged()


def test_an_old_disk_with_a_void_tick_is_set_aside() -> None:
    """D is no member and was away with the tick that became void meanwhile."""
    net, lost, _left = holed()
    net.start("D", member=False)
    Stranger(net, "D", "Q", session=4712).send(Versions((version("b", lost.tick, "old disk", lost.inc),)))
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    assert lost in net["B"].known
    net.link("D", "B")
    net.run(60_000)
    assert [net.at(label, "b") for label in "ABCD"] == [()] * 4
    assert net.converged()
    assert [q.version.dot for q in net["D"].state.quarantine] == [lost]


def test_a_newcomer_gets_everything_of_a_closed_incarnation() -> None:
    """The members are done with the mark; the newcomer learns of it by the record, amid its first session."""
    net, lost, _ = holed()
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    assert lost in net["C"].known
    net.start("D", member=False)
    net.link("D", "C")
    net.run(5_000)
    assert net.converged()


def test_no_hole_is_void_before_an_older_process_would_have_been_heard() -> None:
    net, lost, _left = holed(limits=Limits(close_delay_ms=1_000))
    net.start("A")
    net.link("A", "B")
    net.run(net.limits.beat_ms)
    assert all(lost.inc in net[label].state.durable_marks for label in "ABC")
    assert all(lost not in net[label].known for label in "ABC")
    net.run(2 * net.limits.duplicate_grace_ms)
    assert all(lost in net[label].known for label in "ABC")


def test_nothing_is_void_or_forgotten_on_suspicion() -> None:
    """The run's own process is heard once more after the next one has started, by C alone."""
    net, lost, left = holed(limits=Limits(close_delay_ms=1_000))
    net.start("A")
    net.link("A", "B")
    net.run(net.limits.duplicate_grace_ms)
    stranger = Stranger(net, "C", "A", session=4711)
    stranger.introduce()
    stranger.send(Ack((AckState("A", 4711, 1, {}, (), ()),)))
    net.run(net.limits.beat_ms)
    net._close("C", stranger.link)
    net["C"].unlinked(stranger.link, net.now)
    net.run(net.limits.beat_ms)
    assert net["C"].acks.processes.suspects == {"A"}
    assert not net["C"].acks.processes.duplicates
    net.delete("C", "a")
    assert all(lost not in net[label].known for label in "ABC")
    net.run(2 * net.limits.duplicate_clear_ms)
    assert all(net[label].known[lost.inc] == Ticks.upto(left.tick) for label in "ABC")
    assert net.at("C", "a") == ()


def test_no_hole_is_void_while_there_are_clones() -> None:
    net, lost, _left = holed()
    net.start("A")
    net.start("A2", name="A", store=net.nodes["A"].store.copy())
    net.link("A", "B")
    net.link("A2", "B")
    net.run(100)
    net.run(20_000)
    assert all(lost not in net[label].known for label in ("A", "A2", "B", "C"))


def test_holes_of_the_volatile_twin_become_void_too() -> None:
    net = volatile("A", "B")
    net.write("A", "v.a", 1)
    inc = net["A"].state.inc
    assert inc is not None
    twin = volatile_twin(inc)
    net.run()
    net.crash("A")
    lost = Dot(twin, 2)
    stranger = Stranger(net, "B", "A", session=4711)
    stranger.send(Versions((version("v.a", 3, 3, twin),)))
    net._close("B", stranger.link)
    net["B"].unlinked(stranger.link, net.now)
    net.start("A")
    net.link("A", "B")
    net.run(100_000)
    assert all(lost in net[label].known for label in "AB")
    net.delete("B", "v.a")
    net.run()
    assert net.at("A", "v.a") == net.at("B", "v.a") == ()
    assert net.converged()


def test_a_session_with_a_hole_by_the_real_order() -> None:
    """The hole as it comes about: a session was cut between two changes."""
    net, lost, _left, store = crashed_with_a_hole()
    net.start("A", store=store)
    net.link("A", "B")
    net.run(100_000)
    assert net.converged()
    assert all(net[label].known[lost.inc].is_whole for label in "ABC")
    assert all(net.values(label, path) in ([], [1], [2]) for label in "ABC" for path in "ab")


def test_marks_end_when_nothing_is_missing() -> None:
    net = linked(*"ABC")
    for _ in range(6):
        net.restart("A")
        net.write("A", "x", 1)
        net.link("A", "B")
        net.run(5_000)
    net.run(60_000)
    assert net.converged()
    for label in "ABC":
        assert len(net[label].state.closed) <= 2


def test_holes_of_a_partial_replica_become_void() -> None:
    """It is no member, but nobody else can close what it ran."""
    net = linked("A", "B")
    net.start("P", view=("p.#",))
    net.write("P", "p.x", 1)
    net.delete("P", "p.x")
    net.flow()
    net.restart("P", view=("p.#",), doubts=("a page was unreadable",))  # so it forgot the superseded tick
    net.link("P", "B")
    net.run()
    net.write("P", "p.y", 1)
    net.write("A", "p.x", 2)
    net.run(200_000)
    assert vectors(net, "A", "p.x") == vectors(net, "B", "p.x") == [{}]
    assert net.converged("A", "B")
