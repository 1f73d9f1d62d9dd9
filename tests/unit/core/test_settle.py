"""Settle (R5, R6, R8): fingerprints after a session, verdicts, drops into the quarantine, rejoin and repair."""

from __future__ import annotations

import pytest

from kvnode.core.messages import Check, End, PathAsk, PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation
from tests.support.nets import horizon, quarantined
from tests.support.replicas import Net
from tests.support.strangers import Stranger, Z, version

X = Path.parse("x").key


# -- rejoin ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [("B", "C"), ("C", "B")])
def test_a_rejoining_old_store_drops_what_was_deleted(ends: tuple[str, str]) -> None:
    net, dot = horizon()
    net.nodes["C"].notes.clear()
    net.link(*ends)
    net.run()
    assert [net.at(label, "x") for label in "ABC"] == [(), (), ()]
    assert net.converged("A", "B", "C")
    assert quarantined(net, "C") == [dot]
    assert quarantined(net, "A") == quarantined(net, "B") == []
    assert "quarantine" in net.nodes["C"].kinds()
    assert [values for path, values in net.nodes["C"].notes if path == Path.parse("x")] == [()]


def test_trace_6_two_old_stores() -> None:
    net, dot = horizon()
    net.link("C", "B")
    net.run()
    net.link("C", "D")
    net.run()
    assert [net.at(label, "x") for label in "ABCD"] == [()] * 4
    assert net.converged()
    assert quarantined(net, "D") == [dot]


def test_two_old_stores_that_meet_first_keep_it_until_they_hear() -> None:
    net, _ = horizon()
    net.link("C", "D")
    net.run()
    assert net.read("C", "x") == net.read("D", "x") == 1
    net.link("D", "A")
    net.run(net.limits.check_ms + 5_000)
    assert [net.at(label, "x") for label in "ABCD"] == [()] * 4
    assert net.converged()


def test_what_was_written_while_away_survives_the_rejoin() -> None:
    net, _ = horizon()
    over = net.write("C", "x", 2)
    net.write("C", "y", 3)
    net.flow()
    net.link("C", "B")
    net.run()
    assert net.converged("A", "B", "C")
    assert net.read("A", "x") == 2
    assert net.has("A", over)
    assert net.read("A", "y") == 3
    assert quarantined(net, "C") == []


def test_an_old_store_of_a_superseded_value_gets_the_new_one() -> None:
    net, _ = horizon()
    net.write("B", "x", 9)
    net.run()
    net.link("B", "C")
    net.run()
    assert net.values("C", "x") == [9]
    assert net.converged("A", "B", "C")


def test_a_deleted_value_in_the_quarantine_is_not_served() -> None:
    net, _ = horizon()
    net.link("C", "B")
    net.run()
    stranger = Stranger(net, "C")
    stranger.send(PathAsk(((X, ()),)))
    (tell,) = stranger.took(PathTell)
    assert tell.paths == ((X, (), ()),)


# -- damaged stores (R6) -----------------------------------------------------------------------------------------------


def damaged(*lost: str, doubts: tuple[str, ...] = ("a page was unreadable",)) -> Net:
    """A, B, C with ten values each; B lost some of its rows and starts again."""
    net = Net("A", "B", "C")
    net.mesh("A", "B", "C")
    for n in range(10):
        net.write("ABC"[n % 3], f"x.:{n}", n)
    net.run()
    store = net.crash("B")
    for text in lost:
        del store.rows[Path.parse(text).key]
    net.start("B", store=store, doubts=doubts)
    return net


@pytest.mark.parametrize("ends", [("A", "B"), ("B", "A")])
def test_a_lost_record_is_restored_under_doubt(ends: tuple[str, str]) -> None:
    net = damaged("x.:3", "x.:7")
    net.link(*ends)
    net.run()
    assert net["B"].is_current
    assert [net.read(label, "x.:3") for label in "ABC"] == [3, 3, 3]
    assert net.converged()
    assert all(quarantined(net, label) == [] for label in "ABC")


def test_a_store_that_lost_everything_but_a_row_is_restored() -> None:
    net = damaged(*(f"x.:{n}" for n in range(9)))
    net.link("B", "C")
    net.run()
    assert net.converged()


def test_a_doubtful_store_drops_what_was_deleted_meanwhile() -> None:
    net, _ = horizon()
    net.restart("C", doubts=("a page was unreadable",), member=False)
    net.link("C", "B")
    net.run()
    assert net["C"].is_current
    assert net.at("C", "x") == ()
    assert net.at("A", "x") == ()
    assert net.converged("A", "B", "C")


