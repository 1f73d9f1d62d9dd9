"""Where a node's time goes under one of the measures: ``python -m bench.profiled put-64``.

The first of three nodes runs under cProfile, which makes calls of Python dearer than they are: the shares tell where to
look, not what it costs. What a node spends in the kernel appears with the call that went there.
"""

from __future__ import annotations

import argparse
import pstats
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench.cluster import running
from bench.report import table
from bench.systems.kv import KvDisk
from kvnode.testing.bench.measures import BULK, FAST, Bench, Sizes
from kvnode.testing.bench.store import KEYS
from kvnode.testing.bench.timing import Stopwatch

PROFILE: Final = "a.prof"
LAYERS: Final = ("core", "codec", "client", "node", "store", "transport")
WAITED_S: Final = 0.0002
"""What took so long for each call on average has waited for something to do."""
START: Final = ("builtins.compile", "builtins.exec", "__build_class__", "marshal", "importlib", "_compiler.py")
"""What belongs to the start of a process."""
FUNCTIONS: Final = 15

_Function = tuple[str, int, str]


class Profiled(KvDisk):
    """The first node writes a profile when it ends."""

    def _command(self, node: int, name: str, peers: Sequence[int]) -> list[str]:
        python, *rest = super()._command(node, name, peers)
        return [python, *(() if node else ("-m", "cProfile", "-o", str(self.folder / PROFILE))), *rest]


async def profile(measure: str, operations: int) -> pstats.Stats:
    """Run the measure, so many operations of it."""
    chosen = next(one for one in (*FAST, *BULK) if one.name == measure)
    sizes = Sizes(*(operations for _ in Sizes.__slots__))
    async with running(Profiled) as cluster:
        async with cluster.store(0) as near, cluster.store(-1) as far:
            await near.put_batch(range(KEYS))
            await chosen.run(Bench(near, far, Stopwatch({}), sizes))
        await cluster.servers[0].stop()
        return pstats.Stats(str(cluster.folder / PROFILE))


def spent(stats: pstats.Stats) -> dict[_Function, tuple[int, float]]:
    """Calls and seconds of each function by itself, without those that mostly waited, or that belong to the start."""
    rows = stats.stats.items()  # type: ignore[attr-defined]  # typeshed knows no more of it than its methods
    return {
        function: (calls, own_s)
        for function, (_, calls, own_s, _, _) in rows
        if own_s < WAITED_S * calls and not any(word in f"{function[0]} {function[2]}" for word in START)
    }


def layer(function: _Function) -> str:
    """Which part of kvnode, or what else, a function belongs to."""
    file, _, name = function
    parts = Path(file).parts
    if "kvnode" in parts:
        below = parts[parts.index("kvnode", len(parts) - parts[::-1].index("kvnode") - 1) + 1]
        return f"kvnode.{below}" if below in LAYERS else "kvnode, other"
    if "~" in file:
        return "msgspec" if "msgspec" in name else "built-in"
    return next((library for library in ("anyio", "asyncio", "msgspec") if library in parts), "other libraries")


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiled", description="Where a node's time goes.")
    parser.add_argument("measure", choices=[one.name for one in (*FAST, *BULK)])
    parser.add_argument("--operations", type=int, default=10_000)
    options = parser.parse_args()
    found = spent(uvloop.run(profile(options.measure, options.operations)))
    total = sum(own_s for _, own_s in found.values())
    layers: defaultdict[str, float] = defaultdict(float)
    for function, (_, own_s) in found.items():
        layers[layer(function)] += own_s / total
    print(
        table(
            ("part", "share"),
            ((name, f"{share:.0%}") for name, share in sorted(layers.items(), key=lambda item: -item[1])),
        )
    )
    print()
    most = sorted(found.items(), key=lambda item: -item[1][1])[:FUNCTIONS]
    print(
        table(
            ("function", "calls", "share"),
            (
                (f"{Path(file).name} {name}", str(calls), f"{own_s / total:.1%}")
                for (file, _, name), (calls, own_s) in most
            ),
        )
    )


if __name__ == "__main__":
    main()
