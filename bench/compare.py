"""Systems side by side: in each round every system runs once, in an order drawn anew, with all measures.

What the machine does besides then hits all of them alike, and a ratio is taken within a round.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.cluster import Cluster, running
from bench.stages import Stage
from kvnode.data.versions import software
from kvnode.testing.bench.measures import Sizes
from kvnode.testing.bench.timing import Sample

Say = Callable[[str], None]


@dataclass(slots=True)
class Results:
    """All samples: by round, system, measure."""

    conditions: dict[str, str]
    rounds: list[dict[str, dict[str, Sample]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def samples(self, system: str, measure: str) -> list[Sample]:
        """Those there are."""
        return [r[system][measure] for r in self.rounds if measure in r.get(system, {})]

    def save(self, file: Path) -> None:
        """As JSON."""
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def load_results(file: Path) -> Results:
    """What :meth:`Results.save` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


async def compare(
    systems: Sequence[type[Cluster]], stages: Sequence[Stage], sizes: Sizes, rounds: int, seed: int, say: Say
) -> Results:
    """Run them all. A system that fails in a stage is noted, and the rest goes on."""
    results = Results(_conditions(sizes, rounds, seed))
    rng = random.Random(seed)
    for number in range(rounds):
        results.rounds.append({system.name: {} for system in systems})
        for stage in stages:
            for system in rng.sample(systems, len(systems)):
                began = time.monotonic()
                failure = await _stage(system, stage, sizes, results.rounds[-1][system.name])
                took = f"{time.monotonic() - began:.1f} s, load {os.getloadavg()[0]:.1f}"
                say(f"round {number + 1}/{rounds} {stage.name:8s} {system.name:15s} {failure or took}")
                if failure:
                    results.failures.append(f"{system.name}, {stage.name}: {failure}")
    results.conditions["load at the end"] = load_average()
    return results


async def _stage(system: type[Cluster], stage: Stage, sizes: Sizes, into: dict[str, Sample]) -> str:
    """Run one; gives what went wrong."""
    try:
        async with running(system, wired=stage.wired) as cluster:
            await stage.run(cluster, sizes, into.__setitem__)
    except Exception as exc:  # of whatever client: noted, and the other systems go on
        return f"{type(exc).__name__}: {exc}"
    return ""


def _conditions(sizes: Sizes, rounds: int, seed: int) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "kvnode": software(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "connections": "plain TCP on loopback, all processes on one machine",
        "rounds": str(rounds),
        "seed": str(seed),
        "keys loaded": str(sizes.load),
        "load at the start": load_average(),
    }


def load_average() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
