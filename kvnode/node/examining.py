"""Gathering the facts for ``kv doctor``: disk, clock, ports, addresses. Blocking calls run on a thread."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from kvnode.client import protocol as p
from kvnode.client.wire import WireError, decode_answer, framed
from kvnode.codec.framing import FrameError
from kvnode.core.replica import Replica
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed, DialFailed
from kvnode.transport.tcp import TcpTransport

from .discovery import is_wildcard
from .findings import DiskFacts
from .frames import Frames

PROBE_TIMEOUT_S: Final = 3.0
"""For reaching an address, and once more for its answer."""
DELETES_LOOKED_AT: Final = 1_000
_PROBE_BYTES: Final = 512
_TIME_ERROR: Final = 5
"""What adjtimex(2) answers if nothing keeps the clock right."""
_TIMEX_BYTES: Final = 512
"""More than ``struct timex`` has anywhere; zeros ask for nothing to be changed."""


def disk_facts(folder: Path) -> DiskFacts:
    """Space in the folder of a store, and how long a synced write takes there. Blocks."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as err:
        return DiskFacts(str(folder), 0, 0, None, err.strerror or str(err))
    try:
        sync_ms = _time_sync(folder)
    except OSError as err:
        return DiskFacts(str(folder), usage.free, usage.total, None, f"cannot be written: {err.strerror or err}")
    return DiskFacts(str(folder), usage.free, usage.total, sync_ms)


def _time_sync(folder: Path) -> float:
    """Milliseconds that a small synced write takes."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".kv-doctor-") as file:
        began = time.perf_counter()
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        return (time.perf_counter() - began) * 1000


def clock_is_synchronised() -> bool | None:
    """What the system says of its clock; None if it does not say. (Linux: adjtimex(2), which needs no rights.)"""
    if not sys.platform.startswith("linux"):
        return None
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


async def resolve(host: str) -> str | None:
    """Why a name has no address; None if it has one."""
    try:
        await anyio.getaddrinfo(host, None)
    except OSError as err:
        return f"{host}: no such host: {err.strerror or err}"
    return None


async def probe(address: Address) -> str | None:
    """Why nobody can be talked to at this address; None if a node answers there."""
    if address.kind == "tcp" and (why := await resolve(address.host)):
        return why
    try:
        async with TcpTransport(dial_timeout_s=PROBE_TIMEOUT_S).dial(address) as connection:
            return await _greet(connection)
    except DialFailed as err:
        return str(err)


async def _greet(connection: Connection) -> str | None:
    """Say hello as a client would; gives what is wrong with the answer."""
    connection.queue(framed(p.ClientHello(p.PROTOCOL_MIN, p.PROTOCOL_MAX, "kv doctor")))
    with anyio.move_on_after(PROBE_TIMEOUT_S):
        try:
            answer = decode_answer(await Frames(connection).first())
        except (ConnectionClosed, FrameError, WireError) as err:
            return f"{connection.peer}: something else than a node answers: {err}"
        if isinstance(answer, p.Fail):
            return f"{connection.peer}: {answer.message}"
        return None if isinstance(answer, p.ServerHello) else f"{connection.peer}: something else than a node answers"
    return f"{connection.peer}: connected, but no answer within {PROBE_TIMEOUT_S:g} s"


def reachable_form(address: Address) -> Address:
    """Where this machine reaches a listener of its own: a wildcard is no address to connect to."""
    if not is_wildcard(address):
        return address
    return Address("tcp", "::1" if ":" in address.host else "127.0.0.1", address.port)


async def bindable(address: Address) -> str | None:
    """Why nothing can listen at this address; None if something could."""

    def bind() -> str | None:
        try:
            family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family[0], socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(family[4])
        except OSError as err:
            return err.strerror or str(err)
        return None

    return await anyio.to_thread.run_sync(bind)


def deletes_waiting(replica: Replica) -> Counter[str]:
    """Per member that is not linked: how many deletes wait for it. At most :data:`DELETES_LOOKED_AT` are looked at."""
    linked = {link.name for link in replica.links.values()}
    counts: Counter[str] = Counter()
    for key in _deleted(replica):
        counts.update(replica.forget.waits_for(key) - linked)
    return counts


def _deleted(replica: Replica) -> Iterator[bytes]:
    left = DELETES_LOOKED_AT
    for key in replica.state.unsettled:
        if any(v.is_tombstone for v in replica.tree.get(key)):
            yield key
            left -= 1
        if not left:
            return