def test_a_node_that_is_behind_tells_nothing_until_its_first_complete_session() -> None:
    net = damaged("x.:3")
    net.nodes["B"].notes.clear()
    net.cut("A", "C")
    net.write("A", "x.:4", "new")
    net.link("B", "A")
    net.hold("A", "B")
    net.flow()
    kinds = []
    for _ in range(50):
        got = net.deliver("A", "B", 1)
        kinds += got
        net.flow()
        if not got or net["B"].is_current:
            break
        assert net.nodes["B"].notes == []
    assert net["B"].is_current
    assert any(isinstance(m, Check) for m in kinds)
    told = {str(path): values for path, values in net.nodes["B"].notes}
    assert told["x.:4"] == ("new",)
    assert told["x.:3"] == (3,)
    assert len(told) == len(net.nodes["B"].notes)


def test_a_rejoin_that_was_cut_is_told_and_goes_on_later() -> None:
    net = damaged("x.:3")
    net.write("A", "x.:4", "new")
    net.nodes["B"].notes.clear()
    net.link("B", "A")
    net.hold("A", "B")
    net.flow()
    while not any(isinstance(m, Versions) for m in net.deliver("A", "B", 1)):
        net.flow()
    net.cut("A", "B")
    net.flow()
    assert net["B"].state.behind
    net.link("B", "C")
    net.run()
    assert net["B"].is_current
    assert net.converged("B", "C")


# -- verdicts ----------------------------------------------------------------------------------------------------------


def verdict(net: Net, label: str, key: bytes, *dots: Dot) -> tuple[Dot, ...]:
    """What a node says of these dots at a path."""
    stranger = Stranger(net, label, session=len(net.strangers) + 50)
    stranger.send(PathAsk(((key, dots),)))
    (tell,) = stranger.took(PathTell)
    ((got, _, gone),) = tell.paths
    assert got == key
    return tuple(gone)


def test_a_full_peer_judges_what_it_knows_and_does_not_hold() -> None:
    net = Net("A")
    first, second = net.write("A", "x", 1), net.write("A", "x", 2)
    assert verdict(net, "A", X, first, second, Dot(Z, 1)) == (first,)


def test_a_peer_that_is_behind_gives_no_verdict() -> None:
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    first = net.write("A", "x", 1)
    net.write("A", "x", 2)
    net.run()
    assert verdict(net, "B", X, first) == (first,)
    net.restart("B", doubts=("a page was unreadable",))
    # Some ranges have come, but no session is complete.
    Stranger(net, "B", "Y", session=9).send(End({first.inc: (first.tick, first.tick + 1)}, 0, False))
    assert first in net["B"].known
    assert not net["B"].is_current
    assert verdict(net, "B", X, first) == ()


def test_a_partial_replica_gives_no_verdict() -> None:
    net = Net("A")
    net.start("P", view=("x.#",))
    net.link("A", "P")
    net.run()
    first = net.write("A", "x", 1)
    net.run()
    net.write("A", "x", 2)
    net.run()
    assert first in net["P"].known
    assert net.read("P", "x") == 2
    assert verdict(net, "P", X, first) == ()


def test_a_verdict_counts_only_if_its_versions_were_taken() -> None:
    """R3: the successor came from a peer without the mark and was refused, so what it supersedes stays."""
    net = Net("A")
    closed = incarnation("Y", 1)
    Stranger(net, "A", "Q", session=5).mark(closed)
    old = version("x", 1, "old")
    net_peer = Stranger(net, "A")
    net_peer.send(Versions((old,)))
    net_peer.send(PathTell(((X, (version("x", 1, "new", inc=closed),), (old.dot,)),)))
    assert not net_peer.is_cut
    assert net.values("A", "x") == ["old"]
    assert quarantined(net, "A") == []


def test_an_answer_is_atomic_at_its_path() -> None:
    net = Net("A")
    old = version("x", 1, "old")
    stranger = Stranger(net, "A")
    stranger.send(Versions((old,)))
    net.flow()
    net.nodes["A"].notes.clear()
    stranger.send(PathTell(((X, (version("x", 2, "new"),), (old.dot,)),)))
    assert net.values("A", "x") == ["new"]
    assert net.nodes["A"].notes[-1] == (Path.parse("x"), ("new",))


def test_an_unchanged_entry_is_not_dropped_twice() -> None:
    net = Net("A")
    old = version("x", 1, "old")
    stranger = Stranger(net, "A")
    stranger.send(Versions((old,)))
    for _ in range(3):
        stranger.send(PathTell(((X, (), (old.dot,)),)))
    assert quarantined(net, "A") == [old.dot]
    assert net.at("A", "x") == ()
    stranger.send(Versions((old,)))
    assert net.at("A", "x") == ()


def test_siblings_of_another_path_cut_the_link() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(PathTell(((Path.parse("y").key, (version("x", 1),), ()),)))
    assert stranger.is_cut
    assert "another path" in stranger.why
    mixed = Stranger(net, "A", session=5)
    mixed.send(PathTell(((X, (version("x", 2), version("y", 3)), ()),)))
    assert mixed.is_cut
