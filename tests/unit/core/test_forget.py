"""Stripping, forgetting, void ticks (R1, R2, R3): only durable knowledge of every member decides."""

from __future__ import annotations

from typing import Any

from kvnode.core.entry import Version, body_of
from kvnode.core.limits import Limits
from kvnode.core.messages import Versions
from kvnode.core.path import Path
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot, Ticks, incarnation, volatile_twin
from tests.support.replicas import WALL, Net, Store, Stranger, enc

Z = incarnation("Z", 1)


def version(path: str, tick: int, value: Any = 1, inc: str = Z, vector: dict[str, int] | None = None) -> Version:
    packed = None if value is None else enc(value)
    return Version.make(Dot(inc, tick), vector or {}, body_of(Path.parse(path), stamp_of(WALL), packed))


def linked(*names: str, **options: Any) -> Net:
    net = Net(*names, **options)
    net.link(*names)
    net.run()
    return net


def vectors(net: Net, label: str, path: str) -> list[dict[str, int]]:
    return [dict(v.vector) for v in net.at(label, path)]


def why(net: Net, label: str, path: str) -> str:
    return "\n".join(net[label].forget.explain(Path.parse(path).key))


# -- stripping (R1) ----------------------------------------------------------------------------------------------------


def test_a_vector_is_stripped_when_all_members_hold_it_durably() -> None:
    net = linked(*"ABC")
    first = net.write("A", "x", 1)
    net.run()
    net.nodes["C"].stuck = True
    net.write("B", "x", 2)
    net.run()
    assert [vectors(net, label, "x") for label in "ABC"] == [[{first.inc: first.tick}]] * 3
    net.unstick("C")
    net.run()
    assert [vectors(net, label, "x") for label in "ABC"] == [[{}]] * 3


def test_nothing_is_stripped_while_a_member_is_away() -> None:
    net = linked(*"ABC")
    net.write("A", "x", 1)
    net.run()
    net.cut("B", "C")
    net.write("B", "x", 2)
    net.run(200_000)
    assert all(vectors(net, "A", "x"))
    assert "C has not acknowledged" in why(net, "A", "x")
    net.link("C", "B")
    net.run()
    assert not any(vectors(net, label, "x")[0] for label in "ABC")
    assert why(net, "A", "x") == ""


def test_a_member_that_was_never_heard_blocks() -> None:
    net = Net("A")
    Stranger(net, "A", "Q").send(Versions((version("@.nodes.Z", 1, {"inc": Z}),)))
    net.write("A", "x", 1)
    net.delete("A", "x")
    net.run(100_000)
    assert len(net.at("A", "x")) == 1
    assert "nothing heard from Z" in why(net, "A", "x")


def test_the_own_disk_counts() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.nodes["A"].stuck = True
    net.write("B", "x", 2)
    net.run()
    assert all(vectors(net, "A", "x"))
    assert "this node lacks" in why(net, "A", "x")
    net.unstick("A")
    net.run()
    assert vectors(net, "A", "x") == [{}]


def test_a_hole_below_the_vector_blocks() -> None:
    """R1 asks for all ticks 1..t, not for t alone (trace 1)."""
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(Versions((version("x", 5, vector={incarnation("Y", 1): 3}),)))
    net.run(100_000)
    assert all(vectors(net, "A", "x"))
    stranger.send(Versions(tuple(version(f"z.:{n}", n) for n in range(1, 5))))
    net.run()
    assert all(vectors(net, "A", "x"))
    stranger.send(Versions(tuple(version(f"y.:{n}", n, inc=incarnation("Y", 1)) for n in range(1, 4))))
    net.run()
    assert vectors(net, "A", "x") == [{}]


def test_trace_1_an_early_strip_would_leave_a_false_sibling() -> None:
    net = linked(*"ABC")
    net.link("C", "A")
    net.run()
    first = net.write("B", "x", 1)
    net.run()
    for pair in ("AB", "CA"):
        net.cut(*pair)
    net.write("C", "x", 2)
    net.run(60_000)
    net.cut("B", "C")
    net.link("A", "C")
    net.run()
    assert first in net["A"].known
    assert [net.values(label, "x") for label in "AC"] == [[2], [2]]


def test_stripping_is_stored() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.write("B", "x", 2)
    net.run()
    assert vectors(net, "A", "x") == [{}]
    net.restart("A")
    assert vectors(net, "A", "x") == [{}]
    net.link("A", "B")
    net.run()
    assert net.converged()


# -- forgetting (R2) ---------------------------------------------------------------------------------------------------


def test_a_tombstone_is_forgotten_when_all_members_hold_it_durably() -> None:
    net = linked(*"ABC")
    net.write("A", "x", 1)
    net.run()
    net.nodes["C"].stuck = True
    dot = net.delete("B", "x")
    net.run(100_000)
    assert all(net.has(label, dot) for label in "ABC")
    net.unstick("C")
    net.run()
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]
    assert all(dot in net[label].known for label in "ABC")
    assert net.converged()
    assert all(Path.parse("x").key not in net.nodes[label].store.rows for label in "ABC")


