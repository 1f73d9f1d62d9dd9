"""The health server on every backend, spoken to as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from kvnode.node import health
from kvnode.node.health import MAX_CONNECTIONS, MAX_HEADER_BYTES, Probes, serve_health
from kvnode.node.metrics import gauge
from kvnode.testing.inprocess import WAIT_S
from kvnode.transport.address import parse_address

pytestmark = pytest.mark.anyio

GOOD = Probes(lambda: (), lambda: [gauge("kvnode_entries", "Entries held.", 3)])


@asynccontextmanager
async def served(probes: Probes = GOOD, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    async with anyio.create_task_group() as group:
        yield await group.start(serve_health, parse_address(address), probes)
        group.cancel_scope.cancel()


async def receive_all(stream: SocketStream) -> bytes:
    data = b""
    with anyio.fail_after(WAIT_S):
        while True:
            try:
                data += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return data


async def ask(port: int, request: str | bytes, host: str = "127.0.0.1") -> tuple[int, dict[str, str], str]:
    """Send one request that ends the connection, and give status, headers and body."""
    raw = request if isinstance(request, bytes) else f"{request}\r\nConnection: close\r\n\r\n".encode()
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(raw)
        head, _, body = (await receive_all(stream)).decode().partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), body


async def get(port: int, path: str, **more: Any) -> tuple[int, str]:
    status, _, body = await ask(port, f"GET {path} HTTP/1.1\r\nHost: localhost:{port}", **more)
    return status, body


async def test_the_three_pages() -> None:
    async with served() as port:
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (200, "ready\n")
        assert await get(port, "/readyz?verbose=1") == (200, "ready\n")
        status, headers, body = await ask(port, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1")
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# TYPE kvnode_entries gauge\nkvnode_entries 3\n" in body
        assert (await get(port, "/"))[0] == 404


async def test_not_ready_tells_why() -> None:
    async with served(Probes(lambda: ["the store is read-only", "no session yet"], list)) as port:
        assert await get(port, "/readyz") == (503, "the store is read-only\nno session yet\n")
        assert await get(port, "/healthz") == (200, "ok\n")


async def test_ipv6() -> None:
    async with served(address="[::1]:0") as port:
        status, _, _ = await ask(port, f"GET /healthz HTTP/1.1\r\nHost: [::1]:{port}", host="::1")
        assert status == 200


async def test_a_connection_is_kept() -> None:
    async with served() as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        for _ in range(3):
            await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive()).endswith(b"ok\n")
        await stream.send(2 * b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.send_eof()
        assert (await receive_all(stream)).count(b"ready\n") == 2


async def test_head_has_no_body() -> None:
    async with served() as port:
        status, headers, body = await ask(port, "HEAD /healthz HTTP/1.1\r\nHost: localhost")
        assert (status, headers["content-length"], body) == (200, "3", "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("POST /metrics HTTP/1.1\r\nHost: localhost", 405),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 413),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example", 403),
        ("GET /metrics HTTP/1.1", 400),
        ("GET /metrics HTTP/1.0", 200),
        ("GET /metrics", 400),
        ("\x00\x01\x02 \r\n\r\n", 400),
        (b"A" * (MAX_HEADER_BYTES + 5_000), 431),
    ],
)
async def test_what_is_refused(request_: str | bytes, status: int) -> None:
    async with served() as port:
        assert (await ask(port, request_))[0] == status
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_client_that_leaves_midway_does_no_harm() -> None:
    async with served() as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /healthz HT")
        async with await anyio.connect_tcp("127.0.0.1", port):
            pass
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_client_that_dawdles_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_TIMEOUT_S", 0.05)
    async with served() as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\n")
        assert await receive_all(stream) == b""


async def test_there_are_only_so_many_connections() -> None:
    async with served() as port:
        streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"ok\n" in await stream.receive()
        async with await anyio.connect_tcp("127.0.0.1", port) as one_more:
            assert await receive_all(one_more) == b""
        for stream in streams:
            await stream.aclose()
        with anyio.fail_after(WAIT_S):
            while True:
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(b"GET /healthz HTTP/1.0\r\n\r\n")
                    if b"ok\n" in await receive_all(stream):
                        break


async def test_a_page_that_fails_is_a_500_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[Any]:
        raise RuntimeError("boom")

    async with served(Probes(lambda: (), broken)) as port:
        assert (await get(port, "/metrics"))[0] == 500
        assert (await get(port, "/healthz"))[0] == 200
    assert "health page failed" in caplog.text


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "attic.lan:0", "unix:/tmp/x"])
async def test_only_loopback(address: str) -> None:
    with pytest.raises(ValueError, match="loopback addresses only"):
        await serve_health(parse_address(address), GOOD)


async def test_a_busy_port_is_an_oserror() -> None:
    async with served() as port:
        with pytest.raises(OSError, match=r"(?i)in use"):
            await serve_health(parse_address(f"127.0.0.1:{port}"), GOOD)
