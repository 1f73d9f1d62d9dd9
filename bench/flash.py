"""Flash wear: what a node writes to its disk for what clients change: ``python -m bench.flash``.

Counted are the bytes that the kernel puts down to the node's process (``write_bytes`` in ``/proc/PID/io``, Linux only),
in whole pages, as they go to the block device; without the journal of the file system. A changed byte is one of the
path or of the value.

Each case is measured twice: with what the default comes to on a slow disk, where commits are compressed, and with what
it comes to on a quick one, where they are not. Each node is told which, whatever the disk of this machine is.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from bench.compare import load_average
from bench.report import table
from kvnode.client import Client, connect
from kvnode.node.config import Compress
from kvnode.testing.processes import NodeProcess

VALUE_BYTES: Final = 100
IN_FLIGHT: Final = 64
VOLATILE: Final = "sensor"
_BLOCK: Final = 512
"""In such the system counts what a process that ended has written."""

DISKS: Final[dict[str, Compress]] = {"slow": "always", "quick": "never"}
"""What the default comes to on such a disk."""

PathOf = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Case:
    """So many `writes`, that of number n to the path `path_of(n)`, `at_once` of them at any time; before the count
    begins the first `before` of them are made already.
    """

    title: str
    writes: int
    at_once: int
    path_of: PathOf
    before: int = 0


@dataclass(frozen=True, slots=True)
class Wear:
    """Bytes that clients changed, that the node wrote meanwhile, and that it wrote until it had ended."""

    changed: int
    written: int
    written_at_end: int


def cases(scale: float) -> tuple[Case, ...]:
    """What is measured; `scale` multiplies the numbers of writes."""
    some, many = int(500 * scale), int(20_000 * scale)
    chance = random.Random(7)
    return (
        Case("single writes, one path each", some, 1, lambda n: f"home.room{n % 30}.single{n}"),
        Case("single writes, ten paths", some, 1, lambda n: f"home.room.sensor{n % 10}"),
        Case("burst, one path each", many, IN_FLIGHT, lambda n: f"home.room{n % 30}.sensor{n}"),
        Case("burst, 1 000 paths", many, IN_FLIGHT, lambda n: f"home.room{n % 30}.sensor{n % 1000}"),
        Case(
            "burst, any of many paths",
            3 * many,
            IN_FLIGHT,
            lambda n: f"home.room.sensor{n if n < many else chance.randrange(many)}",
            before=many,
        ),
        Case("burst, volatile paths", many, IN_FLIGHT, lambda n: f"{VOLATILE}.room{n % 30}.sensor{n % 1000}"),
    )


def measure(case: Case, compress: Compress) -> Wear:
    """One case, on a new node with this setting."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kvnode-flash-"))
        others = _of_ended_processes()
        node = stack.enter_context(NodeProcess("a", Path(folder), args=("--compress", compress)))
        changed, before, after = anyio.run(_run, case, node)
        node.terminate()
        in_all = _of_ended_processes() - others
    return Wear(changed, after - before, max(in_all - before, 0))


async def _run(case: Case, node: NodeProcess) -> tuple[int, int, int]:
    """Bytes changed, and what the process had written before and after."""
    async with connect(node.address, patient=True) as kv:
        await kv.set("@.volatile.all", {"pattern": f"{VOLATILE}.#"})
        for number in range(10):  # the log is there, and room for it
            await kv.set("home.first", number)
        await _write(kv, case, range(case.before))
        before = written_by(node.pid)
        changed = await _write(kv, case, range(case.before, case.writes))
        return changed, before, written_by(node.pid)


async def _write(kv: Client, case: Case, numbers: Sequence[int]) -> int:
    """Make these writes; gives the bytes they changed."""
    changed = 0
    left = iter(numbers)

    async def work() -> None:
        nonlocal changed
        for number in left:
            path, value = case.path_of(number), os.urandom(VALUE_BYTES)
            changed += len(path) + len(value)
            await kv.set(path, value, ack="disk")

    async with anyio.create_task_group() as group:
        for _ in range(case.at_once):
            group.start_soon(work)
    return changed


def written_by(pid: int) -> int:
    """The bytes that a process has written so far."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines())
    return int(lines["write_bytes"])


def _of_ended_processes() -> int:
    """The bytes that processes which this one has started, and which have ended, had written."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock * _BLOCK


def row(case: Case, wears: Sequence[Wear]) -> tuple[str, ...]:
    """A line of the table; `wears` are those on each of :data:`DISKS`."""
    figures = [f"{size / wear.changed:.1f}" for wear in wears for size in (wear.written, wear.written_at_end)]
    return (case.title, str(case.writes - case.before), *figures)


def main(argv: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.flash", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many writes (default: %(default)s)")
    args = parser.parse_args(argv)
    rows = [row(case, [measure(case, compress) for compress in DISKS.values()]) for case in cases(args.scale)]
    columns = [text for disk in DISKS for text in (f"{disk} disk", "until the node has ended")]
    print(f"load {load_average()}; values of {VALUE_BYTES} bytes, {IN_FLIGHT} writes in flight in a burst\n")
    print("bytes written for each changed byte:\n")
    print(table(("writes", "number", *columns), rows))


if __name__ == "__main__":
    main()
