"""Server processes on free loopback ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kvnode.testing.processes import environment

START_S: Final = 30.0
STOP_TRY_S: Final = 1.0
STOP_TRIES: Final = 30
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Missing(Exception):
    """A program or a Python package is not installed; the text says how to get it."""


def program(name: str, package: str) -> str:
    """Where it is. Debian keeps some servers outside a user's PATH. Raises Missing."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        raise Missing(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


class Server:
    """One process that listens at `port`; its output goes to a file in `folder`."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, port: int) -> None:
        self.name: Final = name
        self.port: Final = port
        self.log: Final = folder / f"{name}.log"
        self._command: Final = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its number; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def resident_bytes(self) -> int:
        """Memory in use."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES

    async def start(self) -> None:
        """Start it and wait until it accepts connections. Raises RuntimeError with its log."""
        self.spawn()
        await self.accepts()

    def spawn(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def accepts(self) -> None:
        """Wait until it accepts connections. Raises RuntimeError with its log."""
        assert self._process is not None
        async with asyncio.timeout(START_S):
            while True:
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.005)
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        """SIGTERM, and again: redis does not heed it while it writes its file anew. Raises TimeoutExpired."""
        process, self._process = self._process, None
        if process is None:
            return
        for _ in range(STOP_TRIES):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, STOP_TRY_S)
                return
        process.kill()
        raise subprocess.TimeoutExpired(self._command, STOP_TRIES * STOP_TRY_S)

    def kill(self) -> None:
        """SIGKILL, to its children, too: nothing of it is needed any more."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
