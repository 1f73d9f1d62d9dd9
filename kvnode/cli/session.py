"""Talking to a node from a command: connect, with one time limit for whatever is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from .address import node_address
from .errors import CliError, Exit
from .settings import Settings, settings_of

if TYPE_CHECKING:
    import asyncclick as click

    from kvnode.client import Client

AUTHOR: Final = "kv"
WRITE_GRACE_S: Final = 3.0
"""A node answers a write within its time limit, if only to say what is lacking; the answer needs time to come."""


class Session:
    """A connection, the address it goes to, and the time limit."""

    def __init__(self, client: Client, address: str, timeout_s: float) -> None:
        self.client = client
        self.address = address
        self.timeout_s = timeout_s

    @contextmanager
    def limit(self, extra_s: float = 0.0) -> Iterator[None]:
        """Everything inside ends in time, or with the error that the node did not answer."""
        with anyio.move_on_after(self.timeout_s + extra_s) as scope:
            yield
        if scope.cancelled_caught:
            raise CliError(f"no answer from {self.address} within {self.timeout_s:g} s", Exit.UNREACHABLE)


def session(ctx: click.Context) -> AbstractAsyncContextManager[Session]:
    """A session with the node that the global options name."""
    return open_session(settings_of(ctx))


@asynccontextmanager
async def open_session(settings: Settings) -> AsyncIterator[Session]:
    """A session with the node that these options name."""
    address = node_address(settings.node)
    async with open_client(address, settings.timeout_s) as client:
        yield Session(client, address, settings.timeout_s)


@asynccontextmanager
async def open_client(address: str, timeout_s: float) -> AsyncIterator[Client]:
    """A connected client. (Tests put a fake in its place.)"""
    from kvnode.client import connect

    async with connect(address, author=AUTHOR, timeout=timeout_s) as client:
        yield client
