"""Events: unstored messages, once to every node, in order per sender."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.effects import Refused
from kvnode.core.limits import Limits
from kvnode.core.messages import Event
from kvnode.core.path import Path
from kvnode.core.ticks import MAX_TICK
from tests.support.replicas import Net, enc, linked
from tests.support.strangers import Stranger

HERE = Path.parse("door.bell")


def ring(net: Net, label: str, value: Any = 1, path: Path = HERE) -> Event:
    out = net[label].send_event(path, enc(value), "me", net.now)
    assert isinstance(out, Event)
    return out


def heard(net: Net, label: str) -> list[tuple[str, int]]:
    return [(e.name, e.seq) for e in net.nodes[label].events]


def test_an_event_reaches_every_node_once_and_the_sender() -> None:
    net = linked(*"ABCD")
    sent = ring(net, "A")
    net.flow()
    for label in "ABCD":
        assert net.nodes[label].events == [sent]
    assert (sent.name, sent.session, sent.seq, sent.path, sent.value, sent.author) == (
        "A",
        net["A"].session,
        1,
        HERE,
        enc(1),
        "me",
    )


@pytest.mark.parametrize("mesh", [False, True])
def test_events_come_in_order_per_sender(mesh: bool) -> None:
    net = linked(*"ABCD", mesh=mesh)
    for n in range(20):
        ring(net, "AC"[n % 2], n)
        if n % 3 == 0:
            net.flow()
    net.flow()
    for label in "ABCD":
        for name in "AC":
            assert [seq for who, seq in heard(net, label) if who == name] == list(range(1, 11))


def test_a_mesh_carries_one_copy_per_node() -> None:
    net = linked(*"ABCD", mesh=True)
    ring(net, "B")
    net.run()
    assert sorted((a, b) for a, b, m in net.log if isinstance(m, Event)) == [("B", "A"), ("B", "C"), ("B", "D")]


def test_a_ring_of_links_ends() -> None:
    net = linked(*"ABCDE")
    net.link("E", "A")
    net.run()
    net.log.clear()
    ring(net, "A")
    net.run()
    assert [len(net.nodes[label].events) for label in "ABCDE"] == [1] * 5
    assert len(net.sent(Event)) <= 10


def test_a_repeated_event_is_delivered_once() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    stranger = Stranger(net, "A")
    for seq in (1, 1, 2, 1, 2, 5, 4):
        stranger.send(Event("Z", 77, seq, HERE, enc(seq)))
    assert heard(net, "A") == heard(net, "B") == [("Z", 1), ("Z", 2), ("Z", 5)]


def test_a_new_process_counts_anew() -> None:
    net = linked("A", "B")
    ring(net, "A")
    net.flow()
    net.restart("A")
    net.link("A", "B")
    net.run()
    ring(net, "A")
    net.flow()
    assert heard(net, "B") == [("A", 1), ("A", 1)]


def test_the_own_event_that_comes_back_is_not_delivered_again() -> None:
    net = linked("A", "B")
    sent = ring(net, "A")
    Stranger(net, "A", "Y").send(sent)
    Stranger(net, "A", "X", session=3).send(Event("A", net["A"].session, 99, HERE, enc(1)))
    net.flow()
    assert heard(net, "A") == [("A", 1)]


def test_an_event_is_not_stored() -> None:
    net = linked("A", "B")
    before = dict(net["A"].known.map), net["A"].tree.print_of_all
    ring(net, "A")
    net.flow()
    assert (dict(net["A"].known.map), net["A"].tree.print_of_all) == before
    assert net.at("B", str(HERE)) == ()
    net.cut("A", "B")
    ring(net, "A")
    net.link("A", "B")
    net.run()
    assert heard(net, "B") == [("A", 1)]


def test_an_event_goes_to_a_partial_replica_only_inside_its_view() -> None:
    net = Net("A")
    net.start("P", view=("door.#",))
    net.link("A", "P")
    net.run()
    ring(net, "A")
    ring(net, "A", path=Path.parse("window"))
    net.flow()
    assert heard(net, "P") == [("A", 1)]


def test_senders_that_are_remembered_are_bounded() -> None:
    net = Net("A", limits=Limits(event_sessions=5))
    stranger = Stranger(net, "A")
    for session in range(100, 120):
        stranger.send(Event("Z", session, 3, HERE, enc(1)))
        stranger.send(Event("Z", 99, session, HERE, enc(1)))
    assert len(net["A"].events.heard) <= 5
    count = len(net.nodes["A"].events)
    assert count == 40
    stranger.send(Event("Z", 99, 119, HERE, enc(1)))  # the busy sender is still remembered
    assert len(net.nodes["A"].events) == count


@pytest.mark.parametrize(
    "event",
    [
        Event("Z", 77, 1, (), enc(1)),
        Event("Z", 77, 1, ("a\0b",), enc(1)),
        Event("Z", 77, 1, ("x" * 5_000,), enc(1)),
        Event("Z", 77, 1, (2**63,), enc(1)),
        Event("Z", 77, 0, HERE, enc(1)),
        Event("Z", 77, -1, HERE, enc(1)),
        Event("Z", 77, MAX_TICK + 1, HERE, enc(1)),
        Event("no name!", 77, 1, HERE, enc(1)),
        Event("Z", 77, 1, HERE, b""),
        Event("Z", 77, 1, HERE, b"\xc1"),
        Event("Z", 77, 1, HERE, b"\x01\x02"),
        Event("Z", 77, 1, HERE, b"\x91" * 500 + b"\x01"),
    ],
    ids=lambda event: str(event)[:60],
)
def test_hostile_events_cut_the_link(event: Event) -> None:
    net = Net("A", "B")
    net.link("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(event)
    assert net.nodes["A"].events == net.nodes["B"].events == []
    assert stranger.is_cut
    ring(net, "A")
    net.run()
    assert heard(net, "B") == [("A", 1)]


@pytest.mark.parametrize(
    ("path", "value", "author"),
    [
        (HERE, b"x" * 9_000_000, ""),
        (HERE, enc(b"x" * 9_000_000), ""),
        (HERE, b"\x01\x02", ""),
        (HERE, b"", ""),
        (HERE, enc(1), "x" * 9_000_000),
        (Path(), enc(1), ""),
    ],
    ids=["no object", "large", "two objects", "nothing", "author", "root"],
)
def test_an_event_that_nobody_would_take_is_refused(path: Path, value: bytes, author: str) -> None:
    net = linked("A", "B")
    assert isinstance(net["A"].send_event(path, value, author, net.now), Refused)
    net.run()
    assert heard(net, "A") == heard(net, "B") == []
    ring(net, "A")
    net.flow()
    assert heard(net, "B") == [("A", 1)]


def test_a_relayed_event_reaches_the_name_sake_of_its_sender() -> None:
    """Two processes of one name are two senders."""
    net = linked("A", "B")
    net.start("A2", name="A", store=net.nodes["A"].store.copy())
    net.link("B", "A2")
    net.run()
    ring(net, "A")
    net.flow()
    assert len(net.nodes["A2"].events) == 1


def test_a_link_that_does_not_drain_loses_events_and_nothing_else() -> None:
    net = linked("A", "B", limits=Limits(window_bytes=2_000))
    net.hold("A", "B")
    for n in range(500):
        ring(net, "A", n)
        net.flow()
    assert len(net.on_the_way("A", "B")) < 60
    dot = net.write("A", "x", 1)
    net.flow()
    net.release("A", "B")
    net.run()
    ring(net, "A", "last")
    net.flow()
    assert net.has("B", dot)
    seqs = [seq for _, seq in heard(net, "B")]
    assert seqs == sorted(seqs)
    assert seqs[-1] == 501


def test_events_that_are_not_relayed_do_not_fill_the_window() -> None:
    net = linked(*"ABC", mesh=True, limits=Limits(window_bytes=2_000))
    for n in range(100):
        ring(net, "A", n)
        net.flow()
    dot = net.write("B", "x", 1)
    net.flow()
    assert net.has("C", dot)
