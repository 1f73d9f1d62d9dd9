"""What a node needs before it runs: its store, loaded, and the sockets it listens on."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from kvnode.core.effects import Now
from kvnode.core.limits import Limits
from kvnode.core.replica import Replica
from kvnode.data.versions import installed_version
from kvnode.store.base import Store, StoreError
from kvnode.store.logged import LoggedStore
from kvnode.store.memory import MemoryStore
from kvnode.transport.address import Address
from kvnode.transport.base import Listener, ListenFailed
from kvnode.transport.tcp import TcpTransport

from .config import SERVICE_SOCKET_DIR, NodeConfig
from .driver import system_clock
from .errors import StartError
from .status import software_feature

_log: Final = logging.getLogger(__name__)


def _open(config: NodeConfig, store: Store, now: Now) -> Replica:
    """Load the store; on a worker thread, since this may take long."""
    limits = Limits(
        max_value_bytes=config.limits.max_value_bytes,
        max_batch_changes=config.limits.max_batch_changes,
        max_skew_ms=config.limits.max_skew_ms,
    )
    loaded = store.load()
    if loaded.doubts:
        _log.warning("the store is damaged", extra={"found": len(loaded.doubts), "last": loaded.doubts[-1]})
    return Replica(
        config.name,
        session=secrets.randbits(64),
        random_bits=secrets.randbits,
        now=now,
        limits=limits,
        loaded=loaded,
        cluster=config.cluster,
        features=(software_feature(installed_version()),),
    )


@asynccontextmanager
async def opened(config: NodeConfig) -> AsyncIterator[tuple[Store, Replica]]:
    """The store, open, and the replica that was loaded from it. Raises StartError."""
    store: Store = MemoryStore() if config.data_dir is None else LoggedStore(config.data_dir)
    try:
        try:
            replica = await anyio.to_thread.run_sync(_open, config, store, system_clock())
        except StoreError as err:
            raise StartError(str(err)) from err
        yield store, replica
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(store.close)


@asynccontextmanager
async def listening(config: NodeConfig) -> AsyncIterator[list[Listener]]:
    """The listeners: TCP first, then the Unix socket, if there can be one. Raises StartError."""
    address = config.listen_address
    if not address.is_loopback and not config.insecure:
        raise StartError(f"{address} can be reached by others, and links are not encrypted yet: --insecure allows it")
    transport = TcpTransport()
    listeners: list[Listener] = []
    try:
        listeners.append(await transport.listen(address))
        local = await _local_socket(config, transport)
        if local is not None:
            listeners.append(local)
        yield listeners
    except ListenFailed as err:
        flag = "--socket" if listeners else "--listen"
        raise StartError(f"cannot listen on {err}; {flag} chooses another place") from err
    finally:
        with anyio.CancelScope(shield=True):
            for listener in listeners:
                await listener.aclose()


async def _local_socket(config: NodeConfig, transport: TcpTransport) -> Listener | None:
    """The Unix socket. One that was asked for must be; with ``auto`` its lack is only told. Raises ListenFailed."""
    path = config.socket_path
    if path is None:
        return None
    if config.socket != "auto":
        return await transport.listen(Address("unix", path=str(path)))
    why = "this system has none"
    for candidate in dict.fromkeys((path, SERVICE_SOCKET_DIR / f"{config.name}.sock")):
        if not hasattr(socket, "AF_UNIX"):
            break
        try:
            _make_folder(candidate.parent)
            return await transport.listen(Address("unix", path=str(candidate)))
        except (OSError, ListenFailed) as err:
            why = f"{candidate}: {err.strerror.lower() if isinstance(err, OSError) and err.strerror else err}"
    _log.warning("no local socket", extra={"why": why})
    return None


def _make_folder(path: Path) -> None:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
