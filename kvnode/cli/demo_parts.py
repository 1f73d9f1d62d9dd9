"""The processes of ``kv demo``: nodes, a 1-Wire bus and its agent, each in the demo's own folder and on loopback.

What starts a process takes the stack that ends it, and tells it first: so a demo that is cut short while something
starts leaves nothing behind either.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from kvnode.testing.processes import free_port

from .errors import CliError

HOST: Final = "127.0.0.1"
STOP_S: Final = 5.0
"""A process that does not end in this time after SIGTERM is killed."""
OWSERVER_SENSORS: Final = ("28.67452301EF00", "28.A1B2C3D4E500", "28.0011223344AA")


class DemoError(CliError):
    """Something did not go as it must."""


@dataclass(slots=True)
class Child:
    """A child process, to be started within :func:`running`. Its standard error goes to a file in the demo's folder."""

    name: str
    command: Sequence[str]
    folder: Path
    process: Process | None = field(default=None)

    async def start(self, *, first_line: bool) -> str:
        """Start it; with `first_line` wait for the line that says it is ready, and return it."""
        with self.log.open("ab") as log, anyio.CancelScope(shield=True):  # a process that runs is one that we know of
            self.process = await anyio.open_process(
                self.command,
                stdin=DEVNULL,
                stdout=PIPE if first_line else log,
                stderr=log,
                cwd=self.folder,
                env=_environment(),
                start_new_session=True,
            )
        return await self._first_line() if first_line else ""

    @property
    def log(self) -> Path:
        """What it logs."""
        return self.folder / f"{self.name}.log"

    async def _first_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        text = ""
        async for part in TextReceiveStream(self.process.stdout):
            text += part
            if "\n" in text:
                return text.partition("\n")[0]
        raise DemoError(f"{self.name} did not start: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: no goodbye, no last commit."""
        await self._end(SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        await self._end(SIGTERM)

    async def _end(self, signal: Signals) -> None:
        if self.process is None:
            return
        with anyio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.send_signal(signal)
            with anyio.move_on_after(STOP_S) as scope:
                await self.process.wait()
            if scope.cancelled_caught:
                self.process.kill()
                await self.process.wait()
            await self.process.aclose()
        self.process = None


@asynccontextmanager
async def running(child: Child) -> AsyncIterator[Child]:
    """End it when the block is left, whether and however far it was started there."""
    try:
        yield child
    finally:
        await child.stop()


def _environment() -> dict[str, str]:
    """Ours, without settings of other nodes, and with what is needed to find these packages."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("KVNODE_", "KV_"))}
    folders = [str(Path(__file__).parents[2])]
    agents = find_spec("kvagents")
    if agents is not None and agents.submodule_search_locations:
        folders.append(str(Path(next(iter(agents.submodule_search_locations))).parent))
    env["PYTHONPATH"] = os.pathsep.join([*dict.fromkeys(folders), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return env


# -- nodes ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class DemoNode:
    """A node: its name, whom it dials, and the port that it keeps when it is started again."""

    name: str
    folder: Path
    peers: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    child: Child | None = None

    @property
    def address(self) -> str:
        """Where peers and clients reach it."""
        return f"{HOST}:{self.port}"

    async def start(self, stack: AsyncExitStack) -> None:
        """Run it, until `stack` is left."""
        command = [sys.executable, "-m", "kvnode", "node", "run", "--name", self.name]
        command += ["--data", str(self.folder / self.name), "--listen", self.address, "--socket", "none"]
        for peer in self.peers:
            command += ["--peer", peer]
        self.child = await stack.enter_async_context(running(Child(self.name, command, self.folder)))
        line = await self.child.start(first_line=True)
        if line != f"kvnode {self.name} ready on {self.address}":
            raise DemoError(f"node {self.name} said {line!r}: {self.child.last_words()}")


# -- the bus -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bus:
    """A 1-Wire bus: where it is served, and the ids of its thermometers."""

    what: str
    address: str
    sensors: tuple[str, ...]


async def start_bus(folder: Path, stack: AsyncExitStack, *, simulated: bool) -> Bus:
    """A real owserver with simulated sensors if the program is installed, else our own simulation of it.

    It runs until `stack` is left.
    """
    if not simulated and shutil.which("owserver"):
        return await _real_bus(folder, stack)
    command = [sys.executable, "-m", "kvagents.onewire.simulator", "--port", "0", "--sensors", "3"]
    child = await stack.enter_async_context(running(Child("bus", command, folder)))
    line = await child.start(first_line=True)
    head, _, sensors = line.rpartition(": ")
    return Bus("a simulated owserver", head.rpartition(" ")[2], tuple(sensors.split()))


async def _real_bus(folder: Path, stack: AsyncExitStack) -> Bus:
    port = free_port()
    command = ["owserver", "--foreground", "-p", f"{HOST}:{port}", f"--fake={','.join(OWSERVER_SENSORS)}"]
    command += ["--temperature_low=18", "--temperature_high=23"]
    child = await stack.enter_async_context(running(Child("bus", command, folder)))
    await child.start(first_line=False)
    while child.alive:
        try:
            async with await anyio.connect_tcp(HOST, port):
                return Bus("owserver", f"{HOST}:{port}", OWSERVER_SENSORS)
        except OSError:
            await anyio.sleep(0.02)
    raise DemoError(f"owserver did not start: {child.last_words()}")
