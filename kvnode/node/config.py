"""The configuration of a node as values; settings.py reads and checks it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from kvnode.transport.address import DEFAULT_PORT, Address, parse_address

Compress = Literal["auto", "always", "never"]
"""Whether commits are to be dense (see :meth:`kvnode.store.base.Store.commit`); `auto`: where the disk is slow."""

SERVICE_SOCKET_DIR: Final = Path("/run/kvnode")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Bounds of what a node takes; see the schema for their meaning."""

    max_value_bytes: int = 1 << 20
    max_batch_changes: int = 10_000
    max_skew_ms: int = 60_000
    max_connections: int = 1_024
    max_history_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The settings of a node as they were written; the properties give them in the form that code needs.

    The fields mirror ``schema/node.schema.json``, which says what each means; a test holds the defaults equal.
    """

    name: str
    data: str = ""
    store: Literal["sqlite", "memory"] = "sqlite"
    compress: Compress = "auto"
    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    peers: tuple[str, ...] = ()
    advertise: tuple[str, ...] = ()
    discover: bool = True
    mdns: bool = False
    insecure: bool = False
    socket: str = "auto"
    http: str = "none"
    cluster: str = "kvnode"
    backend: Literal["asyncio", "trio"] = "asyncio"
    log: LogConfig = field(default_factory=LogConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    @property
    def data_dir(self) -> Path | None:
        """The folder of the store; None for a store in memory."""
        return None if self.store == "memory" else Path(self.data)

    @property
    def encrypted(self) -> bool:
        """Whether links to this node are encrypted; they cannot be yet."""
        return False

    @property
    def listen_address(self) -> Address:
        """Where peers and clients connect."""
        return parse_address(self.listen)

    @property
    def peer_addresses(self) -> tuple[Address, ...]:
        """The seeds."""
        return tuple(parse_address(text) for text in self.peers)

    @property
    def http_address(self) -> Address | None:
        """Where health and metrics are served; None if they are not."""
        return None if self.http == "none" else parse_address(self.http)

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket for local clients; None for none. Asks the environment for XDG_RUNTIME_DIR."""
        if self.socket == "none":
            return None
        if self.socket != "auto":
            return Path(self.socket)
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = Path(runtime) / "kvnode" if runtime else SERVICE_SOCKET_DIR
        return folder / f"{self.name}.sock"
