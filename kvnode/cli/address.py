"""Which node ``kv`` talks to when nobody says: the one local socket, else the default port on loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .errors import usage

DEFAULT_ADDRESS: Final = "127.0.0.1:27590"
SERVICE_DIR: Final = "/run/kvnode"
_PROBE_TIMEOUT_S: Final = 0.2


def socket_dirs(environ: Mapping[str, str]) -> list[Path]:
    """Where nodes on this machine put their sockets: the user's own first, then the service's."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return ([Path(runtime) / "kvnode"] if runtime else []) + [Path(SERVICE_DIR)]


def is_served(path: Path) -> bool:
    """Whether somebody listens there; a socket that a killed node left behind does not count.

    A socket that we may not use does count: connecting to it will say why.
    """
    if not hasattr(socket, "AF_UNIX"):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _sockets_in(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.suffix == ".sock")
    except OSError:
        return []


def local_sockets(dirs: Sequence[Path]) -> list[Path]:
    """The sockets of the nodes that run here."""
    return [path for directory in dirs for path in _sockets_in(directory) if is_served(path)]


def node_address(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The address to use: what was given, else ``KV_NODE``, else the default. Raises CliError if it is not clear."""
    chosen = given or environ.get("KV_NODE")
    if chosen:
        return chosen
    found = local_sockets(socket_dirs(environ))
    if len(found) > 1:
        names = ", ".join(f"unix:{path}" for path in found)
        raise usage(f"several nodes run here, say which one with --node or KV_NODE: {names}")
    return f"unix:{found[0]}" if found else DEFAULT_ADDRESS
