"""Acknowledgements (R9): own and relayed, as deltas, durable only."""

from __future__ import annotations

import pytest

from kvnode.codec import peer
from kvnode.core.effects import Change
from kvnode.core.limits import Limits
from kvnode.core.messages import MORE_LINKS, Ack, AckState, Digest, Hello, Message, MoreLinks, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Ticks, incarnation
from tests.support.replicas import Net, enc, linked
from tests.support.strangers import Stranger, Z, version


def states(net: Net, source: str, target: str, name: str) -> list[AckState]:
    """What was said of a node on a link."""
    return [s for m in net.sent(Ack, source, target) for s in m.states if s.name == name]


# -- what an acknowledgement means -------------------------------------------------------------------------------------


def test_only_what_is_durable_is_acknowledged() -> None:
    net = linked("A", "B")
    net.nodes["B"].stuck = True
    dot = net.write("A", "x", 1)
    net.run(15_000)
    assert net.has("B", dot)
    assert net["A"].ackers(dot) == set()
    net.sync_disk("B")
    net.run(100)
    assert net["A"].ackers(dot) == {"B"}


def test_an_acknowledgement_may_overtake_the_own_disk() -> None:
    net = linked("A", "B")
    net.nodes["A"].stuck = True
    dot = net.write("A", "x", 1)
    net.run(100)
    assert net["A"].ackers(dot) == {"B"}
    assert not net["A"].durable_here(dot)


def test_whoever_waits_is_told_to_look_again() -> None:
    net = linked("A", "B")
    before = net.nodes["A"].acked
    net.write("A", "x", 1)
    net.run(100)
    assert net.nodes["A"].acked > before
    net.run(1_000)
    still = net.nodes["A"].acked
    net.run(9_000)
    assert net.nodes["A"].acked == still


def test_acknowledgements_are_joined_while_no_writer_waits() -> None:
    net = linked("A", "B", "C", mesh=True)
    before = len(net.sent(Ack, "B", "A"))
    for n in range(40):
        dot = net.write("A", "x", n)
        net.run(1)
    assert net["A"].ackers(dot) == set()
    net.run(Limits().ack_delay_ms)
    assert net["A"].ackers(dot) == {"B", "C"}
    assert len(net.sent(Ack, "B", "A")) == before + 1


def write_and_wait(net: Net, label: str, path: str) -> Dot:
    """As a writer does who waits for acknowledgements."""
    wrote = net[label].propose([Change(Path.parse(path), enc(1), "me")], net.now, prompt=True)
    assert isinstance(wrote, list)
    net.run(2 * Limits().prompt_ack_delay_ms)
    return wrote[0].dot


def test_where_a_writer_waits_they_come_at_once() -> None:
    net = linked("A", "B", "C", mesh=True)
    dot = write_and_wait(net, "A", "x")
    assert net["A"].ackers(dot) == {"B", "C"}
    assert net["B"].ackers(dot) == set()  # nobody waits there
    dot = net.write("A", "x", 2)
    net.run(2 * Limits().prompt_ack_delay_ms)
    assert net["A"].ackers(dot) == set()


def test_that_a_writer_waits_is_relayed() -> None:
    net = linked("A", "B")
    net.start("C")
    net.link("B", "C")
    net.run()
    dot = write_and_wait(net, "A", "x")
    assert net["A"].ackers(dot) == {"B"}
    assert net["B"].ackers(dot) == {"C"}
    net.run(Limits().relay_ack_delay_ms)
    assert net["A"].ackers(dot) == {"B", "C"}


def test_a_writer_waits_until_the_disk_of_the_other_node_has_it() -> None:
    net = linked("A", "B")
    net.nodes["B"].stuck = True
    dot = write_and_wait(net, "A", "x")
    net.run(1_000)
    assert net["A"].ackers(dot) == set()
    net.sync_disk("B")
    net.run(2 * Limits().prompt_ack_delay_ms)
    assert net["A"].ackers(dot) == {"B"}


