"""Digests and difference sessions (R3, R4, R9): what goes over a link, in which order, what a cut leaves behind."""

from __future__ import annotations

import pytest

from kvnode.codec import peer
from kvnode.core.limits import Limits
from kvnode.core.messages import (
    Ack,
    AckState,
    Check,
    Digest,
    DigestAsk,
    DigestBuckets,
    DigestParts,
    End,
    Hello,
    Message,
    PrintAsk,
    Versions,
)
from kvnode.core.ticks import Dot, Incarnation, Ticks, incarnation
from tests.support.nets import dots_sent, kinds, linked_pair, relink
from tests.support.replicas import Net
from tests.support.strangers import Stranger, Z, version

SMALL = Limits(chunk_bytes=200, window_bytes=500)


def strange_incs(count: int, first: int = 0) -> list[Incarnation]:
    return [incarnation("Z", n) for n in range(first, first + count)]


def feed(net: Net, label: str, *incs: Incarnation) -> None:
    """Let a node hear of one change of each incarnation, from a peer that goes away again."""
    stranger = Stranger(net, label, "Q", session=len(net.strangers) + 100)
    stranger.send(Versions(tuple(version(f"z.{inc[-6:]}", 1, inc=inc) for inc in incs)))
    net._close(label, stranger.link)
    net[label].unlinked(stranger.link, net.now)
    net.run(500)


# -- digests -----------------------------------------------------------------------------------------------------------


def test_equal_nodes_exchange_no_digest() -> None:
    net = linked_pair()
    net.write("A", "x", 1)
    net.run()
    net.cut("A", "B")
    relink(net)
    assert net.sent(Digest) == net.sent(Versions) == net.sent(PrintAsk) == []
    for source, target in ("AB", "BA"):
        assert kinds(net, source, target)[:3] == [Hello, End, Check]
        assert [e.ranges for e in net.sent(End, source, target)] == [{}]


def test_two_empty_stores_are_equal() -> None:
    net = Net()
    net.start("A", member=False)
    net.start("B", member=False)
    net.link("A", "B")
    net.run(1_000)
    assert set(kinds(net, "A", "B")) <= {Hello, End, Check, Ack}


def test_a_difference_costs_the_recent_incarnations_and_one_hash() -> None:
    net = linked_pair()
    feed(net, "A", *strange_incs(300))
    net.write("B", "x", 0)
    net.run()
    net.cut("A", "B")
    dot = net.write("B", "x", 1)
    net.flow()
    relink(net)
    assert net.converged()
    assert net.sent(DigestAsk) == []
    digests = net.sent(Digest)
    assert max(len(d.recent) for d in digests) == net.limits.recent_incarnations
    assert all(len(peer.encode(0, d)) < 1_000 for d in digests)
    assert dots_sent(net, "B", "A") == [dot]
    assert dots_sent(net, "A", "B") == []


def test_the_size_of_a_digest_does_not_grow_with_past_incarnations() -> None:
    sizes = []
    for count in (40, 400):
        net = linked_pair()
        feed(net, "A", *strange_incs(count))
        net.cut("A", "B")
        net.write("B", "x", 1)
        net.flow()
        relink(net)
        sizes.append(sum(len(peer.encode(0, d)) for d in net.sent(Digest)))
    assert sizes[1] <= sizes[0] * 1.1


def test_old_differing_incarnations_are_found_by_their_buckets() -> None:
    net = linked_pair()
    common, only_a, only_b = strange_incs(300), strange_incs(3, 1_000), strange_incs(3, 2_000)
    feed(net, "A", *common[:150])
    net.cut("A", "B")
    feed(net, "A", *only_a)
    feed(net, "B", *only_b)
    for label in "AB":  # what differs must not be among the recent ones
        feed(net, label, *common[150:])
    relink(net)
    assert net.converged()
    assert set(dots_sent(net, "A", "B")) == {Dot(i, 1) for i in only_a}
    assert set(dots_sent(net, "B", "A")) == {Dot(i, 1) for i in only_b}
    (asked,) = [m for m in net.sent(DigestAsk, "A", "B") if m.buckets is not None]
    assert 1 <= len(asked.buckets) <= 6
    (parts,) = net.sent(DigestParts, "B", "A")
    assert parts.buckets == tuple(sorted(asked.buckets))
    assert len(parts.known) < 80


