"""History, why and undo, through whole nodes: each on every backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from kvnode.client import ABSENT, CasFailed, Client, History, Put, Recorded, Refused
from kvnode.client.inspection import sibling_of
from kvnode.codec.values import pack
from kvnode.core.effects import Change as CoreChange
from kvnode.core.effects import Persist
from kvnode.core.history import read_past, row_key
from kvnode.core.path import Path, path_key
from kvnode.core.ticks import Dot
from kvnode.node.history import HISTORY_FULL, MOST_ROWS, Swept, keep_swept, keep_within, sweep
from kvnode.testing.served import ServedNode, served_client

pytestmark = pytest.mark.anyio

A = "a~0123456789abcdef"


async def keep(kv: Client, **more: object) -> None:
    await kv.set("@.history.mine", {"pattern": "x.#", "versions": 50} | more)


def values(recorded: tuple[Recorded, ...]) -> list[object]:
    return [r.version.value for r in recorded]


async def test_who_wrote_what_and_what_they_had_seen() -> None:
    async with served_client("attic", author="sensor") as (_, kv):
        await keep(kv)
        first = await kv.set("x.a", 1)
        second = await kv.set("x.a", 2, author="hand")
        found = await kv.history("x.a")
        (now,), (before,) = found.current, found.past
        assert (now.version.value, now.version.dot, now.version.author) == (2, second.dot, "hand")
        assert (before.version.value, before.version.dot, before.version.author) == (1, first.dot, "sensor")
        assert (before.replaced_by, now.replaced_by) == (second.dot, None)
        assert now.replaces(before)
        assert not before.replaces(now)
        assert (found.policy, found.keeps, found.more) == ("newest", (50, None), False)


async def test_the_past_of_a_deleted_value() -> None:
    async with served_client() as (_, kv):
        await keep(kv)
        await kv.set("x.a", 1)
        await kv.delete("x.a")
        found = await kv.history("x.a")
        assert [value for value in values((*found.current, *found.past)) if value is not ABSENT] == [1]
        assert found.former().value == 1
        former, _ = await kv.undo("x.a")
        assert former.value == (await kv.get("x.a")).value == 1


async def test_undo_goes_back_and_a_second_one_forth() -> None:
    async with served_client() as (_, kv):
        await keep(kv)
        dots = [(await kv.set("x.a", n)).dot for n in range(4)]
        await kv.undo("x.a")
        assert (await kv.get("x.a")).value == 2
        await kv.undo("x.a")
        assert (await kv.get("x.a")).value == 3
        await kv.undo("x.a", to=dots[0])
        assert (await kv.get("x.a")).value == 0
        assert values((await kv.history("x.a")).past) == [3, 2, 3, 2, 1, 0]


async def test_undo_of_what_replaced_a_delete_deletes() -> None:
    async with served_client() as (node, kv):
        await keep(kv)
        await kv.set("x.a", 1)
        node.driver.stop()
        deleted, written = CoreChange(Path.parse("x.a"), None), CoreChange(Path.parse("x.a"), pack(2))
    replica = node.replica
    replica.propose([deleted, written], node.clock())
    (persist,) = [effect for effect in replica.take_effects() if isinstance(effect, Persist)]
    rows = [read_past(past.record) for past in persist.past]
    (current,) = replica.tree.at(Path.parse("x.a"))
    assert [(version.is_tombstone, by == current.dot) for version, by in rows] == [(False, False), (True, True)]
    past = tuple(Recorded(sibling_of(version), {}, by) for version, by in reversed(rows))
    found = History(Path.parse("x.a"), None, (Recorded(sibling_of(current), {}),), past, "newest", (5, None), False)
    assert found.former().deleted


async def test_without_a_history_undo_says_so() -> None:
    async with served_client() as (_, kv):
        await kv.set("y", 1)
        with pytest.raises(Refused, match=r"no history of y: no pattern below @\.history asks to keep any") as caught:
            await kv.undo("y")
        assert caught.value.code == "no_history"
        await keep(kv)
        await kv.set("x.a", 1)
        with pytest.raises(Refused, match=r"no history of x\.a: nothing of before is on record"):
            await kv.undo("x.a")
        with pytest.raises(Refused, match=f"{A}:7 is not in the history of x.a"):
            await kv.undo("x.a", to=Dot(A, 7))


async def test_undo_takes_nothing_away_that_it_did_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_client() as (_, kv):
        await keep(kv)
        await kv.set("x.a", 1)
        await kv.set("x.a", 2)
        found = await kv.history("x.a")
        await kv.set("x.a", 3)

        async def seen_before(path: object, **more: object) -> object:
            return found

        monkeypatch.setattr(kv, "history", seen_before)
        with pytest.raises(CasFailed):
            await kv.undo("x.a")
        assert (await kv.get("x.a")).value == 3


async def test_many_versions_come_in_several_answers_and_within_limits() -> None:
    async with served_client() as (_, kv):
        await keep(kv, versions=5_000)
        await kv.batch([Put("x.a", n) for n in range(MOST_ROWS + 50)])
        assert len((await kv.history("x.a", limit=5_000)).past) == MOST_ROWS + 49
        some = await kv.history("x.a", limit=3)
        assert (values(some.past), some.more) == ([MOST_ROWS + 48, MOST_ROWS + 47, MOST_ROWS + 46], True)


async def test_large_versions_come_in_several_answers() -> None:
    async with served_client() as (_, kv):
        await keep(kv)
        for n in range(20):
            await kv.set("x.a", str(n) * 200_000)
        found = await kv.history("x.a")
        assert (len(found.past), found.more) == (19, False)


async def test_since() -> None:
    async with served_client() as (_, kv):
        await keep(kv)
        await kv.set("x.a", 1)
        await kv.set("x.a", 2)
        now = datetime.now(UTC)
        assert values((await kv.history("x.a", since=now - timedelta(minutes=1))).past) == [1]
        assert values((await kv.history("x.a", since=now + timedelta(minutes=1))).past) == []
        with pytest.raises(Refused, match="time zone"):
            await kv.history("x.a", since=datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point


async def _swept(node: ServedNode, days: float = 0.0, step: int = 3) -> int:
    return (await sweep(node.driver, node.clock().wall + int(days * 86_400_000), step=step)).gone


async def test_a_sweep_takes_away_what_nobody_asks_for_any_more() -> None:
    async with served_client() as (node, kv):
        await keep(kv, days=10)
        for n in range(10):
            await kv.set("x.a", n)
            await kv.set("x.b", n)
        assert await _swept(node) == 0
        await keep(kv, versions=4, days=10)
        assert await _swept(node) == 10
        assert values((await kv.history("x.a")).past) == [8, 7, 6, 5]
        assert await _swept(node, days=9) == 0
        assert await _swept(node, days=11) == 8
        await kv.set("x.a", 10)
        await kv.delete("@.history.mine")
        assert await _swept(node) == 1
        assert (await kv.history("x.a")).past == ()


async def test_what_a_writer_had_seen_as_text() -> None:
    async with served_client() as (_, kv):
        await kv.set("x", 1)
        (now,) = (await kv.history(Path.parse("x"))).current
        version = now.version
        several = Recorded(version, {A: 12, "b~0123456789abcdef": 3})
        assert several.knowing == "a:12, b:3"
        assert Recorded(version, {A: 12, "a~fedcba9876543210": 3}).knowing == f"{A}:12, a~fedcba9876543210:3"
        assert Recorded(version, {}).knowing == ""


# -- the bound of all of it ------------------------------------------------------------------------------------


async def _within(node: ServedNode, max_bytes: int) -> None:
    await keep_within(node.driver, max_bytes, node.clock().wall)


async def test_above_the_bound_the_oldest_goes_and_that_is_reported() -> None:
    async with served_client() as (node, kv):
        use, name = node.driver.store.past_use, node.driver.replica.name
        await keep(kv)
        for path in ("x.a", "x.b"):
            for n in range(11):
                await kv.set(path, n)
        await _within(node, 1 << 20)
        whole = use.size
        assert (use.versions, use.dropped) == (20, 0)
        await _within(node, whole)
        assert (use.versions, node.driver.reports.get(HISTORY_FULL, name)) == (20, None)
        await _within(node, whole - 1)
        assert use.dropped == 20 - use.versions > 0
        assert whole * 0.75 < use.size <= (whole - 1) * 0.9
        left = [values((await kv.history(path)).past) for path in ("x.a", "x.b")]
        assert sum(map(len, left)) == use.versions
        report = node.driver.reports.get(HISTORY_FULL, name)
        assert report is not None
        assert f"the {use.dropped} oldest versions went" in report.text
        assert node.driver.status()["history"] == {"versions": use.versions, "bytes": use.size, "dropped": use.dropped}
        await _within(node, whole)
        assert node.driver.reports.get(HISTORY_FULL, name) is None


def test_what_is_older_goes_first() -> None:
    swept = Swept()
    for minute, size in ((7, 300), (5, 100), (6, 200)):
        place = (minute << 32).to_bytes(8, "big") + bytes(8)
        key = row_key(path_key(("x",)), place)
        swept.count(key, bytes(size - len(key)))
    ages = [n.to_bytes(4, "big") for n in (5, 6, 7)]
    assert (swept.versions, swept.size) == (3, 600)
    assert [swept.oldest(size) for size in (50, 100, 101, 300, 600)] == [
        (ages[0], 50),
        (ages[0], 100),
        (ages[1], 1),
        (ages[1], 200),
        (ages[2], 300),
    ]


async def test_a_node_keeps_to_the_bound_by_itself() -> None:
    async with served_client() as (node, kv), anyio.create_task_group() as tasks:
        use = node.driver.store.past_use
        tasks.start_soon(keep_swept, node.driver, 5_000)
        await keep(kv, versions=10_000)
        with anyio.fail_after(60):
            while not use.dropped:
                await kv.set("x.a", "x" * 100)
            await use_falls_below(node, 5_000)
        tasks.cancel_scope.cancel()


async def use_falls_below(node: ServedNode, size: int) -> None:
    """What is counted after the versions went."""
    while (await sweep(node.driver, node.clock().wall)).size > size:
        await anyio.lowlevel.checkpoint()