def test_forgetting_is_not_told_to_watchers() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.delete("A", "x")
    net.flow()
    for label in "AB":
        assert net.nodes[label].notes[-1] == (Path.parse("x"), ())
        net.nodes[label].notes.clear()
    net.run(60_000)
    assert net.at("A", "x") == net.at("B", "x") == ()
    assert net.nodes["A"].notes == net.nodes["B"].notes == []


def test_a_tombstone_beside_a_value_stays() -> None:
    """Trace 3: forgetting must not change what is read."""
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.cut("A", "B")
    net.write("A", "x", 2)
    gone = net.delete("B", "x")
    net.link("A", "B")
    net.run(100_000)
    for label in "AB":
        assert net.has(label, gone)
        assert net.read(label, "x") == 2
        assert "resolve the conflict" in why(net, label, "x")
    net.delete("A", "x")
    net.run()
    assert net.at("A", "x") == net.at("B", "x") == ()


def test_concurrent_tombstones_are_forgotten_together() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.run()
    net.cut("A", "B")
    net.delete("A", "x")
    net.delete("B", "x")
    net.link("A", "B")
    net.run()
    assert net.at("A", "x") == net.at("B", "x") == ()


def test_trace_2_a_late_value_is_not_resurrected() -> None:
    net = linked(*"ABC")
    net.link("A", "C")
    net.run()
    net.hold("A", "B")
    net.write("A", "x", 1)
    (value,) = net.at("A", "x")
    net.flow()
    gone = net.delete("A", "x")
    net.run(60_000)
    assert any(isinstance(m, Versions) for m in net.on_the_way("A", "B"))
    assert net.at("A", "x") == net.at("C", "x") == ()
    assert net.has("B", gone)  # it has the delete from C; A's words to B are late
    net.release("A", "B")
    net.run()
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]
    Stranger(net, "B", "Q").send(Versions((value,)))
    net.run(60_000)
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]
    assert net.converged()


def test_a_node_that_is_no_member_forgets_by_what_the_members_hold() -> None:
    net = Net("A", "B")
    net.start("C", member=False)
    net.link(*"ABC")
    net.run()
    net.write("A", "x", 1)
    net.run()
    net.cut("A", "B")
    net.delete("B", "x")
    net.run(60_000)
    assert len(net.at("C", "x")) == 1
    net.link("A", "B")
    net.run()
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]


def test_an_expired_version_is_forgotten_in_a_quiet_net() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1, expiry=net.now.wall + 5_000)
    net.run(5_500)
    assert net.read("A", "x") is None
    net.run(net.limits.max_skew_ms + 5_000)
    assert net.at("A", "x") == net.at("B", "x") == ()
    assert net.converged()


def test_an_expired_version_waits_for_every_clock() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1, expiry=net.now.wall + 5_000)
    net.run(net.limits.max_skew_ms)
    net.write("A", "y", 1)
    net.run()
    assert len(net.at("A", "x")) == len(net.at("B", "x")) == 1


def test_an_expired_version_that_a_member_lacks_stays() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    net.write("A", "x", 1, expiry=net.now.wall + 1_000)
    net.run(300_000)
    assert len(net.at("A", "x")) == 1
    assert "B has not acknowledged" in why(net, "A", "x")
    net.link("A", "B")
    net.run(100_000)
    assert net.at("A", "x") == net.at("B", "x") == ()
    assert net.converged()


def test_forgetting_goes_on_after_a_restart_of_all() -> None:
    net = linked("A", "B")
    for n in range(20):
        net.write("A", f"x.:{n}", n)
    net.run()
    net.cut("A", "B")
    for n in range(20):
        net.delete("A", f"x.:{n}")
    net.flow()
    for label in "AB":
        net.restart(label)
    net.link("A", "B")
    net.run()
    assert [net[label].state.tombstones for label in "AB"] == [0, 0]
    assert net.converged()


def test_many_paths_are_worked_off_in_batches() -> None:
    net = linked("A", "B", limits=Limits(forget_batch=10))
    for n in range(100):
        net.write("A", f"x.:{n}", n)
    net.write("A", "y", 1)
    net.run()
    for n in range(100):
        net.delete("A", f"x.:{n}")
    net.run(1_000)
    assert [net[label].state.tombstones for label in "AB"] == [0, 0]
    assert net.read("B", "y") == 1


def test_retiring_a_member_lets_forgetting_go_on() -> None:
    net = linked(*"ABC")
    net.write("A", "x", 1)
    net.run()
    net.crash("C")
    net.delete("A", "x")
    net.run(60_000)
    assert len(net.at("A", "x")) == 1
    assert net["A"].retire("C", net.now) is None
    net.run(5_000)
    assert [net.at(label, "x") for label in "AB"] == [(), ()]
    assert [net.at(label, "@.nodes.C") for label in "AB"] == [(), ()]
    assert net["A"].members() == net["B"].members() == {"A", "B"}


# -- volatile (R7) -----------------------------------------------------------------------------------------------------


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


# -- void ticks (R3) ---------------------------------------------------------------------------------------------------


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


def holed(late: bool = False) -> tuple[Net, Dot, Dot]:
    """A, B, C are members; of A's incarnation that is gone B and C know tick `left`, nobody has tick `lost`."""
    net = linked(*"ABC")
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
