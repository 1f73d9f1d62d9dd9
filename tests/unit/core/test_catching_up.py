"""Who sends what to a node that lacks much, when several peers could: one of them at a time."""

from __future__ import annotations

from collections import Counter

from kvnode.core.effects import Change
from kvnode.core.limits import Limits
from kvnode.core.messages import Digest, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from tests.support.nets import dots_sent
from tests.support.replicas import Net, enc
from tests.support.strangers import Stranger

LIMITS = Limits(chunk_bytes=500, window_bytes=2_000)
PEERS = "ABC"


def filled(count: int = 60, **options: Limits) -> Net:
    """A mesh of three in which everybody wrote something."""
    net = Net(*PEERS, **options)
    net.mesh(*PEERS)
    net.run()
    for n in range(count):
        net.propose(PEERS[n % 3], *(Change(Path.parse(f"x.:{n}.:{m}"), enc("some text")) for m in range(5)))
    net.run()
    net.log.clear()
    return net


def join(net: Net) -> None:
    """D, which holds nothing, dials all of them."""
    net.start("D")
    for peer in PEERS:
        net.link("D", peer)


def join_slowly(net: Net) -> None:
    """D dials A first, which begins to send, message by message; then the others."""
    net.start("D")
    net.link("D", "A")
    net.hold("A", "D")
    net.flow()
    one_more(net)
    for peer in PEERS[1:]:
        net.link("D", peer)
    net.flow()


def one_more(net: Net) -> None:
    """Some versions from A arrive at D."""
    while not any(isinstance(m, Versions) for m in net.deliver("A", "D", 1)):
        net["A"].writable(net.links_of("A", "D")[0], net.now)
        net.flow()


def copies(net: Net, *sources: str) -> Counter[Dot]:
    """How often D was sent each change."""
    return Counter(dot for source in sources or PEERS for dot in dots_sent(net, source, "D"))


def settled(net: Net) -> bool:
    return all(link.settled for link in net["D"].links.values())


def test_a_node_that_joins_gets_each_change_from_one_peer() -> None:
    net = filled()
    join(net)
    net.run()
    assert net.converged()
    assert settled(net)
    assert set(copies(net).values()) == {1}


def test_a_node_that_was_away_gets_each_change_from_one_peer() -> None:
    net = filled()
    join(net)
    net.run()
    for peer in PEERS:
        net.cut("D", peer)
    for n in range(100):
        net.write(PEERS[n % 3], f"x.:{n}", "more")
    net.run()
    net.log.clear()
    for peer in PEERS:
        net.link(peer, "D")  # the others dial
    net.run()
    assert net.converged()
    assert settled(net)
    assert set(copies(net).values()) == {1}


def test_what_each_side_wrote_during_a_cut_crosses_once() -> None:
    net = filled()
    join(net)
    net.run()
    for peer in PEERS:
        net.cut("D", peer)
    for n in range(30):
        net.write("A", f"y.:{n}", "there")
        net.write("D", f"z.:{n}", "here")
    net.run()
    net.log.clear()
    for peer in PEERS:
        net.link("D", peer)
    net.run()
    assert net.converged()
    assert set(copies(net).values()) == {1}
    assert all(len(dots_sent(net, "D", peer)) == 30 for peer in PEERS)


def test_if_the_peer_that_sends_is_lost_another_one_goes_on() -> None:
    net = filled(limits=LIMITS)
    join_slowly(net)
    assert not copies(net, "B", "C")
    net.cut("A", "D")
    net.flow()
    assert copies(net, "B", "C")
    net.run()
    assert net.converged()
    assert set(copies(net, "B", "C").values()) == {1}


def test_if_the_peer_that_sends_falls_silent_another_one_goes_on() -> None:
    net = filled(limits=LIMITS)
    join_slowly(net)
    net.run(net.limits.hold_ms - 100)
    assert not copies(net, "B", "C")
    net.run(200)
    assert copies(net, "B", "C")
    net.release("A", "D")
    net.run()
    assert net.converged()
    assert settled(net)


