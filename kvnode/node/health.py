"""Health, readiness and metrics over HTTP, for this machine only.

``GET /healthz`` answers 200 while the process turns its event loop; ``GET /readyz`` answers 200, or 503 with one line
for each reason why this node should not be used yet; ``GET /metrics`` is Prometheus text format 0.0.4. Nothing here
changes anything, there is no authentication, and so only a loopback address is served; the Host header is checked, so
that no web page can read the answers through a name that it points at this machine.

HTTP itself is h11's business; this module reads bytes, asks h11 what they mean, and bounds everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, TaskStatus

from kvnode.transport.address import Address

from .metrics import CONTENT_TYPE, Metric, render

MAX_CONNECTIONS: Final = 32
MAX_HEADER_BYTES: Final = 8_192
MAX_REQUESTS: Final = 1_000
"""Requests on one connection; then it is closed."""
REQUEST_TIMEOUT_S: Final = 5.0
"""Given to a client for one whole request, and for taking one whole answer."""
_READ_BYTES: Final = 4_096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Probes:
    """What the node tells about itself. Both are called on the event loop and must be quick.

    `not_ready` gives a line for each reason not to use this node; none: it is ready.
    """

    not_ready: Callable[[], Sequence[str]]
    metrics: Callable[[], Sequence[Metric]]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


async def serve_health(
    address: Address, probes: Probes, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; the start tells the port. Raises ValueError for an address that others can reach, and
    OSError if the address cannot be had.
    """
    if not address.is_loopback or address.kind != "tcp":
        raise ValueError(f"health is served on loopback addresses only, not on {address}")
    server = _Server(probes)
    async with await anyio.create_tcp_listener(local_host=address.host, local_port=address.port) as listener:
        task_status.started(listener.extra(SocketAttribute.local_port))
        await listener.serve(server.serve)


class _Server:
    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._connections = 0

    async def serve(self, stream: ByteStream) -> None:
        """One connection, from accept to close. Raises nothing: one bad client is not the node's trouble."""
        async with stream:
            if self._connections >= MAX_CONNECTIONS:
                return
            self._connections += 1
            try:
                await self._converse(stream)
            except (h11.ProtocolError, TimeoutError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            finally:
                self._connections -= 1

    async def _converse(self, stream: ByteStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        for _ in range(MAX_REQUESTS):
            try:
                with anyio.fail_after(REQUEST_TIMEOUT_S):
                    request = await _read_request(stream, connection)
            except h11.RemoteProtocolError as error:
                await _send(stream, connection, _Answer(error.error_status_hint, b"bad request\n"), close=True)
                return
            if request is None:
                return
            await _send(stream, connection, self._answer(request), head=request.method == b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    def _answer(self, request: h11.Request) -> _Answer:
        if not _is_local(_header(request, b"host")):
            return _Answer(403, b"ask by a loopback address\n")
        if request.method not in (b"GET", b"HEAD"):
            return _Answer(405, b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
        path = request.target.partition(b"?")[0]
        try:
            return self._page(path)
        except Exception:
            log.exception("health page failed", extra={"page": path.decode("ascii", "replace")})
            return _Answer(500, b"this page failed, see the log of the node\n")

    def _page(self, path: bytes) -> _Answer:
        if path == b"/healthz":
            return _Answer(200, b"ok\n")
        if path == b"/readyz":
            reasons = self._probes.not_ready()
            text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
            return _Answer(503 if reasons else 200, text.encode())
        if path == b"/metrics":
            return _Answer(200, render(self._probes.metrics()).encode(), CONTENT_TYPE)
        return _Answer(404, b"there are /healthz, /readyz and /metrics\n")


async def _read_request(stream: ByteStream, connection: h11.Connection) -> h11.Request | None:
    """The next request, read to its end; None if there is none. A body is nothing we could use: protocol error."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive(_READ_BYTES))
            except anyio.EndOfStream:
                connection.receive_data(b"")
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.Data):
            raise h11.RemoteProtocolError("a body", error_status_hint=413)
        else:
            return None


async def _send(
    stream: ByteStream, connection: h11.Connection, answer: _Answer, *, head: bool = False, close: bool = False
) -> None:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
    ]
    if close:
        headers.append(("Connection", "close"))
    data = connection.send(h11.Response(status_code=answer.status, headers=headers))
    if not head:
        data = (data or b"") + (connection.send(h11.Data(data=answer.body)) or b"")
    data = (data or b"") + (connection.send(h11.EndOfMessage()) or b"")
    with anyio.fail_after(REQUEST_TIMEOUT_S):
        await stream.send(data)


def _header(request: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in request.headers if key == name), "")


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine by a loopback address; HTTP/1.0 sends none."""
    name = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("", "localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
