"""The quarantine over the client protocol: list, show, restore, discard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kvnode.client.errors import AckTimeout, CasFailed, KvError, Refused
from kvnode.client.inspect_protocol import Aside
from kvnode.codec.values import pack
from kvnode.core.effects import Change, Now, Wrote
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot
from kvnode.node.acks import AckLevel
from kvnode.node.setaside import SetAside
from kvnode.store.memory import MemoryDisk
from kvnode.testing.inprocess import eventually, running_node
from kvnode.testing.served import ServedNode, served_client
from tests.support.strangers import Z, version

pytestmark = pytest.mark.anyio


async def set_aside(node: ServedNode, path: str, value: Any, tick: int = 1) -> None:
    """As a verdict of R5 would: it was live here and is dropped."""
    held = version(path, tick, value)

    def drop(replica: Replica, now: Now) -> None:
        replica.state.add(held.key, held)
        replica.state.drop(held.key, held, "for a test", now)

    await node.driver.call(drop)


async def test_what_is_set_aside_is_listed_and_restored() -> None:
    async with served_client() as (node, kv):
        assert await kv.inspection.quarantine() == []
        await set_aside(node, "x", {"deep": [1, 2]})
        await set_aside(node, "y", 2, tick=2)
        first, second = await kv.inspection.quarantine()
        assert (first.number, first.version.path, first.version.value) == (1, Path.parse("x"), {"deep": [1, 2]})
        assert (first.why, first.version.dot) == ("for a test", Dot(Z, 1))
        assert abs(first.when.timestamp() * 1000 - node.driver.now().wall) < 60_000
        assert await kv.inspection.set_aside(2) == second

        dot = await kv.inspection.restore(1)
        reading = await kv.get("x")
        assert (reading.value, reading.dot) == ({"deep": [1, 2]}, dot)
        assert reading.dot != Dot(Z, 1)
        assert [row.number for row in await kv.inspection.quarantine()] == [2]
        reports = (await kv.status())["reports"]
        assert [r["subject"] for r in reports if r["kind"] == "quarantine"] == [str(Dot(Z, 2))]


async def test_what_is_set_aside_is_there_after_a_restart() -> None:
    disk = MemoryDisk()
    async with running_node(ServedNode("a", disk=disk)) as node:
        await set_aside(node, "x", 1)
        await node.set("z", 1)
    assert set(disk.quarantine) == {1}
    async with running_node(ServedNode("a", disk=disk)) as node:
        (held,) = node.replica.state.quarantine
        assert held.version.dot == Dot(Z, 1)


async def test_another_value_in_the_meantime_is_not_written_over_unless_forced() -> None:
    async with served_client() as (node, kv):
        await set_aside(node, "x", 1)
        await kv.set("x", 2)
        with pytest.raises(Refused) as refused:
            await kv.inspection.restore(1)
        assert refused.value.code == "occupied"
        assert "--force" in refused.value.message
        assert (await kv.get("x")).value == 2
        assert await kv.inspection.restore(1, force=True) is not None
        assert (await kv.get("x")).value == 1
        assert await kv.inspection.quarantine() == []


@pytest.mark.interpreted
async def test_nor_is_one_that_comes_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_client() as (node, kv):
        await set_aside(node, "x", 1)
        propose = node.driver.propose

        async def after_another(changes: Sequence[Change], ack: AckLevel, timeout_s: float) -> list[Wrote]:
            await propose([Change(Path.parse("x"), pack(2))], ack, timeout_s)
            return await propose(changes, ack, timeout_s)

        monkeypatch.setattr(node.driver, "propose", after_another)
        with pytest.raises(CasFailed):
            await kv.inspection.restore(1)
        assert (await kv.get("x")).value == 2
        assert len(await kv.inspection.quarantine()) == 1


async def test_a_value_that_is_there_again_needs_no_write() -> None:
    async with served_client() as (node, kv):
        await set_aside(node, "x", 1)
        dot = (await kv.set("x", 1)).dot
        assert await kv.inspection.restore(1) is None
        assert (await kv.get("x")).dot == dot
        assert await kv.inspection.quarantine() == []


async def test_what_has_expired_is_restored_for_good_or_not_at_all() -> None:
    async with served_client() as (node, kv):
        held = version("x", 1, 1, expiry=1_000)
        await node.driver.call(lambda replica, now: replica.state.quarantine.add(held, "for a test", 500))
        with pytest.raises(Refused, match="expired"):
            await kv.inspection.restore(1)
        await kv.inspection.restore(1, force=True)
        assert ((await kv.get("x")).value, (await kv.get("x")).expiry) == (1, None)


async def test_a_restore_that_is_not_confirmed_in_time_stands_and_can_be_repeated() -> None:
    async with served_client() as (node, kv):
        await set_aside(node, "x", 1)
        with pytest.raises(AckTimeout):
            await kv.inspection.restore(1, ack="peer:1", timeout=0.5)
        assert (await kv.get("x")).value == 1
        assert await kv.inspection.restore(1) is None
        assert await kv.inspection.quarantine() == []


async def test_discarding() -> None:
    async with served_client() as (node, kv):
        for tick in range(1, 6):
            await set_aside(node, "x", tick, tick=tick)
        assert await kv.inspection.discard([2, 4, 77]) == 2
        assert [row.number for row in await kv.inspection.quarantine()] == [1, 3, 5]
        assert await kv.inspection.discard(None) == 3
        assert await kv.inspection.quarantine() == []
        assert (await kv.status())["reports"] == []
        await eventually(lambda: node.disk.quarantine == {})


async def test_a_large_quarantine_comes_in_parts() -> None:
    async with served_client() as (node, kv):
        for tick in range(1, 31):
            await set_aside(node, f"x{tick}", "v" * 10_000, tick=tick)
        rows = await kv.inspection.quarantine()
        assert [row.number for row in rows] == list(range(1, 31))
        assert len(await SetAside(node.driver).list(Aside(1), "")) < 10


@pytest.mark.parametrize("call", ["set_aside", "restore"])
async def test_there_is_no_such_number(call: str) -> None:
    async with served_client() as (_, kv):
        with pytest.raises(KvError, match="nothing is set aside under the number 7") as error:
            await getattr(kv.inspection, call)(7)
        assert error.value.code == "not_found"


async def test_an_ack_level_that_is_none() -> None:
    async with served_client() as (_, kv):
        with pytest.raises(Refused) as refused:
            await kv.inspection.restore(1, ack="perhaps")
        assert refused.value.code == "bad_request"
