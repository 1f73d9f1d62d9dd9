"""A network between the hosts of a test, in the test's hands: who can send to whom, at any moment.

There is one primitive: :meth:`Network.block` takes the whole set of blocked directions, so a partition appears, turns
into another or heals in one step. The shapes of a partition are functions that give such sets. What is blocked is lost
in silence, as with a pulled cable: the two ends have to find out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Protocol

Cut = tuple[str, str]
"""A blocked direction: nothing that the first host sends reaches the second."""


class NetworkError(Exception):
    """The network could not be made or changed; the text is one line."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host's process runs: `listen` is its own address, `peers` where it reaches the other hosts, `wrapper` the
    command line that puts a process there, `args` what ``kv node run`` needs besides.
    """

    listen: str
    peers: tuple[str, ...]
    wrapper: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


class Network(Protocol):
    """See the module's text."""

    @property
    def kind(self) -> str:
        """What it is made of: ``namespaces`` or ``proxies``."""

    @property
    def hosts(self) -> Sequence[str]:
        """All hosts."""

    def place(self, host: str) -> Place:
        """Where the process of `host` runs."""

    def block(self, cuts: Collection[Cut]) -> None:
        """From now on these directions are blocked, and no others. An empty collection heals everything. Once this
        returns, nothing that is sent from then on passes. Raises NetworkError.
        """


# -- shapes --------------------------------------------------------------------------------------------------


def one_way(source: str, sink: str) -> frozenset[Cut]:
    """`sink` no longer hears `source`, but `source` hears `sink`."""
    return frozenset({(source, sink)})


def between(some: Iterable[str], others: Iterable[str]) -> frozenset[Cut]:
    """Neither side hears the other."""
    theirs = tuple(others)
    return frozenset(pair for a in some for b in theirs for pair in ((a, b), (b, a)))


def partition(*groups: Collection[str]) -> frozenset[Cut]:
    """Only hosts of the same group hear one another. A host in two groups is a bridge between them."""
    hosts = {host for group in groups for host in group}
    together = {pair for group in groups for pair in permutations(group, 2)}
    return frozenset(set(permutations(hosts, 2)) - together)
