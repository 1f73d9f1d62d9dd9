"""The client against a whole node in this process: every call, on every backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from kvnode.client import (
    ABSENT,
    MISSING,
    CasFailed,
    Change,
    Closed,
    Del,
    EventItem,
    NotFound,
    Put,
    Reading,
    Refused,
    Undecodable,
    Uptodate,
)
from kvnode.codec.values import pack
from kvnode.core.effects import Change as CoreChange
from kvnode.core.entry import Version
from kvnode.core.path import Path, Pattern
from kvnode.core.ticks import Dot
from kvnode.node.loading import take_in
from kvnode.testing.inprocess import WAIT_S
from kvnode.testing.served import ServedNode, served_client
from tests.support.strangers import version

pytestmark = pytest.mark.anyio

VALUES: list[Any] = [
    None,
    True,
    21.5,
    -7,
    1 << 80,
    "text",
    b"\0\xff",
    [1, [2], {}],
    {"a": 1, 2: "b"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    Path.parse("x.:3"),
]


async def test_values_come_back_as_they_were() -> None:
    async with served_client() as (_, kv):
        for value in VALUES:
            await kv.set("some.where", value)
            reading = await kv.get("some.where")
            assert reading.value == value
            assert type(reading.value) is type(value)


async def test_a_reading_tells_where_it_comes_from() -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with served_client("attic", author="sensor") as (_, kv):
        written = await kv.set("home.temp", 21.5)
        reading = await kv.get(Path.parse("home.temp"))
        assert reading.path == Path(("home", "temp"))
        assert isinstance(reading.path, Path)
        assert (reading.dot, reading.stamp) == (written.dot, written.stamp)
        assert (reading.node, reading.tick, reading.author) == ("attic", written.dot.tick, "sensor")
        assert reading.dots == {written.dot}
        assert before < reading.time == written.time < datetime.now(UTC) + timedelta(seconds=1)
        assert not reading.conflict
        assert not reading.deleted
        assert not reading.stale
        assert [s.value for s in reading.siblings] == [21.5]
        await kv.set("home.temp", 22, author="hand")
        assert (await kv.get("home.temp")).author == "hand"


async def test_what_is_not_there() -> None:
    async with served_client() as (_, kv):
        for path in ("nowhere", ":"):
            with pytest.raises(NotFound, match=f"no value at {path}") as caught:
                await kv.get(path)
            assert caught.value.fields == {"path": path}
        await kv.set("x", 1)
        await kv.delete("x")
        with pytest.raises(NotFound):
            await kv.get("x")


async def test_compare_and_set() -> None:
    async with served_client() as (_, kv):
        first = await kv.set("x", 1, expect=ABSENT)
        with pytest.raises(CasFailed) as caught:
            await kv.set("x", 2, expect=ABSENT)
        assert caught.value.dots == (first.dot,)
        assert caught.value.fields["path"] == "x"
        second = await kv.set("x", 2, expect=(await kv.get("x")).dots)
        with pytest.raises(CasFailed):
            await kv.delete("x", expect={first.dot})
        await kv.delete("x", expect=[second.dot])
        await kv.set("x", 3, expect=ABSENT)


async def test_the_same_value_is_not_written_again() -> None:
    async with served_client() as (_, kv):
        first = await kv.set("x", {"a": 1})
        again = await kv.set("x", {"a": 1}, if_changed=True, ack="all")
        assert (again.dot, again.stamp, again.unchanged) == (first.dot, first.stamp, True)
        written = await kv.batch([Put("x", {"a": 1}, if_changed=True), Put("x", 2, if_changed=True), Put("y", 3)])
        assert [w.unchanged for w in written] == [True, False, False]


async def test_a_batch_is_all_or_nothing() -> None:
    async with served_client() as (_, kv):
        old = await kv.set("a", 0)
        written = await kv.batch([Put("b", 1), Del("a"), Put("c", 2, expect=ABSENT)])
        assert [w.dot.tick for w in written] == [old.dot.tick + 1, old.dot.tick + 2, old.dot.tick + 3]
        with pytest.raises(CasFailed):
            await kv.batch([Put("d", 1), Put("b", 2, expect=ABSENT)])
        with pytest.raises(NotFound):
            await kv.get("d")
        assert (await kv.get("b")).value == 1


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (lambda kv: kv.set(":", 1), "reserved"),
        (lambda kv: kv.set("@.nodes.x", 1), "reserved"),
        (lambda kv: kv.set("x", b"x" * ((1 << 20) - 3)), "bad_value"),
        (lambda kv: kv.set("x", 1, ack="sometimes"), "bad_request"),
        (lambda kv: kv.set("x", 1, expiry=datetime(2026, 1, 1)), "bad_value"),  # noqa: DTZ001  # that is the point
        (lambda kv: kv.batch([Put(f"x.:{n}", n) for n in range(10_001)]), "too_large"),
        (lambda kv: kv.retire("nobody"), "not_found"),
    ],
)
async def test_refusals(write: Any, code: str) -> None:
    async with served_client() as (_, kv):
        with pytest.raises((Refused, NotFound)) as caught:
            await write(kv)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)


async def test_an_expired_value_is_gone() -> None:
    async with served_client() as (_, kv), kv.watch("x") as changes:
        assert isinstance(await anext(changes), Uptodate)
        await kv.set("x", 1, expiry=datetime.now(UTC) + timedelta(hours=1))
        shown = await anext(changes)
        assert isinstance(shown, Change)
        assert (shown.value, (await kv.get("x")).value) == (1, 1)
        await kv.set("x", 2, expiry=datetime.now(UTC) + timedelta(seconds=0.1))
        with anyio.fail_after(WAIT_S):  # a slow machine may see the end only
            while (ended := await anext(changes)) and not (isinstance(ended, Change) and ended.deleted):
                pass
        assert ended.value is MISSING
        with pytest.raises(NotFound):
            await kv.get("x")


async def test_a_tree_in_path_order() -> None:
    texts = ["a", "a.:2", "a.:10", "a.b", "a.b.c", "a.b.d.e", "ab", "z"]
    async with served_client() as (_, kv):
        for text in reversed(texts):
            await kv.set(text, text)
        await kv.set("a.gone", 1)
        await kv.delete("a.gone")

        async def listed(*args: Any, **options: Any) -> list[str]:
            async with kv.tree(*args, **options) as rows:
                return [str(r.path) async for r in rows if isinstance(r, Reading) and r.path[:1] != ("@",)]

        assert await listed() == texts
        assert await listed("a") == texts[:6]
        assert await listed("a", depth=1) == texts[:4]
        assert await listed(":", depth=1) == ["a", "ab", "z"]
        assert await listed("a.b", depth=0) == ["a.b"]
        assert await listed(pattern="a.+") == ["a.:2", "a.:10", "a.b"]
        assert await listed("a.b", pattern="#.e") == ["a.b.d.e"]
        assert await listed("a", pattern=Pattern("a.b.#"), depth=2) == ["a.b", "a.b.c"]
        assert await listed("z", pattern="a.+") == []
        assert await listed("nowhere") == []


async def test_a_large_tree_comes_within_the_window() -> None:
    async with served_client() as (_, kv):
        values = {f"t.:{n}": f"{n}" * 20 for n in range(5_000)}
        await kv.batch([Put(path, value) for path, value in values.items()], timeout=WAIT_S)
        async with kv.tree("t") as rows:
            got = {str(r.path): r.value async for r in rows}
        assert got == values


async def test_a_watch_from_snapshot_to_live() -> None:
    async with served_client() as (_, kv):
        await kv.set("w.b", 1)
        await kv.set("w.a", 2)
        await kv.set("other", 3)
        async with kv.watch("w") as changes:
            items = [await anext(changes) for _ in range(3)]
            assert [str(c.path) for c in items[:2] if isinstance(c, Change)] == ["w.a", "w.b"]
            assert isinstance(items[2], Uptodate)
            await kv.set("other", 4)
            await kv.set("w.a", 5)
            await kv.delete("w.b")
            await kv.delete("w.none")
            await kv.set("w.c", 6)
            live = [await anext(changes) for _ in range(3)]
            got = [(str(c.path), c.value, c.author) for c in live if isinstance(c, Change)]
            assert got == [("w.a", 5, ""), ("w.b", ABSENT, ""), ("w.c", 6, "")]
            deleted = live[1]
            assert isinstance(deleted, Change)
            assert deleted.node == "a"
            assert deleted.tick > 0
            assert deleted.dots == frozenset()


async def test_a_watch_that_is_left_is_forgotten_by_the_node() -> None:
    async with served_client() as (node, kv):
        async with kv.watch() as changes, kv.events():
            await anext(changes)
            assert len(node.clients.watches) == 1
            assert (await kv.status())["clients"]["streams"] == 2
        assert (await kv.status())["clients"]["streams"] == 0
        assert len(node.clients.watches) == 0
        assert not node.clients.events
        with pytest.raises(Closed):
            await anext(changes)


async def test_events_go_to_whoever_listens() -> None:
    async with served_client(author="me") as (_, kv), kv.events("e") as all_events, kv.events("e", "e.+") as some:
        await kv.status()  # both are open at the node
        await kv.send("e.x.y", [1])
        await kv.send("other", 2)
        await kv.send("e.z", {"a": 1}, author="you")
        first, second = await anext(all_events), await anext(all_events)
        assert isinstance(first, EventItem)
        assert (str(first.path), first.value, first.author, first.node) == ("e.x.y", [1], "me", "a")
        assert (str(second.path), second.value, second.author, second.seq) == ("e.z", {"a": 1}, "you", first.seq + 2)
        assert (await anext(some)).path == Path(("e", "z"))
        with pytest.raises(NotFound):
            await kv.get("e.z")


async def test_status_and_explanations() -> None:
    async with served_client("attic") as (_, kv):
        await kv.set("x", 1)
        await kv.delete("x")
        status = await kv.status()
        assert status["node"] == kv.node == "attic"
        assert {"peers", "entries", "conflicts", "tombstones", "clients"} <= set(status)
        assert all(isinstance(line, str) for line in await kv.gc_explain("x"))


async def test_conflicts_are_shown_with_all_siblings() -> None:
    async with served_client("a") as (node, kv):
        await kv.set("calm", 1)
        mine = await kv.set("x", {"a": 1})
        foreign = await _concurrent(node, "x", {"b": 2}, stamp=mine.stamp + 1)
        (conflict,) = await kv.conflicts()
        reading = await kv.get("x")
        assert reading == conflict
        assert reading.conflict
        assert reading.value == {"b": 2}
        assert [(s.dot, s.value) for s in reading.siblings] == [(foreign, {"b": 2}), (mine.dot, {"a": 1})]
        assert reading.dots == {mine.dot, foreign}
        await kv.set("@.policy.x", {"pattern": "x", "policy": "merge"})
        merged = await kv.get("x")
        assert merged.value == {"a": 1, "b": 2}
        assert [s.value for s in merged.siblings] == [{"b": 2}, {"a": 1}]
        await kv.set("x", 1, expect=merged.dots)
        assert await kv.conflicts() == []
        assert await kv.conflicts("calm") == []


async def test_a_policy_change_is_told_to_watchers() -> None:
    async with served_client("a") as (node, kv):
        mine = await kv.set("x", 1)
        await _concurrent(node, "x", 5, stamp=mine.stamp - 1)
        async with kv.watch("x") as changes:
            first = await anext(changes)
            assert isinstance(first, Change)
            assert (first.value, first.conflict) == (1, True)
            await anext(changes)
            await kv.set("@.policy.x", {"pattern": "x", "policy": "max"})
            assert (await anext(changes)).value == 5  # type: ignore[union-attr]  # it is a change
            await kv.set("@.policy.x", {"pattern": "x", "policy": "union"})
            assert (await anext(changes)).value == [1, 5]  # type: ignore[union-attr]  # it is a change


async def test_a_delete_that_races_a_write_shows_both() -> None:
    async with served_client("a") as (node, kv), kv.watch("x") as changes:
        await _take_in(node, version("@.nodes.away", 1, {"inc": ""}))  # for whom the delete is remembered
        await kv.set("x", 1)
        deleted = await kv.delete("x")
        written = await _concurrent(node, "x", 2, stamp=deleted.stamp - 9)
        items = [await anext(changes) for _ in range(4)]
        last = items[-1]
        assert isinstance(last, Change)
        assert (last.value, last.conflict, last.dots) == (2, True, {written})
        assert [s.deleted for s in last.siblings] == [False, True]


async def _concurrent(node: ServedNode, path: str, value: object, stamp: int) -> Dot:
    """A version from elsewhere that knows nothing of what is here."""
    concurrent = version(path, 7, value, stamp=stamp)
    await _take_in(node, concurrent)
    return concurrent.dot


async def _take_in(node: ServedNode, held: Version) -> None:
    assert await node.driver.call(lambda replica, now: take_in(replica, [(held,)], now)) == 1


async def test_a_value_that_is_none_harms_nobody() -> None:
    """Bytes that are no value, written by something else, are shown as such."""
    async with served_client() as (node, kv):
        bad = b"\xc7\x01\x63\x00"
        await node.driver.propose([CoreChange(Path(("bad",)), bad), CoreChange(Path(("fine",)), pack(1))])
        reading = await kv.get("bad")
        assert isinstance(reading.value, Undecodable)
        assert reading.value.data == bad
        async with kv.tree() as rows:
            got = {str(r.path): r.value async for r in rows}
        assert got["fine"] == 1


async def test_a_dump_can_be_loaded_elsewhere() -> None:
    async with served_client("a") as (a, kv), served_client("b") as (b, other):
        await kv.set("x", 1)
        await kv.set("y.z", [2])
        await kv.delete("x")
        async with kv.dump() as rows:
            records = [row.record async for row in rows]
        assert rows.known == a.replica.known
        new = await other.load(records)
        assert new == len(records)
        assert (await other.get("y.z")).dot == (await kv.get("y.z")).dot
        with pytest.raises(NotFound):
            await other.get("x")
        assert await other.load(records) == 0
        with pytest.raises(Refused, match="not a stored record"):
            await other.load([b"\xc1"])
        assert b.replica.known.has(*(await kv.get("y.z")).dot)
        async with kv.dump("y") as some:
            (row,) = [row async for row in some]
        assert row.path == Path(("y", "z"))
        assert [v.dot for v in row.versions()] == [(await kv.get("y.z")).dot]


async def test_many_calls_at_once() -> None:
    async with served_client() as (_, kv):
        results: dict[int, Any] = {}

        async def one(n: int) -> None:
            await kv.set(f"n.:{n}", n, ack="memory")
            results[n] = (await kv.get(f"n.:{n}")).value

        async with anyio.create_task_group() as tasks:
            for n in range(300):
                tasks.start_soon(one, n)
        assert results == {n: n for n in range(300)}
