"""Leases: who deletes what nobody renewed, when every node's wall clock says something else."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from kvnode.client import NotFound, Uptodate, connect
from kvnode.core.effects import Change, Now
from kvnode.core.messages import Versions
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, name_of
from kvnode.node.leases import AGAIN_MS, AUTHOR, GRACE_MS, Leases, keep_leases
from kvnode.testing.inprocess import WAIT_S, running_node
from kvnode.testing.served import FAST, ServedNode, served_client
from kvnode.transport.memory import MemoryTransport
from tests.support.replicas import Net, enc, linked

YEAR_MS = 365 * 86_400_000
TTL_MS = 60_000


class Skewed:
    """A net whose nodes look after leases, each by a wall clock of its own."""

    def __init__(self, net: Net, **skew_ms: int) -> None:
        self.net = net
        self.skew_ms = skew_ms
        self.leases = {label: Leases(net[label], self.now(label), grace_ms=0) for label in net.nodes}
        self.stale: list[tuple[str, Path]] = []

    def now(self, label: str) -> Now:
        return Now(self.net.t, self.net.now.wall + self.skew_ms.get(label, 0))

    def write(self, label: str, path: str = "x", value: object = 1, ttl_ms: int | None = TTL_MS) -> Dot:
        out = self.net[label].propose([Change(Path.parse(path), enc(value), ttl_ms=ttl_ms)], self.now(label))
        assert isinstance(out, list), out
        self.run(100)
        return out[0].dot

    def run(self, ms: int) -> None:
        end = self.net.t + ms
        while self.net.t < end:
            self.net.run(min(1_000, end - self.net.t))
            for label, leases in self.leases.items():
                self._look(label, leases)
            self.net.flow()

    def _look(self, label: str, leases: Leases) -> None:
        node, now = self.net.nodes[label], self.now(label)
        for path, _ in node.notes:
            siblings = node.replica.tree.at(path)
            if leases.concerns(path.key, siblings):
                leases.changed(path.key, siblings, now)
        node.notes.clear()
        due = leases.due(now)
        self.stale += [(label, Path.from_key(key)) for key in due.stale]
        for change in due.deletes:
            node.replica.propose([change], now)

    def reads_stale(self, label: str, path: str = "x") -> bool:
        (version,) = self.net.at(label, path)
        return version.is_stale(self.now(label).wall)


def test_the_holder_deletes_what_nobody_renewed() -> None:
    world = Skewed(linked("A", "B"))
    world.write("A")
    world.run(TTL_MS - 2_000)
    assert world.net.read("B", "x") == 1
    world.run(3_000)
    assert world.net.at("A", "x") == world.net.at("B", "x") == ()
    assert world.net.converged()


def test_a_renewal_makes_it_last() -> None:
    world = Skewed(linked("A", "B"))
    for _ in range(4):
        world.write("A")
        world.run(TTL_MS // 2)
    assert world.net.read("B", "x") == 1
    world.write("A", ttl_ms=None)
    world.run(3 * TTL_MS)
    assert world.net.read("B", "x") == 1


@pytest.mark.parametrize("skew_ms", [YEAR_MS, -YEAR_MS, -55 * YEAR_MS])
def test_no_clock_but_the_holders_ends_a_lease(skew_ms: int) -> None:
    world = Skewed(linked("A", "B"), B=skew_ms)
    world.write("A")
    world.run(TTL_MS - 2_000)
    assert world.net.read("A", "x") == world.net.read("B", "x") == 1
    assert world.reads_stale("B") is (skew_ms > 0)
    world.run(3_000)
    assert world.net.at("A", "x") == world.net.at("B", "x") == ()


@pytest.mark.parametrize("skew_ms", [YEAR_MS, -YEAR_MS])
def test_a_holder_measures_time_and_does_not_read_the_clock(skew_ms: int) -> None:
    world = Skewed(linked("A", "B"), A=skew_ms)
    world.write("A")
    world.skew_ms["A"] = 0
    world.run(TTL_MS - 2_000)
    assert world.net.read("B", "x") == 1
    world.run(3_000)
    assert world.net.at("B", "x") == ()


def test_others_show_it_as_stale_and_leave_it_alone() -> None:
    world = Skewed(linked("A", "B"))
    world.write("A")
    world.net.cut("A", "B")
    world.net.crash("A")
    del world.leases["A"]
    world.run(TTL_MS - 2_000)
    assert not world.reads_stale("B")
    world.run(3_000)
    assert world.reads_stale("B")
    assert world.stale == [("B", Path.parse("x"))]
    world.run(100 * TTL_MS)
    assert world.net.read("B", "x") == 1
    assert len(world.stale) == 1, "it is told once"
    world.skew_ms["B"] = -YEAR_MS
    world.run(2 * AGAIN_MS)
    assert len(world.stale) == 2, "the clock was set back: it is fresh again"


def test_when_the_holder_is_retired_the_first_of_the_others_deletes() -> None:
    world = Skewed(linked("A", "B", "C", mesh=True))
    world.write("C")
    world.net.crash("C")
    del world.leases["C"]
    world.run(2 * TTL_MS)
    assert world.net.read("A", "x") == 1
    assert world.net["B"].retire("C", world.net.now) is None
    world.run(3 * AGAIN_MS)
    assert world.net.at("A", "x") == world.net.at("B", "x") == ()
    assert _deleters(world.net) == {"A"}


def _deleters(net: Net) -> set[str]:
    """The nodes that deleted leases."""
    sent = [version for message in net.sent(Versions) for version in message.versions]
    return {name_of(v.inc) for v in sent if v.is_tombstone and v.details.author == AUTHOR}


def test_a_renewal_elsewhere_is_not_deleted() -> None:
    world = Skewed(linked("A", "B"))
    world.write("A")
    world.run(TTL_MS // 2)
    world.write("B", value=2)
    world.run(TTL_MS * 3 // 4)
    assert world.net.values("A", "x") == world.net.values("B", "x") == [2]
    world.run(TTL_MS)
    assert world.net.at("A", "x") == ()


def test_a_renewal_behind_a_cut_wins_over_the_delete() -> None:
    world = Skewed(linked("A", "B"))
    world.write("A")
    world.net.cut("A", "B")
    world.write("B", value=2, ttl_ms=10 * TTL_MS)
    world.run(2 * TTL_MS)
    assert world.net.values("A", "x") == []
    world.net.link("A", "B")
    world.run(5_000)
    assert world.net.values("A", "x") == world.net.values("B", "x") == [2]


def test_a_value_beside_the_lease_holds_up_the_delete() -> None:
    world = Skewed(linked("A", "B"))
    world.net.cut("A", "B")
    world.write("A")
    world.write("B", value="to stay", ttl_ms=None)
    world.net.link("A", "B")
    world.run(5 * TTL_MS)
    assert world.net.values("A", "x") == world.net.values("B", "x") == ["to stay", 1]


def test_after_a_restart_the_holder_waits_for_a_renewal_that_went_elsewhere() -> None:
    net = Net("A")
    net.propose("A", Change(Path.parse("x"), enc(1), ttl_ms=TTL_MS))
    net.run(2 * TTL_MS)
    net.restart("A")
    leases = Leases(net["A"], net.now)
    assert leases.due(net.now).deletes == []
    net.run(GRACE_MS)
    assert [str(c.path) for c in leases.due(net.now).deletes] == ["x"]


def test_after_a_restart_with_a_wrong_clock_nothing_lasts_longer_than_its_time() -> None:
    net = Net("A")
    net.propose("A", Change(Path.parse("x"), enc(1), ttl_ms=TTL_MS))
    net.run(2 * TTL_MS)
    net.restart("A")

    def now() -> Now:
        return Now(net.t, 0)

    leases = Leases(net["A"], now())
    net.run(TTL_MS)
    assert [str(c.path) for c in leases.due(now()).deletes] == ["x"]


def test_a_node_that_is_behind_deletes_nothing() -> None:
    net = linked("A", "B")
    net.propose("A", Change(Path.parse("x"), enc(1), ttl_ms=TTL_MS))
    net.run()
    net.cut("A", "B")
    net.restart("A", doubts=("a row is missing",))
    leases = Leases(net["A"], net.now)
    net.run(10 * TTL_MS)
    assert leases.due(net.now).deletes == []
    net.link("A", "B")
    net.run(AGAIN_MS)
    assert len(leases.due(net.now).deletes) == 1


def test_what_is_gone_is_forgotten_here_too() -> None:
    world = Skewed(linked("A", "B"))
    for n in range(50):
        world.write("A", f"x.:{n}")
    assert len(world.leases["B"]) == 50
    world.run(TTL_MS + 2_000)
    assert [len(leases) for leases in world.leases.values()] == [0, 0]


def test_what_is_no_lease_does_not_concern_them() -> None:
    world = Skewed(linked("A", "B"))
    leases = world.leases["A"]
    world.net.write("A", "plain", 1)
    assert not leases.concerns(Path.parse("plain").key, world.net.at("A", "plain"))
    world.write("A", "x")
    assert leases.concerns(Path.parse("x").key, world.net.at("A", "x"))
    world.run(100)
    world.net.delete("A", "x")
    assert leases.concerns(Path.parse("x").key, world.net.at("A", "x"))


def test_the_length_of_a_lease_is_checked() -> None:
    net = Net("A")
    for ttl_ms in (0, -1, 10**15):
        refused = net.propose("A", Change(Path.parse("x"), enc(1), ttl_ms=ttl_ms))
        assert not isinstance(refused, list)
        assert refused.code == "bad_value"
    assert net.at("A", "x") == ()


# -- whole nodes -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_client_sees_a_lease_end() -> None:
    async with served_client() as (node, kv), anyio.create_task_group() as tasks:
        tasks.start_soon(keep_leases, node.driver, node.clock, node.clients.stale)
        await kv.set("x", 1, ttl=3600)
        reading = await kv.get("x")
        assert reading.lease is not None
        assert (reading.lease.holder, reading.lease.ttl_ms, reading.expired) == (node.name, 3_600_000, False)
        async with kv.watch("x") as changes:
            items = aiter(changes)
            assert [(await anext(items)).value, await anext(items)] == [1, Uptodate()]  # type: ignore[union-attr]
            await kv.set("x", 2, ttl=0.1)
            with anyio.fail_after(WAIT_S):
                while not (change := await anext(items)).deleted:  # type: ignore[union-attr]
                    pass
        assert change.author == AUTHOR  # type: ignore[union-attr]
        with pytest.raises(NotFound):
            await kv.get("x")
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_client_of_another_node_sees_it_become_stale() -> None:
    network = MemoryTransport()
    async with running_node(ServedNode("b"), network) as other:
        assert isinstance(other, ServedNode)
        async with running_node(ServedNode("a"), network, seeds=["b"]) as holder:
            await holder.until_linked("b")
            async with connect(str(holder.address), transport=network, options=FAST) as kv:
                await kv.set("x", 1, ttl=0.5, ack="peer:1")
        async with connect(str(other.address), transport=network, options=FAST) as kv, kv.watch("x") as changes:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep_leases, other.driver, other.clock, other.clients.stale)
                with anyio.fail_after(WAIT_S):
                    await _until(changes.__anext__, lambda item: getattr(item, "expired", False))
                tasks.cancel_scope.cancel()
            reading = await kv.get("x")
            assert (reading.value, reading.stale, reading.expired) == (1, True, True)


async def _until(get: Callable[[], object], fits: Callable[[object], bool]) -> None:
    while not fits(await get()):  # type: ignore[misc]
        pass
