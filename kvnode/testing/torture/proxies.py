"""Hosts that are processes of this machine, with a proxy in each direction of dialling between any two of them.

This needs no rights and runs everywhere. A proxy stands for the way from the host that dials to the host that is
dialled, and holds back either direction of it by itself; so a cut between two hosts is one in both of their proxies.
Differences from a true network: who dials a host that is cut off gets a connection, though a silent one, and nothing is
lost on the way, only late. Nodes must not learn each other's addresses, which would lead them around the proxies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import permutations
from typing import Final

from anyio.from_thread import BlockingPortal, start_blocking_portal

from kvnode.testing.processes import free_port
from kvnode.testing.proxy import Proxy, proxy

from .network import Cut, Place


class ProxyNetwork:
    """See :class:`~.network.Network`; made by :func:`proxies`."""

    kind = "proxies"

    def __init__(self, ports: Mapping[str, int], ways: Mapping[Cut, Proxy], portal: BlockingPortal) -> None:
        self.hosts: Final = tuple(ports)
        self._ports: Final = ports
        self._ways: Final = ways
        self._portal: Final = portal

    def place(self, host: str) -> Place:
        """See :class:`~.network.Network`."""
        peers = tuple(self._ways[host, other].address for other in self.hosts if other != host)
        return Place(f"127.0.0.1:{self._ports[host]}", peers, args=("--no-discover",))

    def block(self, cuts: Collection[Cut]) -> None:
        """See :class:`~.network.Network`."""
        self._portal.call(self._block, frozenset(cuts))

    def _block(self, cuts: frozenset[Cut]) -> None:
        for (source, sink), way in self._ways.items():
            way.freeze(there=(source, sink) in cuts, back=(sink, source) in cuts)


@contextmanager
def proxies(hosts: Sequence[str]) -> Iterator[ProxyNetwork]:
    """A network of proxies, on a thread of its own."""
    ports = {host: free_port() for host in hosts}
    with start_blocking_portal() as portal:
        stack = ExitStack()
        try:
            ways = {
                (source, sink): stack.enter_context(portal.wrap_async_context_manager(proxy(ports[sink])))
                for source, sink in permutations(hosts, 2)
            }
            yield ProxyNetwork(ports, ways, portal)
        finally:
            stack.close()  # an error of the test is none of theirs: each would wrap it into a group
