"""Clients that put load on nodes, and write down all they ask for and are told."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from kvnode.client import (
    ABSENT,
    AckTimeout,
    Change,
    Client,
    Del,
    Gap,
    KvError,
    NotFound,
    Options,
    Put,
    Reading,
    Refused,
    Unavailable,
    connect,
)
from kvnode.client.errors import NOT_DONE
from kvnode.core.ticks import Dot

from .history import Fail, History, Info, Invoke, Mark, Ok, Seen, Stands, Watching, WriteOf

SHARED_PATHS: Final = 12
"""Paths that all clients write to."""
OWN_PATHS: Final = 10
"""Paths that one client writes to over and over."""
TIMEOUT_S: Final = 1.5
"""Of each write: short, so that a node that is down or cut off is found in the history as that."""
_OPTIONS: Final = Options(backoff_most=0.5, grace=1.0)
_ACKS: Final = {"disk": 75, "memory": 12, "peer:1": 8, "all": 5}


class Recorder:
    """A client of one node whose operations go into the history. Calls do not raise for what a node does."""

    def __init__(self, name: str, node: str, client: Client, history: History) -> None:
        self.name: Final = name
        self.node: Final = node
        self.client: Final = client
        self._history: Final = history
        self._values = 0

    def value(self) -> str:
        """A value that nobody else writes."""
        self._values += 1
        return f"{self.name}.{self._values}"

    async def write(self, *writes: WriteOf, ack: str = "disk") -> bool:
        """Make these writes, or none; says whether they are acknowledged."""
        history, op = self._history, self._history.number()
        history.add(Invoke(history.now, op, self.name, self.node, writes, ack))
        try:
            dots = await _write(self.client, writes, ack)
        except AckTimeout as err:
            history.add(Stands(history.now, op, tuple(str(dot) for dot in err.dots)))
        except Refused as err:
            history.add(Fail(history.now, op, err.code))
        except KvError as err:
            done = isinstance(err, Unavailable) and err.outcome == NOT_DONE
            history.add((Fail if done else Info)(history.now, op, err.code))
        else:
            history.add(Ok(history.now, op, tuple(str(dot) for dot in dots)))
            return True
        return False

    async def read(self, path: str) -> tuple[str, ...] | None:
        """The dots that live at a path; None if there was no answer."""
        history, op = self._history, self._history.number()
        history.add(Invoke(history.now, op, self.name, self.node, path=path))
        live: dict[str, str] = {}
        stale = False
        try:
            reading = await self.client.get(path)
            live, stale = live_of(reading), reading.stale
        except NotFound:
            pass
        except KvError as err:
            history.add(Fail(history.now, op, err.code))
            return None
        history.add(Ok(history.now, op, live=live, stale=stale))
        return tuple(live)


async def _write(client: Client, writes: Sequence[WriteOf], ack: str) -> list[Dot]:
    items = [_item(write) for write in writes]
    if len(items) > 1:
        return [written.dot for written in await client.batch(items, ack=ack, timeout=TIMEOUT_S)]
    item = items[0]
    if isinstance(item, Del):
        return [(await client.delete(item.path, ack=ack, timeout=TIMEOUT_S, expect=item.expect)).dot]
    return [(await client.set(item.path, item.value, ack=ack, timeout=TIMEOUT_S, expect=item.expect)).dot]


def _item(write: WriteOf) -> Put | Del:
    expect = None
    if write.expect is not None:
        expect = frozenset(_dot(text) for text in write.expect) or ABSENT
    return Del(write.path, expect) if write.value is None else Put(write.path, write.value, expect)


def _dot(text: str) -> Dot:
    run, _, tick = text.rpartition(":")
    return Dot(run, int(tick))


def live_of(reading: Reading) -> dict[str, str]:
    """What lives at a path, as value by dot."""
    return {str(sibling.dot): sibling.value for sibling in reading.siblings if not sibling.deleted}


@asynccontextmanager
async def recorder(name: str, node: str, address: str, history: History) -> AsyncIterator[Recorder]:
    """A recording client of the node at `address`, which may be down."""
    async with connect(address, author=name, patient=True, options=_OPTIONS) as client:
        yield Recorder(name, node, client, history)


# -- load ----------------------------------------------------------------------------------------------------


class Load:
    """One client's work: one operation after the other, of all kinds. Shared paths give conflicts; paths of its own,
    written once or over and over, show what vanishes.
    """

    def __init__(self, client: Recorder, rng: random.Random, pause_s: float) -> None:
        self._client: Final = client
        self._rng: Final = rng
        self._pause_s: Final = pause_s
        self._count = 0
        self._kinds: Final[dict[Callable[[], Awaitable[object]], int]] = {
            self._set_new: 30,
            self._set_own: 10,
            self._set_shared: 18,
            self._delete_shared: 8,
            self._read_shared: 15,
            self._compare_and_set: 12,
            self._batch: 7,
        }

    async def run(self, stop: anyio.Event) -> None:
        """Work until told to stop; `pause_s` between operations on average."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while not stop.is_set():
            (kind,) = self._rng.choices(kinds, weights)
            await kind()
            await anyio.sleep(self._rng.expovariate(1 / self._pause_s))

    def _ack(self) -> str:
        return self._rng.choices(list(_ACKS), list(_ACKS.values()))[0]

    def _new(self) -> WriteOf:
        self._count += 1
        return WriteOf(f"new.{self._client.name}.n{self._count}", self._client.value())

    def _shared(self) -> str:
        return f"shared.n{self._rng.randrange(SHARED_PATHS)}"

    async def _set_new(self) -> None:
        await self._client.write(self._new(), ack=self._ack())

    async def _set_own(self) -> None:
        path = f"own.{self._client.name}.n{self._rng.randrange(OWN_PATHS)}"
        await self._client.write(WriteOf(path, self._client.value()), ack=self._ack())

    async def _set_shared(self) -> None:
        await self._client.write(WriteOf(self._shared(), self._client.value()), ack=self._ack())

    async def _delete_shared(self) -> None:
        await self._client.write(WriteOf(self._shared(), None), ack=self._ack())

    async def _read_shared(self) -> None:
        await self._client.read(self._shared())

    async def _compare_and_set(self) -> None:
        """Now and then with a pause in between, so that something else comes first."""
        path = self._shared()
        dots = await self._client.read(path)
        if self._rng.random() < 0.5:
            await anyio.sleep(self._rng.uniform(0, 10 * self._pause_s))
        if dots is not None:
            value = None if dots and self._rng.random() < 0.2 else self._client.value()
            await self._client.write(WriteOf(path, value, dots), ack=self._ack())

    async def _batch(self) -> None:
        shared = WriteOf(self._shared(), self._client.value())
        await self._client.write(self._new(), self._new(), shared, ack=self._ack())


