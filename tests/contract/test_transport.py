"""Every transport against the one contract, on every backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.testing.transport_contract import CONTRACT, Check
from kvnode.transport.address import Address
from kvnode.transport.base import Transport
from kvnode.transport.memory import MemoryTransport
from kvnode.transport.tcp import TcpTransport

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["tcp", "tcp6", "unix", "memory", "memory-in-bytes"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Transport, Address]:
    kinds: dict[str, tuple[Transport, Address]] = {
        "tcp": (TcpTransport(), Address("tcp", "127.0.0.1", 0)),
        "tcp6": (TcpTransport(), Address("tcp", "::1", 0)),
        "unix": (TcpTransport(), Address("unix", path=str(tmp_path / "s"))),
        "memory": (MemoryTransport(), Address("memory", path="a")),
        "memory-in-bytes": (MemoryTransport(chunk_bytes=8191), Address("memory", path="a")),
    }
    return kinds[request.param]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(check: Check, where: tuple[Transport, Address]) -> None:
    await check(*where)
