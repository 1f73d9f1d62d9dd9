"""Relay, windows, and what links cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvnode.codec import peer
from kvnode.core.effects import Change, Refused, Send
from kvnode.core.limits import Limits
from kvnode.core.messages import (
    Ack,
    Check,
    End,
    PathAsk,
    Versions,
)
from kvnode.core.path import Path
from kvnode.core.ticks import Incarnation, incarnation
from tests.support.nets import dots_sent, kinds, linked_pair, relink
from tests.support.replicas import Net, enc, linked
from tests.support.strangers import Stranger, version


def strange_incs(count: int, first: int = 0) -> list[Incarnation]:
    return [incarnation("Z", n) for n in range(first, first + count)]


# -- the window --------------------------------------------------------------------------------------------------------


def test_a_link_that_does_not_drain_gets_no_more_than_its_window() -> None:
    net = linked_pair(limits=Limits(chunk_bytes=500, window_bytes=2_000))
    net.hold("A", "B")
    for n in range(300):
        net.write("A", f"x.:{n}", "some text that takes room")
        net.flow()
    net.run(5_000)
    held = [v for m in net.on_the_way("A", "B") if isinstance(m, Versions) for v in m.versions]
    assert sum(len(v.body) for v in held) < 2_500
    net.release("A", "B")
    net.run()
    assert net.converged()
    sent = dots_sent(net, "A", "B")
    assert len(sent) == len(set(sent)) == 300


def test_what_was_superseded_behind_a_full_window_is_never_sent() -> None:
    net = linked_pair(limits=Limits(chunk_bytes=500, window_bytes=2_000))
    net.hold("A", "B")
    for n in range(500):
        net.write("A", "x", f"some text that takes room {n}")
        net.flow()
    net.release("A", "B")
    net.run()
    assert net.converged()
    assert len(dots_sent(net, "A", "B")) < 40


def test_a_writable_link_that_is_none_is_ignored() -> None:
    net = linked_pair()
    net["A"].writable(999, net.now)
    net["A"].unlinked(999, net.now)
    assert net["A"].take_effects() == []


@pytest.mark.parametrize("how", ["live", "session"])
def test_large_values_fit_into_frames(how: str) -> None:
    net = linked_pair()
    if how == "session":
        net.cut("A", "B")
    big = enc(b"x" * 900_000)
    out = net.propose("A", *(Change(Path.parse(f"x.:{n}"), big) for n in range(10)))
    assert isinstance(out, list)
    net.flow()
    if how == "session":
        net.link("A", "B")
    net.run(1_000)
    assert net.converged()


def test_many_large_siblings_fit_into_frames() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    for inc in strange_incs(10):
        stranger.send(Versions((version("x", 1, b"x" * 900_000, inc),)))
    net.start("B")
    net.link("A", "B")
    net.run(1_000)
    assert len(net.at("B", "x")) == 10
    assert net.dump("B") == net.dump("A")


# -- relay -------------------------------------------------------------------------------------------------------------


def test_a_full_mesh_carries_one_copy_per_node() -> None:
    net = Net(*"ABCD")
    net.mesh(*"ABCD")
    net.run()
    for writer in "ABCD":
        dot = net.write(writer, "x", writer)
        net.run(5_000)
        assert net.converged()
        assert sorted(net.carried(dot)) == sorted((writer, other) for other in "ABCD" if other != writer)


def test_a_full_mesh_carries_about_one_copy_in_a_burst() -> None:
    net = Net(*"ABCD")
    net.mesh(*"ABCD")
    net.run()
    dots = []
    for n in range(60):
        dots.append(net.write("ABCD"[n % 4], f"x.:{n % 7}", n))
        net.run(20)
    net.run(3_000)
    assert net.converged()
    copies = sum(len(net.carried(dot)) for dot in dots)
    assert copies <= 60 * 3 * 1.1


@pytest.mark.parametrize(
    "shape",
    [lambda net: net.link(*"ABCDE"), lambda net: [net.link("C", other) for other in "ABDE"]],
    ids=["chain", "star"],
)
def test_a_chain_and_a_star_relay_at_once(shape: Callable[[Net], Any]) -> None:
    net = Net(*"ABCDE")
    shape(net)
    net.run()
    at = net.t
    dot = net.write("A", "x", 1)
    net.flow()
    assert net.t == at
    assert all(net.has(label, dot) for label in "ABCDE")
    assert len(net.carried(dot)) == 4
    net.run()
    assert len(net.carried(dot)) == 4


def test_a_ring_relays_at_once_and_ends() -> None:
    net = Net(*"ABCDE")
    net.link(*"ABCDEA")
    net.run()
    dot = net.write("A", "x", 1)
    net.flow()
    assert all(net.has(label, dot) for label in "ABCDE")
    assert len(net.carried(dot)) <= 6
    net.run()
    assert net.converged()


def test_a_peer_that_does_not_get_it_from_the_origin_gets_it_lazily() -> None:
    net = Net(*"ABC")
    net.mesh(*"ABC")
    net.run()
    net.hold("A", "C")
    dot = net.write("A", "x", 1)
    net.run(net.limits.lazy_ms - 50)
    assert not net.has("C", dot)
    net.run(100)
    assert net.has("C", dot)
    assert ("B", "C") in net.carried(dot)


def test_a_lazy_copy_is_saved_when_the_ack_comes_first() -> None:
    net = Net(*"ABC")
    net.mesh(*"ABC")
    net.run()
    net.log.clear()
    dot = net.write("A", "x", 1)
    net.run(3_000)
    assert sorted(net.carried(dot)) == [("A", "B"), ("A", "C")]
    assert net.sent(End) == []


def test_a_relay_does_not_wait_for_its_own_disk() -> None:
    net = Net(*"ABC")
    net.link(*"ABC")
    net.run()
    net.nodes["B"].stuck = True
    dot = net.write("A", "x", 1)
    net.flow()
    assert net.has("C", dot)


def test_a_change_of_a_node_that_left_goes_on() -> None:
    net = Net(*"ABCD")
    net.link(*"ABCD")
    net.run()
    net.cut("C", "D")
    dot = net.write("A", "x", 1)
    net.flow()
    net.crash("A")
    net.link("C", "D")
    net.run()
    assert net.has("D", dot)
    assert net.converged()


# -- costs and quiet links ---------------------------------------------------------------------------------------------


def test_a_reconnection_costs_what_is_missing_whatever_the_size_of_the_store() -> None:
    net = linked_pair()
    for n in range(1_500):
        net.write("A", f"x.:{n % 100}.:{n}", n)
    net.run()
    net.cut("A", "B")
    net.write("A", "x.:5.:5", 1)
    net.flow()
    relink(net)
    assert net.converged()
    assert sum(len(peer.encode(0, m)) for _, _, m in net.log) < 3_000


def test_a_quiet_link_carries_a_beat_and_a_check_now_and_then() -> None:
    net = linked_pair()
    net.write("A", "x", 1)
    net.run(5_000)
    net.log.clear()
    net.run(60_000)
    assert set(kinds(net, "A", "B")) == {Ack, Check}
    assert len(net.sent(Ack, "A", "B")) <= 6
    assert len(net.sent(Check, "A", "B")) <= 2
    assert all(len(peer.encode(0, m)) < 120 for _, _, m in net.log)


def test_equal_known_with_different_trees_is_found_on_a_quiet_link() -> None:
    net = linked_pair()
    net.write("A", "x", 1)
    net.run()
    state = net["B"].state
    key = Path.parse("x").key
    state.put(key, ())  # as if lost without a trace
    net.run(40_000)
    assert net.sent(PathAsk)
    assert net["A"].tree.print_of_all == net["B"].tree.print_of_all


def test_different_known_on_a_quiet_link_starts_a_session_anew() -> None:
    net = linked_pair()
    dot = net.write("A", "x", 1)
    for link in net["A"].links.values():
        assert link.est is not None
        link.est.add(*dot)  # as if it had been sent
        link.outbox.clear()
    net.run(20_000)
    assert not net.has("B", dot)
    net.run(100_000)
    assert net.has("B", dot)
    assert net.converged()


def test_what_comes_from_outside_a_mesh_crosses_it_once() -> None:
    net = Net(*"ABCDE")
    net.mesh(*"ABCD")
    net.link("A", "E")
    net.run()
    dot = net.write("E", "x", 1)
    net.run(5_000)
    assert net.converged()
    assert sorted(net.carried(dot)) == [("A", "B"), ("A", "C"), ("A", "D"), ("E", "A")]


def test_whom_the_nearer_one_does_not_serve_gets_the_change_a_moment_later() -> None:
    net = Net(*"ABCE")
    net.mesh(*"ABC")
    net.link("A", "E")
    net.run()
    net.hold("A", "C")
    dot = net.write("E", "x", 1)
    net.run(Limits().lazy_ms + 100)
    assert net.has("C", dot)
    assert ("B", "C") in net.carried(dot)


def test_what_a_returning_node_brings_and_gets_is_carried_once_to_each() -> None:
    net = linked(*"ABCDE", mesh=True)
    for label in "ABCD":
        net.cut("E", label)
    net.run()
    brought, missed = net.write("E", "x", 1), net.write("A", "y", 1)
    net.run()
    net.log.clear()
    for label in "ABCD":
        net.link("E", label)
    net.run(5_000)
    assert net.converged()
    assert sorted(net.carried(brought)) == [("E", "A"), ("E", "B"), ("E", "C"), ("E", "D")]
    assert len(net.carried(missed)) == 1


def test_whom_a_peer_was_linked_to_counts_until_it_says_so_itself() -> None:
    """Or each link of a mesh carried a copy of all that is written while links come back."""
    net = linked(*"ABCD", mesh=True)
    net.run(10_000)
    for label in "AB":
        for other in "CD":
            net.cut(label, other)
    net.run()
    for label in "AB":
        for other in "CD":
            net.link(label, other)
    net.flow()
    dot = net.write("A", "x", 1)
    net.run(5_000)
    assert net.converged()
    assert sorted(net.carried(dot)) == [("A", "B"), ("A", "C"), ("A", "D")]


def test_a_guess_that_is_wrong_costs_a_moment() -> None:
    net = linked(*"ABC", mesh=True)
    net.run(10_000)
    for label in "AB":
        net.cut("C", label)
    net.run()
    net.link("B", "C")  # and A stays away
    net.flow()
    dot = net.write("A", "x", 1)
    net["A"].send_event(Path.parse("live"), enc(1), "me", net.now)
    net.flow()
    assert not net.has("C", dot)
    assert [event.path for event in net.nodes["C"].events] == [("live",)], "nothing would bring it later"
    net.run(Limits().lazy_ms + 100)
    assert net.has("C", dot)


@pytest.mark.parametrize("others", ["CD", "C"], ids=["star", "chain"])
def test_what_a_returning_node_brings_goes_on_at_once_to_whom_it_does_not_come_itself(others: str) -> None:
    net = Net("A", "B", *others)
    for label in "A" + others:
        net.link("B", label)
    net.run()
    net.cut("A", "B")
    dot = net.write("A", "x", 1)
    net.run()
    net.link("A", "B")
    at = net.t
    net.flow()
    assert net.t == at
    assert all(net.has(label, dot) for label in others)


def test_what_goes_to_many_peers_is_one_message() -> None:
    net = linked("A", "B", "C", "D", mesh=True)
    replica = net["A"]
    assert not isinstance(replica.propose([Change(Path(("x", n)), enc(n)) for n in range(3)], net.now), Refused)
    sent = [e.message for e in replica.take_effects() if isinstance(e, Send)]
    assert len(sent) == 3
    assert all(message is sent[0] for message in sent)
    assert isinstance(sent[0], Versions)
    assert [v.tick for v in sent[0].versions] == sorted(v.tick for v in sent[0].versions)
