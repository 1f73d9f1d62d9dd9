"""Whole nodes inside one test that serve clients too, and a scripted node for a client's hard cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kvnode.client import Client, connect
from kvnode.client import protocol as p
from kvnode.client.inspect_protocol import Verified, Verify
from kvnode.client.options import Options
from kvnode.client.wire import FEATURES, LAST_REQUEST, decode_request, first_frame, framed
from kvnode.node.client_limits import ClientLimits
from kvnode.node.clients import ClientServer
from kvnode.node.frames import Frames
from kvnode.node.inspecting import Inspector
from kvnode.transport.address import parse_address
from kvnode.transport.base import Connection, ConnectionClosed, Transport
from kvnode.transport.memory import MemoryTransport
from kvnode.transport.tasks import background_tasks

from .inprocess import TestNode, running_node

FAST: Options = Options(hello_timeout=20.0, backoff_first=0.005, backoff_most=0.05, grace=0.3, ping_after=60.0)
"""Times that let a test wait little."""


class ServedNode(TestNode):
    """A :class:`~.inprocess.TestNode` that serves clients as well as peers."""

    def __init__(self, name: str, *, limits: ClientLimits | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.clients = ClientServer(self.driver, limits=limits, inspector=Inspector(self.driver, verify=self._verify))

    async def _verify(self, request: Verify, low: bytes, wait_s: float) -> list[Verified]:
        assert self.peers is not None
        return await self.peers.verifier.verify(request, low, wait_s)

    async def _accept(self, connection: Connection) -> None:
        frames = Frames(connection)
        hello = first_frame(await frames.first())
        if isinstance(hello, p.ClientHello):
            await self.clients.serve(connection, frames, hello)
        elif self.peers is not None:
            await self.peers.serve(connection, frames, hello)


@asynccontextmanager
async def served_client(
    name: str = "a", *, network: Transport | None = None, limits: ClientLimits | None = None, **options: Any
) -> AsyncIterator[tuple[ServedNode, Client]]:
    """One node, and a client of it."""
    network = network or MemoryTransport()
    async with running_node(ServedNode(name, limits=limits), network) as node:
        assert isinstance(node, ServedNode)
        async with connect(str(node.address), transport=network, **({"options": FAST} | options)) as client:
            yield node, client


Script = Callable[["ScriptedNode"], Awaitable[None]]


class ScriptedNode:
    """One connection of a client, seen by a test that plays the node."""

    def __init__(self, connection: Connection, hello: p.ClientHello, frames: Frames) -> None:
        self.connection = connection
        self.hello = hello
        self._frames = frames
        self._ready: list[bytes] = []

    async def next(self) -> Any:
        """The client's next request."""
        while not self._ready:
            self._ready = await self._frames.batch()
        return decode_request(self._ready.pop(0))

    def send(self, *messages: p.Message) -> None:
        """Send to the client."""
        for message in messages:
            assert self.connection.queue(framed(message))

    def welcome(
        self, name: str = "scripted", requests: int = LAST_REQUEST, features: tuple[str, ...] = FEATURES
    ) -> None:
        """Answer the hello; `requests` is the highest tag of a request that it claims to take."""
        self.send(p.ServerHello(1, name, 1, features=features, requests=requests))

    async def idle(self) -> None:
        """Stay silent until the client goes away."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return


@asynccontextmanager
async def scripted(network: Transport, address: str, *scripts: Script) -> AsyncIterator[list[ScriptedNode]]:
    """Serve `address` with one script for each connection in turn, the last one for all further ones. Gives the list to
    which each connection is added.
    """
    seen: list[ScriptedNode] = []

    async def accept(connection: Connection) -> None:
        frames = Frames(connection)
        hello = first_frame(await frames.first())
        assert isinstance(hello, p.ClientHello)
        node = ScriptedNode(connection, hello, frames)
        seen.append(node)
        await scripts[min(len(seen), len(scripts)) - 1](node)

    listener = await network.listen(parse_address(address))
    async with background_tasks() as tasks:
        tasks.start_soon(listener.serve, accept)
        try:
            yield seen
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
