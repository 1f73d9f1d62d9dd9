"""Finding nodes on the local network by mDNS and DNS-SD (RFC 6762, RFC 6763), and being found.

Whatever answers may be a stranger who took a name. So a node announces itself only where links are encrypted, and then
a peer has to prove who it is; and finding gives a list for people, who decide.

The library zeroconf runs an asyncio loop in a thread of its own. Here it is called from worker threads only, so that
it is the same on every backend; it takes a while to import, and so is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import anyio.to_thread

from kvnode.transport.address import Address

from .errors import StartError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

SERVICE: Final = "_kvnode._tcp.local."
MOST_FOUND: Final = 256
"""Nodes that one search lists."""
MOST_ADDRESSES: Final = 8
ASK_MS: Final = 1_000
"""For the details of one node."""
MISSING: Final = "the package zeroconf is missing: pip install 'kvnode[mdns]'"


class MdnsUnavailable(Exception):
    """No search is possible: the library is missing, or the network does not let it listen. One line."""


class Found(NamedTuple):
    """A node that announces itself: what it says of itself, all of it unproven."""

    name: str
    addresses: tuple[str, ...]
    cluster: str


async def find(seconds: float, *, service: str = SERVICE, interfaces: Sequence[str] | None = None) -> list[Found]:
    """Listen for so long, and give who announced themselves, by name. `interfaces` are own addresses (None: all).
    Raises MdnsUnavailable.
    """
    return await anyio.to_thread.run_sync(_find, seconds, service, interfaces)


def _find(seconds: float, service: str, interfaces: Sequence[str] | None) -> list[Found]:
    zeroconf = _open(interfaces)
    try:
        from zeroconf import DNSQuestionType, ServiceBrowser

        names: dict[str, None] = {}

        def heard(**change: Any) -> None:
            if len(names) < MOST_FOUND:
                names[change["name"]] = None

        # Multicast answers: one by unicast would end at any one of several programs on this machine that listen.
        kind = DNSQuestionType.QM
        browser = ServiceBrowser(zeroconf, service, handlers=[heard], question_type=kind)
        browser.join(seconds)  # a thread, which does not end by itself
        browser.cancel()
        infos = [zeroconf.get_service_info(service, name, ASK_MS, kind) for name in list(names)]
        return sorted(found_of(info, service) for info in infos if info is not None)
    finally:
        zeroconf.close()


def _open(interfaces: Sequence[str] | None) -> Zeroconf:
    try:
        from zeroconf import InterfaceChoice, Zeroconf
    except ImportError:
        raise MdnsUnavailable(MISSING) from None
    try:
        return Zeroconf(interfaces=list(interfaces) if interfaces is not None else InterfaceChoice.All)
    except OSError as err:
        raise MdnsUnavailable(f"mDNS cannot be used here: {err}") from err


def found_of(info: ServiceInfo, service: str) -> Found:
    """What an answer says; anybody may have written it."""
    label = info.name.removesuffix(f".{service}")
    hosts = info.parsed_scoped_addresses()[:MOST_ADDRESSES]
    addresses = tuple(str(Address("tcp", host, info.port or 0)) for host in hosts)
    return Found(_text(info, b"name") or label, addresses, _text(info, b"cluster"))


def _text(info: ServiceInfo, key: bytes) -> str:
    return (info.properties.get(key) or b"").decode(errors="replace")


@asynccontextmanager
async def announced(
    name: str,
    cluster: str,
    hosts: Sequence[str],
    port: int,
    *,
    encrypted: bool,
    service: str = SERVICE,
    interfaces: Sequence[str] | None = None,
) -> AsyncIterator[None]:
    """Be found inside this block, at these own addresses. Raises StartError unless links are `encrypted`, and if mDNS
    cannot be used.
    """
    if not encrypted:
        raise StartError("mdns: a node announces itself only where links are encrypted, and these are not")
    try:
        zeroconf = await anyio.to_thread.run_sync(_announce, name, cluster, hosts, port, service, interfaces)
    except MdnsUnavailable as err:
        raise StartError(f"mdns: {err}") from err
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(zeroconf.close)


def _announce(
    name: str, cluster: str, hosts: Sequence[str], port: int, service: str, interfaces: Sequence[str] | None
) -> Zeroconf:
    zeroconf = _open(interfaces)
    from zeroconf import Error, ServiceInfo

    host = blake2b(f"{cluster}/{name}".encode(), digest_size=8).hexdigest()
    info = ServiceInfo(
        service,
        f"{name.replace('.', '-')}.{service}",  # a label has no dots; the whole name is among the properties
        parsed_addresses=list(hosts),
        port=port,
        properties={"name": name, "cluster": cluster},
        server=f"kvnode-{host}.local.",
    )
    try:
        zeroconf.register_service(info)
    except (Error, OSError) as err:
        zeroconf.close()
        raise MdnsUnavailable(f"the name {name!r} cannot be announced: {str(err) or type(err).__name__}") from err
    return zeroconf
