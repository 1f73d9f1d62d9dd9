"""The command: ``python -m bench``, see its ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import uvloop

from bench import report
from bench.bytecode import compile_kvnode
from bench.cluster import Cluster
from bench.compare import Results, compare, load_results
from bench.server import Missing
from bench.stages import STAGES
from bench.systems import SYSTEMS, Access, Kv, system
from kvnode.testing.bench.measures import Sizes

QUICK: int = 10


def main() -> int:
    """Measure, print tables, write the results."""
    options = _options()
    if options.show:
        _print([load_results(file) for file in options.show])
        return 0
    systems = _systems(options.systems or SYSTEMS, required=bool(options.systems))
    if not systems:
        return 1
    compile_kvnode()
    Kv.access = Access(tuple(options.node_arg), {})
    sizes = Sizes().divided(options.divide or (QUICK if options.quick else 1))
    stages = [stage for stage in STAGES if stage.name in options.stages]
    rounds = options.rounds or (1 if options.quick else 5)
    results = uvloop.run(compare(systems, stages, sizes, rounds, options.seed, _say))
    if options.json:
        results.save(options.json)
    _print([results])
    return 1 if results.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure kvnode side by side with other systems, interleaved round by round in one run.",
    )
    stages = [stage.name for stage in STAGES]
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--stages", nargs="+", choices=stages, default=stages, metavar="STAGE", help=", ".join(stages))
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one round")
    parser.add_argument("--divide", type=int, help="all sizes divided by this")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2)), help="of the order in each round")
    parser.add_argument("--node-arg", action="append", default=[], help="one more argument of kv node run")
    parser.add_argument("--json", type=Path, help="write all samples there")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="only print the tables of such files")
    return parser.parse_args()


def _systems(names: Iterable[str], *, required: bool) -> list[type[Cluster]]:
    """Those that are installed; none if one is missing that was asked for."""
    found = []
    for name in names:
        try:
            found.append(system(name))
        except Missing as exc:
            _say(f"bench: {name} is left out: {exc}")
            if required:
                return []
    return found


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _print(runs: Sequence[Results]) -> None:
    """The tables of one run, or of several as if they were one."""
    names = [name for name in SYSTEMS if any(name in one for run in runs for one in run.rounds)]
    both = Results({}, [one for run in runs for one in run.rounds], [text for run in runs for text in run.failures])
    parts = [*map(report.conditions, runs), report.values(both, names), report.targets(both), report.cpu(both, names)]
    print("\n\n".join([*parts, *(f"failed: {text}" for text in both.failures)]))


if __name__ == "__main__":
    sys.exit(main())