def test_what_is_no_news_is_acknowledged_at_once_too_if_a_writer_waits() -> None:
    net = linked("A", "B")
    stranger = Stranger(net, "A")
    stranger.introduce()
    net.run()
    new = version("x", 1)
    stranger.send(Versions((new,), prompt=False))
    net.run(2 * Limits().prompt_ack_delay_ms)
    assert not acknowledged(stranger, new.dot)
    stranger.send(Versions((new,)))
    net.run(2 * Limits().prompt_ack_delay_ms)
    assert acknowledged(stranger, new.dot)


def acknowledged(stranger: Stranger, dot: Dot) -> bool:
    """Whether its peer has told it so."""
    words = [state for ack in stranger.took(Ack) for state in ack.states]
    return any(dot.tick in Ticks(tuple(word.known.get(dot.inc, ()))) for word in words)


def test_a_newcomer_to_a_mesh_is_not_told_what_it_hears_itself() -> None:
    net = linked(*"ABCDE", mesh=True)
    net.crash("E")
    net.run(30_000)
    net.start("E")
    net.log.clear()
    for label in "ABCD":
        net.link(label, "E")
    net.run(10_000)
    told = {
        state.name
        for label in "ABCD"
        for ack in net.sent(Ack, label, "E")
        for state in ack.states
        if state.name != label
    }
    assert told == {"E"}  # of its process before
    assert net["E"].members() == set("ABCDE")
    dot = net.write("E", "x", 1)
    net.run(1_000)
    assert net["E"].ackers(dot) == set("ABCD")


def test_who_is_not_heard_by_a_newcomer_itself_is_told_of_after_a_while() -> None:
    net = linked(*"ABC")
    net.start("D")
    net.link("C", "D")
    net.run(500)
    assert net["D"].acks.processes.current("A") is None
    net.run(1_000)
    assert net["D"].acks.processes.current("A") is not None


def test_acknowledgements_are_relayed() -> None:
    net = linked(*"ABCD")
    dot = net.write("A", "x", 1)
    net.run(1_000)
    for label in "ABCD":
        assert net[label].ackers(dot) == set("ABCD") - {label}


def test_a_superseded_change_is_acknowledged_by_its_range() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    dots = [net.write("A", "x", n) for n in range(5)]
    net.link("A", "B")
    net.run(100)
    assert [net["A"].ackers(dot) for dot in dots] == [{"B"}] * 5


def test_a_volatile_change_is_acknowledged_when_it_is_held() -> None:
    net = linked("A", "B")
    net.write("A", "@.volatile.one", {"pattern": "v"})
    net.run()
    net.nodes["B"].stuck = True
    dot = net.write("A", "v", 1)
    net.run(100)
    assert net["A"].ackers(dot) == {"B"}
    net.restart("B")
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    assert net["A"].ackers(dot) == set()


def test_nodes_that_are_no_members_do_not_count() -> None:
    net = Net("A")
    net.start("C", member=False)
    net.link("A", "C")
    net.run()
    dot = net.write("A", "x", 1)
    net.run()
    assert net.has("C", dot)
    assert net["A"].ackers(dot) == set()


# -- new sessions (R9) -------------------------------------------------------------------------------------------------


def test_a_new_process_has_acknowledged_nothing() -> None:
    net = linked("A", "B")
    net.nodes["B"].stuck = True
    net.run()
    first = net.write("A", "x", 1)
    net.sync_disk("B")
    net.run()
    store = net.nodes["B"].store
    second = net.write("A", "y", 1)
    net.flow()
    net.crash("B")
    net.start("B", store=store)
    net.link("A", "B")
    net.hold("B", "A")
    net.flow()
    for _ in range(6):  # the hello of the new process
        if net["A"].acks.processes.current("B") and not net["A"].ackers(first):
            break
        net.deliver("B", "A", 1)
        net.flow()
    assert net["A"].ackers(first) == set()
    net.release("B", "A")
    net.run()
    assert net["A"].ackers(first) == net["A"].ackers(second) == {"B"}


