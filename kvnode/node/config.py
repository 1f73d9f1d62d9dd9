"""The configuration of a node as values; settings.py reads and checks it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

DEFAULT_PORT: Final = 27590
SERVICE_SOCKET_DIR: Final = Path("/run/kvnode")

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


class Address(NamedTuple):
    """A TCP address as it was configured: a literal address or a name, and a port (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65_535:
            raise ValueError(f"{text!r} is not HOST:PORT or [IPV6]:PORT with a port up to 65535")
        return cls(match["v6"] or match["host"], int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as reachable by others."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The settings of a node as they were written; the properties give them in the form that code needs.

    The fields mirror ``schema/node.schema.json``, which says what each means; a test holds the defaults equal.
    """

    name: str
    data: str = ""
    store: Literal["sqlite", "memory"] = "sqlite"
    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    peers: tuple[str, ...] = ()
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
    def listen_address(self) -> Address:
        """Where peers and clients connect."""
        return Address.parse(self.listen)

    @property
    def peer_addresses(self) -> tuple[Address, ...]:
        """The seeds."""
        return tuple(Address.parse(text) for text in self.peers)

    @property
    def http_address(self) -> Address | None:
        """Where health and metrics are served; None if they are not."""
        return None if self.http == "none" else Address.parse(self.http)

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
