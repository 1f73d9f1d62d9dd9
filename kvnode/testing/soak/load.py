"""The load of a soak: clients that stay, and clients that come and go."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from kvnode.client import Client, Del, KvError, NotFound, Put, Unavailable, Uptodate, connect

from .trend import quantile

KEYS: Final = 200
"""Paths of each node's own, and as many that all nodes write."""
VALUE_CHARS: Final = 100
WORKERS: Final = 4
"""Calls that a lasting client has under way at once."""
VISIT_S: Final = 1.0
"""The longest stay of a client that comes and goes."""
RETRY_S: Final = 0.05

Call = Callable[[Client], Awaitable[object]]


class Meter:
    """What the calls on one node took, since the last look, and how those ended that failed, by code."""

    def __init__(self) -> None:
        self._took_ms: list[float] = []
        self._failed = 0
        self.errors: Counter[str] = Counter()

    async def measured(self, call: Awaitable[object]) -> None:
        """Await one call. Raises Unavailable, for the caller to wait; any other error is only counted."""
        began = time.perf_counter()
        try:
            await call
        except NotFound:
            pass
        except KvError as err:
            self.errors[err.code] += 1
            self._failed += 1
            if isinstance(err, Unavailable):
                raise
            return
        self._took_ms.append((time.perf_counter() - began) * 1000)

    def take(self) -> tuple[int, int, float, float]:
        """Calls, failed ones, and two quantiles of the times in milliseconds; begins anew."""
        took, self._took_ms = self._took_ms, []
        failed, self._failed = self._failed, 0
        return len(took), failed, round(quantile(took, 0.5), 3), round(quantile(took, 0.99), 3)


class Calls:
    """One call after the other, as `rng` draws them, on the paths of node `name` and on those that all nodes write."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name: Final = name
        self._rng: Final = rng
        self._kinds: Final[tuple[Call, ...]] = (self._set, self._get, self._delete, self._batch)

    def next(self, kv: Client) -> Awaitable[object]:
        """The next one, begun by awaiting it."""
        (kind,) = self._rng.choices(self._kinds, weights=(12, 4, 3, 1))
        return kind(kv)

    def _path(self) -> str:
        owner = "shared" if self._rng.random() < 0.2 else self._name
        return f"soak.{owner}.k{self._rng.randrange(KEYS)}"

    def _value(self) -> str:
        return f"{self._rng.getrandbits(64):x} ".ljust(VALUE_CHARS, ".")

    async def _set(self, kv: Client) -> object:
        return await kv.set(self._path(), self._value())

    async def _get(self, kv: Client) -> object:
        return await kv.get(self._path())

    async def _delete(self, kv: Client) -> object:
        return await kv.delete(self._path())

    async def _batch(self, kv: Client) -> object:
        writes = [Put(self._path(), self._value()) for _ in range(4)]
        return await kv.batch([*writes, Del(f"soak.{self._name}.k{KEYS}")])


async def lasting(address: str, name: str, meter: Meter, rng: random.Random, rate: float) -> None:
    """A client that stays: `rate` calls a second, and a watch over everything. Runs until cancelled."""
    calls = Calls(name, rng)
    pause_s = WORKERS / rate

    async def work(kv: Client, delay_s: float) -> None:
        due = anyio.current_time() + delay_s
        while True:
            await anyio.sleep_until(due)
            due = max(due + pause_s, anyio.current_time())
            try:
                await meter.measured(calls.next(kv))
            except Unavailable:
                await anyio.sleep(RETRY_S)

    async def look(kv: Client) -> None:
        async with kv.watch("soak") as items:
            async for _ in items:
                pass

    async with connect(address, author="soak", patient=True) as kv, anyio.create_task_group() as tasks:
        tasks.start_soon(look, kv)
        for number in range(WORKERS):
            tasks.start_soon(work, kv, pause_s * number / WORKERS)


async def visit(address: str, rng: random.Random) -> bool:
    """A client that comes, looks around, and goes, mostly in the middle of something. False if it was not let in."""
    try:
        with anyio.move_on_after(VISIT_S * rng.random()):
            async with connect(address, author="visitor", timeout=VISIT_S) as kv:
                async with kv.tree("soak.shared", keys=True) as rows:
                    _ = [row async for row in rows]
                async with kv.watch("soak", latest=rng.random() < 0.5) as items:
                    async for item in items:
                        if isinstance(item, Uptodate) and rng.random() < 0.3:
                            break
    except KvError:
        return False
    return True