def test_a_new_process_is_heard_of_behind_a_relay() -> None:
    net = linked(*"ABC")
    dot = net.write("A", "x", 1)
    net.run()
    store = net.nodes["C"].store.copy()
    for inc in list(store.known):
        if inc == dot.inc:
            store.known[inc] = Ticks.upto(dot.tick - 1)
    del store.rows[Path.parse("x").key]
    net.crash("C")
    net.start("C", store=store)
    net["C"].linked(999, net.now)  # it lives, but reaches nobody
    net.run(20_000)
    net["C"].unlinked(999, net.now)
    net.link("C", "B")
    net.run()
    assert net["A"].ackers(dot) == {"B", "C"}
    assert net.has("C", dot)


def test_the_word_of_an_older_process_does_not_count_for_the_newer_one() -> None:
    net = Net("A")
    stranger = Stranger(net, "A", "Y")
    stranger.introduce()
    record = version("@.nodes.C", 1, {"inc": Z})
    dot = Dot(net["A"].state.inc or "", 1)
    old = AckState("C", 1, 5, {dot.inc: (1, 2)}, (), ())
    new = AckState("C", 2, 1, {}, (), ())
    stranger.send(Versions((record,)), Ack((old,)))
    assert net["A"].ackers(dot) == {"C"}
    net.run(15_000)
    stranger.send(Ack((new,)))
    assert net["A"].ackers(dot) == set()
    stranger.send(Ack((old,)))  # a repetition is no sign of life
    assert net["A"].ackers(dot) == set()


# -- deltas ------------------------------------------------------------------------------------------------------------


def test_the_first_word_on_a_link_costs_only_the_difference_to_the_digest() -> None:
    net = linked("A", "B")
    feeder = Stranger(net, "A", "Y", session=9)
    feeder.send(Versions(tuple(version(f"z.:{n}", 1, n, incarnation("Z", n)) for n in range(500))))
    net.run()
    net.cut("A", "B")
    net.log.clear()
    net.link("A", "B")
    net.run(1_000)
    first = states(net, "A", "B", "A")[0]
    assert first.as_digest
    assert first.known == {}
    assert net["B"].ackers(Dot(incarnation("Z", 7), 1)) == {"A"}
    assert sum(len(peer.encode(0, Ack((s,)))) for s in states(net, "A", "B", "A")) < 1_000


def test_the_first_word_excepts_what_is_not_durable_yet() -> None:
    net = linked("A", "B")
    net.cut("A", "B")
    net.nodes["B"].stuck = True
    dot = net.write("B", "x", 1)
    net.link("A", "B")
    net.run(1_000)
    assert net.has("A", dot)
    assert dot not in (net["A"].acks.processes.current("B") or pytest.fail("no word of B")).known
    net.sync_disk("B")
    net.run(100)
    held = net["A"].acks.processes.current("B")
    assert held is not None
    assert dot in held.known


def test_a_later_word_carries_what_is_more() -> None:
    net = linked("A", "B")
    for n in range(40):  # holes make ranges long
        net.write("A", f"x.:{n}", n)
    net.run()
    net.log.clear()
    dot = net.write("A", "y", 1)
    net.run(1_000)
    said = [s.known for s in states(net, "B", "A", "B") if s.known]
    assert said == [{dot.inc: (dot.tick, dot.tick + 1)}]


def test_acknowledgements_are_joined() -> None:
    net = linked("A", "B")
    for n in range(100):
        net.write("A", f"x.:{n}", n)
        net.flow()
    net.run(1_000)
    assert len(states(net, "B", "A", "B")) <= 2


def test_a_process_shows_that_it_lives() -> None:
    net = linked("A", "B", limits=Limits(beat_ms=1_000))
    net.run(10_000)
    beats = [s.beat for s in states(net, "A", "B", "A")]
    assert 9 <= len(beats) <= 12
    assert beats == sorted(set(beats))


