"""Hosts as network namespaces on a bridge, cut apart by nftables. Linux, root, and Debian's ``iproute2 nftables``.

Each host is a namespace with one interface, 10.77.0.N; the bridge lies in one more namespace, and so do the rules: the
machine's own network is not touched, and any number of such networks exist side by side.

A namespace has no name. It lives as long as a process is in it, and the first one in each, its holder, waits for the
end of its standard input: that comes when the network is closed, and also when the test process dies in whatever way.
Then the holder kills what else runs in the namespace, and the kernel removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Final

from kvnode.transport.address import DEFAULT_PORT

from .network import Cut, NetworkError, Place

MAX_HOSTS: Final = 200
TIMEOUT_S: Final = 30.0
_TOOLS: Final = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "nft": "nftables"}
_HOLDER: Final = r"""
echo
cat >/dev/null
own=$(readlink /proc/$$/ns/net | sed 's/[][]/\\&/g')
for found in $(find /proc/[0-9]*/ns/net -maxdepth 0 -lname "$own" 2>/dev/null); do
    process=$(basename "${found%/ns/net}")
    [ "$process" = $$ ] || kill -KILL "$process" 2>/dev/null
done
"""
_RULES: Final = """
table bridge cuts {
    set blocked { typeof meta iifname . meta oifname; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @blocked drop
    }
}
"""


class NamespaceNetwork:
    """See :class:`~.network.Network`; made by :func:`namespaces`."""

    kind = "namespaces"

    def __init__(self, hosts: Sequence[str], holders: Sequence[int], switch: int) -> None:
        self.hosts: Final = tuple(hosts)
        self._holders: Final = dict(zip(hosts, holders, strict=True))
        self._switch: Final = switch

    def place(self, host: str) -> Place:
        """See :class:`~.network.Network`."""
        peers = tuple(f"{self._ip(other)}:{DEFAULT_PORT}" for other in self.hosts if other != host)
        return Place(f"{self._ip(host)}:{DEFAULT_PORT}", peers, _enter(self._holders[host]), ("--insecure",))

    def block(self, cuts: Collection[Cut]) -> None:
        """See :class:`~.network.Network`."""
        change = "flush set bridge cuts blocked\n"
        if cuts:
            pairs = ", ".join(f'"{self._port(source)}" . "{self._port(sink)}"' for source, sink in cuts)
            change += f"add element bridge cuts blocked {{ {pairs} }}\n"
        _run([*_enter(self._switch), "nft", "-f", "-"], change)

    def make(self) -> None:
        """Connect the namespaces."""
        lines = ["link add name switch type bridge", "link set dev switch up"]
        for host, holder in self._holders.items():
            port = self._port(host)
            lines.append(f"link add name {port} type veth peer name eth0 netns {holder}")
            lines.append(f"link set dev {port} master switch up")
        _run([*_enter(self._switch), "ip", "-batch", "-"], "\n".join(lines))
        _run([*_enter(self._switch), "nft", "-f", "-"], _RULES)
        for host, holder in self._holders.items():
            own = ["link set dev lo up", f"addr add {self._ip(host)}/24 dev eth0", "link set dev eth0 up"]
            _run([*_enter(holder), "ip", "-batch", "-"], "\n".join(own))

    def _ip(self, host: str) -> str:
        return f"10.77.0.{self.hosts.index(host) + 1}"

    def _port(self, host: str) -> str:
        return f"port{self.hosts.index(host) + 1}"


@contextmanager
def namespaces(hosts: Sequence[str]) -> Iterator[NamespaceNetwork]:
    """A network of namespaces; what still runs in them at the end is killed. Raises NetworkError."""
    if len(hosts) > MAX_HOSTS:
        raise NetworkError(f"{len(hosts)} hosts are too many for one network; at most {MAX_HOSTS}")
    with ExitStack() as stack:
        switch, *holders = [stack.enter_context(_held()) for _ in range(len(hosts) + 1)]
        network = NamespaceNetwork(hosts, holders, switch)
        network.make()
        yield network


@cache
def why_not() -> str | None:
    """Why there can be no namespaces here, in a line; None if there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root can make network namespaces"
    missing = [f"{tool} (Debian package {package})" for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)}"
    try:
        with namespaces(["a", "b"]) as network:
            network.block([("a", "b")])
    except NetworkError as err:
        return f"the system does not allow it: {err}"
    return None


@contextmanager
def _held() -> Iterator[int]:
    """A namespace with nothing in it but its holder, whose process id it gives."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the test, which ends the holder in its turn
    ) as holder:
        assert holder.stdout is not None
        if not holder.stdout.readline():
            _, problem = holder.communicate(timeout=TIMEOUT_S)
            raise NetworkError(problem.decode(errors="replace").strip() or "unshare did not start")
        try:
            yield holder.pid
        finally:
            holder.communicate(timeout=TIMEOUT_S)


def _enter(holder: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{holder}/ns/net", "--")


def _run(command: Sequence[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(command[3:])}: {' '.join(done.stderr.split())}")
