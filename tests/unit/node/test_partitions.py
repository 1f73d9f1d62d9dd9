"""Reports of partitions: one for each healing and side, and none for what is no partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from kvnode.codec.values import unpack
from kvnode.core.effects import Now
from kvnode.core.path import Path
from kvnode.node.partitions import (
    GATHER_MS,
    HEAL_MOST_MS,
    KEPT,
    LEAST_MS,
    MOST_PATHS,
    Partitions,
    changes_of,
    keep_partitions,
)
from kvnode.testing.inprocess import TestNode, eventually, running_node
from kvnode.testing.served import ServedNode
from kvnode.transport.memory import MemoryTransport
from tests.support.replicas import Net, linked

STEP_MS = 1_000


class Watched:
    """A net whose nodes look for partitions."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.watchers = {label: Partitions(net[label]) for label in net.nodes}
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.run(STEP_MS)

    def run(self, ms: int) -> None:
        for _ in range(0, ms, STEP_MS):
            self.net.run(STEP_MS)
            for label, watcher in self.watchers.items():
                report = watcher.look(self.net.now)
                if report is not None:
                    self.reports.append((label, report))
                    self.net.propose(label, *changes_of(self.net[label], report))

    def restart(self, label: str) -> None:
        self.net.restart(label)
        self.watchers[label] = Partitions(self.net[label])

    def sides(self) -> list[tuple[str, list[str], list[str]]]:
        return [(label, report["here"], report["there"]) for label, report in self.reports]


def cut_off(*names: str, away: Sequence[str] = ("C",)) -> Watched:
    """A full mesh of which some are cut off, for longer than it takes."""
    world = Watched(linked(*names, mesh=True))
    for name in away:
        for other in set(names) - set(away):
            world.net.cut(name, other)
    world.run(LEAST_MS + 10_000)
    return world


def heal(world: Watched, *links: tuple[str, str]) -> None:
    for a, b in links:
        world.net.link(a, b)
    world.run(3 * GATHER_MS)


def test_each_side_reports_once() -> None:
    world = cut_off("A", "B", "C")
    for n in range(3):
        world.net.write("B", f"b.:{n}", n)
    world.net.write("C", "c", 1)
    assert world.reports == []
    heal(world, ("A", "C"), ("B", "C"))
    assert world.sides() == [("A", ["A", "B"], ["C"]), ("C", ["C"], ["A", "B"])]
    (_, ours), (_, theirs) = world.reports
    assert (ours["wrote_here"], ours["wrote_there"]) == ({"B": 3}, {"C": 1})
    assert (theirs["wrote_here"], theirs["wrote_there"]) == ({"C": 1}, {"B": 3})
    assert LEAST_MS // 1000 <= ours["seconds"] <= LEAST_MS // 1000 + 40
    assert (ours["complete"], ours["conflicts"], ours["paths"]) == (True, 0, [])
    world.run(5 * LEAST_MS)
    assert len(world.reports) == 2
    assert len(list(world.net["B"].tree.scan(("@", "status", "partition")))) == 2


def test_what_is_in_conflict_and_how_it_reads() -> None:
    net = linked("A", "B")
    net.write("A", "@.policy.limits", {"pattern": "limit", "policy": "max"})
    net.cut("A", "B")
    net.write("A", "old", 1)
    net.write("B", "old", 2)
    net.link("A", "B")
    net.run()
    world = Watched(net)
    net.cut("A", "B")
    world.run(LEAST_MS + STEP_MS)
    high, _ = net.write("A", "limit", 9), net.write("B", "limit", 5)
    gone, kept = net.delete("A", "mode"), net.write("B", "mode", 1)
    heal(world, ("A", "B"))
    report = world.reports[0][1]
    assert report["conflicts"] == 2, "the old one is not of this partition"
    limit, mode = report["paths"]
    assert (limit["path"], limit["policy"], limit["shows"]) == ("limit", "max", str(high))
    assert (mode["path"], mode["policy"], mode["shows"]) == ("mode", "newest", str(kept))
    assert {v["dot"]: v["deleted"] for v in mode["versions"]} == {str(gone): True, str(kept): False}


def test_a_link_that_flaps_is_no_partition() -> None:
    world = Watched(linked("A", "B"))
    for _ in range(5):
        world.net.cut("A", "B")
        world.run(LEAST_MS - 5_000)
        heal(world, ("A", "B"))
    assert world.reports == []


def test_a_cut_beside_which_there_is_another_way_is_none() -> None:
    world = Watched(linked("A", "B", "C", mesh=True))
    world.net.cut("A", "C")
    world.run(2 * LEAST_MS)
    heal(world, ("A", "C"))
    assert world.reports == []