# -- relays ------------------------------------------------------------------------------------------------------------


def test_nothing_is_relayed_to_a_peer_that_hears_it_from_the_process_itself() -> None:
    net = linked(*"ABCD", mesh=True)
    net.write("A", "x", 1)
    net.run(30_000)
    for source in "ABCD":
        for target in "ABCD":
            if source != target:
                assert {s.name for m in net.sent(Ack, source, target) for s in m.states} == {source}


def test_relays_do_not_go_round() -> None:
    net = linked(*"ABCDEF")
    net.link("F", "A")
    net.run(5_000)
    net.log.clear()
    net.write("A", "x", 1)
    net.run(5_000)
    assert len(net.sent(Ack)) < 120
    net.log.clear()
    net.run(5_000)
    assert len(net.sent(Ack)) <= 6 * 2 * 5


def test_what_a_peer_missed_with_its_own_link_is_relayed() -> None:
    net = linked(*"ABC", mesh=True)
    net.hold("C", "B")
    dot = net.write("A", "x", 1)
    net.run(100)
    assert net["A"].ackers(dot) == {"B", "C"}
    net.cut("B", "C")  # C's word to B is lost with the link
    net.run(5_000)
    assert net["B"].ackers(dot) == {"A", "C"}


def test_a_relayed_word_says_how_old_it_is() -> None:
    net = linked(*"ABC")
    net.crash("A")
    net.run(30_000)
    net.start("D")
    net.link("C", "D")
    net.run(1_500)
    (said,) = states(net, "C", "D", "A")
    assert 25_000 <= said.age_ms <= 45_000


def test_marks_travel_with_the_acknowledgements() -> None:
    net = linked(*"ABC")
    net.restart("A")
    net.link("A", "B")
    net.run()
    old = net["A"].state.durable_marks
    assert len(old) <= 1
    for label in "BC":
        held = net[label].acks.processes.current("A")
        assert held is not None
        assert held.marks == old


# -- before the digest, and hostile words ------------------------------------------------------------------------------


def test_words_before_the_digest_is_resolved_wait_for_it() -> None:
    net = Net("A")
    stranger = Stranger(net, "A", "Y", session=6)
    dot = Dot(net["A"].state.inc or "", 1)
    stranger.send(Versions((version("@.nodes.Y", 1, {"inc": Z}),)))
    stranger.send(Ack((AckState("Y", 6, 1, {dot.inc: (1, 2)}, (), ()),)))
    assert net["A"].ackers(dot) == set()
    stranger.send(Digest({dot.inc: (1, 2), Z: (1, 2)}, 0))
    assert net["A"].ackers(dot) == {"Y"}


def test_words_before_the_digest_are_bounded() -> None:
    net = Net("A", limits=Limits(early_acks=10))
    stranger = Stranger(net, "A", "Y", session=6)
    word = AckState("Y", 6, 1, {}, (), ())
    for _ in range(10):
        stranger.send(Ack((word,)))
    assert not stranger.is_cut
    stranger.send(Ack((word,)))
    assert stranger.is_cut


def test_an_echo_of_the_own_word_is_ignored() -> None:
    net = Net("A")
    stranger = Stranger(net, "A", "Y")
    stranger.introduce()
    for beat in (1, 1_000_000):
        stranger.send(Ack((AckState("A", net["A"].session, beat, {Z: (1, 9)}, (Z,), (("Y", 77),)),)))
    net.run(60_000)
    assert not stranger.is_cut
    assert "duplicate_session" not in net.nodes["A"].kinds()


