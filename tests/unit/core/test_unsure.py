"""What a partial replica cannot tell by itself, and asks about (R8)."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.limits import Limits
from kvnode.core.messages import PathAsk, Versions
from tests.support.replicas import Net


def between(*, limits: Limits | None = None) -> Net:
    """P holds a part and hangs on the members A and C, which are linked themselves."""
    net = Net("A", "C", limits=limits)
    net.start("P", view=("p.#",))
    net.mesh("A", "C", "P")
    net.run(10_000)
    net.write("C", "p.x", "first")
    net.run(10_000)
    return net


def shown(net: Net, path: str = "p.x") -> list[tuple[Any, ...]]:
    """What watchers at P were told of a path."""
    return [values for where, values in net.nodes["P"].notes if str(where) == path]


def superseded_on_the_way(net: Net, newest: str) -> None:
    """C's version hangs on its link to P, while A's that superseded it is stripped and comes first."""
    net.cut("A", "P")
    net.hold("C", "P")
    net.write("C", "p.x", "older")
    net.run(1_000)
    net.write("A", "p.x", newest)
    net.run(10_000)
    net.link("A", "P")
    net.run(10_000)


def test_what_comes_late_beside_what_may_have_superseded_it_is_not_shown() -> None:
    net = between()
    superseded_on_the_way(net, "newest")
    assert net.at("A", "p.x")[0].vector == {}
    assert net.read("P", "p.x") == "newest"
    net.nodes["P"].notes.clear()
    net.release("C", "P")
    net.run(100)
    assert shown(net) == []
    assert net.values("P", "p.x") == ["newest"]
    assert [link.doubted for link in net["P"].links.values()] == [set(), set()]


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "too large for the answer"])
def test_an_older_sibling_is_shown_once_the_answer_has_it(size: int) -> None:
    net = between()
    net.cut("A", "C")
    net.hold("C", "P")
    net.write("C", "p.x", "o" * size)
    net.run(100)
    net.write("A", "p.x", "a" * size)
    net.run(100)
    assert net.read("P", "p.x") == "a" * size
    net.log.clear()
    net.release("C", "P")
    net.flow()
    assert len(net.values("P", "p.x")) == 2
    net.run(30_000)
    net.link("A", "C")
    net.run(30_000)
    assert net.values("A", "p.x") == net.values("C", "p.x") == net.values("P", "p.x") == ["a" * size, "o" * size]
    assert len(net.sent(PathAsk, "P")) < 5


def test_three_large_siblings_arrive() -> None:
    """Each goes ahead of the answer by itself; none is asked for without end."""
    net = Net("A", "B", "C", "D")
    net.start("P", view=("p.#",))
    net.link("A", "D", "P")
    net.link("B", "D")
    net.link("C", "D")
    net.run(10_000)
    net.hold("D", "P")
    for label in "ABC":
        net.cut(label, "D")
    for label in "ABC":
        net.write(label, "p.x", label * 100_000)
        net.run(100)
    for label in "CBA":
        net.link(label, "D")
        net.run(1_000)
    net.log.clear()
    net.release("D", "P")
    net.run(30_000)
    assert len(net.values("P", "p.x")) == 3
    assert len(net.sent(PathAsk, "P")) < 10


def test_a_path_that_a_verdict_emptied_stays_empty() -> None:
    net = between()
    net.hold("C", "P")
    for value in ("one", "two"):
        net.write("C", "p.x", value)
        net.run(10)
    net.delete("A", "p.x")
    net.run(60_000)
    assert net.at("A", "p.x") == net.at("C", "p.x") == net.at("P", "p.x") == ()
    net.nodes["P"].notes.clear()
    net.release("C", "P")
    net.run(60_000)
    assert shown(net) == []
    assert net.at("P", "p.x") == ()


def test_a_new_write_to_an_emptied_path_is_shown() -> None:
    net = between()
    net.hold("C", "P")
    net.delete("A", "p.x")
    net.run(60_000)
    assert net.at("P", "p.x") == ()
    net.write("C", "p.x", "again")
    net.run(100)
    assert net.read("P", "p.x") is None
    net.release("C", "P")
    net.flow()
    assert net.read("P", "p.x") == "again"


def test_all_peers_say_in_the_end_what_was_emptied() -> None:
    net = between()
    net.delete("A", "p.x")
    net.run(60_000)
    assert [link.unsure for link in net["P"].links.values()] == [{}, {}]


def test_a_peer_that_has_yet_to_be_compared_with_is_asked_afterwards() -> None:
    net = between()
    net.cut("C", "P")
    net.link("C", "P")
    net.hold("C", "P")
    net.delete("A", "p.x")
    net.run(60_000)
    assert any(link.unsure for link in net["P"].links.values())
    net.release("C", "P")
    net.run(10_000)
    assert [link.unsure for link in net["P"].links.values()] == [{}, {}]


def test_a_newer_version_that_does_not_name_what_stands_here_is_shown_at_once_and_asked_about() -> None:
    net = between()
    superseded_on_the_way(net, "between")
    net.cut("A", "P")
    net.run(100)
    net.write("C", "p.x", "newest")
    net.run(10_000)
    assert net.values("P", "p.x") == ["between"]
    net.nodes["P"].notes.clear()
    net.link("A", "P")
    net.run(1_000)
    assert shown(net)[-1] == ("newest",)


def test_what_a_partial_peer_relays_late_is_shown_and_asked_about() -> None:
    """Q may have no other way than by P: so P takes its word, and asks A."""
    net = Net("A", "C")
    for label in "PQ":
        net.start(label, view=("p.#",))
    net.link("A", "C", "Q", "P", "A")
    net.run(10_000)
    net.hold("Q", "P")
    net.write("Q", "p.x", "one")
    net.write("Q", "p.x", "two")
    net.run(1_000)
    assert net.read("P", "p.x") == "two"
    net.delete("A", "p.x")
    net.run(60_000)
    assert net.at("P", "p.x") == ()
    net.release("Q", "P")
    net.run(100)
    assert net.at("P", "p.x") == ()


def test_doubts_have_a_bound() -> None:
    """What is beyond it counts at once, and is asked about all the same."""
    net = between(limits=Limits(unsure=0))
    superseded_on_the_way(net, "newest")
    net.nodes["P"].notes.clear()
    net.release("C", "P")
    net.run(100)
    assert shown(net) == [("newest", "older"), ("newest",)]
    assert net.values("P", "p.x") == ["newest"]


def test_a_whole_replica_asks_nobody() -> None:
    net = Net("A", "B", "C")
    net.mesh("A", "B", "C")
    net.run(10_000)
    net.cut("A", "C")
    net.hold("B", "C")
    net.write("B", "x", 1)
    net.write("C", "x", 2)
    net.log.clear()
    net.release("B", "C")
    net.flow()
    assert net.values("C", "x") == [1, 2]
    assert net.sent(PathAsk) == []
    assert net.sent(Versions)


def test_an_answer_that_something_else_overtook_is_asked_for_again() -> None:
    net = between()
    net.hold("A", "P")
    net.write("A", "p.x", "theirs")
    net.flow()
    net.cut("C", "P")
    net.write("P", "p.x", "ours")
    net.flow()
    assert [m.versions[0].tick for m in net.deliver("A", "P", 1) if isinstance(m, Versions)]
    net.flow()
    assert len(net.sent(PathAsk, "P", "A")) == 1
    net.run(1_000)
    net.write("C", "p.x", "newest")
    net.run(20_000)
    assert net.at("A", "p.x")[0].vector == {}
    net.link("C", "P")
    net.run(1_000)
    assert net.values("P", "p.x") == ["newest"]
    net.nodes["P"].notes.clear()
    net.release("A", "P")
    net.run(1_000)
    assert shown(net) == []
    assert net.values("P", "p.x") == ["newest"]