def test_many_differing_incarnations_converge() -> None:
    net = linked_pair()
    net.cut("A", "B")
    feed(net, "A", *strange_incs(350))
    feed(net, "B", *strange_incs(350, 5_000))
    relink(net)
    assert net.converged()
    assert len(net["A"].tree) == 702


def test_changes_while_a_digest_is_being_resolved_are_not_lost() -> None:
    net = linked_pair()
    net.cut("A", "B")
    feed(net, "A", *strange_incs(40))
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    net.write("A", "x", 1)
    net.write("B", "y", 1)
    for _ in range(20):  # message by message, with writes in between
        net.deliver("A", "B", 1)
        net.write("A", "x", 2)
        net.write("B", "y", 2)
        net.flow()
    net.release("A", "B")
    net.run()
    assert net.converged()


@pytest.mark.parametrize("buckets", [(), (64,), (2**40,), (0, 0, 0)])
def test_questions_for_buckets_that_are_none_are_answered_without_them(buckets: tuple[int, ...]) -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(DigestAsk(), DigestAsk(buckets))
    assert not stranger.is_cut
    (answer,) = stranger.took(DigestParts)
    assert set(answer.buckets) <= {0}


def test_answers_that_nobody_asked_for_are_ignored() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    before = dict(net["A"].known.map)
    stranger.send(DigestBuckets((1,) * 64), DigestBuckets(()), DigestParts((1,), {incarnation("Z", 1): (1, 9)}))
    assert not stranger.is_cut
    assert dict(net["A"].known.map) == before


def test_answers_about_a_digest_that_was_replaced_are_ignored() -> None:
    """Both digests need the buckets. Taken for the second one, the first one's would resolve it half."""
    net = Net("A")
    net.write("A", "x", 1)
    stranger = Stranger(net, "A", dialled=True)
    link = net["A"].links[stranger.link]
    empty, other = DigestBuckets((0,) * 64), DigestBuckets((1,) * 64)
    stranger.send(Digest({}, 5), Digest({}, 6))
    stranger.send(empty)
    assert link.est is None
    assert len(stranger.took(DigestAsk)) == 2
    stranger.send(other)
    (parts,) = [ask for ask in stranger.took(DigestAsk) if ask.buckets is not None]
    assert len(parts.buckets or ()) == 64
    stranger.send(DigestParts(parts.buckets or (), {Z: (1, 3)}))
    assert link.est is not None
    assert link.est[Z] == Ticks.upto(2)


def test_what_was_acknowledged_before_a_digest_does_not_refer_to_it() -> None:
    """It said: all that my digest listed is on disk. The next digest lists more than that."""
    net = Net("A")
    net.write("A", "x", 1)
    stranger = Stranger(net, "A")
    inc = net["A"].state.inc
    assert inc is not None
    stranger.send(Digest({}, 5), Ack((AckState(stranger.name, stranger.session, 1, {}, (), (), True),)))
    stranger.send(Digest({i: t.bounds for i, t in net["A"].known.map.items()}, 0))
    held = net["A"].acks.processes.current(stranger.name)
    assert held is not None
    assert not held.known.has(inc, 1)


def test_a_digest_replaces_every_estimate() -> None:
    """R9: a peer that lost its store tells so by its digest, and gets everything again."""
    net = linked_pair()
    for n in range(5):
        net.write("A", f"x.:{n}", n)
    net.run()
    net.crash("B")
    net.start("B")
    net.link("A", "B")
    net.run()
    assert net.converged()
    assert net.read("B", "x.:3") == 3


