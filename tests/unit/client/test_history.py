"""History, why and undo, through whole nodes: each on every backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kvnode.client import ABSENT, CasFailed, Client, History, Put, Recorded, Refused
from kvnode.client.inspection import sibling_of
from kvnode.codec.values import pack
from kvnode.core.effects import Change as CoreChange
from kvnode.core.effects import Persist
from kvnode.core.history import read_past
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from kvnode.node.history import MOST_ROWS, sweep
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
    return await sweep(node.driver, node.clock().wall + int(days * 86_400_000), step=step)


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
