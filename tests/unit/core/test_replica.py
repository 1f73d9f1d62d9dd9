"""The replica as its driver sees it: writing, links, partial replicas (R8), mixed versions (R11), and hostile peers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kvnode.codec import peer
from kvnode.core.effects import Change, Persist, Refused
from kvnode.core.entry import Version, body_of
from kvnode.core.limits import Limits
from kvnode.core.messages import Ack, Check, Digest, End, Hello, Message, PathAsk, PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.stamp import MAX_STAMP, stamp_of, wall_ms
from kvnode.core.ticks import MAX_TICK, Dot, incarnation, is_volatile
from tests.support.replicas import WALL, Net, Stranger, enc, unsound

Z = incarnation("Z", 1)
X = Path.parse("x")


def version(path: str, tick: int, value: Any = 1, inc: str = Z, stamp: int = stamp_of(WALL), **more: Any) -> Version:
    packed = None if value is None else enc(value)
    return Version.make(Dot(inc, tick), {}, body_of(Path.parse(path), stamp, packed, **more))


def refused(net: Net, *changes: Change) -> Refused:
    before = len(net["A"].tree), net["A"].tree.print_of_all, dict(net["A"].known.map)
    out = net.propose("A", *changes)
    assert isinstance(out, Refused)
    assert (len(net["A"].tree), net["A"].tree.print_of_all, dict(net["A"].known.map)) == before
    return out


def linked(*names: str, **options: Any) -> Net:
    net = Net(*names, **options)
    net.link(*names)
    net.run()
    return net


# -- compare-and-set ---------------------------------------------------------------------------------------------------


def test_compare_and_set_takes_the_dots_that_were_read() -> None:
    net = Net("A")
    first = net.write("A", "x", 1, expect=frozenset())
    out = refused(net, Change(X, enc(2), expect=frozenset()))
    assert (out.code, out.path, out.dots) == ("cas_failed", X, {first})
    second = net.write("A", "x", 2, expect=frozenset({first}))
    assert refused(net, Change(X, None, expect=frozenset({first}))).dots == {second}
    net.delete("A", "x", expect=frozenset({second}))
    assert refused(net, Change(X, enc(3), expect=frozenset({second}))).dots == frozenset()
    net.write("A", "x", 3, expect=frozenset())


def test_compare_and_set_over_siblings_needs_all_of_them() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    one, two = net.write("A", "x", 1), net.write("B", "x", 2)
    net.link("A", "B")
    net.run()
    assert refused(net, Change(X, enc(3), expect=frozenset({one}))).dots == {one, two}
    net.write("A", "x", 3, expect=frozenset({one, two}))
    net.run()
    assert net.values("B", "x") == [3]


def test_what_is_gone_is_absent_for_compare_and_set() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    net.write("A", "x", 1)
    net.delete("A", "x")
    assert net.at("A", "x")
    net.write("A", "x", 2, expect=frozenset(), expiry=net.now.wall + 100)
    assert refused(net, Change(X, enc(3), expect=frozenset())).code == "cas_failed"
    net.run(200)
    assert net.at("A", "x")
    net.write("A", "x", 3, expect=frozenset())


def test_compare_and_set_is_no_lock_across_a_partition() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    net.write("A", "x", "a", expect=frozenset())
    net.write("B", "x", "b", expect=frozenset())
    net.link("A", "B")
    net.run()
    assert net.values("A", "x") == net.values("B", "x") == ["a", "b"]


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_all_or_nothing() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    out = refused(
        net, Change(Path.parse("y"), enc(2)), Change(X, enc(2), expect=frozenset()), Change(Path.parse("z"), None)
    )
    assert out.code == "cas_failed"
    assert net["A"].take_effects() == []
    assert net.read("A", "x") == 1
    done = net.propose("A", Change(Path.parse("y"), enc(2)), Change(Path.parse("z"), None), Change(X, enc(3)))
    assert isinstance(done, list)
    assert [w.dot.tick for w in done] == [3, 4, 5]
    (persist,) = [e for e in net["A"].take_effects() if isinstance(e, Persist)]
    assert set(persist.rows) == {Path.parse(t).key for t in "xyz"}


def test_a_batch_may_write_a_path_twice() -> None:
    net = linked("A", "B")
    done = net.propose("A", Change(X, enc(1)), Change(X, None), Change(X, enc(2)))
    assert isinstance(done, list)
    net.run()
    assert net.values("A", "x") == net.values("B", "x") == [2]
    assert net.converged()


def test_an_empty_batch_is_nothing() -> None:
    net = Net()
    net.start("A", member=False)
    assert net.propose("A") == []
    assert net["A"].take_effects() == []


def test_a_batch_has_a_bound() -> None:
    net = Net("A", limits=Limits(max_batch_changes=3))
    changes = [Change(Path(("x", n)), enc(n)) for n in range(4)]
    assert refused(net, *changes).code == "too_large"
    assert isinstance(net.propose("A", *changes[:3]), list)


# -- what cannot be written --------------------------------------------------------------------------------------------


def test_a_value_has_a_bound() -> None:
    net = Net("A", limits=Limits(max_value_bytes=100))
    assert refused(net, Change(X, enc(b"x" * 99))).code == "too_large"
    net.write("A", "x", b"x" * 98)


@pytest.mark.parametrize("path", [":", "@.nodes", "@.nodes.A", "@.nodes.B.c", "@.partial.A", "@.partial"])
def test_reserved_paths_are_refused(path: str) -> None:
    net = Net("A")
    for value in (enc(1), None):
        assert refused(net, Change(Path.parse(path), value)).code == "reserved"


def test_the_rest_of_the_system_tree_may_be_written() -> None:
    net = Net("A")
    for path in ("@", "@.users.anna", "@.policy.x", "@.nodesx"):
        net.write("A", path, {"a": 1})


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x01\x02", b"\x92\x01", b"\xa2\xff\xfe", b"\xc6\xff\xff\xff\xff"], ids=repr
)
def test_a_value_must_be_one_object(value: bytes) -> None:
    assert refused(Net("A"), Change(X, value)).code == "bad_value"


@pytest.mark.parametrize("deep", [b"\x91" * 65 + b"\xc0", b"\x81\xa1k" * 65 + b"\xc0", b"\x91" * 20_000 + b"\xc0"])
def test_deep_values_are_refused(deep: bytes) -> None:
    assert refused(Net("A"), Change(X, deep)).code == "bad_value"


@pytest.mark.parametrize(
    "value",
    [
        b"\x91" * 64 + b"\xc0",
        b"\x81\xa1k" * 64 + b"\xc0",
        b"\xdc\x00\xc8" + b"\x91\x01" * 200,
        b"\xc4\xc8" + b"\x91" * 200,
        msgspec.msgpack.encode(["\u0081" * 100, b"\x91" * 100]),
    ],
)
def test_values_that_are_not_too_deep_travel(value: bytes) -> None:
    net = linked("A", "B")
    assert isinstance(net.propose("A", Change(X, value)), list)
    net.run()
    assert net.converged()
    assert net.at("B", "x")
    net.restart("B")
    assert net["B"].is_current
    assert net.at("B", "x")


@pytest.mark.parametrize(
    "more",
    [
        {"expiry": -1},
        {"expiry": MAX_TICK},
        {"expiry": 2**64},
        {"author": "x" * 9_000_000},
        {"author": "\ud800"},
        {"principal": "x" * 9_000_000},
    ],
    ids=lambda more: str(more)[:30],
)
def test_a_change_that_nobody_would_take_is_refused(more: dict[str, Any]) -> None:
    assert refused(Net("A"), Change(X, enc(1), **more)).code in ("bad_value", "too_large")


def test_a_partial_replica_refuses_what_it_does_not_hold() -> None:
    net = Net()
    net.start("A", view=("p.#", "+.q"))
    assert refused(net, Change(X, enc(1))).code == "reserved"
    net.write("A", "p.x", 1)
    net.write("A", "x.q", 1)


# -- stamps ------------------------------------------------------------------------------------------------------------


def test_a_writes_stamp_exceeds_what_it_supersedes() -> None:
    net = Net("A")
    far = stamp_of(net.now.wall + 10**9)
    Stranger(net, "A").send(Versions((version("x", 1, stamp=far),)))
    net.write("A", "x", 2)
    assert net.at("A", "x")[0].stamp > far
    net.write("A", "y", 2)
    assert wall_ms(net.at("A", "y")[0].stamp) == net.now.wall


def test_stamps_rise_even_if_the_clock_stands_still() -> None:
    net = Net("A")
    stamps = []
    for _ in range(100):
        net.write("A", "x", 1)
        stamps.append(net.at("A", "x")[0].stamp)
    assert stamps == sorted(set(stamps))


def test_a_peer_that_is_ahead_within_the_bound_moves_the_clock() -> None:
    net = Net("A")
    ahead = stamp_of(net.now.wall + 1_000)
    Stranger(net, "A").send(Versions((version("x", 1, stamp=ahead),)))
    net.write("A", "y", 2)
    assert net.at("A", "y")[0].stamp > ahead
    assert "clock_skew" not in net.nodes["A"].kinds()


def test_a_write_over_the_highest_stamp() -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(Versions((version("x", 1, stamp=MAX_STAMP),)))
    assert net.read("A", "x") == 1
    net.write("A", "x", 2)
    net.write("B", "x", 3)
    net.run()
    assert not net.nodes["A"].closed
    assert not net.nodes["B"].closed
    assert net.converged()


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_gap_in_the_numbers_cuts_the_link() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.seq += 1
    stranger.send(Versions((version("x", 1),)))
    assert stranger.is_cut
    assert "missing" in stranger.why
    assert net.at("A", "x") == ()
    assert net["A"].links == {}


def test_a_repeated_number_is_ignored() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(Versions((version("x", 1),)))
    stranger.seq -= 1
    stranger.send(Versions((version("y", 2),)))
    assert not stranger.is_cut
    assert net.at("A", "y") == ()
    stranger.send(Versions((version("z", 3),)))
    assert net.read("A", "z") == 1


def test_numbers_count_each_link_and_direction_from_zero() -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net["A"].linked(77, net.now)
    sends = [e for e in net["A"].take_effects() if hasattr(e, "seq")]
    assert [e.seq for e in sends if e.link == 77] == [0]
    assert all(e.seq > 0 for e in sends if e.link != 77)


def test_messages_on_a_link_that_is_none_are_ignored() -> None:
    net = Net("A")
    net["A"].receive(99, 0, Versions((version("x", 1),)), net.now)
    assert net.at("A", "x") == ()


def test_the_first_message_must_be_a_hello() -> None:
    net = Net("A")
    stranger = Stranger(net, "A", silent=True)
    stranger.send(Versions((version("x", 1),)))
    assert stranger.is_cut
    assert net.at("A", "x") == ()


def test_a_second_hello_cuts_the_link() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(stranger.hello())
    assert stranger.is_cut


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"cluster": "another"}, "another"),
        ({"protocol_min": 2, "protocol_max": 9}, "upgrade the older"),
        ({"protocol_min": 0, "protocol_max": 0}, "upgrade the older"),
    ],
)
def test_a_peer_that_does_not_fit_is_told_for_good(changed: dict[str, Any], word: str) -> None:
    net = Net("A")
    stranger = Stranger(net, "A", **changed)
    assert stranger.is_cut
    assert word in stranger.why
    assert net.nodes["A"].closed[-1].fatal


def test_a_newer_protocol_with_a_common_version_is_taken() -> None:
    net = Net("A")
    assert not Stranger(net, "A", protocol_min=1, protocol_max=7, features=("from", "the", "future")).is_cut


def test_a_node_does_not_talk_to_itself() -> None:
    net = Net("A")
    stranger = Stranger(net, "A", "A", session=net["A"].session)
    assert stranger.is_cut
    assert net.nodes["A"].closed[-1].fatal


@pytest.mark.parametrize("name", ["", "no name!", "x" * 64, "-x", "\n"])
def test_names_that_are_none_cut_the_link(name: str) -> None:
    assert Stranger(Net("A"), "A", name).is_cut


def test_unknown_messages_are_ignored() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    for tag in (15, 63, 1000):
        stranger.send_bytes(msgspec.msgpack.encode([stranger.seq, [tag, "of", "the", "future"]]))
    stranger.send(Versions((version("x", 1),)))
    assert not stranger.is_cut
    assert net.read("A", "x") == 1


@pytest.mark.parametrize("dialled", [("AB", "BA"), ("BA", "AB")])
@pytest.mark.parametrize("pause", [0, 1_000])
def test_two_links_to_one_process_become_one(dialled: tuple[str, str], pause: int) -> None:
    net = Net("A", "B")
    net.link(*dialled[0])
    net.run(pause)
    net.link(*dialled[1])
    net.run()
    (one,), (other,) = net["A"].links.values(), net["B"].links.values()
    assert (one.dialled, other.dialled) == (True, False)  # the smaller name's
    net.write("A", "x", 1)
    net.write("B", "y", 1)
    net.run()
    assert net.converged()
    assert not any(c.fatal for label in "AB" for c in net.nodes[label].closed)


def test_a_link_dialled_anew_replaces_the_old_one() -> None:
    net = linked("A", "B")
    (old,) = net["A"].links
    net.link("A", "B")
    net.run()
    assert len(net["A"].links) == len(net["B"].links) == 1
    assert old not in net["A"].links
    net.write("A", "x", 1)
    net.run()
    assert net.converged()


def test_a_malformed_message_harms_no_other_link() -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(End({Z: (5, 1)}, 0, False))
    assert stranger.is_cut
    net.write("A", "x", 1)
    net.run()
    assert net.read("B", "x") == 1


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_without_links_nothing_is_due_for_long() -> None:
    net = Net("A")
    net.run(60_000)
    due = net["A"].next_deadline
    assert due is None or due > net.t


def test_an_expiry_is_a_deadline() -> None:
    net = Net("A")
    net.run(100)
    net.write("A", "x", 1, expiry=net.now.wall + 300)
    net.flow()
    due = net["A"].next_deadline
    assert due is not None
    assert due <= net.t + 300


def test_after_waking_nothing_is_due_at_once() -> None:
    """Net.run() refuses busy loops; here with a peer that stops in the middle of everything."""
    net = linked("A", "B")
    for messages in range(8):
        net.write("A", "x", messages)
        stranger = Stranger(net, "A", "Y", session=messages + 1)
        stranger.send(*[Digest({}, 5), Check(1, 1, True), Digest({}, 6), End({}, 0, True)][: messages % 5])
        net.hold("A", "B")
        net.run(1_000)
        net.release("A", "B")
        net.run(1_000)


# -- partial replicas (R8) ---------------------------------------------------------------------------------------------


def partial(*view: str) -> Net:
    """P holds a part, between the members A and B."""
    net = Net("A", "B")
    net.start("P", view=view)
    net.link("A", "P", "B")
    net.run()
    net.log.clear()
    return net


def test_a_partial_replica_holds_and_relays_its_part() -> None:
    net = partial("p.#")
    net.write("A", "p.x", 1)
    net.write("A", "q", 2)
    net.run()
    assert [net.read(label, "p.x") for label in "APB"] == [1, 1, 1]
    assert [net.read(label, "q") for label in "APB"] == [2, None, None]


def test_trace_9_no_known_of_the_rest_passes_through() -> None:
    net = partial("p.#")
    hidden = [net.write("A", "q", n) for n in range(5)]
    shown = net.write("A", "p.x", 1)
    net.run(60_000)
    assert shown in net["B"].known
    assert not any(dot in net["B"].known for dot in hidden)
    ranges = [inc for m in net.sent(End, "P") for inc in m.ranges]
    assert not any(inc == hidden[0].inc for inc in ranges)
    net.link("A", "B")
    net.run()
    assert net.read("B", "q") == 4
    assert net.converged("A", "B")


def test_a_partial_replica_gets_no_ranges() -> None:
    net = partial("p.#")
    net.cut("A", "P")
    for n in range(5):
        net.write("A", "p.x", n)
    net.link("A", "P")
    net.run()
    assert net.read("P", "p.x") == 4
    assert all(m.ranges == {} for m in net.sent(End, "A", "P"))


def test_what_a_partial_replica_drops_from_its_view_is_no_verdict() -> None:
    net = partial("p.#")
    dot = net.write("A", "q", 1)
    stranger_paths = [(Path.parse("q").key, (dot,))]
    net.run()
    assert net.has("A", dot)
    stranger = Stranger(net, "P", view=None)
    stranger.send(PathAsk(tuple(stranger_paths)))
    (tell,) = stranger.took(PathTell)
    assert tell.paths[0][2] == ()


def test_a_partial_replicas_writes_arrive() -> None:
    net = partial("p.#")
    net.write("P", "p.x", 1)
    net.write("P", "p.x", 2)
    net.run()
    assert net.values("A", "p.x") == net.values("B", "p.x") == [2]


def test_a_partial_replicas_delete_arrives() -> None:
    net = partial("p.#")
    net.write("P", "p.x", 1)
    net.run()
    assert net.read("A", "p.x") == 1
    for label in "AB":
        net.cut("P", label)
    net.delete("P", "p.x")
    net.run(60_000)
    net.link("A", "P", "B")
    net.run()
    assert [net.read(label, "p.x") for label in "APB"] == [None, None, None]


def test_what_a_partial_replica_missed_is_deleted_there_too() -> None:
    net = partial("p.#")
    net.link("A", "B")
    net.write("A", "p.x", 1)
    net.write("A", "p.y", 1)
    net.run()
    for label in "AB":
        net.cut("P", label)
    net.delete("A", "p.x")
    net.run(60_000)
    assert net.at("A", "p.x") == ()
    net.link("A", "P")
    net.run(60_000)
    assert net.at("P", "p.x") == ()
    assert net.read("P", "p.y") == 1
    assert net.read("A", "p.y") == net.read("B", "p.y") == 1


def test_a_partial_replica_that_lost_its_store_takes_nothing_away() -> None:
    net = partial("p.#")
    net.link("A", "B")
    net.write("A", "p.x", 1)
    net.run()
    net.crash("P")
    net.start("P", view=("p.#",))
    net.link("A", "P", "B")
    net.run(60_000)
    assert [net.read(label, "p.x") for label in "APB"] == [1, 1, 1]


@pytest.mark.parametrize("view", [("p.#",), ("p.#", "@.nodes.#"), ("+.x", "p.y")])
def test_a_partial_replica_does_not_let_tombstones_pile_up(view: tuple[str, ...]) -> None:
    net = partial(*view)
    net.link("A", "B")
    for _ in range(5):
        net.write("P", "p.x", 1)
        net.run(1_000)
        net.delete("P", "p.x")
        net.run(1_000)
    for _ in range(2):
        net.cut("P", "A")
        net.link("P", "A")
        net.run(10_000)
    assert [net.at(label, "p.x") for label in "AB"] == [(), ()]
    assert net["P"].state.tombstones == 0


def test_a_partial_replica_is_not_waited_for() -> None:
    net = partial("p.#")
    net.link("A", "B")
    net.crash("P")
    net.write("A", "p.x", 1)
    net.delete("A", "p.x")
    net.run()
    assert net.at("A", "p.x") == net.at("B", "p.x") == ()


# -- hostile peers -----------------------------------------------------------------------------------------------------


def wire_version(path: tuple[Any, ...] = ("x",), **changed: Any) -> Version:
    """A version as no honest node makes it; built past the checks of the codec."""
    body = {"stamp": stamp_of(WALL), "kind": 0, "value": msgspec.Raw(b"\x01"), "expiry": None} | changed
    encoded = msgspec.msgpack.encode([path, body["stamp"], body["kind"], body["value"], "", None, body["expiry"]])
    return Version(
        changed.get("inc", Z),
        changed.get("tick", 1),
        changed.get("vector", {}),
        Path(path).key,
        encoded,
        b"",
        body["stamp"],
        body["kind"],
        body["expiry"],
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"tick": 0},
        {"tick": -1},
        {"tick": MAX_TICK + 1},
        {"tick": 2**64 - 1},
        {"stamp": -1},
        {"stamp": MAX_STAMP + 1},
        {"stamp": 2**64 - 1},
        {"expiry": -1},
        {"expiry": 2**64 - 1},
        {"vector": {Z: 2**64 - 1}},
        {"vector": {Z: -1}},
        {"vector": {Z: 0}},
        {"vector": {"no incarnation": 1}},
        {"inc": "no incarnation"},
        {"inc": "A~0"},
        {"path": ()},
        {"value": msgspec.Raw(b"\x91" * 500 + b"\xc0")},
    ],
    ids=lambda changed: str(changed).partition(" at 0x")[0][:40],
)
def test_hostile_versions_are_refused_by_the_codec(changed: dict[str, Any]) -> None:
    payload = peer.encode(0, Versions((wire_version(**changed),)))
    with pytest.raises(peer.PeerCodecError):
        peer.decode(payload)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": 7},
        {"kind": -1},
        {"tick": MAX_TICK},
        {"stamp": 0},
        {"stamp": MAX_STAMP},
        {"expiry": 0},
        {"expiry": MAX_TICK - 1},
        {"vector": {Z: MAX_TICK}},
        {"vector": {incarnation("Y", 1): MAX_TICK}},
        {"path": ("@",)},
        {"path": ("@", "nodes", "A")},
        {"path": ("@", "nodes", "no name!"), "value": msgspec.Raw(enc({"closes": ["x"] * 100, "inc": "A~"}))},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(enc({"pattern": "#.#.#.#.#", "policy": "max"}))},
        {"path": ("@", "volatile", 5), "value": msgspec.Raw(enc({"pattern": "#"}))},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(b"\x81\x80\xc0")},
        {"path": ("@", "policy", 5), "value": msgspec.Raw(b"\xd4\x05\x00")},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_strange_versions_do_no_harm(changed: dict[str, Any]) -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(Versions((wire_version(**changed),)))
    assert not stranger.is_cut
    net.run()
    for label in "AB":
        net.write(label, "x", label)
        net.write(label, "y", label)
        net.delete(label, "y")
    net.run(100_000)
    assert unsound(net["A"]) == []
    assert net.converged()
    store = net.crash("A")
    net.start("A", store=store)
    assert net["A"].is_current
    net.link("A", "B")
    net.run(100_000)
    assert net.converged()
    assert not [c for label in "AB" for c in net.nodes[label].closed]


def hostile_messages(own: str) -> list[Message]:
    """Structurally valid, and wrong. `own` is the replica's running incarnation."""
    x, y = Path.parse("x").key, Path.parse("y").key
    return [
        PathTell(((x, (version("y", 1),), ()),)),
        PathTell(((b"junk", (version("x", 1),), ()),)),
        PathTell(((b"junk", (), (Dot(Z, 1), Dot("?", -5))),)),
        PathTell(((x, (), (Dot(Z, 0), Dot(own, 10**9))), (y, (), ()))),
        End({Z: (3, 2)}, 0, True),
        End({Z: (0, 2)}, 0, True),
        End({Z: (1, 2, 2, 3)}, 0, True),
        End({Z: (1,)}, 0, True),
        End({Z: (1, 2**64 - 1)}, 0, True),
        End({"?": (1, 2)}, 0, True),
        End({own: (1, 10**6)}, 0, True),
        End({Z: (1, 5)}, -1, True),
        End({Z: (1, 5)}, 2**63, True),
        Digest({Z: (5, 5)}, 0),
        Digest({"?": (1, 2)}, 0),
        Digest({own: (1, 10**6)}, 2**64 - 1),
        Digest({own: ()}, -1),
        Check(-1, 2**64 - 1, True),
        Check(0, 0, False),
        Versions((version("x", 9, inc=own),)),
        Versions((version("@.nodes.A", 9, {"inc": own, "closes": [own]}),)),
        Versions((version("@.nodes.A", 9, None),)),
        Ack(()),
    ]


