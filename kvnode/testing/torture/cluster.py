"""The nodes of a torture: real processes on the hosts of a network, and what they say at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from kvnode.testing.processes import NodeProcess

from .network import Network


class Cluster:
    """Nodes by name. Their clients reach them by Unix sockets, which no cut concerns."""

    def __init__(self, network: Network, folder: Path, sockets: Path) -> None:
        self.network: Final = network
        self.nodes: Final = {host: _node(network, host, folder, sockets) for host in network.hosts}

    def dumps(self) -> dict[str, str]:
        """The canonical dump of each node."""
        return self._of_each(NodeProcess.dump)

    def restart_all(self) -> None:
        """Kill all nodes at once, as a power cut does, and start them again."""
        for node in self.nodes.values():
            node.kill()
        self._of_each(NodeProcess.start)

    def _of_each(self, ask: Callable[[NodeProcess], Any]) -> dict[str, Any]:
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            return dict(zip(self.nodes, threads.map(ask, self.nodes.values()), strict=True))


def _node(network: Network, host: str, folder: Path, sockets: Path) -> NodeProcess:
    place = network.place(host)
    return NodeProcess(
        host,
        folder,
        listen=place.listen,
        peers=place.peers,
        wrapper=place.wrapper,
        socket=sockets / host,
        args=place.args,
    )


@contextmanager
def running_cluster(network: Network, folder: Path, sockets: Path) -> Iterator[Cluster]:
    """All nodes of a network, running; killed at the end."""
    cluster = Cluster(network, folder, sockets)
    with ExitStack() as stack, ThreadPoolExecutor(len(cluster.nodes)) as threads:
        list(threads.map(stack.enter_context, cluster.nodes.values()))
        yield cluster


def is_quiet(statuses: Sequence[dict[str, Any]]) -> bool:
    """Whether all nodes hold durably what any of them knows, by their own words, and links are whole."""
    names = {status["node"] for status in statuses}
    return all(
        status["current"]
        and set(status["members"]) >= names
        and {peer["name"] for peer in status["peers"] if peer["lag"] == 0} >= names - {status["node"]}
        for status in statuses
    )
