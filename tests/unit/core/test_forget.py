"""Stripping and forgetting (R1, R2): only durable knowledge of every member decides."""

from __future__ import annotations

from kvnode.core.limits import Limits
from kvnode.core.messages import PathAsk, PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import incarnation
from tests.support.replicas import Net, linked
from tests.support.strangers import Stranger, Z, version


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


def _beside(net: Net) -> None:
    """B still holds the tombstone when A, which has forgotten it, writes anew."""
    net.mesh("A", "B", "C")
    net.write("A", "x", 1)
    net.run(10_000)
    net.hold("C", "B")
    net.delete("B", "x")
    net.run(5_000)
    assert (net.at("A", "x"), len(net.at("B", "x"))) == ((), 1)
    net.write("A", "x", 2)
    net.flow()


def test_a_value_written_after_forgetting_is_no_conflict() -> None:
    net = Net("A", "B", "C")
    _beside(net)
    assert len(net.at("B", "x")) == 2
    net.release("C", "B")
    net.run(5_000)
    assert [len(net.at(label, "x")) for label in "ABC"] == [1, 1, 1]
    assert net.read("B", "x") == 2
    assert not net["B"].state.conflicts


def test_peers_are_asked_again_if_they_did_not_know_better_at_first() -> None:
    net = Net("A", "B", "C")
    _beside(net)
    net.cut("A", "B")
    net.release("C", "B")
    net.run(5_000)
    net.link("A", "B")
    net.run(net.limits.check_ms)
    assert not net["B"].state.conflicts


def test_a_true_conflict_with_a_delete_stays_and_is_asked_for_rarely() -> None:
    net = Net("A", "B")
    net.mesh("A", "B")
    net.write("A", "x", 1)
    net.run(10_000)
    net.cut("A", "B")
    net.write("A", "x", 2)
    net.delete("B", "x")
    net.link("A", "B")
    net.run(10_000)
    net.log.clear()
    checks = 2 * net.limits.retell_checks
    net.run(checks * net.limits.check_ms)
    assert [len(net.at(label, "x")) for label in "AB"] == [2, 2]
    assert 1 <= len(net.sent(PathAsk, "A")) <= 2
    assert all(siblings == () for tell in net.sent(PathTell, "B") for _, siblings, _ in tell.paths)