def test_one_that_heals_for_a_moment_goes_on() -> None:
    world = cut_off("A", "C")
    world.net.link("A", "C")
    world.run(GATHER_MS - 2 * STEP_MS)
    world.net.cut("A", "C")
    world.run(LEAST_MS)
    assert world.reports == []
    heal(world, ("A", "C"))
    assert [label for label, _ in world.reports] == ["A", "C"]
    assert all(report["seconds"] >= 2 * LEAST_MS // 1000 for _, report in world.reports)


def test_members_that_come_back_together_are_one_healing() -> None:
    world = cut_off("A", "B", "C", away=("B", "C"))
    world.net.link("A", "C")
    world.run(2 * STEP_MS)
    heal(world, ("A", "B"))
    assert world.sides() == [("A", ["A"], ["B", "C"]), ("B", ["B", "C"], ["A"])]


def test_a_node_that_was_off_and_wrote_nothing_is_no_partition() -> None:
    world = Watched(linked("A", "B"))
    store = world.net.crash("B")
    del world.watchers["B"]
    world.run(2 * LEAST_MS)
    world.net.start("B", store=store)
    heal(world, ("A", "B"))
    assert world.reports == []


def test_a_node_that_restarted_and_wrote_is_one() -> None:
    world = cut_off("A", "C")
    world.restart("C")
    world.net.write("C", "x", 1)
    heal(world, ("A", "C"))
    assert world.sides() == [("A", ["A"], ["C"])]
    assert world.reports[0][1]["wrote_there"] == {"C": 1}


def test_a_member_that_was_retired_is_nobody() -> None:
    world = cut_off("A", "B", "C")
    assert world.net["A"].retire("C", world.net.now) is None
    heal(world)
    world.net.nodes.pop("C")
    world.watchers.pop("C")
    world.run(LEAST_MS)
    assert world.reports == []
    assert not world.watchers["A"]._away


def test_when_it_takes_too_long_the_report_says_so() -> None:
    world = cut_off("A", "C")
    world.net.write("A", "x", 1)
    world.net.nodes["C"].stuck = True
    heal(world, ("A", "C"))
    assert "A" not in dict(world.reports), "the other side does have all"
    world.run(HEAL_MOST_MS)
    assert [report["complete"] for label, report in world.reports if label == "A"] == [False]


def test_reports_are_bounded() -> None:
    net = linked("A", "B")
    for n in range(KEPT + 5):
        report = {"from": n, "there": ["B"]}
        assert isinstance(net.propose("A", *changes_of(net["A"], report)), list)
        net.run(100)
    kept = [
        Path.from_key(key)[-1] for key, s in net["B"].tree.scan(("@", "status", "partition")) if not s[0].is_tombstone
    ]
    assert kept == list(range(5, KEPT + 5))


def test_the_paths_of_a_report_are_bounded() -> None:
    world = cut_off("A", "C")
    for n in range(MOST_PATHS + 7):
        world.net.write("A", f"x.:{n}", "a")
        world.net.write("C", f"x.:{n}", "c")
    heal(world, ("A", "C"))
    report = world.reports[0][1]
    assert (report["conflicts"], len(report["paths"])) == (MOST_PATHS + 7, MOST_PATHS)


@pytest.mark.anyio
async def test_whole_nodes_write_it_into_the_tree() -> None:
    network = MemoryTransport()
    async with running_node(ServedNode("a"), network) as a, running_node(ServedNode("b"), network, seeds=["a"]) as b:
        await a.until_linked("b")
        await eventually(lambda: a.replica.members() == b.replica.members() == {"a", "b"})
        looks = Counter[str]()

        def clock(node: TestNode) -> Now:
            looks[node.name] += 1
            return node.clock()

        async def looked(times: int = 2) -> None:
            before = looks.copy()
            await eventually(lambda: all(looks[name] >= before[name] + times for name in ("a", "b")))

        async with anyio.create_task_group() as tasks:
            for node in (a, b):
                keep = partial(keep_partitions, least_ms=100, gather_ms=50, poll_s=0.02)
                tasks.start_soon(keep, node.driver, partial(clock, node))
            await eventually(lambda: bool(a.replica.reachable() and b.replica.reachable()))
            await looked()
            network.refused = {"a"}
            network.cut()
            await eventually(lambda: not a.replica.reachable() and not b.replica.reachable())
            await looked()
            began = a.clock().mono
            await a.set("x", 1)
            await b.set("x", 2)
            await eventually(lambda: a.clock().mono > began + 100)
            network.refused = set()
            for name in ("a", "b"):
                await eventually(partial(_reported, b, name))
            tasks.cancel_scope.cancel()


def _reported(node: TestNode, name: str) -> bool:
    found = [unpack(bytes(s[0].details.value)) for _, s in node.replica.tree.scan(("@", "status", "partition", name))]
    return [(r["here"], r["conflicts"], r["paths"][0]["path"]) for r in found] == [([name], 1, "x")]