class Watcher:
    """A watch of what is below `scope`, recorded."""

    def __init__(self, client: Client, node: str, scope: str, history: History, *, latest: bool) -> None:
        self._client: Final = client
        self.node: Final = node
        self._scope: Final = scope
        self._history: Final = history
        self._latest: Final = latest
        self._number: Final = history.number()
        self._shown: dict[str, frozenset[str]] = {}
        self._news = anyio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        history, number = self._history, self._number
        history.add(Watching(history.now, number, self.node, self._scope, self._latest))
        async with self._client.watch(self._scope, latest=self._latest) as items:
            async for item in items:
                if isinstance(item, Change):
                    self._see(item)
                elif isinstance(item, Gap):
                    history.add(Mark(history.now, number, "gap", item.reason))
                else:
                    history.add(Mark(history.now, number, "uptodate"))

    def _see(self, change: Change) -> None:
        live = live_of(change)
        path = str(change.path)
        self._history.add(Seen(self._history.now, self._number, path, live))
        self._shown[path] = frozenset(live)
        self._news.set()

    async def until_shows(self, final: Mapping[str, Mapping[str, str]]) -> None:
        """Wait until it shows what a dump says."""
        below = f"{self._scope}."
        want = {path: frozenset(live) for path, live in final.items() if path.startswith(below)}
        while want != {path: live for path, live in self._shown.items() if live}:
            self._news = anyio.Event()
            await self._news.wait()

    def finish(self) -> None:
        """Say that it has been told everything."""
        self._history.add(Mark(self._history.now, self._number, "final"))
