"""Addresses of other nodes, learned from the records they keep of themselves at ``@.nodes.NAME``, and our own.

A record's map has ``addresses``: a list of texts ``HOST:PORT``. A loopback address says nothing to another machine,
and may lead to a stranger there: it is announced only by a node that listens on loopback alone, and used only by
such a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from kvnode.core.entry import Siblings, plain
from kvnode.core.path import path_key
from kvnode.core.tree import Tree
from kvnode.transport.address import Address, AddressError, parse_address

NODES: Final = ("@", "nodes")
NODES_KEY: Final = path_key(NODES)
MAX_NODES: Final = 256
"""Learned nodes that are dialled; of more, the first by name."""
MAX_ADDRESSES: Final = 8
"""Addresses of one node that are tried."""


def learned(tree: Tree, own_name: str, *, loopback: bool) -> dict[str, tuple[Address, ...]]:
    """The dialable addresses of every other member, by name; without loopback addresses unless `loopback`."""
    out: dict[str, tuple[Address, ...]] = {}
    for _, siblings in tree.scan(NODES):
        path = siblings[0].details.path
        if len(path) != 3 or not isinstance(path[2], str) or path[2] == own_name:
            continue
        addresses = tuple(a for a in _addresses(siblings) if loopback or not a.is_loopback)[:MAX_ADDRESSES]
        if addresses:
            out[path[2]] = addresses
        if len(out) >= MAX_NODES:
            break
    return out


def _addresses(siblings: Siblings) -> list[Address]:
    """Those of all siblings, the newest first: after a clash of records one of them is right."""
    found: dict[Address, None] = {}
    for version in sorted(siblings, key=lambda v: v.order, reverse=True):
        value = None if version.is_tombstone else plain(bytes(version.details.value))
        texts = value.get("addresses") if isinstance(value, Mapping) else None
        for text in texts if isinstance(texts, list) else ():
            address = _read(text)
            if address is not None:
                found[address] = None
    return list(found)


def _read(text: object) -> Address | None:
    if not isinstance(text, str):
        return None
    try:
        address = parse_address(text)
    except AddressError:
        return None
    return address if address.kind == "tcp" and address.port else None


def is_wildcard(address: Address) -> bool:
    """Whether it means every address of this machine."""
    try:
        return ip_address(address.host).is_unspecified
    except ValueError:
        return not address.host


def own_addresses(listen: Address, local_hosts: Iterable[str]) -> list[str]:
    """What to announce for a node that listens on `listen`: that, or, if it is every address of the machine, those
    that its links use (`local_hosts`).
    """
    if not is_wildcard(listen):
        return [str(listen)]
    hosts = sorted({host.partition("%")[0] for host in local_hosts})
    addresses = [Address("tcp", host, listen.port) for host in hosts]
    return [str(a) for a in addresses if not a.is_loopback and not _is_link_local(a.host)][:MAX_ADDRESSES]


def _is_link_local(host: str) -> bool:
    try:
        return ip_address(host).is_link_local
    except ValueError:
        return False
