"""The networks there are, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from .namespaces import namespaces, why_not
from .network import Network
from .proxies import proxies

Kind = Literal["auto", "namespaces", "proxies"]
KINDS: Final[tuple[Kind, ...]] = ("auto", "namespaces", "proxies")


@contextmanager
def open_network(hosts: Sequence[str], kind: Kind = "auto") -> Iterator[Network]:
    """A network of these hosts, of namespaces where that is possible. Raises NetworkError."""
    if kind == "namespaces" or (kind == "auto" and why_not() is None):
        with namespaces(hosts) as real:
            yield real
    else:
        with proxies(hosts) as made:
            yield made
