"""What the system's own tree says, marks, policies; conflicts, tombstones, expiry, and what is set aside."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.entry import Version, body_of
from kvnode.core.limits import Limits
from kvnode.core.messages import Ack, AckState, Versions
from kvnode.core.path import Path
from kvnode.core.policy import Policy
from kvnode.core.ticks import Dot, incarnation, name_of
from tests.support.replicas import Net
from tests.support.strangers import Stranger, Z, version

# -- the system's own tree ---------------------------------------------------------------------------------------------


def test_members_are_the_names_with_a_record() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(
        Versions(
            (
                version("@.nodes.B", 1, {"inc": Z}),
                version("@.nodes.C.deeper", 2, {"inc": Z}),
                version("@.nodes.D", 3, None),
                version("@.nodes.:5", 4, {"inc": Z}),
                version("@.nodes", 5, {"inc": Z}),
                version("@.nodes.E", 6, "not even a map"),
            )
        )
    )
    assert net["A"].members() == {"A", "B", "E"}
    stranger.send(Versions((Version.make(Dot(Z, 7), {}, body_of(("@", "nodes", "B"), 9, None)),)))
    assert net["A"].members() == {"A", "E"}


@pytest.mark.parametrize(
    "value",
    [None, 3, [], {}, {"closes": 3}, {"closes": [3, None, "x", {}]}, {"closes": {Z: 1}}, {"inc": 5, "addresses": {}}],
    ids=repr,
)
def test_records_of_any_shape_do_no_harm(value: Any) -> None:
    net = Net("A")
    peer = Stranger(net, "A")
    inc = incarnation("A", 99)
    peer.send(
        Versions((version("@.nodes.B", 1, value), version("@.partial.C", 2, value), version("@.nodes.A", 3, value)))
    )
    peer.send(Versions((version("@.policy.q", 4, value), version("@.volatile.q", 5, value))))
    net.run(100_000)
    assert not peer.why
    assert not net["A"].state.is_closed(inc)
    net.write("A", "x", 1)
    net.restart("A")
    assert net["A"].name in net["A"].members()


def test_the_mark_of_a_member_holds_until_nothing_is_missing() -> None:
    net = Net("A")
    inc, other = incarnation("B", 1), incarnation("B", 2)
    Stranger(net, "A", "Q").mark(inc)
    net.run(60_000)
    assert net["A"].state.is_closed(inc)
    assert net["A"].state.is_closed(inc + "v")
    assert not net["A"].state.is_closed(other)
    Stranger(net, "A", "Y", session=5, marks=(inc,)).send(Versions((version("x", 1, inc=inc),)))
    net.run(60_000)
    assert net.read("A", "x") == 1
    assert not net["A"].state.is_closed(inc)


def test_the_mark_of_one_who_is_no_member_does_not_count() -> None:
    net = Net("A")
    inc = incarnation("B", 1)
    stranger = Stranger(net, "A", "Q", marks=(inc,))
    stranger.introduce()
    stranger.send(Ack((AckState("Q", 77, 1, {inc: (1, 2)}, (inc,), ()),)))
    assert not net["A"].state.is_closed(inc)


def test_a_mark_is_durable_when_it_is_stored() -> None:
    net = Net("A")
    net.run()
    net.nodes["A"].stuck = True
    inc = incarnation("B", 1)
    Stranger(net, "A", "Q").mark(inc)
    assert inc in net["A"].state.closed
    assert inc not in net["A"].state.durable_marks
    net.unstick("A")
    assert inc in net["A"].state.durable_marks
    net.restart("A")
    assert inc in net["A"].state.durable_marks


def test_a_mark_that_came_after_the_persist_is_not_durable_with_it() -> None:
    net = Net("A")
    net.nodes["A"].stuck = True
    net.write("A", "x", 1)
    net.flow()
    (*_, before) = net.nodes["A"].waiting
    inc = incarnation("B", 1)
    Stranger(net, "A", "Q").mark(inc)
    assert inc in net["A"].state.closed
    net["A"].persisted(before.token, net.now)
    assert inc not in net["A"].state.durable_marks
    net.unstick("A")
    assert inc in net["A"].state.durable_marks


@pytest.mark.parametrize("stored", [b"", b"\xc1", b"\x01", b"\x91\x01", b"\x91\xa1x", b"\x80"])
def test_stored_marks_of_any_shape_do_no_harm(stored: bytes) -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    store = net.crash("A")
    store.meta["marks"] = stored
    net.start("A", store=store)
    assert net.read("A", "x") == 1
    assert net["A"].state.closed == frozenset()


def two_values(net: Net, path: str) -> None:
    """Concurrent values at `path`, of two nodes that are linked again afterwards."""
    net.cut("A", "B")
    net.write("A", path, 5)
    net.write("B", path, 3)
    net.link("A", "B")
    net.run()


def test_a_change_of_policy_tells_again_what_reads_differently() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    for path in ("a.x", "b.x"):
        two_values(net, path)
    net.write("A", "a.y", 1)
    net.run()
    net.nodes["B"].notes.clear()
    net.write("A", "@.policy.p", {"pattern": "a.#", "policy": "min"})
    net.run()
    told = [str(path) for path, _ in net.nodes["B"].notes if path[0] != "@"]
    assert told == ["a.x"]
    assert net["B"].policy_of(("a", "x")) == Policy("min")
    assert net.read("B", "a.x") == 3
    net.nodes["B"].notes.clear()
    net.delete("A", "@.policy.p")
    net.run()
    assert "a.x" in [str(path) for path, _ in net.nodes["B"].notes]
    assert net["B"].policy_of(("a", "x")) == Policy("newest")


def test_a_policy_that_is_none_is_reported() -> None:
    net = Net("A")
    net.write("A", "@.policy.p", {"pattern": "a.#", "policy": "loudest"})
    net.flow()
    (report,) = net.nodes["A"].reports
    assert (report.kind, report.subject) == ("bad_policy", "a.#")
    assert "loudest" in report.text
    assert net["A"].policy_of(("a",)) == Policy("newest")


def test_concurrent_policies_for_one_pattern_are_the_same_everywhere() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.cut("A", "B")
    net.write("A", "@.policy.p", {"pattern": "a", "policy": "max"})
    net.write("B", "@.policy.p", {"pattern": "a", "policy": "min"})
    net.link("A", "B")
    net.run()
    assert net["A"].policy_of(("a",)) == net["B"].policy_of(("a",))
    net.restart("A")
    assert net["A"].policy_of(("a",)) == net["B"].policy_of(("a",))


# -- conflicts, tombstones, expiry -------------------------------------------------------------------------------------


def test_conflicts_are_listed_until_they_are_resolved() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    two_values(net, "x")
    key = Path.parse("x").key
    assert list(net["A"].state.conflicts) == list(net["B"].state.conflicts) == [key]
    assert net.values("A", "x") == net.values("B", "x") == [3, 5]
    net.write("B", "x", 4)
    net.run()
    assert not net["A"].state.conflicts
    assert net.values("A", "x") == [4]


def test_tombstones_are_counted() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    for n in range(4):
        net.write("A", f"x.:{n}", n)
    net.run()
    net.cut("A", "B")
    for n in range(3):
        net.delete("A", f"x.:{n}")
    net.run()
    assert net["A"].state.tombstones == 3
    net.write("A", "x.:0", 1)
    assert net["A"].state.tombstones == 2
    net.link("A", "B")
    net.run()
    assert net["A"].state.tombstones == net["B"].state.tombstones == 0


def test_an_expiry_is_told_when_its_time_has_come() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.write("A", "x", 1, expiry=net.now.wall + 1_000)
    net.run(999)
    assert net.read("B", "x") == 1
    net.nodes["B"].notes.clear()
    net.run(1)
    assert net.read("B", "x") is None
    net.run(1)
    assert net.nodes["B"].notes == [(Path.parse("x"), ())]


def test_an_expiry_that_was_overwritten_is_not_told() -> None:
    net = Net("A")
    net.write("A", "x", 1, expiry=net.now.wall + 1_000)
    net.write("A", "x", 2)
    net.flow()
    net.nodes["A"].notes.clear()
    net.run(5_000)
    assert net.nodes["A"].notes == []
    assert net.read("A", "x") == 2


def test_an_expiry_survives_a_restart() -> None:
    net = Net("A")
    net.write("A", "x", 1, expiry=net.now.wall + 1_000)
    net.flow()
    net.restart("A")
    assert net.read("A", "x") == 1
    net.run(1_001)
    assert (Path.parse("x"), ()) in net.nodes["A"].notes


def test_what_expires_while_the_machine_sleeps_is_told() -> None:
    net = Net("A")
    net.write("A", "x", 1, expiry=net.now.wall + 1_000)
    net.write("A", "x", 2, expiry=net.now.wall + 2_000)
    net.flow()
    net.nodes["A"].notes.clear()
    net.t += 1_000_000
    net.wake()
    net.flow()
    assert net.nodes["A"].notes[:1] == [(Path.parse("x"), ())]


def test_expiries_are_bounded() -> None:
    net = Net("A")
    for n in range(2_000):
        net.write("A", "x", n, expiry=net.now.wall + 10**9)
    assert len(net["A"].state._expiries) <= 200


def test_what_is_set_aside_is_bounded_and_shown() -> None:
    net = Net(limits=Limits(quarantine=3))
    net.start("A")
    state = net["A"].state
    for tick in range(1, 6):
        v = version("x", tick, tick)
        state.add(v.key, v)
        state.drop(v.key, v, "for a test", net.now)
    gone, late = version("x", 7, None), version("x", 8, 1, expiry=net.now.wall)
    for v in (gone, late):
        state.add(v.key, v)
        state.drop(v.key, v, "for a test", net.now)
    net.flow()
    assert [q.version.tick for q in state.quarantine] == [3, 4, 5]
    assert all((q.why, q.wall, name_of(q.version.inc)) == ("for a test", net.now.wall, "Z") for q in state.quarantine)
    assert [r.kind for r in net.nodes["A"].reports] == ["quarantine"] * 5
    assert net.at("A", "x") == ()