@pytest.mark.parametrize("at", range(len(hostile_messages(Z))))
@pytest.mark.parametrize("introduced", [False, True])
def test_hostile_messages_harm_nobody(at: int, introduced: bool) -> None:
    net = linked("A", "B")
    net.write("A", "x", 1)
    net.write("B", "y", 1)
    net.run()
    own = net["A"].state.inc
    assert own is not None
    stranger = Stranger(net, "A")
    if introduced:
        stranger.introduce()
    stranger.send(hostile_messages(own)[at])
    net.run()
    net.write("A", "x", 2)
    net.write("B", "z", 2)
    net.cut("A", "B")
    net.link("B", "A")
    net.run(100_000)
    assert net.converged()
    assert net.read("B", "x") == 2
    assert net.read("A", "z") == 2


def test_a_peer_cannot_make_a_replica_raise_by_its_hello() -> None:
    for n, changed in enumerate(
        [
            {"view": ("",)},
            {"view": ("a..b", "#" * 100)},
            {"view": ()},
            {"marks": ("?", "A~0", net_name(200))},
            {"features": ("\0", "")},
            {"known_hash": -1},
            {"known_hash": 2**64 - 1},
            {"inc": "?"},
            {"links": (("?", -1), ("", 2**64 - 1))},
            {"cluster": "\n"},
        ]
    ):
        net = linked("A", "B")
        stranger = Stranger(net, "A", session=n + 1, **changed)
        stranger.send(Digest({}, 0), End({}, 1, True), Check(0, 0, True)) if not stranger.is_cut else None
        net.write("A", "x", 1)
        net.run(60_000)
        assert net.read("B", "x") == 1
        assert net.converged()


def net_name(length: int) -> str:
    return "n" * length


# -- the constructor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "ä", "a~b"])
def test_a_node_needs_a_name(name: str) -> None:
    net = Net()
    with pytest.raises(ValueError, match="node name"):
        Replica(name, session=1, random_bits=lambda n: 0, now=net.now)


def test_a_volatile_write_needs_no_disk() -> None:
    net = Net("A")
    net.write("A", "@.volatile.one", {"pattern": "v"})
    net.nodes["A"].stuck = True
    dot = net.write("A", "v", 1)
    assert is_volatile(dot.inc)
    assert net["A"].durable_here(dot)


def test_hello_is_the_first_word() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    for source, target in (("A", "B"), ("B", "A")):
        (hello,) = net.sent(Hello, source, target)
        assert (hello.name, hello.session, hello.cluster) == (source, net[source].session, "kvnode")
        assert next(m for a, _, m in net.log if a == source) is hello
