"""Real nodes as processes: ``kv node run`` on free loopback ports, to be killed, stopped and started again.

Synchronous on purpose: what is tested are processes, and a test of them reads best as a script.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import kvnode

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
COMMAND_TIMEOUT_S: Final = 60.0
_PORTS: Final = range(20_000, 32_000)
"""Below what systems give to outgoing connections, so that no connection takes a port while its node is down."""


class ProcessError(Exception):
    """A node did not start or stop as it should; the text has what it logged."""


def free_port() -> int:
    """A loopback port that nobody listens on; each call gives another one, also to other processes that ask here."""
    rng = random.SystemRandom()
    for _ in range(1_000):
        port = rng.choice(_PORTS)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        claim.detach()  # for as long as this process lives, UDP says that the number is given away
        return port
    raise ProcessError("no free port was found")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of kvnode, so that a test does what it says; plus `more`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("KVNODE_", "KV_"))}
    root = str(Path(kvnode.__file__).parent.parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH", "")]))
    return env | (dict(more) if more else {})


def run_kv(*args: str, check: bool = True, input: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``kv`` with these arguments, to its end. With `check`, ProcessError unless it ends with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "kvnode", *args],
        env=environment(),
        input=input,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if check and done.returncode:
        raise ProcessError(f"kv {' '.join(args)} ended with {done.returncode}: {done.stderr.strip()}")
    return done


class NodeProcess:
    """One node: `folder` holds its store and its log. As a context manager it is started, and killed at the end.

    `peers` are addresses to dial, `args` more options of ``kv node run``. The port stays the same over restarts; a node
    on some other host has `listen` instead, `wrapper` to be started there, and `socket` for its clients here.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        peers: Sequence[str] = (),
        port: int | None = None,
        listen: str = "",
        socket: Path | None = None,
        wrapper: Sequence[str] = (),
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.name: Final = name
        self.data: Final = folder / name
        self.log: Final = folder / f"{name}.log"
        self.port: Final = int(listen.rpartition(":")[2]) if listen else free_port() if port is None else port
        self.listen: Final = listen or f"127.0.0.1:{self.port}"
        self.socket: Final = socket
        self.wrapper: Final = tuple(wrapper)
        self.peers = tuple(peers)
        self.args = tuple(args)
        self.env = dict(env or {})
        self.start_timeout_s: Final = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"unix:{self.socket}" if self.socket else self.listen

    @property
    def pid(self) -> int:
        """The process's number. Raises ProcessError if it does not run."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> str:
        """Start it and wait until it serves; gives the line that says so. Raises ProcessError."""
        if self.is_running:
            raise ProcessError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), env=environment(self.env), stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            return self._await_line(self._process)
        except BaseException:
            self.kill()
            raise

    def command(self) -> list[str]:
        """The command line."""
        peers = [word for peer in self.peers for word in ("--peer", peer)]
        local = str(self.socket) if self.socket else "none"
        own = ["--name", self.name, "--data", str(self.data), "--listen", self.listen, "--socket", local]
        return [*self.wrapper, sys.executable, "-m", "kvnode", "node", "run", *own, *peers, *self.args]

    def _await_line(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        until = time.monotonic() + self.start_timeout_s
        output = select.poll()  # select() takes no more than 1 024 descriptors, and benchmarks have many
        output.register(process.stdout, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            ready = output.poll(max(until - time.monotonic(), 0) * 1000)
            piece = os.read(process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                state = "did not get ready in time" if not ready else "ended before it was ready"
                raise ProcessError(f"{self.name} {state}; its log:\n{self.read_log()}")
            line += piece
        return line.decode().strip()

    def kill(self) -> None:
        """SIGKILL: no chance to save anything. Harmless if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._close(self._process)

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """SIGTERM: the orderly end; gives the exit code. Raises ProcessError if it takes too long."""
        process = self._running()
        process.send_signal(number)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} did not end in time; its log:\n{self.read_log()}") from None
        self._close(process)
        return code

    def pause(self) -> None:
        """SIGSTOP: as a machine that hangs; :meth:`resume` ends it."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def read_log(self) -> str:
        """What it logged, over all its runs."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ProcessError(f"{self.name} does not run; its log:\n{self.read_log()}")
        return self._process

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    # -- talking to it ---------------------------------------------------------------------------------------

    def kv(self, *args: str, check: bool = True, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``kv`` against this node, see :func:`run_kv`."""
        return run_kv(*args, "--node", self.address, check=check, input=input)

    def dump(self) -> str:
        """The canonical dump: equal stores give equal texts."""
        return self.kv("dump", "--format", "jsonl").stdout
