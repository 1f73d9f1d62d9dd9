"""Incarnations, the node's own record, retiring (section 1 and R3)."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.effects import Change, Refused
from kvnode.core.messages import Ack, AckState, Digest, End, Message, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Incarnation, Ticks, is_incarnation, name_of, volatile_twin
from tests.support.replicas import Net, dec, enc
from tests.support.strangers import Stranger, Z, version


def record(net: Net, label: str, name: str = "A") -> dict[str, Any]:
    (one,) = [v for v in net.at(label, f"@.nodes.{name}") if not v.is_tombstone]
    got = dec(bytes(one.details.value))
    assert isinstance(got, dict)
    return got


def running(net: Net, label: str) -> Incarnation:
    inc = net[label].state.inc
    assert inc is not None
    return inc


# -- minting -----------------------------------------------------------------------------------------------------------


def test_the_first_change_of_an_incarnation_is_its_record() -> None:
    net = Net("A")
    inc = running(net, "A")
    assert is_incarnation(inc)
    assert name_of(inc) == "A"
    assert net.at("A", "@.nodes.A")[0].dot == Dot(inc, 1)
    assert record(net, "A") == {"inc": inc, "closes": [], "addresses": ["A:1"]}
    assert net.write("A", "x", 1) == Dot(inc, 2)


def test_a_node_that_writes_nothing_has_no_incarnation() -> None:
    net = Net("A")
    net.flow()
    for _ in range(3):
        net.restart("A")
        net.run(200_000)
        assert net["A"].state.inc is None
        assert len(net["A"].known.map) == 1
    assert record(net, "A")["addresses"] == ["A:1"]


def test_each_run_that_writes_has_its_own_incarnation_and_closes_the_one_before() -> None:
    net = Net("A")
    before = running(net, "A")
    net.flow()
    seen = {before}
    for n in range(5):
        net.restart("A")
        assert net.write("A", "x", n).tick == 2
        net.flow()
        inc = running(net, "A")
        assert inc not in seen
        seen.add(inc)
        assert record(net, "A") == {"inc": inc, "closes": [before], "addresses": ["A:1"]}
        before = inc
    assert net.read("A", "x") == 4


def test_new_addresses_are_announced_old_ones_are_not() -> None:
    net = Net("A")
    inc = running(net, "A")
    net["A"].set_addresses(["A:1"], net.now)
    assert net["A"].state.counters == {inc: 1, volatile_twin(inc): 0}
    net["A"].set_addresses(["A:2", "[::1]:3"], net.now)
    assert record(net, "A") == {"inc": inc, "closes": [], "addresses": ["A:2", "[::1]:3"]}
    net.flow()
    net.restart("A", member=False)
    net.write("A", "x", 1)
    assert record(net, "A")["addresses"] == ["A:2", "[::1]:3"]


def test_a_node_becomes_a_member_with_its_first_write() -> None:
    net = Net()
    net.start("A", member=False)
    assert net["A"].members() == set()
    net.write("A", "x", 1)
    assert net["A"].members() == {"A"}


def test_a_batch_that_is_refused_mints_nothing() -> None:
    net = Net()
    net.start("A", member=False)
    out = net.propose("A", Change(Path.parse("x"), enc(1)), Change(Path(), enc(1)))
    assert isinstance(out, Refused)
    assert net["A"].state.inc is None
    assert len(net["A"].tree) == 0


def test_a_partial_replica_is_no_member() -> None:
    net = Net("A")
    net.start("P", view=("p.#",))
    net.link("P", "A")
    net.write("P", "p.x", 1)
    net.run()
    assert net["A"].members() == {"A"}
    (own,) = net.at("A", "@.partial.P")
    assert dec(bytes(own.details.value))["inc"] == running(net, "P")


# -- told of more than was given out -----------------------------------------------------------------------------------


def claims(inc: Incarnation) -> dict[str, list[Message]]:
    """Every way in which a peer may tell that it knows ticks 1..9 of an incarnation."""
    everything = {inc: (1, 10)}
    return {
        "version": [Versions((version("x", 9, inc=inc),))],
        "vector": [Versions((version("x", 1, vector={inc: 9}),))],
        "range": [End(everything, 0, False)],
        "digest": [Digest(everything, 0)],
        "own word": [Digest({inc: (1, 2)}, 0), Ack((AckState("Z", 77, 1, everything, (), ()),))],
        "relayed word": [Digest({inc: (1, 2)}, 0), Ack((AckState("Y", 5, 1, everything, (), ()),))],
    }


@pytest.mark.parametrize("how", claims(Z))
def test_told_of_ticks_above_the_counter(how: str) -> None:
    net = Net("A")
    inc = running(net, "A")
    stranger = Stranger(net, "A")
    stranger.send(*claims(inc)[how])
    assert not stranger.is_cut
    net.run(100)
    assert running(net, "A") != inc
    assert "copied_process" in net.nodes["A"].kinds()
    assert record(net, "A")["closes"] == [inc]
    assert not [dot for dot in [net.write("A", "x", 1)] if dot.inc == inc]
    assert net.read("A", "x") == 1


@pytest.mark.parametrize("how", claims(Z))
def test_told_of_ticks_up_to_the_counter(how: str) -> None:
    net = Net("A")
    for n in range(8):
        net.write("A", f"y.:{n}", n)
    inc = running(net, "A")
    Stranger(net, "A").send(*claims(inc)[how])
    net.run(100)
    assert running(net, "A") == inc


def test_told_of_the_volatile_twin() -> None:
    net = Net("A")
    inc = running(net, "A")
    net.write("A", "@.volatile.one", {"pattern": "v"})
    net.write("A", "v", 1)
    Stranger(net, "A").send(Versions((version("v", 9, inc=inc + "v"),)))
    assert running(net, "A") != inc
    assert net.write("A", "v", 2).inc == running(net, "A") + "v"


def test_a_copied_process_and_its_original_converge() -> None:
    """A snapshot of the running machine: both go on with the same incarnation, and meet at B."""
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    inc = running(net, "A")
    for n in range(4):
        net.write("A", "x", n)
    net.run()
    known = net["B"].known[inc]
    # Set the running process back, as a restored snapshot would be.
    state = net["A"].state
    state.counters[inc] = 2
    state.known.replace(inc, Ticks.upto(2))
    state.durable.replace(inc, Ticks.upto(2))
    net.cut("A", "B")
    net.link("A", "B")
    net.run(60_000)
    assert running(net, "A") != inc
    dot = net.write("A", "y", 1)
    net.run(60_000)
    assert dot.inc != inc
    assert net["B"].known[inc] == known
    assert net.read("B", "y") == 1
    assert net.read("A", "x") == net.read("B", "x") == 3
    assert net.converged()


def test_a_dot_that_names_two_changes_is_reported() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(Versions((version("x", 1, "one"),)), Versions((version("x", 1, "two"),)))
    assert "dot_clash" in net.nodes["A"].kinds()
    assert net.values("A", "x") in (["one"], ["two"])
    assert len(net["A"].state.quarantine) == 1


def test_a_closed_incarnation_goes_on_as_a_new_one() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "x", 1)
    net.run()
    inc = running(net, "A")
    Stranger(net, "B").send(Versions((version("@.nodes.Z", 1, {"inc": Z, "closes": [inc]}),)))
    net.run(5_000)
    assert running(net, "A") != inc
    assert "incarnation_closed" in net.nodes["A"].kinds()
    net.write("A", "x", 2)
    net.run()
    assert net.read("B", "x") == 2
    assert net.converged()


# -- clones ------------------------------------------------------------------------------------------------------------


def test_clones_do_not_close_each_other_while_both_live() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.start("A2", name="A", store=net.nodes["A"].store.copy())
    net.link("A2", "B")
    for n in range(30):
        net.write("A", "x", n)
        net.write("A2", "y", n)
        net.run(10_000)
    assert len([inc for inc in net["B"].known.map if name_of(inc) == "A"]) <= 4
    assert len(net.at("B", "@.nodes.A")) >= 1
    assert net.read("B", "x") == net.read("B", "y") == 29
    assert net.converged()


def test_when_a_clone_has_gone_the_other_one_tidies_up() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.start("A2", name="A", store=net.nodes["A"].store.copy())
    net.link("A2", "B")
    net.write("A", "x", 1)
    net.write("A2", "y", 1)
    net.run(30_000)
    net.crash("A2")
    net.run(200_000)
    assert record(net, "B")["inc"] == running(net, "A")
    assert net["A"].acks.processes.duplicates == net["B"].acks.processes.duplicates == set()
    net.delete("B", "x")
    net.run()
    assert net.at("B", "x") == ()
    assert net.converged()


def test_the_list_of_what_is_closed_does_not_grow_with_restarts() -> None:
    net = Net("A", "B")
    for n in range(10):
        net.link("A", "B")
        net.write("A", "x", n)
        net.run(5_000)
        net.restart("A")
    net.link("A", "B")
    net.write("A", "x", 99)
    net.run(100_000)
    assert len(record(net, "B")["closes"]) <= 2
    assert net.converged()


# -- retiring (R3, trace 12) -------------------------------------------------------------------------------------------


def test_who_is_no_member_cannot_be_retired() -> None:
    net = Net("A")
    refused = net["A"].retire("B", net.now)
    assert refused is not None
    assert refused.code == "not_found"


def test_who_is_linked_cannot_be_retired() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    refused = net["A"].retire("B", net.now)
    assert refused is not None
    assert refused.code == "still_linked"
    assert net["A"].members() == {"A", "B"}


def test_a_retired_member_is_no_member_anywhere() -> None:
    net = Net(*"ABC")
    net.link(*"ABC")
    net.run()
    inc = running(net, "C")
    net.crash("C")
    assert net["A"].retire("C", net.now) is None
    assert inc in net["A"].state.closed
    net.run()
    for label in "AB":
        assert net[label].members() == {"A", "B"}
    refused = net["A"].retire("C", net.now)
    assert refused is not None
    assert refused.code == "not_found"


def test_a_node_may_retire_itself() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "x", 1)
    net.run()
    assert net["A"].retire("A", net.now) is None
    net.run()
    net.crash("A")
    assert net["B"].members() == {"B"}
    net.delete("B", "x")
    net.run()
    assert net.at("B", "x") == ()


def test_holes_of_a_retired_member_become_void() -> None:
    net = Net(*"ABC")
    net.link(*"ABC")
    net.run()
    inc = running(net, "C")
    net.crash("C")
    late = Stranger(net, "B", "C", session=5)
    late.send(Versions((version("c", 5, "with a hole before it", inc=inc),)))
    net._close("B", late.link)
    net["B"].unlinked(late.link, net.now)
    net.run()
    assert not net["A"].known[inc].is_whole
    assert net["A"].retire("C", net.now) is None
    net.run(5_000)
    assert net["A"].known[inc] == net["B"].known[inc] == Ticks.upto(5)
    net.delete("A", "c")
    net.run()
    assert net.at("A", "c") == net.at("B", "c") == ()


def test_trace_12_retired_while_alive_elsewhere() -> None:
    net = Net(*"ABC")
    net.link(*"ABC")
    net.write("C", "x", 1)
    net.run()
    old = running(net, "C")
    net.cut("B", "C")
    dot = net.write("C", "y", "written in the other partition")
    over = net.write("C", "x", 2)
    net.run()
    assert net["A"].retire("C", net.now) is None
    net.run(60_000)
    net.link("C", "B")
    net.run(60_000)
    assert dot.inc == over.inc == old
    for label in "ABC":
        assert net.read(label, "y") == "written in the other partition"
        assert net.read(label, "x") == 2
        assert net[label].members() == {"A", "B", "C"}
    assert running(net, "C") != old
    assert "incarnation_closed" in net.nodes["C"].kinds()
    assert net.converged()
    net.delete("C", "y")
    net.run()
    assert [net.at(label, "y") for label in "ABC"] == [(), (), ()]


def test_a_retired_member_that_returns_from_its_store() -> None:
    net = Net(*"ABC")
    net.link(*"ABC")
    net.write("C", "x", 1)
    net.run()
    store = net.crash("C")
    assert net["A"].retire("C", net.now) is None
    net.delete("A", "x")
    net.run(60_000)
    assert net.at("A", "x") == ()
    net.start("C", store=store)
    net.link("C", "B")
    net.run(60_000)
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]
    net.write("C", "z", 1)
    net.run(60_000)
    assert net.converged()
    assert net["A"].members() == {"A", "B", "C"}


def test_a_write_against_the_retirement_is_a_sibling_not_a_loss() -> None:
    """What the retired member wrote concurrently with a write of the others stands beside it."""
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "x", 0)
    net.run()
    net.cut("A", "B")
    net.write("B", "x", "from B")
    net.write("A", "x", "from A")
    assert net["A"].retire("B", net.now) is None
    net.run(60_000)
    net.link("A", "B")
    net.run(60_000)
    assert net.values("A", "x") == net.values("B", "x") == ["from A", "from B"]
    assert net.converged()
