"""Settle (R5): the walk down to what differs, and both sides repairing themselves."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.core.limits import Limits
from kvnode.core.messages import Check, End, PathAsk, PathTell, PrintAsk, PrintTell, Versions
from kvnode.core.path import Path
from tests.support.nets import horizon, quarantined
from tests.support.replicas import Net
from tests.support.strangers import Stranger, Z, version

# -- the walk ----------------------------------------------------------------------------------------------------------


def two_trees(count: int, differing: int, **limits: Any) -> Net:
    """Two members with equal known; the last one holds some values of the past that the first one does not."""
    net = Net("A", limits=Limits(**limits))
    net.start("B", member=False)
    net.link("A", "B")
    stranger = Stranger(net, "A")
    stranger.send(
        *(
            Versions(tuple(version(f"x.:{n % 50}.:{n}", n + 1) for n in range(start, start + 100)))
            for start in range(0, count, 100)
        )
    )
    net.run()
    assert net.converged()
    net.cut("A", "B")
    for n in range(differing):
        at = n * (count // max(differing, 1))
        net.delete("A", f"x.:{at % 50}.:{at}")
    net.run()
    assert net["A"].state.tombstones == 0
    net.log.clear()
    return net


@pytest.mark.parametrize("differing", [1, 10, 300])
def test_a_walk_finds_what_differs(differing: int) -> None:
    net = two_trees(1_000, differing)
    net.link("A", "B")
    net.run()
    assert net.converged()
    assert len(quarantined(net, "B")) == differing
    asked = net.sent(PathAsk, "B", "A")
    assert sum(len(m.paths) for m in asked) <= differing * 2
    assert all(len(m.paths) <= net.limits.settle_paths for m in asked)
    assert all(len(m.ranges) <= 64 for m in net.sent(PrintAsk))
    # Each level of the walk is one question; a leaf has at most `settle_leaf` paths.
    assert len(net.sent(PrintAsk, "B", "A")) <= 4 + differing


def test_a_walk_over_many_paths_asks_in_parts() -> None:
    net = two_trees(1_000, 500, settle_paths=20, settle_leaf=5, settle_parts=3)
    net.link("A", "B")
    net.run()
    assert net.converged()
    assert max(len(m.paths) for m in net.sent(PathAsk, "B", "A")) == 20


def test_equal_trees_cost_one_comparison() -> None:
    net = two_trees(500, 0)
    net.link("A", "B")
    net.run()
    assert net.sent(PrintAsk) == net.sent(PathAsk) == []
    assert len(net.sent(Check)) == 2


def test_writes_during_a_walk_are_neither_lost_nor_dropped() -> None:
    net = two_trees(600, 200, settle_paths=10)
    net.link("A", "B")
    net.hold("A", "B")
    net.flow()
    for turn in range(400):
        if turn < 60:
            net.write("A", f"x.:{turn % 50}.:{turn * 3}", f"A {turn}")
            net.write("B", f"x.:{turn % 50}.:{turn * 3}", f"B {turn}")
            net.delete("B", f"x.:{turn % 50}.:{turn}")
        net.deliver("A", "B", 1)
        for link in net.links_of("A", "B"):
            net["A"].writable(link, net.now)
        net.flow()
    net.release("A", "B")
    net.run(100_000)
    assert net.converged()
    lost = [d for d in quarantined(net, "B") if d.inc != Z]
    assert lost == []


def test_a_cut_during_a_walk_does_no_harm() -> None:
    net = two_trees(600, 200, settle_paths=10)
    for count in range(6, 30, 3):
        net.link("A", "B")
        net.hold("A", "B")
        net.flow()
        for _ in range(count):
            net.deliver("A", "B", 1)
            net.flow()
        net.cut("A", "B")
    net.link("B", "A")
    net.run()
    assert net.converged()
    assert len(quarantined(net, "B")) == 200


def test_answers_without_a_question_do_not_start_a_walk() -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.introduce()
    stranger.got.clear()
    stranger.send(PrintTell(((b"", b"\xff"),), ((b"", b"\xff", 1),), ()), PathTell(()))
    assert stranger.took(PrintAsk) == stranger.took(PathAsk) == []
    assert not stranger.is_cut


@pytest.mark.parametrize(
    "question",
    [
        PrintAsk(((b"", b"\xff"),) * 1_000),
        PathAsk(tuple((Path(("x", n)).key, ()) for n in range(10_000))),
    ],
    ids=["ranges", "paths"],
)
def test_too_many_questions_cut_the_link(question: Any) -> None:
    net = Net("A")
    stranger = Stranger(net, "A")
    stranger.send(question)
    assert stranger.is_cut
    assert not stranger.took(PrintTell)


@pytest.mark.parametrize(
    "bounds", [(b"\xff", b""), (b"", b""), (b"\x01", b"\x00"), (b"\x02zz", b"\x02zz\x00"), (b"", b"\xff" * 9)]
)
def test_questions_about_ranges_of_any_shape_are_answered(bounds: tuple[bytes, bytes]) -> None:
    net = Net("A")
    for n in range(50):
        net.write("A", f"x.:{n}", n)
    stranger = Stranger(net, "A")
    stranger.send(PrintAsk((bounds,)))
    (tell,) = stranger.took(PrintTell)
    assert tell.asked == (bounds,)
    assert not stranger.is_cut


def test_a_peer_that_never_answers_does_not_stop_the_others() -> None:
    net, _ = horizon()
    silent = Stranger(net, "C", session=3)
    silent.introduce()
    silent.send(End({}, 1, True), Check(1, 1, True))
    assert silent.took(PrintAsk)
    net.link("C", "B")
    net.run()
    assert net.converged("A", "B", "C")


# -- both sides repair themselves --------------------------------------------------------------------------------------


def test_each_side_repairs_itself_by_the_others_word() -> None:
    """Both were away, beyond what the other remembers: each drops what the other knows to be deleted."""
    net = Net("A", "B")
    net.link("A", "B")
    net.write("A", "a", 1)
    net.write("B", "b", 1)
    net.run()
    net.cut("A", "B")
    for one, other, path in (("A", "B", "b"), ("B", "A", "a")):
        assert net[one].retire(other, net.now) is None
        net.delete(one, path)
    net.run()
    assert net.at("A", "b") == net.at("B", "a") == ()
    net.link("A", "B")
    net.run(100_000)
    assert net.converged()
    assert [net.at(label, path) for label in "AB" for path in "ab"] == [()] * 4
    assert net["A"].members() == {"A", "B"}


@pytest.mark.parametrize("paths", [("x", "x"), ("x", "y")])
def test_a_dot_that_names_two_changes_converges(paths: tuple[str, str]) -> None:
    """Only a copied running machine, or a liar, breaks law 6. Then one of the two changes is set aside, everywhere."""
    net = Net("A", "B")
    for label, path, value in (("A", paths[0], "one"), ("B", paths[1], "two")):
        Stranger(net, label, "Q").send(Versions((version(path, 1, value),)))
    net.link("A", "B")
    net.run(200_000)
    assert net.converged()
    assert len(net.dump("A")) <= 3
    assert {"dot_clash", "quarantine"} & (net.nodes["A"].kinds() | net.nodes["B"].kinds())
    net.write("A", "x", "new")
    net.run()
    assert net.values("B", "x") == ["new"]
