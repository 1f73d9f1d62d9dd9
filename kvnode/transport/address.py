"""Addresses in their text forms: ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH`` and, in tests, ``memory:NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

DEFAULT_PORT: Final = 27590
_NAMED: Final[tuple[tuple[Literal["unix", "memory"], str], ...]] = (("unix", "unix:"), ("memory", "memory:"))


class AddressError(ValueError):
    """A text that is no address; the message is one line and says what was expected."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial or listen. `host` and `port` for ``tcp``; `path` for ``unix`` (a file) and ``memory`` (a name)."""

    kind: Literal["tcp", "unix", "memory"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.kind != "tcp":
            return f"{self.kind}:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it, as far as the text tells (a name other than localhost does not)."""
        if self.kind != "tcp" or self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read an address. Without `default_port` the port must be given. Raises AddressError."""
    for kind, prefix in _NAMED:
        if text.startswith(prefix):
            if not text[len(prefix) :]:
                raise AddressError(f"{text!r} names no {'file' if kind == 'unix' else 'endpoint'}")
            return Address(kind, path=text[len(prefix) :])
    host, port = _split(text)
    if not host or any(c.isspace() or c in "/[]" for c in host):
        raise AddressError(f"{text!r} is no address; use HOST:PORT, [IPv6]:PORT or unix:PATH")
    if not port:
        if default_port is None:
            raise AddressError(f"{text!r} lacks a port; use HOST:PORT, for example {host}:{DEFAULT_PORT}")
        return Address("tcp", host, default_port)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise AddressError(f"{port!r} in {text!r} is no port; it is a number from 0 to 65535")
    return Address("tcp", host, int(port))


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise AddressError(f"{text!r} is no address; an IPv6 address is written [IPv6]:PORT")
        return host, rest[1:]
    if text.count(":") > 1:
        raise AddressError(f"{text!r} is no address; an IPv6 address is written in brackets: [{text}]:{DEFAULT_PORT}")
    host, _, port = text.partition(":")
    return host, port
