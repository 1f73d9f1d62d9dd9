"""What a watch or a listing leaves out when it is asked to: values, or those that were overwritten meanwhile."""

from __future__ import annotations

import anyio
import pytest

from kvnode.client import ABSENT, OMITTED, Change, Put, Uptodate
from kvnode.client import protocol as p
from kvnode.client.items import Reading, change_of
from kvnode.client.wire import encode_part
from kvnode.testing.inprocess import WAIT_S
from kvnode.testing.served import served_client

pytestmark = pytest.mark.anyio

LARGE = "x" * 10_000


async def test_keys_only_tells_who_and_when_and_not_what() -> None:
    async with served_client(author="me") as (node, kv):
        written = await kv.set("home.a", LARGE)
        async with kv.tree("home", keys=True) as rows:
            (row,) = [row async for row in rows]
        assert (row.value, row.dot, row.author, row.dots) == (OMITTED, written.dot, "me", {written.dot})
        async with kv.watch("home", keys=True) as changes:
            items = aiter(changes)
            assert (await anext(items)).value is OMITTED
            assert await anext(items) == Uptodate()
            await kv.batch([Put("home.a", 1), Put("home.b", 2)])
            seen = [await anext(items), await anext(items)]
            assert {(str(c.path), c.value) for c in seen} == {("home.a", OMITTED), ("home.b", OMITTED)}
            await kv.delete("home.b")
            assert (await anext(items)).value is ABSENT
        siblings = node.replica.tree.at(row.path)
        assert len(node.clients.key_encoder.encode(row.path.key, siblings)) < 100
        assert (await kv.get("home.a")).value == 1


def test_keys_only_of_a_conflict() -> None:
    first, second = (
        p.Sib(f"{name}~0123456789abcdef", 1, p.Body(("x",), 1 << 16, 0, p.msgspec.Raw(b"\xc0"))) for name in "ab"
    )
    change = change_of(
        p.msgspec.msgpack.decode(encode_part(p.Row((first, second), 2, p.KEYS | p.CONFLICT)), type=p.Row)
    )
    assert [s.value for s in change.siblings] == [OMITTED, OMITTED]
    assert change.conflict


@pytest.mark.parametrize("latest", [True, False])
async def test_a_slow_reader_that_wants_the_latest_holds_one_value_a_path(latest: bool) -> None:
    async with served_client() as (_, kv), kv.watch("x", latest=latest) as changes:
        assert await anext(aiter(changes)) == Uptodate()
        for n in range(20):
            await kv.batch([Put(f"x.:{at}", n) for at in range(3)])
        await kv.set("x.last", "end")
        seen: dict[str, list[object]] = {}
        async for change in changes:
            assert isinstance(change, (Change, Reading))
            seen.setdefault(str(change.path), []).append(change.value)
            if str(change.path) == "x.last":
                break
        assert [values[-1] for values in seen.values()] == [19, 19, 19, "end"]
        assert (sum(map(len, seen.values())) == 61) is not latest


async def test_credits_come_back_for_what_was_replaced() -> None:
    async with served_client() as (_, kv), kv.watch("x", latest=True) as changes:
        assert await anext(aiter(changes)) == Uptodate()
        with anyio.fail_after(WAIT_S):
            for _ in range(3):
                await kv.batch([Put("x", LARGE) for _ in range(600)])
            await kv.set("x", "end")
            while (change := await anext(aiter(changes))) and getattr(change, "value", None) != "end":
                pass