def test_names_and_processes_are_bounded() -> None:
    net = Net("A", "B", limits=Limits(names=20, sessions_per_name=3))
    net.link("A", "B")
    net.run()
    dot = net.write("A", "x", 1)
    net.run()
    stranger = Stranger(net, "A", "Y")
    stranger.introduce()
    for n in range(200):
        stranger.send(Ack((AckState(f"n{n}", 1, 1, {}, (), ()), AckState("Y", n, n, {}, (), ()))))
    assert not stranger.is_cut
    assert len(dict(net["A"].acks.processes.items())) <= 22
    assert len(net["A"].acks.processes.of("Y")) <= 3
    assert net["A"].ackers(dot) == {"B"}


@pytest.mark.parametrize(
    "state",
    [
        AckState("", 1, 1, {}, (), ()),
        AckState("no name!", 1, 1, {}, (), ()),
        AckState("Y", 1, 1, {"no incarnation": (1, 2)}, (), ()),
        AckState("Y", 1, 1, {Z: (2, 1)}, (), ()),
        AckState("Y", 1, 1, {Z: (1,)}, (), ()),
        AckState("Y", 1, 1, {Z: (0, 5)}, (), ()),
        AckState("Y", 1, 1, {Z: (-5, 5)}, (), ()),
    ],
    ids=repr,
)
def test_malformed_words_cut_the_link(state: AckState) -> None:
    net = Net("A")
    stranger = Stranger(net, "A", "Y")
    stranger.introduce()
    stranger.send(Ack((state,)))
    assert stranger.is_cut
    net.write("A", "x", 1)
    net.run()


@pytest.mark.parametrize(
    "state",
    [
        AckState("Y", 2**64 - 1, 2**64 - 1, {Z: (1, 2**63)}, (Z, "no incarnation"), (("no name!", 0), ("", 2**64 - 1))),
        AckState("Y", 0, 0, {}, (), (), True, -(2**60)),
        AckState("Y", 0, 0, {}, (), (), True, 2**60),
        AckState("Y", 77, -(2**60), {}, (), ()),
    ],
    ids=repr,
)
def test_words_of_any_size_do_no_harm(state: AckState) -> None:
    net = Net("A", "B")
    net.link("A", "B")
    stranger = Stranger(net, "A", "Y")
    stranger.introduce()
    stranger.send(Ack((state,)))
    net.run(60_000)
    dot = net.write("A", "x", 1)
    net.run()
    assert net["A"].ackers(dot) == {"B"}
    assert net.converged()


def test_links_that_come_up_together_are_told_together() -> None:
    """Or the start of a full mesh costs the fourth power of its size in bytes."""
    names = "ABCDEFGH"
    net = Net(*names)
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            net.link(name, other)
            net.run(20)
    told = [state.links or () for *_, message in net.log if isinstance(message, Ack) for state in message.states]
    assert sum(map(len, told)) <= 2 * len(names) ** 3
    net.run(2 * net.limits.links_delay_ms)
    held = [net[a].acks.processes.current(b) for a in names for b in names if a != b]
    assert all(h is not None and len(h.links) == len(names) - 1 for h in held)


def told_links(net: Net, source: str, target: str) -> list[tuple[str, list[str]]]:
    """What a node said of its own links: the kind of message, and the names."""
    out = []
    for message in net.sent(Message, source, target):
        if isinstance(message, MoreLinks):
            out.append(("more", [name for name, _ in message.links]))
        elif isinstance(message, Ack):
            own = [s.links for s in message.states if s.name == source and s.links is not None]
            out += [("all", [name for name, _ in links]) for links in own]
    return out


def test_a_greeting_lists_no_links() -> None:
    """In a mesh they would be most of it."""
    net = linked(*"ABCDE", mesh=True)
    net.start("F")
    net.log.clear()
    net.link("A", "F")
    net.flow()
    assert [hello.links for hello in net.sent(Hello)] == [(), ()]
    assert sum(len(peer.encode(0, hello)) for hello in net.sent(Hello)) < 2 * 80