# -- sessions (R4) -----------------------------------------------------------------------------------------------------


def test_superseded_versions_are_told_as_ranges() -> None:
    net = linked_pair()
    net.cut("A", "B")
    dots = [net.write("A", "x", n) for n in range(50)]
    relink(net)
    assert dots_sent(net, "A", "B") == [dots[-1]]
    (end,) = net.sent(End, "A", "B")
    assert end.ranges == {dots[0].inc: (dots[0].tick, dots[-1].tick)}
    assert net.converged()


@pytest.mark.parametrize("limits", [Limits(), SMALL, Limits(chunk_bytes=1, window_bytes=1)])
def test_ranges_come_behind_all_versions(limits: Limits) -> None:
    net = linked_pair(limits=limits)
    net.cut("A", "B")
    for n in range(60):
        net.write("A", f"x.:{n % 40}", n)
    relink(net)
    seen: set[Dot] = set()
    for message in (m for a, b, m in net.log if (a, b) == ("A", "B")):
        if isinstance(message, Versions):
            seen |= {v.dot for v in message.versions}
        elif isinstance(message, End) and message.ranges:
            assert len(seen) == 40
    assert net.converged()
    assert len(dots_sent(net, "A", "B")) == len(set(dots_sent(net, "A", "B"))) == 40


def test_a_cut_session_yields_no_ranges() -> None:
    net = Net("A", limits=SMALL)
    for n in range(60):
        net.write("A", f"x.:{n % 30}", "some text that takes room")
    net.flow()
    for count in range(2, 12):
        net.start("B", member=False)
        net.link("A", "B")
        net.hold("A", "B")
        net.flow()
        received = [m for _ in range(count) for m in deliver_drained(net)]
        assert not any(isinstance(m, End) and m.ranges for m in received)
        got = {v.dot for m in received if isinstance(m, Versions) for v in m.versions}
        assert {Dot(i, t) for i, ticks in net["B"].known.map.items() for t in ticks} == got
        net.cut("A", "B")
    net.link("A", "B")
    net.run()
    assert net.converged()


def deliver_drained(net: Net) -> list[Message]:
    """Deliver one message from A to B and let A hear that its queue drained."""
    out = net.deliver("A", "B", 1)
    for link in net.links_of("A", "B"):
        net["A"].writable(link, net.now)
    net.flow()
    return out


def test_ranges_are_frozen_when_a_version_is_superseded_midway() -> None:
    """What is superseded while the session runs is claimed only by a later session, behind its successor."""
    net = Net("A", limits=SMALL)
    paths = [f"x.:{n}" for n in range(20)]
    old = {path: net.write("A", path, "some text that takes room") for path in paths}
    net.flow()
    net.start("B", member=False)
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    for turn in range(200):
        if turn < 20:
            net.write("A", paths[-turn], f"newer {turn}")
            net.write("A", paths[turn], f"newest {turn}")
        received = deliver_drained(net)
        for path, dot in old.items():
            if dot in net["B"].known and not net.has("A", dot):
                assert net.at("B", path), f"{dot} is known at B without it or what superseded it"
        if not received and turn > 20:
            break
    net.release("A", "B")
    net.run()
    assert net.converged()


def test_what_is_superseded_midway_goes_out_as_its_successor() -> None:
    net = Net("A", limits=SMALL)
    for n in range(20):
        net.write("A", f"x.:{n}", "some text that takes room")
    net.flow()
    net.start("B", member=False)
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    deliver_drained(net)
    pending = set(range(20)) - {v.details.path[1] for m in net.sent(Versions, "A", "B") for v in m.versions}
    assert pending
    one = max(pending)
    (before,) = net.at("A", f"x.:{one}")
    after = net.write("A", f"x.:{one}", "newer")
    net.release("A", "B")
    net.run()
    assert before.dot not in dots_sent(net, "A", "B")
    assert dots_sent(net, "A", "B").count(after) == 1
    assert net.read("B", f"x.:{one}") == "newer"
    assert net.converged()