def test_one_that_sends_slowly_is_waited_for() -> None:
    net = filled(limits=LIMITS)
    join_slowly(net)
    net.nodes["D"].stuck = True  # so that no acknowledgement tells how far it has come
    for _ in range(12):
        net.run(net.limits.hold_ms - 100)
        assert not copies(net, "B", "C")
        one_more(net)
    net.unstick("D")
    net.release("A", "D")
    net.run()
    assert net.converged()
    assert set(copies(net).values()) == {1}


def test_a_peer_that_asked_to_wait_and_says_no_more_gets_it_in_the_end() -> None:
    net = filled()
    stranger = Stranger(net, "A")
    stranger.send(Digest(dict.fromkeys(net["A"].known.map, (1, 2)), 0, hold=True))
    net.run(net.limits.held_most_ms - 1_000)
    assert stranger.took(Versions) == []
    net.run(1_500)
    assert stranger.took(Versions)


def test_changes_that_are_made_meanwhile_reach_a_peer_that_waits() -> None:
    net = filled(limits=LIMITS)
    join_slowly(net)
    dot = net.write("B", "new", 1)
    net.flow()
    assert net.has("D", dot)
    assert set(copies(net, "B", "C")) == {dot}
    net.release("A", "D")
    net.run()
    assert net.converged()


def test_a_partial_replica_does_not_ask_to_wait() -> None:
    net = Net("A", limits=LIMITS)
    net.start("P", view=("x.#",))
    net.start("B")
    for n in range(40):
        net.write("A", f"x.:{n}", "some text")
    net.link("A", "B")
    net.run()
    net.link("P", "A")
    net.link("P", "B")
    net.run()
    assert net.read("P", "x.:39") == "some text"
    assert not any(m.hold for m in net.sent(Digest, "P", "A") + net.sent(Digest, "P", "B"))


# -- relays that are left to the origin ----------------------------------------------------------------------------


def test_a_slow_disk_is_no_reason_to_send_what_the_origin_sent() -> None:
    net = Net(*PEERS)
    net.mesh(*PEERS)
    net.run()
    net.nodes["C"].stuck = True
    dots = []
    for n in range(100):
        dots.append(net.write("A", f"x.:{n}", n))
        net.run(20)
        if n % 10 == 9:
            net.sync_disk("C")
    net.unstick("C")
    net.run()
    assert net.converged()
    assert [dot for dot in dots if ("B", "C") in net.carried(dot)] == []


def test_how_long_the_origin_is_waited_for_follows_the_disk_of_the_peer() -> None:
    net = Net(*PEERS)
    net.mesh(*PEERS)
    net.run()
    net.nodes["C"].stuck = True
    late: list[Dot] = []
    for n in range(200):
        late.append(net.write("A", f"x.:{n}", n))
        net.run(10)
        if n % 50 == 49:  # slower than lazy_ms
            net.sync_disk("C")
    relayed = [at for at, dot in enumerate(late) if ("B", "C") in net.carried(dot)]
    assert relayed
    assert max(relayed) < 100
    net.unstick("C")
    net.run()
    assert net.converged()


def test_a_link_that_brings_one_thing_and_loses_another_is_noticed() -> None:
    net = Net(*PEERS)
    net.mesh(*PEERS)
    net.run()
    net.hold("A", "C")
    lost = net.write("A", "x", 1)
    for n in range(20):
        net.write("B", f"y.:{n}", n)
        net.run(30)
    assert net.has("C", lost)


def test_no_range_goes_ahead_of_what_superseded_it() -> None:
    """B writes, A writes over it; C leaves both to them, and loses patience with B first."""
    net = Net(*PEERS, "D")
    net.mesh(*PEERS, "D")
    net.run()
    net.hold("A", "D")
    net.hold("B", "D")
    under = net.write("B", "x", 1)
    net.run(net.limits.lazy_ms // 2)
    over = net.write("A", "x", 2)
    net.flow()
    while under not in net["D"].known:
        assert net.has("C", over)
        net.run(10)
    assert net.has("D", over)
