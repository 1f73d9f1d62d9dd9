"""Partial replicas (R8): versions only, no ranges, no verdicts."""

from __future__ import annotations

import pytest

from kvnode.core.effects import Change
from kvnode.core.limits import Limits
from kvnode.core.messages import End, PathAsk, PathTell
from kvnode.core.path import Path
from tests.support.replicas import Net, enc
from tests.support.strangers import Stranger


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


def slow(*view: str) -> Net:
    """P hangs on a slow link of A's: what is superseded or forgotten meanwhile is never sent to it."""
    net = Net("A", "B", limits=Limits(chunk_bytes=1, window_bytes=1))
    net.start("P", view=view)
    net.link("P", "A", "B")
    net.run()
    net.write("A", "p.x", "old")
    net.run(10_000)
    assert net.read("P", "p.x") == "old"
    net.hold("A", "P")
    net.write("A", "p.y", "fills the window")
    net.flow()
    return net


def test_a_delete_that_was_forgotten_before_a_slow_partial_replica_heard_of_it() -> None:
    net = slow("p.#")
    net.delete("A", "p.x")
    net.run(10_000)
    assert net.at("A", "p.x") == ()
    net.release("A", "P")
    net.run(2 * net.limits.check_ms)
    assert net.at("P", "p.x") == ()
    assert net.read("P", "p.y") == "fills the window"


@pytest.mark.parametrize("last", ["newest", None])
def test_a_link_of_the_chain_that_a_slow_partial_replica_missed(last: str | None) -> None:
    """The version between was stripped of its vector and superseded: what arrives no longer names what P holds."""
    net = slow("p.#")
    net.write("B", "p.x", "between")
    net.run(10_000)
    net.propose("A", Change(Path.parse("p.x"), None if last is None else enc(last)))
    net.run(10_000)
    net.release("A", "P")
    net.run(2 * net.limits.check_ms)
    assert net.values("P", "p.x") == net.values("A", "p.x") == ([] if last is None else [last])


def test_what_a_verdict_takes_away_goes_at_a_partial_replica_too() -> None:
    """D was away while x was deleted and the delete forgotten. It hears so by a verdict, which no range tells P."""
    net = Net("A", "B", "D")
    net.start("P", view=("p.#",))
    net.link("A", "B", "D")
    net.link("D", "P")
    net.write("A", "p.x", "old")
    net.run(10_000)
    assert net.read("P", "p.x") == "old"
    net.crash("D")
    net.propose("A", Change(Path.parse("p.x"), None))
    net.run()
    assert net["A"].retire("D", net.now) is None
    net.run(10_000)
    assert net.at("A", "p.x") == ()
    net.start("D")
    net.link("D", "P")
    net.run()
    net.link("D", "A")
    net.run(10_000)
    assert net.at("D", "p.x") == ()
    assert net.at("P", "p.x") == ()
