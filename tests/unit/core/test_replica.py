"""The replica as its driver sees it: writing, links, deadlines, mixed versions (R11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kvnode.core.effects import Change, Persist, Refused, Send
from kvnode.core.entry import Version, decode_record
from kvnode.core.limits import Limits
from kvnode.core.messages import Check, Digest, End, Hello, Versions
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.stamp import MAX_STAMP, stamp_of, wall_ms
from kvnode.core.ticks import MAX_TICK, Dot, is_volatile
from tests.support.replicas import Net, enc, linked
from tests.support.strangers import Stranger, Z, version

X = Path.parse("x")


def refused(net: Net, *changes: Change) -> Refused:
    before = len(net["A"].tree), net["A"].tree.print_of_all, dict(net["A"].known.map)
    out = net.propose("A", *changes)
    assert isinstance(out, Refused)
    good = Change(Path.parse("good"), enc(0), changes[0].author, principal=changes[0].principal)
    behind = net.propose("A", good, *changes)
    assert isinstance(behind, Refused), "also behind another one of the same author"
    assert (len(net["A"].tree), net["A"].tree.print_of_all, dict(net["A"].known.map)) == before
    return out


# -- compare-and-set ---------------------------------------------------------------------------------------------------


def test_compare_and_set_takes_the_dots_that_were_read() -> None:
    net = Net("A")
    first = net.write("A", "x", 1, expect=frozenset())
    out = refused(net, Change(X, enc(2), expect=frozenset()))
    assert (out.code, out.path, out.dots) == ("cas_failed", X, frozenset({first}))
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
    sends = [e for e in net["A"].take_effects() if isinstance(e, Send)]
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
        ({"protocol_min": 2, "protocol_max": 9}, "it speaks protocol 2 to 9, this node 1 to 1: upgrade this node"),
        ({"protocol_min": 0, "protocol_max": 0}, "it speaks protocol 0 to 0, this node 1 to 1: upgrade the node Z"),
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
    for tag in (16, 63, 1000):
        stranger.send_bytes(msgspec.msgpack.encode([stranger.seq, [tag, "of", "the", "future"]]))
    stranger.send(Versions((version("x", 1),)))
    assert not stranger.is_cut
    assert net.read("A", "x") == 1


def test_what_a_later_version_wrote_is_stored_and_passed_on_as_it_is() -> None:
    """Fields that nobody here knows included: hashes cover them, and who knows them may come to read them."""
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    plain = version("x", 1)
    body = enc([*msgspec.msgpack.decode(plain.body), {"a field": "of the future"}])
    later = Version.received(plain.inc, plain.tick, plain.vector, body, b"signed")
    stranger.send(Versions((later,)))
    net.run()
    for label in ("A", "B"):
        (held,) = net.at(label, "x")
        assert (held.body, held.sig) == (body, b"signed")
        (stored,) = decode_record(net.nodes[label].store.rows[later.key])
        assert (stored.body, stored.sig) == (body, b"signed")
        assert net.read(label, "x") == 1
    assert net["A"].tree.print_of_all == net["B"].tree.print_of_all


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


# -- writes that change nothing ----------------------------------------------------------------------------------------


def _set(net: Net, label: str, *changes: tuple[str, object], **more: Any) -> list[tuple[Dot, bool]]:
    out = net.propose(label, *(Change(Path.parse(p), enc(v), if_changed=True, **more) for p, v in changes))
    assert isinstance(out, list)
    return [(w.dot, w.unchanged) for w in out]


def test_the_same_value_is_not_written_again() -> None:
    net = linked("A", "B")
    dot = net.write("A", "x", 1)
    net.run()
    known = net["B"].known.copy()
    assert _set(net, "B", ("x", 1)) == [(dot, True)]
    assert net["B"].known.map == known.map
    ((new, unchanged),) = _set(net, "B", ("x", 2))
    assert (new != dot, unchanged) == (True, False)
    net.run()
    assert net.read("A", "x") == 2


def test_each_change_of_a_batch_is_looked_at_after_those_before_it() -> None:
    net = Net("A")
    found = _set(net, "A", ("x", 1), ("x", 1), ("x", 2), ("x", 1))
    assert [unchanged for _, unchanged in found] == [False, True, False, False]
    assert found[0][0] == found[1][0]


def test_what_is_written_anew_although_it_is_the_same() -> None:
    net = linked("A", "B")
    for more in ({"expiry": net.now.wall + 10**6}, {"ttl_ms": 10**6}):
        net.write("A", "x", 1)
        assert _set(net, "A", ("x", 1), **more)[0][1] is False
        assert _set(net, "A", ("x", 1))[0][1] is False, "this ends the limit"
    net.delete("A", "x")
    assert _set(net, "A", ("x", 1))[0][1] is False
    net.cut("A", "B")
    net.write("A", "x", 3)
    net.write("B", "x", 3)
    net.link("A", "B")
    net.run()
    assert _set(net, "A", ("x", 3))[0][1] is False, "this ends the conflict"


def test_a_write_that_changes_nothing_mints_no_incarnation() -> None:
    net = Net("A")
    net.write("A", "x", 1)
    net.flow()
    net.restart("A", member=False)
    _set(net, "A", ("x", 1))
    assert net["A"].state.inc is None


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_without_links_nothing_is_due_for_long() -> None:
    net = Net("A")
    net.run(60_000)
    assert net["A"].next_deadline > net.t


def test_an_expiry_is_a_deadline() -> None:
    net = Net("A")
    net.run(100)
    net.write("A", "x", 1, expiry=net.now.wall + 300)
    net.flow()
    assert net["A"].next_deadline <= net.t + 300


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
