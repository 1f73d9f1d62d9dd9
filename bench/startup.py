"""What it costs to start ``kv``: ``python -m bench.startup``. Wall time and CPU time, beside those of Python alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.bytecode import compile_kvnode
from bench.compare import load_average
from bench.report import table
from kvnode.testing.processes import NodeProcess, environment

ROUNDS: Final = 9
PYTHON: Final = (sys.executable,)
KV: Final = (sys.executable, "-m", "kvnode")


def cost_ms(command: Sequence[str]) -> tuple[float, float]:
    """Median wall and CPU milliseconds of a command, from its start to its end. Raises RuntimeError if it fails."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        walls.append((time.perf_counter() - began) * 1e3)
        cpus.append((used.ru_utime + used.ru_stime) * 1e3)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Print a table."""
    compile_kvnode()
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as name, NodeProcess("a", Path(name)) as node:
        at = ("--node", node.address)
        commands = {
            "python -c pass": (*PYTHON, "-c", "pass"),
            "python, with the libraries of kv": (*PYTHON, "-c", "import asyncio, asyncclick, anyio, msgspec"),
            "kv --version": (*KV, "--version"),
            "kv --help": (*KV, "--help"),
            "kv set": (*KV, "set", "bench.x", "1", *at),
            "kv get": (*KV, "get", "bench.x", *at),
            "kv list": (*KV, "list", *at),
            "kv status": (*KV, "status", *at),
        }
        rows = [(text, *(f"{value:.0f} ms" for value in cost_ms(command))) for text, command in commands.items()]
    print(f"load {load_average()}; medians of {ROUNDS}\n")
    print(table(("command", "wall time", "CPU time"), rows))


if __name__ == "__main__":
    main()