def test_a_sender_that_restarts_midway_begins_anew() -> None:
    net = Net("A", limits=SMALL)
    for n in range(60):
        net.write("A", f"x.:{n % 30}", "some text that takes room")
    net.flow()
    net.start("B", member=False)
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    net.deliver("A", "B", 3)
    net.restart("A")
    assert net["B"].known != net["A"].known
    net.link("A", "B")
    net.run()
    assert net.converged()


def test_trace_5_a_range_without_its_version() -> None:
    """w.A reaches B; w.A again; the link to C is cut before the version; A is gone: B and C agree on what they know."""
    net = Net("A", "B", "C")
    net.mesh("A", "B", "C")
    net.run()
    net.cut("A", "C")
    net.cut("B", "C")
    net.write("A", "x", 1)
    net.flow()
    net.cut("A", "B")
    second = net.write("A", "x", 2)
    net.flow()
    net.link("A", "C")
    net.hold("A", "C")
    net.flow()
    while net.on_the_way("A", "C") and not any(
        isinstance(m, Versions) and any(v.dot == second for v in m.versions) for m in net.on_the_way("A", "C")[:1]
    ):
        net.deliver("A", "C", 1)
        net.flow()
    net.crash("A")
    net.link("B", "C")
    net.run()
    assert net.converged("B", "C")
    assert net.read("C", "x") == 1


# -- closed incarnations (R3) ------------------------------------------------------------------------------------------


def closed_net() -> tuple[Net, Incarnation]:
    """A node that holds the mark of a closed incarnation of Z, got from a member."""
    net = Net("A")
    inc = incarnation("Z", 1)
    Stranger(net, "A", "Q", session=5).mark(inc)
    net.flow()
    assert net["A"].state.is_closed(inc)
    return net, inc


def test_a_closed_incarnations_ticks_come_from_peers_with_the_mark_only() -> None:
    net, inc = closed_net()
    without = Stranger(net, "A", "Y", session=6)
    without.send(Versions((version("x", 1, inc=inc),)))
    assert not without.is_cut
    assert net.at("A", "x") == ()
    assert Dot(inc, 1) not in net["A"].known
    Stranger(net, "A", "X", session=7, marks=(inc,)).send(Versions((version("x", 1, inc=inc),)))
    assert net.read("A", "x") == 1


@pytest.mark.parametrize("twin", ["", "v"])
def test_ranges_of_a_session_with_a_refused_version_are_void(twin: str) -> None:
    net, inc = closed_net()
    peer_ = Stranger(net, "A", "Y", session=6)
    peer_.introduce()
    other = incarnation("W", 1)
    assert len(peer_.took(Digest)) == 1
    peer_.send(Versions((version("x", 3, inc=inc + twin),)), End({inc: (1, 3), other: (1, 9)}, 1, True))
    assert net["A"].known[other] == net["A"].known[inc] == Ticks()
    # With the mark it is asked to begin anew; the ranges of the old session stay void, those of the new one count.
    peer_.send(Ack((AckState("Y", 6, 1, {}, (inc,), ()),)))
    assert len(peer_.took(Digest)) == 2
    peer_.send(End({other: (1, 9)}, 1, True))
    assert net["A"].known[other] == Ticks()
    peer_.send(Versions((version("x", 3, inc=inc + twin),)), End({inc + twin: (1, 3), other: (1, 9)}, 2, True))
    assert net["A"].known[other] == Ticks.upto(8)
    assert net["A"].known[inc + twin] == Ticks.upto(3)


def test_ranges_of_a_closed_incarnation_need_the_mark() -> None:
    net, inc = closed_net()
    Stranger(net, "A", "Y", session=6).send(End({inc: (1, 5)}, 1, True))
    assert net["A"].known[inc] == Ticks()
    Stranger(net, "A", "X", session=7, marks=(inc,)).send(End({inc: (1, 5)}, 1, True))
    assert net["A"].known[inc] == Ticks.upto(4)
