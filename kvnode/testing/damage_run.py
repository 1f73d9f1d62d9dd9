"""Three real nodes, of which one after the other has its store broken while it is down; started again, all three must
come to hold the same, and nothing that the others held may be lost.

``python -m kvnode.testing.damage_run --rounds 200`` does so with random damage. A round is decided by its seed, as far
as that can be with real processes; one that fails prints it, and ``--seed`` begins with it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio

from kvnode.client import Client, Del, Put, connect

from .damage import ALL_DAMAGE, Damage
from .processes import NodeProcess

ENTRIES: Final = 300
CHANGES: Final = 20
"""Writes, and half as many deletes, on the other nodes while one is down."""
WAIT_S: Final = 60.0
_POLL_S: Final = 0.05

T = TypeVar("T")
Shown = dict[str, tuple[Any, frozenset[Any]]]


class NotHealed(Exception):
    """The nodes do not hold what they must."""


def ask(node: NodeProcess, question: Callable[[Client], Awaitable[T]]) -> T:
    """One request of a client."""

    async def main() -> T:
        async with connect(node.address, author="damage") as kv:
            return await question(kv)

    return anyio.run(main)


async def _tree(kv: Client) -> Shown:
    async with kv.tree("d") as rows:
        return {str(row.path): (row.value, row.dots) async for row in rows}


class Trial:
    """Three nodes in `folder`, each linked to each; as a context manager they run, and hold some entries."""

    def __init__(self, folder: Path) -> None:
        a = NodeProcess("a", folder)
        b = NodeProcess("b", folder, peers=[a.address])
        c = NodeProcess("c", folder, peers=[a.address, b.address])
        self.nodes: Final = (a, b, c)
        self.expected: dict[str, int] = {}
        self._written = 0
        self._stack: Final = ExitStack()

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.enter_context(node)
        self.until_healed()
        self._write(self.nodes[0], ENTRIES, 0, "all")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def round(self, damage: Damage, rng: Random, victim: NodeProcess | None = None) -> str:
        """Break one node, and wait until all is well; says what was done. Raises NotHealed."""
        broken = victim or rng.choice(self.nodes)
        ask(broken, lambda kv: kv.compact())  # or all would be in its log
        self._write(broken, CHANGES, 0, "all")
        broken.kill()
        other = rng.choice([node for node in self.nodes if node is not broken])
        self._write(other, CHANGES, CHANGES // 2, "peer:1")
        did = damage(broken.data, rng)
        broken.start()
        self.until_healed()
        return f"{broken.name}: {did}"

    def _write(self, node: NodeProcess, sets: int, deletes: int, ack: str) -> None:
        """Some new values, some replaced, some deleted."""
        gone = list(self.expected)[:deletes]
        for path in gone:
            del self.expected[path]
        puts: dict[str, int] = {}
        for _ in range(sets):
            self._written += 1
            puts[f"d.n{self._written * 7 % (2 * ENTRIES)}"] = self._written
        self.expected |= puts
        writes: list[Put | Del] = [Put(path, [number, "x" * 300]) for path, number in puts.items()]
        writes += [Del(path) for path in gone if path not in puts]
        ask(node, lambda kv: kv.batch(writes, ack=ack, timeout=WAIT_S))

    def until_healed(self) -> None:
        """Wait until all nodes hold the same, and what they must. Raises NotHealed."""
        until = time.monotonic() + WAIT_S
        while why := self._difference():
            if time.monotonic() > until:
                raise NotHealed(why)
            time.sleep(_POLL_S)  # between two looks: what other processes do, nobody tells

    def _difference(self) -> str | None:
        trees = {node.name: ask(node, _tree) for node in self.nodes}
        for name, tree in trees.items():
            wrong = sorted(path for path in {*tree, *self.expected} if self._value(tree, path) != self._due(path))
            if wrong:
                first = wrong[0]
                return (
                    f"{name}: {len(wrong)} wrong, such as {first}: {self._value(tree, first)}, not {self._due(first)}"
                )
        if len({str(sorted(tree.items())) for tree in trees.values()}) > 1:
            return "the same values by different changes"
        return None

    def _value(self, tree: Shown, path: str) -> int | None:
        return tree[path][0][0] if path in tree else None

    def _due(self, path: str) -> int | None:
        return self.expected.get(path)


def main(argv: list[str] | None = None) -> int:
    """The command: 0 if every round ended well."""
    parser = argparse.ArgumentParser(prog="python -m kvnode.testing.damage_run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how often one is broken (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="default: any")
    args = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Trial(Path(folder)) as trial:
        for seed in range(args.seed, args.seed + args.rounds):
            try:
                did = one_round(trial, seed, ALL_DAMAGE)
            except NotHealed as err:
                _say(f"seed {seed}: {err}")
                return 1
            _say(f"{time.monotonic() - began:6.1f} s  seed {seed}: {did}")
    return 0


def one_round(trial: Trial, seed: int, kinds: Mapping[str, Damage]) -> str:
    """A round in which the seed decides everything that can be decided. Raises NotHealed."""
    rng = Random(seed)
    name = rng.choice(sorted(kinds))
    return f"{name}: {trial.round(kinds[name], rng)}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
