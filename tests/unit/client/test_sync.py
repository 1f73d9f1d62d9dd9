"""The blocking client, against a node that runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice

import pytest
from anyio.from_thread import start_blocking_portal

from kvnode.client import OMITTED, Change, EventItem, NotFound, Put, Reading, Unavailable, Uptodate, sync
from kvnode.client.sync import SyncClient
from kvnode.testing.inprocess import WAIT_S, running_node
from kvnode.testing.served import ServedNode
from kvnode.transport.tcp import TcpTransport


@asynccontextmanager
async def _node():  # type: ignore[no-untyped-def]  # for the portal only
    async with running_node(ServedNode("n"), TcpTransport(), listen="127.0.0.1:0") as node:
        yield str(node.address)


@contextmanager
def client(**options: object) -> Iterator[SyncClient]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_node()) as address,
        sync.connect(address, **options) as kv,
    ):
        yield kv


def test_reading_and_writing() -> None:
    with client(author="me") as kv:
        written = kv.set("a.b", 1)
        reading = kv.get("a.b")
        assert isinstance(reading, Reading)
        assert (reading.value, reading.dot, reading.author) == (1, written.dot, "me")
        kv.batch([Put("a.c", 2), Put("a.d", 3)], ack="memory")
        kv.delete("a.b", ack="memory")
        with pytest.raises(NotFound):
            kv.get("a.b")
        assert [(str(r.path), r.value) for r in kv.tree("a")] == [("a.c", 2), ("a.d", 3)]
        assert kv.status()["node"] == "n"
        kv.set("@.history.all", {"pattern": "#", "versions": 3})
        kv.set("undone", 1)
        kv.set("undone", 2)
        assert kv.undo("undone")[0].value == 1
        assert [r.version.value for r in kv.history("undone").past] == [2, 1]
        assert [r.value for r in kv.tree("undone", keys=True)] == [OMITTED]
        assert kv.conflicts() == []


def test_watching() -> None:
    with client() as kv:
        kv.set("w.x", 1)
        changes = kv.watch("w")
        first, marker = islice(changes, 2)
        assert isinstance(first, Change)
        assert first.value == 1
        assert isinstance(marker, Uptodate)
        kv.set("w.x", 2)
        second = next(changes)
        assert isinstance(second, Change)
        assert second.value == 2
        changes.close()
        assert kv.status()["clients"]["streams"] == 0


def test_events() -> None:
    with client() as kv:
        events = kv.events("e")
        got: list[EventItem] = []
        with start_blocking_portal() as portal:
            waiting = portal.start_task_soon(_next_of, events, got)
            while not kv.status()["clients"]["streams"]:
                pass
            kv.send("e.x", "hello")
            waiting.result(WAIT_S)
        assert [(str(e.path), e.value) for e in got] == [("e.x", "hello")]
        events.close()


async def _next_of(events: Iterator[EventItem], got: list[EventItem]) -> None:
    got.append(next(events))


def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="connection refused"), sync.connect("127.0.0.1:1"):
        pass
