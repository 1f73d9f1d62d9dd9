"""Troubles of a node's store as records that the whole cluster sees."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kvnode.core.effects import Report
from kvnode.core.path import Path
from kvnode.data.errors import ErrorRecord, Severity
from kvnode.node import acks, troubles
from kvnode.node.errors import Overloaded
from kvnode.node.troubles import Troubles
from kvnode.store.base import StoreFull
from kvnode.store.memory import MemoryDisk
from kvnode.testing.inprocess import TestNode, eventually, running_node
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio

_runs = itertools.count()
FAILED, DOUBT = "@.errors.node.a.store_failed", "@.errors.node.a.store_doubt"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "WRITE_EVERY_S", 0.01)


@asynccontextmanager
async def running(disk: MemoryDisk, network: MemoryTransport | None = None, **options: Any) -> AsyncIterator[TestNode]:
    """The node ``a``, with its troubles."""
    node = TestNode("a", disk=disk, seed=next(_runs))
    told = Troubles(node.driver, node.clock)
    async with running_node(node, network, **options), anyio.create_task_group() as tasks:
        tasks.start_soon(told.run)
        yield node
        tasks.cancel_scope.cancel()


def record(node: TestNode, path: str) -> ErrorRecord | None:
    return ErrorRecord.from_value(node.get(path))


async def until(node: TestNode, path: str, *, is_open: bool) -> ErrorRecord:
    await eventually(lambda: (found := record(node, path)) is not None and found.is_open == is_open)
    found = record(node, path)
    assert found is not None
    return found


async def test_a_failing_disk_is_seen_on_other_nodes_until_it_works_again() -> None:
    network, disk = MemoryTransport(), MemoryDisk()
    async with running(disk, network) as a, running_node(TestNode("b"), network, seeds=["a"]) as b:
        await b.until_linked("a")
        disk.failure = StoreFull("kv.sqlite", "a test says so")
        await a.set("x", 1, acks.MEMORY)
        found = await until(b, FAILED, is_open=True)
        assert (found.subsystem, found.path, found.code) == ("node/a", Path(("store_failed",)), "store_failed")
        assert "no room left" in found.message
        assert (found.severity, found.count) == (Severity.CRITICAL, 1)
        disk.failure = None
        found = await until(b, FAILED, is_open=False)
        assert found.first <= found.opened <= found.last
    assert disk.rows, "it is stored as well, once the disk takes it"


async def test_a_doubt_stays_open_until_a_peer_has_made_up_for_it() -> None:
    """Also over a restart: the store holds that it is in doubt."""
    network, disk = MemoryTransport(), MemoryDisk()
    async with running(disk) as a:
        await a.set("x", 1)
        await a.set("y", 1)
    disk.damage_row(Path.parse("x").key)
    async with running(disk) as a:
        first = await until(a, DOUBT, is_open=True)
        assert (first.severity, first.count) == (Severity.WARNING, 1)
        assert "is damaged" in first.message
        await a.set("y", 2)
    async with running(disk) as a:
        await a.set("y", 3)
        await eventually(lambda: (found := record(a, DOUBT)) is not None and found.count == 2)
        again = await until(a, DOUBT, is_open=True)
        assert (again.first, again.opened) == (first.first, first.opened)
    async with running(disk, network) as a, running_node(TestNode("b"), network, seeds=["a"]) as b:
        await until(b, DOUBT, is_open=False)
        assert a.driver.reports.get("store_doubt", "store") is None


async def test_what_an_earlier_process_suffered_is_resolved() -> None:
    disk = MemoryDisk()
    async with running(disk) as a:
        disk.failure = StoreFull("kv.sqlite", "a test says so")
        await a.set("x", 1, acks.MEMORY)
        await until(a, FAILED, is_open=True)
        disk.failure = None
        await until(a, FAILED, is_open=False)
        disk.failure = StoreFull("kv.sqlite", "again")
        await a.set("x", 2, acks.MEMORY)
        again = await until(a, FAILED, is_open=True)
        assert again.count == 2
        snapshot = a.disk.snapshot()
        disk.failure = None
        await until(a, FAILED, is_open=False)
    assert snapshot != disk.snapshot()
    found = None
    async with running(MemoryDisk(disk.snapshot())) as a:
        found = await until(a, FAILED, is_open=False)
        assert found.count == 2


async def test_a_record_left_open_by_a_process_that_died_is_resolved_by_the_next() -> None:
    disk = MemoryDisk()
    async with running(disk) as a:
        a.driver.report("store_failed", "store", "a test says so")
        await until(a, FAILED, is_open=True)
        await a.set("x", 1)
        crashed = disk.snapshot()
    async with running(MemoryDisk(crashed)) as a:
        assert (await until(a, FAILED, is_open=False)).message == "a test says so"


async def test_other_reports_stay_on_their_node() -> None:
    async with running(MemoryDisk()) as a:
        a.driver.reports.take(Report("clock_skew", "b", "its clock is ahead"), a.clock())
        a.driver.report("store_failed", "store", "a test says so")
        await until(a, FAILED, is_open=True)
        assert [path for path in map(str, tree_of(a)) if path.startswith("@.errors")] == [FAILED]


def tree_of(node: TestNode) -> list[Path]:
    return [Path.from_key(key) for key, _ in node.replica.tree.scan_range(b"", b"\xff")]


@pytest.mark.interpreted
async def test_what_could_not_be_written_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(MemoryDisk()) as a:
        propose, refusals = a.driver.propose, 2

        async def busy(*args: Any) -> Any:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise Overloaded
            return await propose(*args)

        monkeypatch.setattr(a.driver, "propose", busy)
        a.driver.report("store_failed", "store", "a test says so")
        await until(a, FAILED, is_open=True)
        assert not refusals
