"""``kv bench``, on real nodes in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kvnode.cli import session
from kvnode.cli.main import main
from kvnode.client import Client, connect
from kvnode.testing.bench.measures import BULK, FAST
from kvnode.testing.inprocess import running_node
from kvnode.testing.served import FAST as QUICK_TIMES
from kvnode.testing.served import ServedNode
from kvnode.transport.memory import MemoryTransport


class OneNode:
    """Starts with the first client that is opened; all later ones reach it, too. At the end it tells its entries."""

    def __init__(self) -> None:
        self.network = MemoryTransport()
        self.address: str | None = None
        self.opened: list[str] = []
        self.left: int | None = None

    @asynccontextmanager
    async def open_client(self, address: str, timeout_s: float) -> AsyncIterator[Client]:
        self.opened.append(address)
        if self.address is not None:
            async with connect(self.address, transport=self.network, options=QUICK_TIMES) as client:
                yield client
            return
        async with running_node(ServedNode("a"), self.network) as node:
            self.address = str(node.address)
            async with connect(self.address, transport=self.network, options=QUICK_TIMES) as client:
                yield client
                async with client.tree() as rows:
                    self.left = len([row async for row in rows if row.path[0] != "@"])


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> OneNode:
    made = OneNode()
    monkeypatch.setattr(session, "open_client", made.open_client)
    return made


def test_measures_and_leaves_nothing_behind(one_node: OneNode, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["bench", "--quick", "--node", "a:1", "--far", "b:1", "--ack", "memory", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 0
    assert one_node.opened == ["a:1", "b:1"]
    assert [row["measure"] for row in rows] == [measure.name for measure in (*FAST, *BULK)]
    assert all(row["value"] > 0 and row["operations"] > 0 and row["client_cpu_us"] > 0 for row in rows)
    assert one_node.left == 0


def test_people_get_a_table_that_says_where_it_was_measured(
    one_node: OneNode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "writes at a, acknowledged at level disk; watcher at a"
    assert lines[1].split() == ["MEASURE", "VALUE", "CPU"]
    assert len(lines) == 2 + len(FAST) + len(BULK)
