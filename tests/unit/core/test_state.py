"""The shared state: loading (and R6), what goes to the store, what the system's tree says, notifications, bounds."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.effects import Change, Notify, Persist, Send
from kvnode.core.entry import Version, body_of, decode_record, encode_record
from kvnode.core.limits import Limits
from kvnode.core.messages import Ack, AckState, Versions
from kvnode.core.path import Path
from kvnode.core.policy import Policy
from kvnode.core.stamp import stamp_of, wall_ms
from kvnode.core.ticks import Dot, Ticks, incarnation, is_volatile, name_of
from tests.support.replicas import WALL, Net, Store, Stranger, enc

Z = incarnation("Z", 1)


def version(path: str, tick: int, value: Any = 1, inc: str = Z, stamp: int = stamp_of(WALL), **more: Any) -> Version:
    packed = None if value is None else enc(value)
    return Version.make(Dot(inc, tick), {}, body_of(Path.parse(path), stamp, packed, **more))


OTHER = version("@.nodes.Z", 100, {"inc": Z})
"""Another member: without one there is nobody to rejoin."""


def store_with(*versions: Version, known: bool = True) -> Store:
    store = Store()
    for v in versions:
        have = store.rows.get(v.key)
        store.rows[v.key] = encode_record((*(decode_record(have) if have else ()), v))
        if known:
            store.known[v.inc] = store.known.get(v.inc, Ticks()).add(v.tick)
    return store


# -- loading -----------------------------------------------------------------------------------------------------


def test_a_restart_finds_everything_again() -> None:
    net = Net("A")
    for text in ("x", "x.y", "z.:3"):
        net.write("A", text, text)
    net.delete("A", "x.y")
    net.run()
    before, known = net.dump("A"), dict(net["A"].known.map)
    print_ = net["A"].tree.print_of_all
    net.restart("A")
    assert net.dump("A") == before
    assert dict(net["A"].known.map) == known
    assert net["A"].tree.print_of_all == print_
    assert net["A"].is_current
    assert all(net["A"].durable_here(Dot(inc, t)) for inc, ticks in known.items() for t in ticks)
    assert not net["A"].take_effects()


def test_what_was_not_persisted_is_gone_after_a_crash() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    net.nodes["A"].stuck = True
    dot = net.write("A", "x", 2)
    net.flow()
    assert not net["A"].durable_here(dot)
    net.restart("A")
    assert net.read("A", "x") == 1
    assert dot not in net["A"].known


def test_with_a_doubt_known_is_exactly_what_is_held() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    for n in range(5):
        net.write("A", "x", n)
    net.write("A", "y", 1)
    net.run()
    inc = net["A"].state.inc
    assert inc is not None
    assert net["A"].known[inc].is_whole
    net.restart("A", doubts=("salvaged",))
    held = {v.tick for _, v in net["A"].tree.versions() if v.inc == inc}
    assert set(net["A"].known[inc]) == held != set(range(1, 8))
    assert not net["A"].is_current
    net.flow()
    assert [r.text for r in net.nodes["A"].reports] == ["salvaged"]
    assert set(net.nodes["A"].store.known[inc]) == held


def test_a_node_without_other_members_has_nobody_to_wait_for() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    net.restart("A", doubts=("salvaged",))
    assert net["A"].is_current
    net.flow()
    assert net.nodes["A"].kinds() == {"store_doubt"}


def test_an_incarnation_of_which_nothing_is_held_is_removed_from_the_store_in_doubt() -> None:
    store = store_with(version("x", 1), OTHER)
    store.known[incarnation("Y", 2)] = Ticks.upto(9)
    net = Net()
    net.start("A", store=store, doubts=("salvaged",), member=False)
    net.flow()
    assert dict(net["A"].known.map) == {Z: Ticks.of(1, 100)} == store.known


def test_a_version_that_is_missing_from_known_is_a_doubt() -> None:
    net = Net()
    net.start("A", store=store_with(version("x", 3), OTHER, known=False), member=False)
    assert not net["A"].is_current
    assert dict(net["A"].known.map) == {Z: Ticks.of(3, 100)}
    assert not net["A"].durable_here(Dot(Z, 3))
    net.flow()
    assert net.nodes["A"].kinds() == {"store_doubt"}
    assert net["A"].durable_here(Dot(Z, 3))


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x90", b"\x01", b"\x91\x95\xa1x\x01\x80\xc4\x00\xc4\x00"])
def test_an_unreadable_row_is_a_doubt(record: bytes) -> None:
    store = store_with(version("x", 1), OTHER)
    store.rows[Path.parse("bad").key] = record
    net = Net()
    net.start("A", store=store, member=False)
    net.flow()
    assert not net["A"].is_current
    assert net.nodes["A"].kinds() == {"store_doubt"}
    assert net.read("A", "x") == 1


def test_a_row_of_another_path_is_a_doubt() -> None:
    store = store_with(version("x", 1), OTHER)
    store.rows[Path.parse("y").key] = store.rows[Path.parse("x").key]
    net = Net()
    net.start("A", store=store, member=False)
    net.flow()
    assert not net["A"].is_current
    assert net.at("A", "y") == ()
    assert net.read("A", "x") == 1


def test_an_unreadable_row_is_doubted_once() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("B", "x", 1)
    net.run()
    store = net.crash("A")
    store.rows[Path.parse("bad").key] = b"\xc1"
    net.start("A", store=store)
    net.link("A", "B")
    net.run()
    assert net["A"].is_current
    net.restart("A")
    net.flow()
    assert net["A"].is_current
    assert not net.nodes["A"].reports


def test_a_far_stamp_does_not_move_the_clock_at_load() -> None:
    net = Net("A")
    far = stamp_of(WALL + 10**10)
    Stranger(net, "A").send(Versions((version("x", 1, stamp=far),)))
    net.run()
    assert "clock_skew" in net.nodes["A"].kinds()
    net.write("A", "y", 1)
    assert wall_ms(net.at("A", "y")[0].stamp) == net.now.wall
    net.flow()
    net.restart("A")
    net.write("A", "y", 2)
    assert wall_ms(net.at("A", "y")[0].stamp) == net.now.wall
    net.write("A", "x", 2)
    assert net.at("A", "x")[0].stamp > far
    assert net.values("A", "x") == [2]


def test_stamps_go_on_rising_after_a_restart_with_a_clock_set_back() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    first = net.at("A", "x")[0].stamp
    store = net.crash("A")
    net.t -= 30_000
    net.start("A", store=store)
    net.write("A", "y", 1)
    assert net.at("A", "y")[0].stamp > first


# -- to the store --------------------------------------------------------------------------------------------------


def test_effects_come_in_order_of_durability() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.write("A", "x", 1)
    kinds = [type(e) for e in net["A"].take_effects()]
    assert kinds == [Persist, Send, Notify]


def test_rows_and_known_of_a_change_are_one_transaction() -> None:
    net = Net("A")
    net.flow()
    out = net.propose("A", Change(Path.parse("x"), enc(1)), Change(Path.parse("y"), enc(2)))
    assert isinstance(out, list)
    (persist,) = [e for e in net["A"].take_effects() if isinstance(e, Persist)]
    assert set(persist.rows) == {Path.parse("x").key, Path.parse("y").key}
    (ticks,) = persist.known.values()
    assert ticks is not None
    assert {w.dot.tick for w in out} <= set(ticks)


def test_a_token_stands_for_all_below_it() -> None:
    net = Net("A")
    net.run()
    dots, tokens = [], []
    for n in range(3):
        dots.append(net.write("A", "x", n))
        tokens += [e.token for e in net["A"].take_effects() if isinstance(e, Persist)]
    assert tokens == sorted(set(tokens))
    net["A"].persisted(tokens[1], net.now)
    assert [net["A"].durable_here(d) for d in dots] == [True, True, False]
    net["A"].persisted(tokens[2], net.now)
    assert net["A"].durable_here(dots[2])


def test_a_write_that_was_superseded_before_it_was_stored_counts_as_durable_with_its_successor() -> None:
    net = Net("A")
    net.run()
    net.nodes["A"].stuck = True
    first, second = net.write("A", "x", 1), net.write("A", "x", 2)
    net.flow()
    assert not net["A"].durable_here(first)
    net.sync_disk("A")
    assert net["A"].durable_here(first)
    assert net["A"].durable_here(second)


def test_a_path_that_is_no_longer_held_is_removed_from_the_store() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    assert Path.parse("x").key in net.nodes["A"].store.rows
    net.delete("A", "x")
    net.run()
    assert net.at("A", "x") == ()  # the only member forgets at once
    assert Path.parse("x").key not in net.nodes["A"].store.rows


def test_nothing_changed_nothing_to_do() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.run()
    assert net["A"].take_effects() == []
    net.run(200_000)
    assert net["A"].take_effects() == []


# -- volatile (R7) ---------------------------------------------------------------------------------------------------


def volatile_net(*names: str) -> Net:
    net = Net(*names)
    net.link(*names)
    net.write(names[0], "@.volatile.one", {"pattern": "v.#"})
    net.run()
    return net


def test_volatile_writes_take_ticks_of_their_own_and_are_not_stored() -> None:
    net = volatile_net("A")
    stored = dict(net.nodes["A"].store.rows), dict(net.nodes["A"].store.known)
    dot = net.write("A", "v.x", 1)
    assert is_volatile(dot.inc)
    assert dot.tick == 1
    assert net["A"].durable_here(dot)  # which means: in memory
    net.run()
    assert (net.nodes["A"].store.rows, net.nodes["A"].store.known) == stored
    net.restart("A")
    assert net.read("A", "v.x") is None
    assert not [inc for inc in net["A"].known.map if is_volatile(inc)]


def test_system_entries_are_never_volatile() -> None:
    net = Net("A")
    net.write("A", "@.volatile.all", {"pattern": "#"})
    net.flow()
    assert is_volatile(net.write("A", "x", 1).inc)
    assert not is_volatile(net.write("A", "@.policy.x", {"pattern": "x", "policy": "max"}).inc)
    net.flow()
    net.restart("A")
    assert not is_volatile(net.write("A", "@.policy.y", {"pattern": "y", "policy": "max"}).inc)
    net.flow()
    assert all(not is_volatile(v.inc) for v in net.at("A", "@.nodes.A"))


# -- the system's own tree -------------------------------------------------------------------------------------------


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
