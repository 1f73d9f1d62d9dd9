"""A real owserver for tests: the Debian package's program on a loopback port, never a system service."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from pyownet import protocol

START_S: Final = 60.0
STOP_S: Final = 3.0
"""An owserver with an open persistent connection ignores SIGTERM; after this many seconds it is killed."""


def installed() -> bool:
    """Whether the program is there."""
    return shutil.which("owserver") is not None


class RealOwserver:
    """An owserver process with `arguments` such as ``--HA7E=PTY`` or ``--tester=DS18B20``; a context manager.

    It listens on `port` of the loopback address. Raises RuntimeError when it does not come up.
    """

    def __init__(self, arguments: Sequence[str], port: int) -> None:
        self.arguments = tuple(arguments)
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["owserver", "--foreground", "-p", f"127.0.0.1:{self.port}", *self.arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                status, self._process = self._process.returncode, None
                raise RuntimeError(f"owserver ended with status {status}: {' '.join(command)}")
            if self._answers(self._process.pid):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
        self.kill()
        raise RuntimeError(f"owserver did not answer within {START_S:g} s: {' '.join(command)}")

    def stop(self) -> bool:
        """Ask it to end, kill it when it does not; tells whether asking was enough."""
        process = self._process
        if process is None:
            return True
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._process = None
        return True

    def kill(self) -> None:
        """End it without notice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self, pid: int) -> bool:
        """Whether our own process answers: on a port that is taken, owserver leaves the other one running."""
        try:
            answer = protocol.proxy("127.0.0.1", self.port).read(protocol.PTH_PID)
        except protocol.Error:
            return False
        return int(answer) == pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
