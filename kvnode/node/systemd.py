"""What systemd is told of a node that it started: that it serves, that it lives, that it ends (sd_notify(3)).

The watchdog is fed from a turn of the driver, so a node whose owner task hangs is restarted, not only one that is gone.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio

_log: Final = logging.getLogger(__name__)


class ServiceManager:
    """The way to the service manager, as it is given in the environment; without one, :meth:`tell` does nothing.

    `watchdog_s` is how often to say that all is well: half of what the manager waits for; None if it does not wait.
    """

    def __init__(self, env: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        self._address: Final = _socket_address(env.get("NOTIFY_SOCKET", ""))
        meant = env.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
        usec = env.get("WATCHDOG_USEC", "")
        self.watchdog_s: Final = int(usec) / 2e6 if self._address and meant and usec.isdigit() and int(usec) else None

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``. A manager that does not listen is no reason to fail."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(states).encode(), self._address)
        except OSError as err:
            _log.debug("the service manager cannot be told", extra={"why": str(err)})

    async def feed_watchdog(self, turn: Callable[[], Awaitable[object]]) -> None:
        """Until cancelled: after each `turn` that ends, say that all is well."""
        if self.watchdog_s is None:
            return
        while True:
            await turn()
            self.tell("WATCHDOG=1")
            await anyio.sleep(self.watchdog_s)


def _socket_address(text: str) -> str | None:
    """A path, or (with a leading ``@``) a name in the abstract namespace; None for anything else."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None
