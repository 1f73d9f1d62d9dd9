"""One bus, one agent: claims of what bindings drive, whatever the agents are called.

The claim ``@.claims.KIND.NAME`` sees to it that of several instances with one name one works. It says nothing of two
agents with different names that are configured for the same bus. Therefore a kind of agent names the bus of each
binding, by a path that is the same wherever in the cluster it is configured, and each agent claims below ``@.buses``
what its bindings drive. A binding whose bus another agent has stands by, which is an error record, and takes over when
the bus is free.

Bindings of one agent share its claim. How a claim is kept, and what two holders mean for it, is as with that of the
instance: see ``claim``.
"""

from __future__ import annotations

import ipaddress
import os
import platform
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskGroup

from kvagents.framework.keeper import Keeper
from kvagents.framework.kv import Kv
from kvnode.client import KvError
from kvnode.core.path import Path

BUSES: Final = Path(("@", "buses"))
RELEASE_S: Final = 2.0
"""How long giving a claim up may take; the others then wait for its lease to end."""


def network_bus(host: str, port: int) -> Path:
    """What is reached at a port of a host. This machine has one name, whatever it is called here.

    A host that is called by a name in one place and by an address in another counts as two.
    """
    name = host.lower().rstrip(".")
    return Path(("tcp", _this_machine() if _is_here(name) else name, port))


def local_bus(device: str) -> Path:
    """What is connected to this machine: a serial line or another device, by its file."""
    return Path(("device", _this_machine(), os.path.realpath(device)))


def _this_machine() -> str:
    return platform.node().lower()


def _is_here(host: str) -> bool:
    if host in ("localhost", _this_machine()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Buses:
    """The claims of one agent. `claim` makes the keeper of the claim at a path."""

    def __init__(self, claim: Callable[[Path], Keeper]) -> None:
        self._claim = claim
        self._keepers: dict[Path, tuple[Keeper, anyio.CancelScope]] = {}

    def __getitem__(self, bus: Path) -> Keeper:
        return self._keepers[bus][0]

    def keep(self, buses: Iterable[Path], tasks: TaskGroup) -> None:
        """Claim these, too."""
        for bus in buses:
            if bus not in self._keepers:
                keeper, scope = self._claim(BUSES / bus), anyio.CancelScope()
                self._keepers[bus] = keeper, scope
                tasks.start_soon(_run, keeper, scope)

    async def keep_only(self, buses: Iterable[Path], kv: Kv) -> None:
        """Give up all others."""
        kept = set(buses)
        for bus in [bus for bus in self._keepers if bus not in kept]:
            keeper, scope = self._keepers.pop(bus)
            scope.cancel()
            # Where that fails, whoever waits for it waits for a lease.
            with anyio.move_on_after(RELEASE_S), suppress(KvError):
                await keeper.release(kv)


async def _run(keeper: Keeper, scope: anyio.CancelScope) -> None:
    with scope:
        await keeper.run()