def test_links_are_told_once_and_then_what_is_more() -> None:
    net = linked(*"ABC", mesh=True)
    net.run(10_000)
    net.start("D")
    net.log.clear()
    net.link("A", "D")
    net.run(5_000)
    assert told_links(net, "A", "D") == [("all", ["B", "C", "D"])]
    assert told_links(net, "A", "B") == [("more", ["D"])]
    net.log.clear()
    net.link("D", "B")
    net.run(5_000)
    assert told_links(net, "D", "A") == [("more", ["B"])]
    link = net["A"].links[net.links_of("A", "D")[0]]
    assert link.near == {"A", "B"}
    held = net["A"].acks.processes.current("D")
    assert held is not None
    assert {name for name, _ in held.links} == link.near


def test_after_a_loss_all_links_are_told() -> None:
    net = linked(*"ABC", mesh=True)
    net.run(10_000)
    net.log.clear()
    net.cut("A", "C")
    net.run(5_000)
    assert told_links(net, "A", "B") == [("all", ["B"])]


def test_a_peer_that_does_not_know_of_more_links_hears_all_of_them() -> None:
    net = Net("A")
    old, new = Stranger(net, "A", "Y"), Stranger(net, "A", "X", features=(MORE_LINKS,), session=5)
    for stranger in (old, new):
        stranger.introduce()
    net.run(5_000)
    for stranger in (old, new):
        stranger.got.clear()
    net.start("B")
    net.link("A", "B")
    net.run(5_000)
    assert not old.took(MoreLinks)
    told = [s.links for m in old.took(Ack) for s in m.states if s.name == "A" and s.links is not None]
    assert [sorted(name for name, _ in links) for links in told] == [["B", "X", "Y"]]
    assert [name for m in new.took(MoreLinks) for name, _ in m.links] == ["B"]
    assert not [s for m in new.took(Ack) for s in m.states if s.name == "A" and s.links is not None]


def test_links_of_a_greeting_count_until_an_acknowledgement_tells_them() -> None:
    """As nodes of 0.1 send it."""
    net = Net("A")
    stranger = Stranger(net, "A", "Y", links=(("B", 5),))
    assert net["A"].links[stranger.link].links == {("B", 5)}
    stranger.introduce()
    stranger.send(Ack((AckState("Y", stranger.session, 1, {}, (), (("A", 1),)),)))
    assert net["A"].links[stranger.link].links == {("A", 1)}


def test_more_links_than_there_can_be_end_the_link() -> None:
    net = Net("A", limits=Limits(names=10))
    stranger = Stranger(net, "A", "Y")
    for first in range(3):
        stranger.send(MoreLinks(tuple((f"n{first * 4 + n}", 1) for n in range(4))))
    assert stranger.is_cut
    assert "too many links" in stranger.why


def test_a_lost_link_is_told_at_once() -> None:
    """What its ends no longer hear from one another others have to relay."""
    net = linked(*"ABC", mesh=True)
    net.run(10_000)
    net.cut("A", "C")
    net.run(50)
    (held,) = net["B"].acks.processes.of("A")
    assert [name for name, _ in held.links] == ["B"]


def test_what_others_relay_of_a_peer_says_nothing_of_what_it_needs() -> None:
    """R9: its machine may have been set back since it said so. Its digest tells, and what it says on this link."""
    net = Net("A", limits=Limits(chunk_bytes=1, window_bytes=1))
    dots = [net.write("A", f"k{n}", n) for n in range(3)]
    inc = dots[0].inc
    other, peer_ = Stranger(net, "A", "X", session=5), Stranger(net, "A", "Y")
    other.introduce()
    net.hold("A", peer_.label)
    peer_.send(Digest({inc: (1, 2)}, 0))
    other.send(Ack((AckState("Y", peer_.session, 2, {inc: (2, dots[-1].tick + 1)}, (), ()),)))
    peer_.send(Ack((AckState("Y", peer_.session, 3, {inc: (1, 2)}, (), ()),)))
    net.release("A", peer_.label)
    net.run(1_000)
    assert {v.dot for m in peer_.took(Versions) for v in m.versions} >= set(dots)
